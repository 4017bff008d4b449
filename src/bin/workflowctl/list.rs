//! `list`

use std::time::Duration;

use bondflow::engine::store::RunFilter;
use bondflow::engine::{Run, Status, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::failure::Failure;
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
    #[arg(long)]
    in_doubt: bool,
    /// Only of the order whose id begins so.
    #[arg(long, value_name = "ID")]
    order: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

const HEADINGS: &[&str] =
    &["id", "bond", "status", "step", "attempt", "age", "next wake", "sats at risk", "last error"];

/// Digits of an id in a table: enough to be unique among millions.
const SHOWN: usize = 12;

/// Characters of an error in a table.
const ERROR_SHOWN: usize = 60;

fn status(text: &str) -> Result<Status, String> {
    Status::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        format!("one of {}", names.join(", "))
    })
}

impl List {
    /// Lists them.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let now = desk.now();
        // A limit counts what is shown, and the order and `--stuck` are looked at only here.
        let sifted = self.order.is_some() || self.stuck;
        let status = if self.in_doubt { Some(Status::InDoubt) } else { self.status };
        let filter = RunFilter {
            open: !self.all && !status.is_some_and(Status::is_final),
            status,
            step: self.step,
            workflow: self.workflow,
            since: self.since.map(|since| since.before(now)),
            limit: self.limit.filter(|_| !sifted),
            ..RunFilter::default()
        };
        let order = self.order.map(|order| order.to_ascii_lowercase());
        let mut records = Vec::new();
        for run in desk.store.runs(&filter).await? {
            if self.limit.is_some_and(|limit| records.len() >= limit as usize) {
                break;
            }
            if self.stuck && !is_stuck(&run, now) {
                continue;
            }
            let stake = Stake::of(&run, desk.store.as_ref()).await?;
            let of_order = |order: &String| stake.order.as_ref().is_some_and(|of| of.starts_with(order.as_str()));
            if order.as_ref().is_none_or(of_order) {
                records.push(record(&run, &stake, now));
            }
        }
        desk.output.records(HEADINGS, &records)?;
        if records.is_empty() && desk.output.format == Format::Table {
            eprintln!("no runs");
        }
        Ok(())
    }
}

/// A minute late is more than any worker needs.
const LATE: Duration = Duration::from_secs(60);

/// Whether a run does not get on.
pub fn is_stuck(run: &Run, now: Timestamp) -> bool {
    let overdue = run.owner.is_none() && run.due_at.is_some_and(|due| due.after(LATE) < now);
    !run.status.is_final() && (run.status == Status::Paused || run.error.is_some() || overdue)
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
    let error = run.error.as_deref().unwrap_or("-");
    let mut short: String = error.chars().take(ERROR_SHOWN).collect();
    if short.len() < error.len() {
        short.push('…');
    }
    Record {
        id: run.id.to_string(),
        cells: vec![
            run.id.0.chars().take(SHOWN).collect(),
            stake.name(),
            run.status.to_string(),
            run.step.clone(),
            run.attempt.to_string(),
            span(run.created_at.until(now)),
            next_wake(run, now),
            stake.sats_at_risk.map_or_else(|| "?".to_owned(), |sats| sats.to_string()),
            short,
        ],
        json: json_of(run, stake),
    }
}
