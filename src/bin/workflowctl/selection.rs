//! Which runs a command is for: ids, stdin, or all that are alike. What is chosen without naming is shown
//! and counted before anything is asked of it.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::str::FromStr;

use bondflow::engine::store::RunFilter;
use bondflow::engine::{Run, Status};
use clap::Args;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::list;
use crate::order::{bonds, keys_of_order};
use crate::stake::Stake;

/// Runs by name, or all that are alike.
#[derive(Args)]
pub struct Selection {
    /// Runs, or their bonds or orders; may be shortened; `-` reads them from stdin.
    #[arg(value_name = "ID", required_unless_present_any = ["all_stuck", "alike"])]
    ids: Vec<String>,
    /// All that don't get on: paused, with an error, or overdue by a minute.
    #[arg(long, conflicts_with = "ids")]
    all_stuck: bool,
    /// All open runs with this status, step, workflow, order or bond; may be given again to narrow it.
    #[arg(long = "where", id = "alike", value_name = "KEY=VALUE", conflicts_with = "ids")]
    alike: Vec<Condition>,
    /// Does not ask before it does it to all of them: for scripts.
    #[arg(short, long)]
    yes: bool,
    /// Only shows which runs it would be; changes nothing.
    #[arg(long)]
    plan: bool,
}

/// One condition of `--where`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Status(Status),
    Step(String),
    Workflow(String),
    Order(String),
    Bond(String),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            return Err("write status=paused, step=pay, workflow=bond_payout, order=ID or bond=ID".to_owned());
        };
        let value = value.trim().to_owned();
        Ok(match key.trim() {
            "status" => Self::Status(list::status(&value)?),
            "step" => Self::Step(value),
            "workflow" => Self::Workflow(value),
            "order" => Self::Order(value.to_ascii_lowercase()),
            "bond" => Self::Bond(value.to_ascii_lowercase()),
            other => return Err(format!("`{other}` is none of status, step, workflow, order, bond")),
        })
    }
}

/// Most runs of a preview that are shown one by one.
const SHOWN: usize = 20;

impl Selection {
    /// The runs; `verb` is what would be done to them. None when the person declined or only wanted to see.
    pub async fn runs(self, desk: &mut Desk, verb: &str) -> Result<Option<Vec<Result<Run, Failure>>>, Failure> {
        if !self.all_stuck && self.alike.is_empty() {
            let (mut runs, mut seen) = (Vec::new(), BTreeSet::new());
            for id in named(self.ids, desk)? {
                let run = find(desk.store.as_ref(), &id).await;
                // Whoever is named twice, as bond and as run, is asked once.
                if run.as_ref().map_or(true, |run| seen.insert(run.id.clone())) {
                    runs.push(run);
                }
            }
            if self.plan {
                let found = runs.into_iter().collect::<Result<Vec<Run>, Failure>>()?;
                return preview(desk, &found, verb).await.map(|()| None);
            }
            return Ok(Some(runs));
        }
        let runs = alike(desk, self.all_stuck, self.alike).await?;
        preview(desk, &runs, verb).await?;
        if self.plan || runs.is_empty() || !(self.yes || agreed(desk, runs.len(), verb)?) {
            return Ok(None);
        }
        Ok(Some(runs.into_iter().map(Ok).collect()))
    }
}

async fn alike(desk: &Desk, stuck: bool, conditions: Vec<Condition>) -> Result<Vec<Run>, Failure> {
    let mut filter = RunFilter { open: true, ..RunFilter::default() };
    filter.stuck = stuck.then(|| list::late(desk.now()));
    for (place, condition) in conditions.iter().enumerate() {
        if conditions[..place].iter().any(|other| discriminant(other) == discriminant(condition)) {
            return Err(Failure::Usage(
                "a run has one status, step, workflow, order and bond: give each once".to_owned(),
            ));
        }
        match condition.clone() {
            Condition::Status(status) if status.is_final() => {
                return Err(Failure::Usage(format!("a run that is {status} has ended: nothing can be asked of it")));
            }
            Condition::Status(status) => filter.status = Some(status),
            Condition::Step(step) => filter.step = Some(step),
            Condition::Workflow(workflow) => filter.workflow = Some(workflow),
            Condition::Order(order) => narrow(&mut filter, keys_of_order(desk.store.as_ref(), &order).await?),
            Condition::Bond(bond) => narrow(&mut filter, bonds(desk.store.as_ref(), &bond).await?),
        }
    }
    Ok(desk.store.runs(&filter).await?)
}

/// Only runs with these keys, and with those that were asked for before.
fn narrow(filter: &mut RunFilter, keys: Vec<String>) {
    filter.keys = Some(match filter.keys.take() {
        Some(before) => before.into_iter().filter(|key| keys.contains(key)).collect(),
        None => keys,
    });
}

/// Shows what was chosen, on stderr: stdout is for what was done.
async fn preview(desk: &Desk, runs: &[Run], verb: &str) -> Result<(), Failure> {
    let mut sats = 0_u64;
    for (place, run) in runs.iter().enumerate() {
        let stake = Stake::of(run, desk.store.as_ref()).await?;
        sats = sats.saturating_add(stake.sats_at_risk.unwrap_or(0));
        if place < SHOWN {
            let error = run.error.as_ref().map(|error| format!("  {error}")).unwrap_or_default();
            let (id, name) = (list::short(&run.id), stake.name());
            desk.output.tell(format_args!("  {id}  {name}  {} at {}{error}", run.status, run.step));
        }
    }
    if runs.len() > SHOWN {
        desk.output.tell(format_args!("  … and {} more", runs.len() - SHOWN));
    }
    desk.output.tell(format_args!("{} to {verb}, {sats} sats at risk", counted(runs.len())));
    Ok(())
}

/// Asks the person at the terminal; where there is none, nothing is agreed to.
fn agreed(desk: &mut Desk, runs: usize, verb: &str) -> Result<bool, Failure> {
    let runs = counted(runs);
    if !desk.input.has_person() {
        return Err(Failure::Usage(format!("nobody can be asked here whether to {verb} {runs}: give --yes")));
    }
    desk.output.ask(format_args!("{verb} {runs}? [y/N] "));
    let yes = matches!(desk.input.line()?.as_str(), "y" | "Y" | "yes");
    if !yes {
        desk.output.tell("nothing was done");
    }
    Ok(yes)
}

fn counted(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

/// The ids, with stdin's words in the place of `-`.
fn named(ids: Vec<String>, desk: &mut Desk) -> Result<Vec<String>, Failure> {
    let piped = ids.iter().filter(|id| *id == "-").count();
    if piped > 1 {
        return Err(Failure::Usage("`-` can be given once".to_owned()));
    }
    if piped == 0 {
        return Ok(ids);
    }
    let text = desk.input.text()?;
    let words = text.split_whitespace().map(str::to_owned);
    let ids: Vec<String> = ids.into_iter().filter(|id| id != "-").chain(words).collect();
    if ids.is_empty() {
        desk.output.tell("no ids came from stdin: nothing to do");
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_what_it_can_be() {
        assert_eq!("status=paused".parse(), Ok(Condition::Status(Status::Paused)));
        assert_eq!("order=AB".parse(), Ok(Condition::Order("ab".into())));
        for bad in ["status", "status=", "status=asleep", "colour=red"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }
}
