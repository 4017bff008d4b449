//! Which runs a command is for: ids, stdin, or all that are alike. What is chosen without naming is shown
//! and counted before anything is asked of it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::str::FromStr;

use bondflow::engine::store::RunFilter;
use bondflow::engine::{Run, Status};
use clap::Args;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::list;
use crate::order::keys_of_order;
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
            let mut runs = Vec::new();
            for id in named(self.ids, io::stdin().lock())? {
                runs.push(find(desk.store.as_ref(), &id).await);
            }
            if self.plan {
                let found = runs.into_iter().collect::<Result<Vec<Run>, Failure>>()?;
                return preview(desk, &found, verb).await.map(|()| None);
            }
            return Ok(Some(runs));
        }
        let runs = alike(desk, self.all_stuck, self.alike).await?;
        preview(desk, &runs, verb).await?;
        if self.plan || runs.is_empty() || !(self.yes || agreed(runs.len(), verb)?) {
            return Ok(None);
        }
        Ok(Some(runs.into_iter().map(Ok).collect()))
    }
}

async fn alike(desk: &Desk, stuck: bool, conditions: Vec<Condition>) -> Result<Vec<Run>, Failure> {
    let mut filter = RunFilter { open: true, ..RunFilter::default() };
    filter.stuck = stuck.then(|| list::late(desk.now()));
    for condition in conditions {
        match condition {
            Condition::Status(status) if status.is_final() => {
                return Err(Failure::Usage(format!("a run that is {status} has ended: nothing can be asked of it")));
            }
            Condition::Status(status) => filter.status = Some(status),
            Condition::Step(step) => filter.step = Some(step),
            Condition::Workflow(workflow) => filter.workflow = Some(workflow),
            Condition::Order(order) => filter.keys = Some(keys_of_order(desk.store.as_ref(), &order).await?),
            Condition::Bond(bond) => filter.prefix = Some(bond),
        }
    }
    Ok(desk.store.runs(&filter).await?)
}

/// Shows what was chosen, on stderr: stdout is for what was done.
async fn preview(desk: &Desk, runs: &[Run], verb: &str) -> Result<(), Failure> {
    let mut sats = 0_u64;
    for (place, run) in runs.iter().enumerate() {
        let stake = Stake::of(run, desk.store.as_ref()).await?;
        sats = sats.saturating_add(stake.sats_at_risk.unwrap_or(0));
        if place < SHOWN {
            let error = run.error.as_deref().unwrap_or("");
            eprintln!("  {}  {}  {} at {}  {error}", list::short(&run.id), stake.name(), run.status, run.step);
        }
    }
    if runs.len() > SHOWN {
        eprintln!("  … and {} more", runs.len() - SHOWN);
    }
    eprintln!("{} runs to {verb}, {sats} sats at risk", runs.len());
    Ok(())
}

/// Asks the person at the terminal; where there is none, nothing is agreed to.
fn agreed(runs: usize, verb: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Usage(format!("nobody can be asked here whether to {verb} {runs} runs: give --yes")));
    }
    eprint!("{verb} {runs} runs? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        eprintln!("nothing was done");
    }
    Ok(yes)
}

/// The ids, with stdin's words in the place of `-`.
pub fn named(ids: Vec<String>, stdin: impl BufRead) -> Result<Vec<String>, Failure> {
    let piped = ids.iter().filter(|id| *id == "-").count();
    if piped > 1 {
        return Err(Failure::Usage("`-` can be given once".to_owned()));
    }
    if piped == 0 {
        return Ok(ids);
    }
    let text = io::read_to_string(stdin).map_err(|error| Failure::Error(format!("stdin can't be read: {error}")))?;
    let words = text.split_whitespace().map(str::to_owned);
    let ids: Vec<String> = ids.into_iter().filter(|id| id != "-").chain(words).collect();
    if ids.is_empty() {
        eprintln!("no ids came from stdin: nothing to do");
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_takes_the_place_of_a_dash() {
        let ids = named(vec!["a".into(), "-".into()], "b\n c d\n".as_bytes()).unwrap();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert!(named(vec!["-".into(), "-".into()], "".as_bytes()).is_err());
    }

    #[test]
    fn a_condition_names_what_it_can_be() {
        assert_eq!("status=paused".parse(), Ok(Condition::Status(Status::Paused)));
        assert_eq!("order=AB".parse(), Ok(Condition::Order("ab".into())));
        for bad in ["status", "status=", "status=asleep", "colour=red"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }
}
