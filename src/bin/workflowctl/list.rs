//! `list`

use std::time::Duration;

use bondflow::engine::store::RunFilter;
use bondflow::engine::{Run, RunId, Status, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::order::keys_of_order;
use crate::output::{Format, Record};
use crate::stake::Stake;
use crate::when::{Since, relative, span};

/// Lists runs, the newest first: the open ones unless `--all`.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl list --stuck
  workflowctl list --all --since 7d --workflow bond_payout -o json
  workflowctl list --status paused -o ids | workflowctl resume - --reason 'liquidity is back'")]
pub struct List {
    /// Finished runs too.
    #[arg(long)]
    all: bool,
    /// Only with this status.
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// Only in this step or end.
    #[arg(long)]
    step: Option<String>,
    /// Only of this workflow.
    #[arg(long)]
    workflow: Option<String>,
    /// Only those started since: 90m, 12h, 3d, 2026-11-23 or 2026-11-23T09:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only those that don't get on: paused, with an error, or overdue by a minute.
    #[arg(long)]
    stuck: bool,
    /// Only those with a payment in doubt.
    #[arg(long, conflicts_with = "status")]
    in_doubt: bool,
    /// Only of the order whose id begins so.
    #[arg(long, value_name = "ID")]
    order: Option<String>,
    /// At most so many, 0 for all; a table shows 100 unless told otherwise.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Shows the list again every two seconds, until it is interrupted.
    #[arg(short, long)]
    watch: bool,
}

const HEADINGS: &[&str] =
    &["id", "bond", "status", "step", "attempt", "age", "next wake", "sats at risk", "last error"];

/// Digits of an id in a table: enough to be unique among millions.
const SHOWN: usize = 12;

/// The status of that name.
pub fn status(text: &str) -> Result<Status, String> {
    Status::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        format!("one of {}", names.join(", "))
    })
}

/// How many runs a table shows unless more are asked for.
const SHOWN_AT_ONCE: u32 = 100;

impl List {
    /// Lists them.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        if self.watch {
            desk.for_people()?;
        }
        let order = match &self.order {
            Some(order) => Some(keys_of_order(desk.store.as_ref(), &order.to_ascii_lowercase()).await?),
            None => None,
        };
        loop {
            self.once(desk, order.clone()).await?;
            if !self.watch {
                return Ok(());
            }
            desk.look_again().await;
        }
    }

    async fn once(&self, desk: &mut Desk, order: Option<Vec<String>>) -> Result<(), Failure> {
        let now = desk.now();
        let status = if self.in_doubt { Some(Status::InDoubt) } else { self.status };
        let table = desk.output.format == Format::Table;
        let limit = self.limit.or(table.then_some(SHOWN_AT_ONCE)).filter(|limit| *limit > 0);
        let filter = RunFilter {
            open: !self.all && !status.is_some_and(Status::is_final),
            status,
            step: self.step.clone(),
            workflow: self.workflow.clone(),
            keys: order,
            since: self.since.map(|since| since.before(now)),
            stuck: self.stuck.then(|| late(now)),
            // One more tells that there are more.
            limit: limit.map(|limit| limit.saturating_add(1)),
            ..RunFilter::default()
        };
        let mut runs = desk.store.runs(&filter).await?;
        let more = limit.is_some_and(|limit| runs.len() > limit as usize);
        runs.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        let mut records = Vec::with_capacity(runs.len());
        for run in &runs {
            let stake = Stake::of(run, desk.store.as_ref()).await?;
            records.push(record(run, &stake, now));
        }
        if self.watch {
            desk.output.clear()?;
        }
        desk.output.records(HEADINGS, &records)?;
        if table && records.is_empty() {
            desk.output.tell("no runs");
        }
        if table && more {
            let shown = records.len();
            desk.output.tell(format_args!("the newest {shown} are shown, there are more: --limit 0 shows all"));
        }
        Ok(())
    }
}

/// A minute late is more than any worker needs.
const LATE: Duration = Duration::from_secs(60);

/// A run that has been due since before this time, and that nobody works on, is overdue.
pub fn late(now: Timestamp) -> Timestamp {
    Since::Ago(LATE).before(now)
}

/// A run's id as tables have it.
pub fn short(id: &RunId) -> String {
    id.0.chars().take(SHOWN).collect()
}

/// When the run is taken up next.
pub fn next_wake(run: &Run, now: Timestamp) -> String {
    match (&run.owner, run.due_at) {
        (Some(_), _) => "at work".to_owned(),
        (None, None) => "-".to_owned(),
        (None, Some(due)) if due <= now => "now".to_owned(),
        (None, Some(due)) => relative(due, now),
    }
}

/// A run for programs; its state aside.
pub fn json_of(run: &Run, stake: &Stake) -> Value {
    json!({
        "id": run.id, "workflow": run.pin.workflow, "version": run.pin.version, "key": run.key,
        "bond": stake.bond, "order": stake.order,
        "status": run.status, "step": run.step, "attempt": run.attempt,
        "created_at": run.created_at.to_string(), "updated_at": run.updated_at.to_string(),
        "next_wake": run.due_at.map(|due| due.to_string()), "owner": run.owner,
        "sats_at_risk": stake.sats_at_risk, "error": run.error,
    })
}

fn record(run: &Run, stake: &Stake, now: Timestamp) -> Record {
    Record {
        id: run.id.to_string(),
        cells: vec![
            short(&run.id),
            stake.name(),
            run.status.to_string(),
            run.step.clone(),
            run.attempt.to_string(),
            span(run.created_at.until(now)),
            next_wake(run, now),
            stake.sats_at_risk.map_or_else(|| "?".to_owned(), |sats| sats.to_string()),
            run.error.clone().unwrap_or_else(|| "-".to_owned()),
        ],
        json: json_of(run, stake),
    }
}
