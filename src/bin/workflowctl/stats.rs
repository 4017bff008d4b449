//! `stats`

use std::collections::BTreeMap;

use bondflow::engine::store::RunFilter;
use bondflow::engine::{Status, Timestamp};
use clap::Args;
use serde_json::json;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::output::Record;
use crate::stake::Stake;
use crate::when::span;

/// Counts open runs by workflow, status and step, with the oldest's age and the sats at risk.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl stats
  workflowctl stats -o json | jq 'map(.sats_at_risk) | add'")]
pub struct Stats {
    /// Finished runs too.
    #[arg(long)]
    all: bool,
}

const HEADINGS: &[&str] = &["workflow", "status", "step", "runs", "oldest", "sats at risk"];

struct Group {
    runs: u64,
    oldest: Timestamp,
    sats: u64,
}

impl Stats {
    /// Counts them.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let filter = RunFilter { open: !self.all, ..RunFilter::default() };
        let mut groups: BTreeMap<(String, Status, String), Group> = BTreeMap::new();
        for run in desk.store.runs(&filter).await? {
            let stake = Stake::of(&run, desk.store.as_ref()).await?;
            let key = (run.pin.workflow, run.status, run.step);
            let group = groups.entry(key).or_insert(Group { runs: 0, oldest: run.created_at, sats: 0 });
            group.runs += 1;
            group.oldest = group.oldest.min(run.created_at);
            group.sats = group.sats.saturating_add(stake.sats_at_risk.unwrap_or(0));
        }
        let now = desk.now();
        let records: Vec<_> = groups
            .into_iter()
            .map(|((workflow, status, step), group)| Record {
                id: format!("{workflow}/{status}/{step}"),
                json: json!({
                    "workflow": workflow, "status": status, "step": step, "runs": group.runs,
                    "oldest": group.oldest.to_string(), "sats_at_risk": group.sats,
                }),
                cells: vec![
                    workflow,
                    status.to_string(),
                    step,
                    group.runs.to_string(),
                    span(group.oldest.until(now)),
                    group.sats.to_string(),
                ],
            })
            .collect();
        desk.output.records(HEADINGS, &records)?;
        Ok(())
    }
}
