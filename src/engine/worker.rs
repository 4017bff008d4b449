//! One run under one lease: step after step until it waits, ends or is lost to another.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::sync::watch;
use tracing::{Instrument, debug, info, info_span, warn};

use super::Engine;
use super::clock::{Clock, Timestamp};
use super::decide::{Decision, Said, decide, pause};
use super::definition::{StepDefinition, StepKind};
use super::lease::Term;
use super::operator;
use super::outbox::Sealed;
use super::registry::Bound;
use super::retry::RetryPolicy;
use super::run::{Run, Signal, Status};
use super::step::{Call, Cause, Effects, ErasedStep, Performed, StepError};
use super::store::{Commit, CommitError, Lease, StepCommit, StoreError};
use super::wait::stopped;

/// How many commits in a row may fail before the next is put off: what failed for something that
/// came in between is decided again at once.
const AT_ONCE: u32 = 8;

/// How long a run is put off whose commits go on failing.
const AGAIN: RetryPolicy = RetryPolicy { first_ms: 100, factor: 2, cap_ms: 5_000, jitter_pct: 20, max_attempts: None };

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
    /// Drives a claimed run until it is let go, its lease is lost, or the engine is ending while
    /// its commits fail. `mail` is what lay in its mailbox when it was claimed, or came in since.
    ///
    /// # Errors
    /// When the database can't be read.
    pub(super) async fn drive(
        &self,
        mut run: Run,
        mail: Vec<Signal>,
        term: Term,
        mut ending: watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        self.watches.end(run.seq);
        let mut first = false;
        let mut failures = 0;
        let mut read = Some(mail);
        loop {
            let mail = read.take();
            let span = info_span!("step", step = run.step, attempt = run.attempt);
            let advance = self.advance(&run, mail, first, &term).instrument(span);
            let advanced = AssertUnwindSafe(advance).catch_unwind().await;
            let advanced = match advanced {
                Ok(advanced) => advanced,
                Err(_) => {
                    let reason = format!("step `{}` has a defect: it panicked", run.step);
                    self.stop(&run, &Cause::alarming("defect", reason)).await
                }
            };
            match advanced {
                Ok(Next::On(next, entered)) => {
                    failures = 0;
                    (run, first) = (*next, entered);
                }
                Ok(Next::Done(done)) => {
                    self.watch(&done);
                    return Ok(());
                }
                Ok(Next::Lost) | Err(CommitError::Fenced) => {
                    debug!("the run was lost to another lease");
                    return Ok(());
                }
                Err(error) => {
                    failures += 1;
                    first = false;
                    if failures > AT_ONCE || matches!(error, CommitError::Unavailable(_)) {
                        warn!(step = run.step, "not committed, trying again: {error}");
                        let again = self.parts.clock.now().after(AGAIN.delay(failures, &run.id.0));
                        tokio::select! {
                            biased;
                            () = stopped(&mut ending) => return Ok(()),
                            () = self.parts.clock.sleep_until(again) => {}
                        }
                    }
                    match self.parts.store.run(&run.id).await? {
                        Some(fresh) if fresh.token == run.token && fresh.owner == run.owner => run = fresh,
                        _ => return Ok(()),
                    }
                }
            }
        }
    }

    /// Runs the present step once, or an operator's request, and commits what follows. The mailbox
    /// is read unless `mail` is what is in it.
    async fn advance(
        &self,
        run: &Run,
        mail: Option<Vec<Signal>>,
        first: bool,
        term: &Term,
    ) -> Result<Next, CommitError> {
        let lease_until = term.until();
        if self.parts.clock.now() >= lease_until {
            return Ok(Next::Lost);
        }
        let bound = self.parts.registry.get(&run.pin);
        let mail = match mail {
            Some(mail) => mail,
            None if run.has_mail() => self.parts.store.mailbox(run.seq).await.map_err(unread)?,
            None => Vec::new(),
        };
        if let Some(request) = mail.iter().find(|signal| operator::is_request(signal)) {
            let case = operator::Case { run, mail: &mail, lease_until };
            return self.operate(bound.map(AsRef::as_ref), case, request).await;
        }
        if run.status.is_final() {
            return Ok(Next::Lost);
        }
        let Some(bound) = bound else {
            let reason = format!("this build has no version {} of `{}`", run.pin.version, run.pin.workflow);
            return self.stop(run, &Cause::alarming("definition", reason)).await;
        };
        if run.status == Status::Paused {
            // Something made it due, a signal for example; it goes on only when a person says so.
            return self.stop(run, &Cause::new(run.error.as_deref().unwrap_or("paused"))).await;
        }
        let (Some(definition), Some(step)) = (bound.definition.step(&run.step), bound.step(&run.step)) else {
            let reason = format!("its definition has no step `{}`", run.step);
            return self.stop(run, &Cause::alarming("definition", reason)).await;
        };
        let signals: Vec<Signal> =
            mail.iter().filter(|signal| definition.signals.contains(&signal.name)).cloned().collect();
        let now = self.parts.clock.now();
        if now >= lease_until {
            return Ok(Next::Lost);
        }
        let call = Call { run, signals: &signals, first, now, lease_until };
        let performed = perform(self.parts.clock.as_ref(), definition, step, call).await;
        let decided_at = self.parts.clock.now();
        self.meters.step_took(run, now.until(decided_at));
        let commit = self.commit_of(bound, run, &mail, performed, decided_at).await;
        self.apply(run, commit).await
    }

    /// Pauses the run for a person.
    async fn stop(&self, run: &Run, cause: &Cause) -> Result<Next, CommitError> {
        let now = self.parts.clock.now();
        self.apply(run, Step::new(run, pause(run, cause, now), None, now)).await
    }

    /// The commit that follows from what a step said.
    pub(super) async fn commit_of(
        &self,
        bound: &Bound,
        run: &Run,
        mail: &[Signal],
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
        let wake_at = |step: &str| {
            let left = signal_left(bound, run, mail, &performed.taken, step);
            if left { Some(now) } else { wake_at(&performed.state, step) }
        };
        let mut decision = decide(&bound.definition, run, &said, now, &wake_at);
        if performed.detail.is_some() {
            decision.history.detail = performed.detail.clone();
        }
        let mut step = Step::new(run, decision, Some(performed.state), now);
        if let Some(commit) = &mut step.commit.step {
            commit.consumed = performed.taken;
        }
        step.write(performed.effects, sealed);
        step
    }

    /// Commits, tells what there is to tell, and says where the run stands now.
    pub(super) async fn apply(&self, run: &Run, step: Step) -> Result<Next, CommitError> {
        let Step { commit, alarms, notes, kept } = step;
        let Some(part) = commit.step.clone() else { return Ok(Next::Lost) };
        let at = commit.at;
        let committed = self.parts.store.commit(commit).await?;
        self.meters.moved(run, &part);
        info!(
            outcome = part.history.outcome,
            to = part.step,
            status = %part.status,
            detail = part.history.detail,
            "transition"
        );
        for note in notes {
            info!("{note}");
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
        let Some(bound) = self.parts.registry.get(&run.pin) else { return };
        let watch = std::panic::catch_unwind(AssertUnwindSafe(|| bound.step(&run.step)?.watch(&run.state)));
        let Some(watch) = watch.unwrap_or_default() else { return };
        let (engine, seq) = (self.clone(), run.seq);
        self.watches.begin(seq, async move {
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

    /// Adds what is written besides the run itself; `sealed` are the drafts of the effects.
    pub(super) fn write(&mut self, effects: Effects, sealed: Vec<Sealed>) {
        self.alarms.extend(effects.alarms);
        self.notes.extend(effects.notes);
        self.commit.guards.extend(effects.guards);
        self.commit.rows.extend(effects.rows);
        self.commit.starts.extend(effects.starts);
        self.commit.signals.extend(effects.signals);
        self.commit.nudges.extend(effects.nudges);
        for sealed in sealed {
            self.commit.rows.extend(sealed.rows);
            self.commit.outbox.push(sealed.message);
        }
    }
}

/// Whether a signal lies there for a waiting step that is being entered, or that has taken another
/// one and goes on waiting. A step that took none has seen what there is, and waits for more.
fn signal_left(bound: &Bound, run: &Run, mail: &[Signal], taken: &[i64], to: &str) -> bool {
    let moved = to != run.step || !taken.is_empty();
    let takes = |signal: &&Signal| bound.definition.step(to).is_some_and(|step| step.signals.contains(&signal.name));
    moved && mail.iter().filter(takes).any(|signal| !taken.contains(&signal.number))
}

/// Runs a step within its time.
async fn perform(
    clock: &dyn Clock,
    definition: &StepDefinition,
    step: &dyn ErasedStep,
    call: Call<'_>,
) -> Result<Performed, StepError> {
    let deadline = call.now.after(definition.timeout);
    let too_late = async {
        while clock.now() < deadline {
            clock.sleep_until(deadline).await;
        }
    };
    tokio::select! {
        biased;
        said = step.perform(call) => said,
        () = too_late => {
            let cause = Cause::new(format!("no answer within {} s", definition.timeout.as_secs()));
            Err(if definition.kind == StepKind::InDoubt { StepError::Doubt(cause) } else { StepError::Retry(cause) })
        }
    }
}

fn unread(error: StoreError) -> CommitError {
    CommitError::Unavailable(error.0)
}
