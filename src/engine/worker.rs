//! One run under one lease: step after step until it waits, ends or is lost to another.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tracing::{debug, error, info, warn};

use super::Engine;
use super::clock::Timestamp;
use super::decide::{Decision, Said, decide};
use super::definition::{StepDefinition, StepKind};
use super::operator;
use super::registry::Bound;
use super::run::{Run, Signal, Status};
use super::step::{Call, Cause, ErasedStep, Performed, StepError};
use super::store::{Commit, CommitError, Lease, StepCommit, StoreError};

/// Conflicts in a row after which a run is left to its lease: something is wrong that reading
/// again does not mend.
const CONFLICTS: u32 = 16;

/// What a commit of a run led to.
pub(super) enum Next {
    /// The lease is kept: go on with this run; the flag is [`Call::first`] of its next step.
    On(Box<Run>, bool),
    /// The run was let go.
    Done(Box<Run>),
    /// The run is another's.
    Lost,
}

impl Engine {
    /// Drives a claimed run until it is let go.
    pub(super) async fn drive(&self, mut run: Run) {
        let mut first = false;
        let mut conflicts = 0;
        loop {
            match self.advance(&run, first).await {
                Ok(Next::On(next, entered)) => {
                    conflicts = 0;
                    (run, first) = (*next, entered);
                }
                Ok(Next::Done(done)) => {
                    self.watch(&done);
                    return;
                }
                Ok(Next::Lost) => {
                    debug!(run = %run.id, "the run was lost to another lease");
                    return;
                }
                Err(CommitError::Mail | CommitError::Conflict(_) | CommitError::Seen | CommitError::Unknown(_))
                    if conflicts < CONFLICTS =>
                {
                    conflicts += 1;
                    first = false;
                    match self.parts.store.run(&run.id).await {
                        Ok(Some(fresh)) if fresh.token == run.token && fresh.owner == run.owner => run = fresh,
                        Ok(_) => return,
                        Err(error) => return warn!(run = %run.id, "left to its lease: {error}"),
                    }
                }
                Err(CommitError::Fenced) => return debug!(run = %run.id, "fenced"),
                Err(error) => return warn!(run = %run.id, "left to its lease: {error}"),
            }
        }
    }

    /// Runs the present step once, or an operator's request, and commits what follows.
    async fn advance(&self, run: &Run, first: bool) -> Result<Next, CommitError> {
        let Some(bound) = self.parts.registry.get(&run.pin) else {
            error!(run = %run.id, workflow = run.pin.workflow, "no such definition in this build");
            return Ok(Next::Lost);
        };
        let mail = if run.has_mail() { self.parts.store.mailbox(run.seq).await.map_err(unread)? } else { Vec::new() };
        if let Some(request) = mail.iter().find(|signal| operator::is_request(signal)) {
            return self.operate(bound, run, request).await;
        }
        let (Some(definition), Some(step)) = (bound.definition.step(&run.step), bound.step(&run.step)) else {
            error!(run = %run.id, step = run.step, "no such step in its definition");
            return Ok(Next::Lost);
        };
        let signals: Vec<Signal> =
            mail.into_iter().filter(|signal| definition.signals.contains(&signal.name)).collect();
        let now = self.parts.clock.now();
        let lease_until = self.lease_until();
        if now >= lease_until {
            return Ok(Next::Lost);
        }
        let call = Call { run, signals: &signals, first, now, lease_until };
        let performed = perform(definition, step, call).await;
        let decided_at = self.parts.clock.now();
        let commit = self.commit_of(bound, run, performed, decided_at).await;
        self.apply(run, commit).await
    }

    /// The commit that follows from what a step said.
    async fn commit_of(
        &self,
        bound: &Bound,
        run: &Run,
        performed: Result<Performed, StepError>,
        now: Timestamp,
    ) -> Step {
        let sealed = match performed {
            Ok(performed) => self.seal(&performed.effects, now).await.map(|sealed| (performed, sealed)),
            Err(error) => Err(error),
        };
        let wake_at = |state: &str, step: &str| bound.step(step).and_then(|step| step.wake_at(state, now));
        let (performed, sealed) = match sealed {
            Ok(both) => both,
            Err(error) => {
                let wake_at = |step: &str| wake_at(&run.state, step);
                let decision = decide(&bound.definition, run, &Said::Error(&error), now, &wake_at);
                return Step::new(run, decision, None, now);
            }
        };
        let said = Said::Outcome(performed.outcome, performed.attempt);
        let mut decision = decide(&bound.definition, run, &said, now, &|step: &str| wake_at(&performed.state, step));
        if performed.detail.is_some() {
            decision.history.detail = performed.detail.clone();
        }
        let mut step = Step::new(run, decision, Some(performed.state), now);
        if let Some(commit) = &mut step.commit.step {
            commit.consumed = performed.taken;
        }
        let effects = performed.effects;
        step.alarms.extend(effects.alarms);
        step.notes = effects.notes;
        step.commit.guards = effects.guards;
        step.commit.rows = effects.rows;
        step.commit.starts = effects.starts;
        step.commit.signals = effects.signals;
        step.commit.nudges = effects.nudges;
        for sealed in sealed {
            step.commit.rows.extend(sealed.rows);
            step.commit.outbox.push(sealed.message);
        }
        step
    }

