//! `history`

use std::time::Duration;

use bondflow::engine::HistoryEntry;
use clap::Args;
use serde_json::json;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::output::{Format, Record};

/// Shows what a run did: every step, attempt, outcome and time.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl history 3f9a
  workflowctl history 3f9a --follow -o jsonl")]
pub struct History {
    /// The run, or its bond or order; may be shortened.
    id: String,
    /// Goes on until the run has ended.
    #[arg(short, long)]
    follow: bool,
}

const HEADINGS: &[&str] = &["revision", "at", "step", "attempt", "outcome", "to", "status", "detail"];

/// How often a followed run is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl History {
    /// Shows it.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        if self.follow && desk.output.format == Format::Json {
            return Err(Failure::Usage("--follow never ends one JSON document: use -o jsonl".to_owned()));
        }
        let run = find(desk.store.as_ref(), &self.id).await?;
        if let Some(at) = run.retired_at {
            desk.output.tell(format_args!("the run is retired since {at}: its history until then is gone"));
        }
        let mut told = None;
        loop {
            // The status is read first: what a run did last stands in the history by then.
            let ended = desk.store.run(&run.id).await?.is_none_or(|run| run.status.is_final());
            let entries = desk.store.history(run.seq).await?;
            let news: Vec<_> = entries.iter().filter(|entry| Some(entry.revision) > told).map(record).collect();
            if told.is_none() {
                desk.output.records(HEADINGS, &news)?;
            } else {
                desk.output.more(HEADINGS, &news)?;
            }
            told = entries.last().map(|entry| entry.revision).or(told).or(Some(0));
            if ended || !self.follow {
                return Ok(());
            }
            desk.clock.sleep_until(desk.clock.now().after(LOOK_AGAIN)).await;
        }
    }
}

fn record(entry: &HistoryEntry) -> Record {
    Record {
        id: entry.revision.to_string(),
        cells: vec![
            entry.revision.to_string(),
            entry.at.to_string(),
            entry.step.clone(),
            entry.attempt.to_string(),
            entry.outcome.clone(),
            entry.to.clone(),
            entry.status.to_string(),
            entry.detail.clone().unwrap_or_else(|| "-".to_owned()),
        ],
        json: json!({
            "revision": entry.revision, "at": entry.at.to_string(), "step": entry.step, "attempt": entry.attempt,
            "outcome": entry.outcome, "to": entry.to, "status": entry.status, "detail": entry.detail,
        }),
    }
}
