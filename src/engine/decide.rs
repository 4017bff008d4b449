//! The pure transition function: (definition, run, what the step said, now) → decision.

use super::clock::Timestamp;
use super::definition::{Definition, EndStatus, Route, StepKind};
use super::run::{HistoryEntry, Run, Status};
use super::step::{Cause, StepError};
use super::store::Lease;

/// What a step said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// It had this outcome; the number, where a workflow counts its own attempts, is the one
    /// by which a back-off is reckoned.
    Outcome(&'a str, Option<u32>),
    /// It had none.
    Error(&'a StepError),
}

/// When the step that a decision leads to wants to be woken, if it waits: asked of the Rust side
/// with the new state, since a definition has no expressions.
pub type WakeAt<'a> = &'a dyn Fn(&str) -> Option<Timestamp>;

/// Where a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The run's status.
    pub status: Status,
    /// The step or the end.
    pub step: String,
    /// The attempt of that step.
    pub attempt: u32,
    /// What happens to the lease.
    pub lease: Lease,
    /// Why it is not getting on, if it is not.
    pub error: Option<String>,
    /// The line for the history.
    pub history: HistoryEntry,
    /// The kind of alarm that it is worth, if any.
    pub alarm: Option<&'static str>,
    /// Whether the decision depends on the mailbox being as it was read: the run leaves a step
    /// that takes signals.
    pub leaves_mailbox: bool,
}

/// Decides. An outcome that the definition does not know is a defect that start-up checks rule
/// out; should it come all the same, the run pauses.
pub fn decide(definition: &Definition, run: &Run, said: &Said<'_>, now: Timestamp, wake_at: WakeAt<'_>) -> Decision {
    let present = definition.step(&run.step);
    match said {
        Said::Outcome(outcome, counted) => match present.and_then(|step| step.on.get(*outcome)) {
            Some(route) => {
                let goes_on = enter(definition, run, route, *counted, now, wake_at);
                let leaves_mailbox = present.is_some_and(|step| !step.signals.is_empty()) && route.to != run.step;
                Decision { leaves_mailbox, ..entry(goes_on, run, outcome, now) }
            }
            None => {
                let reason = format!("the definition has no outcome `{outcome}` for step `{}`", run.step);
                entry(stays(run, Status::Paused, None, Some(reason), Some("definition")), run, "@pause", now)
            }
        },
        Said::Error(StepError::Retry(cause)) => {
            let attempt = run.attempt.saturating_add(1);
            match present.filter(|step| !step.retry.exhausted(run.attempt)) {
                Some(step) => {
                    let due = now.after(step.retry.delay(attempt, &run.id.0));
                    let mut goes_on =
                        stays(run, Status::BackingOff, Some(due), Some(cause.reason.clone()), cause.alarm);
                    goes_on.attempt = attempt;
                    entry(goes_on, run, "@retry", now)
                }
                None => {
                    let reason = format!("{} (after {} repetitions)", cause.reason, run.attempt);
                    entry(stays(run, Status::Paused, None, Some(reason), Some("exhausted")), run, "@pause", now)
                }
            }
        }
        Said::Error(StepError::Doubt(cause)) => {
            let due = wake_at(&run.step).unwrap_or_else(|| now.after(IN_DOUBT_LOOK));
            entry(stays(run, Status::InDoubt, Some(due), Some(cause.reason.clone()), cause.alarm), run, "@doubt", now)
        }
        Said::Error(StepError::Pause(cause)) => pause(run, cause, now),
    }
}

/// Stops a run for a person, whatever its definition says.
pub(super) fn pause(run: &Run, cause: &Cause, now: Timestamp) -> Decision {
    entry(stays(run, Status::Paused, None, Some(cause.reason.clone()), cause.alarm), run, "@pause", now)
}

/// How soon an in-doubt run whose step names no time is looked at again.
const IN_DOUBT_LOOK: std::time::Duration = std::time::Duration::from_secs(60);

struct GoesOn {
    status: Status,
    step: String,
    attempt: u32,
    lease: Lease,
    error: Option<String>,
    alarm: Option<&'static str>,
}

fn stays(
    run: &Run,
    status: Status,
    due: Option<Timestamp>,
    error: Option<String>,
    alarm: Option<&'static str>,
) -> GoesOn {
    GoesOn { status, step: run.step.clone(), attempt: run.attempt, lease: Lease::Release(due), error, alarm }
}

fn enter(
    definition: &Definition,
    run: &Run,
    route: &Route,
    counted: Option<u32>,
    now: Timestamp,
    wake_at: WakeAt<'_>,
) -> GoesOn {
    let to = route.to.as_str();
    let (status, attempt, lease) = match (definition.ends.get(to), definition.step(to)) {
        (Some(end), _) => {
            let status = match end.status {
                EndStatus::Completed => Status::Completed,
                EndStatus::Failed => Status::Failed,
            };
            (status, 0, Lease::Release(None))
        }
        (None, Some(step)) if route.backoff => {
            let repeated = if to == run.step { run.attempt.saturating_add(1) } else { 1 };
            let attempt = counted.unwrap_or(repeated);
            let due = now.after(step.retry.delay(attempt, &run.id.0));
            (Status::BackingOff, attempt, Lease::Release(Some(due)))
        }
        (None, Some(step)) if step.kind == StepKind::Wait => (Status::Waiting, 0, Lease::Release(wake_at(to))),
        (None, _) => (Status::Running, 0, Lease::Keep),
    };
    GoesOn { status, step: to.to_owned(), attempt, lease, error: None, alarm: None }
}

fn entry(goes_on: GoesOn, run: &Run, outcome: &str, now: Timestamp) -> Decision {
    let history = HistoryEntry {
        revision: run.revision + 1,
        step: run.step.clone(),
        attempt: run.attempt,
        outcome: outcome.to_owned(),
        to: goes_on.step.clone(),
        status: goes_on.status,
        detail: goes_on.error.clone(),
        at: now,
    };
    Decision {
        status: goes_on.status,
        step: goes_on.step,
        attempt: goes_on.attempt,
        lease: goes_on.lease,
        error: goes_on.error,
        history,
        alarm: goes_on.alarm,
        leaves_mailbox: false,
    }
}
