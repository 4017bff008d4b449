//! An operator's requests: signals whose names begin with `@`, applied by the daemon in its own
//! transactions, so that no command can race a step.

use serde::{Deserialize, Serialize};

use super::Engine;
use super::decide::Decision;
use super::definition::StepKind;
use super::registry::Bound;
use super::run::{HistoryEntry, Run, Signal, Status};
use super::store::{CommitError, Lease};
use super::worker::{Next, Step};

/// What an operator can ask of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Runs the present step now: ends a back-off or a pause.
    Resume,
    /// Stops the run until it is resumed.
    Pause,
    /// Ends the run for good.
    Cancel,
}

impl Request {
    const ALL: [Self; 3] = [Self::Resume, Self::Pause, Self::Cancel];

    /// The signal's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resume => "@resume",
            Self::Pause => "@pause",
            Self::Cancel => "@cancel",
        }
    }
}

/// Who asks, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The person's name, as the machine knows it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

pub(super) fn is_request(signal: &Signal) -> bool {
    signal.name.starts_with('@')
}

impl Engine {
    /// Applies a request and journals it, also when it can't be granted; `more` of them follow.
    pub(super) async fn operate(
        &self,
        bound: &Bound,
        run: &Run,
        signal: &Signal,
        more: bool,
    ) -> Result<Next, CommitError> {
        let now = self.parts.clock.now();
        let request = Request::ALL.into_iter().find(|request| request.name() == signal.name);
        let unsettled = run.status == Status::InDoubt
            || bound.definition.step(&run.step).is_some_and(|step| step.kind == StepKind::InDoubt);
        let refusal = match request {
            None => Some("this build does not know the request"),
            Some(Request::Pause | Request::Cancel) if unsettled => Some("an effect is in doubt"),
            Some(_) => None,
        };
        let (status, lease) = match (refusal, request) {
            (None, Some(Request::Resume)) => (Status::Running, Lease::Keep),
            (None, Some(Request::Pause)) => (Status::Paused, Lease::Release(more.then_some(now))),
            (None, Some(Request::Cancel)) => (Status::Canceled, Lease::Release(None)),
            _ if more => (run.status, Lease::Release(Some(now))),
            _ => (run.status, Lease::Release(run.status_due(now))),
        };
        let asked: Option<Asked> = serde_json::from_str(&signal.payload).ok();
        let by = asked.as_ref().map_or("somebody", |asked| &asked.by);
        let why = asked.as_ref().and_then(|asked| asked.reason.as_deref()).unwrap_or("no reason given");
        let detail = match refusal {
            None => format!("by {by}: {why}"),
            Some(refusal) => format!("by {by}: {why}; refused: {refusal}"),
        };
        let history = HistoryEntry {
            revision: run.revision + 1,
            step: run.step.clone(),
            attempt: run.attempt,
            outcome: signal.name.clone(),
            to: run.step.clone(),
            status,
            detail: Some(detail),
            at: now,
        };
        let decision = Decision {
            status,
            step: run.step.clone(),
            attempt: if refusal.is_none() { 0 } else { run.attempt },
            lease,
            error: if request == Some(Request::Resume) { None } else { run.error.clone() },
            history,
            alarm: None,
            leaves_mailbox: false,
        };
        let mut step = Step::new(run, decision, None, now);
        if let Some(commit) = &mut step.commit.step {
            commit.consumed = vec![signal.number];
        }
        self.apply(run, step).await
    }
}