    /// Commits, tells what there is to tell, and says where the run stands now.
    pub(super) async fn apply(&self, run: &Run, step: Step) -> Result<Next, CommitError> {
        let Step { commit, alarms, notes, kept } = step;
        let Some(part) = commit.step.clone() else { return Ok(Next::Lost) };
        let at = commit.at;
        let committed = self.parts.store.commit(commit).await?;
        info!(
            run = %run.id,
            workflow = run.pin.workflow,
            key = run.key,
            step = run.step,
            outcome = part.history.outcome,
            to = part.step,
            status = %part.status,
            detail = part.history.detail,
            "transition"
        );
        for note in notes {
            info!(run = %run.id, key = run.key, "{note}");
        }
        for (kind, text) in alarms {
            self.parts.alarms.raise(kind, &format!("run {} ({} {}): {text}", run.id, run.pin.workflow, run.key));
        }
        let entered = part.step != run.step;
        let heard = run.heard + i64::try_from(part.consumed.len()).unwrap_or(0);
        let next = Run {
            status: part.status,
            step: part.step,
            attempt: part.attempt,
            state: part.state.unwrap_or_else(|| run.state.clone()),
            revision: run.revision + 1,
            signals: committed.signals,
            heard,
            error: part.error,
            updated_at: at,
            ..run.clone()
        };
        Ok(if kept { Next::On(Box::new(next), entered) } else { Next::Done(Box::new(next)) })
    }

    /// Follows an in-doubt run's effect without a lease, until it is worth looking again.
    fn watch(&self, run: &Run) {
        if run.status != Status::InDoubt {
            return;
        }
        let watch = self.parts.registry.get(&run.pin).and_then(|bound| bound.step(&run.step)?.watch(&run.state));
        let Some(watch) = watch else { return };
        let (engine, seq) = (self.clone(), run.seq);
        self.watches.spawn(seq, async move {
            watch.await;
            if let Err(error) = engine.parts.store.wake(seq, engine.parts.clock.now()).await {
                warn!(seq, "a watched run is left to its timer: {error}");
            }
        });
    }
}

/// A commit of a run with what is to be told once it stands.
pub(super) struct Step {
    pub(super) commit: Commit,
    alarms: Vec<(&'static str, String)>,
    notes: Vec<String>,
    kept: bool,
}

impl Step {
    pub(super) fn new(run: &Run, decision: Decision, state: Option<String>, now: Timestamp) -> Self {
        let alarms =
            decision.alarm.map(|kind| (kind, decision.error.clone().unwrap_or_default())).into_iter().collect();
        Self {
            kept: decision.lease == Lease::Keep,
            commit: Commit {
                at: now,
                step: Some(StepCommit {
                    seq: run.seq,
                    revision: run.revision,
                    token: run.token,
                    mailbox: decision.leaves_mailbox.then_some(run.signals),
                    known_signals: run.signals,
                    consumed: Vec::new(),
                    status: decision.status,
                    step: decision.step,
                    attempt: decision.attempt,
                    state,
                    error: decision.error,
                    lease: decision.lease,
                    history: decision.history,
                }),
                ..Commit::default()
            },
            alarms,
            notes: Vec::new(),
        }
    }
}

/// Runs a step within its time. A step that dies of a defect pauses its run and no other.
async fn perform(definition: &StepDefinition, step: &dyn ErasedStep, call: Call<'_>) -> Result<Performed, StepError> {
    let caught = AssertUnwindSafe(step.perform(call)).catch_unwind();
    match tokio::time::timeout(definition.timeout, caught).await {
        Ok(Ok(said)) => said,
        Ok(Err(_)) => Err(StepError::pause("defect", format!("step `{}` has a defect: it panicked", step.name()))),
        Err(_) => {
            let cause = Cause::new(format!("no answer within {} s", definition.timeout.as_secs()));
            Err(if definition.kind == StepKind::InDoubt { StepError::Doubt(cause) } else { StepError::Retry(cause) })
        }
    }
}

fn unread(error: StoreError) -> CommitError {
    CommitError::Unavailable(error.0)
}
