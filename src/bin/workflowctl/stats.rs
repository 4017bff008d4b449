//! `stats`

use bondflow::engine::store::Tally;
use bondflow::engine::{StoreError, Timestamp};
use bondflow::payout::risk;
use clap::Args;
use serde_json::json;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::output::{Format, Record};
use crate::when::span;

/// Counts open runs by workflow, status and step, with the oldest's age, and the sats at risk.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl stats
  workflowctl stats -o json | jq .sats_at_risk.total
  workflowctl stats --all -o jsonl")]
pub struct Stats {
    /// Finished runs too.
    #[arg(long)]
    all: bool,
    /// Shows them again every two seconds, until it is interrupted.
    #[arg(short, long)]
    watch: bool,
}

const HEADINGS: &[&str] = &["workflow", "status", "step", "runs", "oldest"];

impl Stats {
    /// Counts them.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        if self.watch {
            desk.for_people()?;
        }
        loop {
            self.once(desk).await?;
            if !self.watch {
                return Ok(());
            }
            desk.look_again().await;
        }
    }

    async fn once(&self, desk: &mut Desk) -> Result<(), Failure> {
        let groups = desk.store.tally(!self.all).await?;
        let now = desk.now();
        let records: Vec<Record> = groups.into_iter().map(|group| record(group, now)).collect();
        let at_risk = risk::at_risk(desk.store.as_ref()).await.map_err(|error: StoreError| Failure::from(error))?;
        let total = at_risk.total();
        if desk.output.format == Format::Json {
            let runs: Vec<_> = records.iter().map(|record| record.json.clone()).collect();
            let json = json!({ "runs": runs, "sats_at_risk": {
                "bonds": at_risk.bonds_sats, "trades": at_risk.trades_sats, "total": total } });
            desk.output.text("stats", "", &json)?;
            return Ok(());
        }
        if self.watch {
            desk.output.clear()?;
        }
        desk.output.records(HEADINGS, &records)?;
        if desk.output.format == Format::Table {
            let (bonds, trades) = (at_risk.bonds_sats, at_risk.trades_sats);
            let text = format!("\nsats at risk: {total} (shares of bonds {bonds}, trades {trades})");
            desk.output.text("stats", &text, &json!({}))?;
        }
        Ok(())
    }
}

fn record(group: Tally, now: Timestamp) -> Record {
    let Tally { workflow, status, step, runs, oldest } = group;
    Record {
        id: format!("{workflow}/{status}/{step}"),
        json: json!({
            "workflow": workflow, "status": status, "step": step, "runs": runs, "oldest": oldest.to_string(),
        }),
        cells: vec![workflow, status.to_string(), step, runs.to_string(), span(oldest.until(now))],
    }
}
