//! `why`

use bondflow::engine::{Run, Status, StepKind, Timestamp};
use clap::Args;
use serde_json::json;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::graph::definition;
use crate::stake::Stake;
use crate::when::{dated, span};

/// Says in one paragraph what a run waits for and what would move it.
#[derive(Args)]
#[command(after_help = "Example:
  workflowctl why 3f9a")]
pub struct Why {
    /// The run, or its bond or order; may be shortened.
    id: String,
}

impl Why {
    /// Says it.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let run = find(desk.store.as_ref(), &self.id).await?;
        let stake = Stake::of(&run, desk.store.as_ref()).await?;
        let text = paragraph(&run, &stake, desk.now());
        desk.output.text(&run.id.0, &text, &json!({ "id": run.id, "why": text }))?;
        Ok(())
    }
}

fn paragraph(run: &Run, stake: &Stake, now: Timestamp) -> String {
    let definition = definition(&run.pin.workflow);
    let step = definition.as_ref().and_then(|definition| definition.step(&run.step));
    let about = step.map(|step| step.about.as_str()).or_else(|| {
        let end = definition.as_ref()?.ends.get(&run.step)?;
        Some(end.about.as_str())
    });
    let mut said =
        vec![format!("Run {} of {} ({}) is {} at `{}`.", run.id, run.pin.workflow, stake.name(), run.status, run.step)];
    said.extend(about.map(str::to_owned));
    said.extend(stake.sats_at_risk.filter(|sats| *sats > 0).map(|sats| format!("It still owes up to {sats} sats.")));
    let next = match (&run.owner, run.due_at) {
        (Some(owner), _) => format!("{owner} works on it now"),
        (None, Some(due)) if due > now => format!("it is looked at again at {}", dated(due, now)),
        (None, Some(due)) => {
            format!("it has been due for {}: no daemon is running, or it is behind", span(due.until(now)))
        }
        (None, None) => "no timer is set".to_owned(),
    };
    said.push(match run.status {
        Status::Running => format!("Its step is to be run; {next}."),
        Status::Waiting => {
            let signals: Vec<_> = step.into_iter().flat_map(|step| &step.signals).map(|name| format!("`{name}`")).collect();
            if signals.is_empty() {
                format!("It waits for its timer; {next}.")
            } else {
                format!("A signal {} would move it; until then {next}.", signals.join(" or "))
            }
        }
        Status::BackingOff => format!("Try {} did not work; {next}, or at once by `resume {}`.", run.attempt, run.id),
        Status::InDoubt => format!(
            "A payment was begun and lnd has not told its end: it is looked up, never sent again and no other invoice is \
             taken until lnd gives a verdict; {next}."
        ),
        Status::Paused => format!("Only a person moves it: mend the cause, then `resume {}`.", run.id),
        _ if run.retired_at.is_some() => {
            "It has ended and is retired: only its end and the proof of its payment are kept.".to_owned()
        }
        Status::Completed | Status::Failed | Status::Canceled => "It has ended, nothing moves it any more.".to_owned(),
    });
    if step.is_some_and(|step| step.kind == StepKind::InDoubt)
        && run.status != Status::InDoubt
        && !run.status.is_final()
    {
        said.push("Its payment may be under way: whatever is asked of it, it first looks at lnd.".to_owned());
    }
    said.extend(run.error.as_ref().map(|error| format!("Last error: {error}.")));
    if run.has_mail() {
        said.push(format!("{} messages lie unread in its mailbox.", run.signals - run.heard));
    }
    said.join(" ")
}
