//! Granting a request, or refusing it, and journaling either.

use serde_json::Value;

use crate::engine::Engine;
use crate::engine::clock::Timestamp;
use crate::engine::decide::Decision;
use crate::engine::definition::{Definition, StepKind};
use crate::engine::registry::Bound;
use crate::engine::run::{HistoryEntry, Run, Signal, Status};
use crate::engine::step::Call;
use crate::engine::store::{CommitError, Lease, NewSignal};
use crate::engine::worker::{Next, Step};

use super::{Asked, Offered, Request, Word, audit, is_request};

/// The commit of a request that is granted, with a sentence on what it does.
type Granted = (Step, String);

/// A run under this worker's lease, with what was read of it.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Case<'a> {
    pub(in crate::engine) run: &'a Run,
    pub(in crate::engine) mail: &'a [Signal],
    pub(in crate::engine) lease_until: Timestamp,
}

impl Engine {
    /// Applies the first request of the mailbox and journals it, also when it can't be granted.
    pub(in crate::engine) async fn operate(
        &self,
        bound: Option<&Bound>,
        case: Case<'_>,
        signal: &Signal,
    ) -> Result<Next, CommitError> {
        let run = case.run;
        let asked: Option<Asked> = serde_json::from_str(&signal.payload).ok();
        let granted = match (&asked, bound) {
            (None, _) => Err("this build does not know the request".to_owned()),
            (_, None) => Err(format!("this build has no version {} of `{}`", run.pin.version, run.pin.workflow)),
            (Some(asked), Some(bound)) => self.grant(bound, case, asked).await,
        };
        let now = self.parts.clock.now();
        let by = asked.as_ref().map_or("somebody", |asked| &asked.by);
        let why = asked.as_ref().and_then(|asked| asked.reason.as_deref()).unwrap_or("no reason given");
        let (mut step, ended) = match granted {
            Ok((step, says)) => (step, Ok(says)),
            Err(refusal) => (stay(run, now), Err(refusal)),
        };
        let Some(commit) = &mut step.commit.step else { return Ok(Next::Lost) };
        commit.history.detail = Some(match &ended {
            Ok(_) => format!("by {by}: {why}"),
            Err(refusal) => format!("by {by}: {why}; refused: {refusal}"),
        });
        if commit.history.outcome.starts_with('@') {
            commit.history.outcome.clone_from(&signal.name);
        }
        commit.consumed.push(signal.number);
        // Later requests make the run due again, also one that has ended.
        commit.known_signals = commit.known_signals.min(signal.number);
        let led_to = ended.as_ref().map(|says| (commit.step.as_str(), commit.status.as_str(), says.as_str()));
        let row = audit::row(run, signal, asked.as_ref(), led_to.map_err(String::as_str), now);
        step.commit.rows.push(row);
        self.apply(run, step).await
    }

    async fn grant(&self, bound: &Bound, case: Case<'_>, asked: &Asked) -> Result<Granted, String> {
        let run = case.run;
        let in_doubt = run.status == Status::InDoubt || kind(&bound.definition, &run.step) == Some(StepKind::InDoubt);
        if run.retired_at.is_some() {
            return Err(format!(
                "it has ended ({} at `{}`) and is retired: what it knew is gone",
                run.status, run.step
            ));
        }
        if run.status.is_final() && !matches!(asked.request, Request::Signal { .. }) {
            return Err(format!("it has ended ({} at `{}`)", run.status, run.step));
        }
        let now = self.parts.clock.now();
        match &asked.request {
            Request::Resume => {
                let resumed = goes_on(run, Status::Running, &run.step, Lease::Keep, None, now);
                Ok((resumed, format!("runs `{}` now", run.step)))
            }
            Request::Pause | Request::Cancel if in_doubt && !asked.insists() => {
                Err("an effect is in doubt: it can be stopped when the world has told, or by force with a reason"
                    .into())
            }
            Request::Pause => {
                let error = run.error.clone();
                let paused = goes_on(run, Status::Paused, &run.step, Lease::Release(None), error, now);
                Ok((paused, format!("stands at `{}` until it is resumed", run.step)))
            }
            Request::Cancel => self.cancel(bound, case, asked, now).await,
            Request::Retry { from } => retry(bound, case, in_doubt, from, now),
            Request::Signal { name, payload } => self.signal(bound, case, asked, name, payload).await,
            Request::Resolve { word } => self.resolve(bound, case, word, now).await,
        }
    }

    /// Ends the run, with what its workflow says of that. A rule that fails hinders nobody: a run that
    /// can't even be read must be got rid of.
    async fn cancel(&self, bound: &Bound, case: Case<'_>, asked: &Asked, now: Timestamp) -> Result<Granted, String> {
        let run = case.run;
        let error = run.error.clone();
        let mut canceled = goes_on(run, Status::Canceled, &run.step, Lease::Release(None), error, now);
        let says = format!("has ended at `{}` for good", run.step);
        let Some(rule) = bound.cancel_rule() else { return Ok((canceled, says)) };
        let mail: Vec<Signal> = case.mail.iter().filter(|signal| !is_request(signal)).cloned().collect();
        let ending = match rule(&run.key, &run.state, &mail) {
            Ok(ending) => ending,
            Err(why) => return Ok((canceled, format!("{says}; nothing else was written: {why}"))),
        };
        if let Some(hindrance) = ending.hindrance.filter(|_| !asked.insists()) {
            return Err(format!("{hindrance}: it can be ended by force with a reason"));
        }
        let sealed = match self.seal(&ending.effects, now).await {
            Ok(sealed) => sealed,
            Err(error) => return Ok((canceled, format!("{says}; nobody was answered: {}", error.reason()))),
        };
        canceled.write(ending.effects, sealed);
        if let Some(commit) = &mut canceled.commit.step {
            // What comes in now is answered, too: the decision is made again then.
            commit.mailbox = Some(run.signals);
            commit.consumed.extend(mail.iter().map(|signal| signal.number));
        }
        Ok((canceled, says))
    }

    async fn signal(
        &self,
        bound: &Bound,
        case: Case<'_>,
        asked: &Asked,
        name: &str,
        payload: &Value,
    ) -> Result<Granted, String> {
        let (run, definition) = (case.run, &bound.definition);
        let taker = definition.steps.iter().find(|(_, step)| step.signals.contains(name)).map(|(name, _)| name);
        let taker = taker.and_then(|name| Some((name, bound.step(name)?)));
        let Some((to, step)) = taker else {
            let known: Vec<&str> =
                definition.steps.values().flat_map(|step| &step.signals).map(String::as_str).collect();
            let known =
                if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) };
            return Err(format!("no step of `{}` takes a signal `{name}`: {known}", definition.name));
        };
        let now = self.parts.clock.now();
        let call = Call { run, signals: &[], first: false, now, lease_until: case.lease_until };
        let offered = Offered { payload, insists: asked.insists(), at: &run.step, status: run.status };
        let payload = step.admit(call, offered).await?;
        let mut heard = goes_on(run, Status::Running, to, Lease::Keep, None, now);
        let dedup = format!("operator {}", asked.ticket);
        heard.commit.signals.push(NewSignal { run: run.id.clone(), name: name.to_owned(), payload, dedup });
        Ok((heard, format!("`{to}` takes the signal `{name}`")))
    }

    async fn resolve(&self, bound: &Bound, case: Case<'_>, word: &Word, now: Timestamp) -> Result<Granted, String> {
        let run = case.run;
        if kind(&bound.definition, &run.step) != Some(StepKind::InDoubt) {
            return Err(format!("no effect is in doubt at `{}`", run.step));
        }
        let Some(step) = bound.step(&run.step) else {
            return Err(format!("its definition has no step `{}`", run.step));
        };
        let call = Call { run, signals: &[], first: false, now, lease_until: case.lease_until };
        let performed = step.resolve(call, word).await?;
        let outcome = performed.outcome;
        let resolved = self.commit_of(bound, run, case.mail, Ok(performed), self.parts.clock.now()).await;
        match &resolved.commit.step {
            Some(commit) if commit.history.outcome == outcome => {
                let says = format!("`{}`: {outcome}, goes on to `{}`", run.step, commit.step);
                Ok((resolved, says))
            }
            Some(commit) => Err(commit.error.clone().unwrap_or_else(|| "its outcome leads nowhere".to_owned())),
            None => Err("nothing follows from it".to_owned()),
        }
    }
}

fn kind(definition: &Definition, step: &str) -> Option<StepKind> {
    definition.step(step).map(|step| step.kind)
}

fn retry(bound: &Bound, case: Case<'_>, in_doubt: bool, from: &str, now: Timestamp) -> Result<Granted, String> {
    let run = case.run;
    may_enter(&bound.definition, from)?;
    if in_doubt && run.status == Status::InDoubt {
        return Err("an effect is in doubt: `resume` looks it up, `resolve` ends it by your word".to_owned());
    }
    let takes =
        |signal: &&Signal| bound.definition.step(&run.step).is_some_and(|step| step.signals.contains(&signal.name));
    if case.mail.iter().find(takes).is_some() {
        return Err(format!("signals that `{}` takes lie in the mailbox: resume it first", run.step));
    }
    let Some(rule) = bound.retry_rule() else {
        return Err(format!("`{}` has no rule for it: only `resume` runs its present step", run.pin.workflow));
    };
    let reentry = rule(&run.key, &run.state, from, now)?;
    let mut again = goes_on(run, Status::Running, from, Lease::Keep, None, now);
    again.commit.rows = reentry.rows;
    if let Some(commit) = &mut again.commit.step {
        commit.state = Some(reentry.state);
        commit.mailbox = Some(run.signals);
    }
    Ok((again, reentry.says))
}

/// Whether the definition lets a person have a run go on from that step.
///
/// # Errors
/// Why not.
pub fn may_enter(definition: &Definition, step: &str) -> Result<(), String> {
    match definition.step(step) {
        Some(found) if found.kind == StepKind::InDoubt => {
            Err(format!("`{step}` has an effect that can't be repeated: only the commit of its intent leads there"))
        }
        Some(_) => Ok(()),
        None => {
            let open = |name: &&String| definition.step(name).is_some_and(|step| step.kind != StepKind::InDoubt);
            let steps: Vec<&str> = definition.order.iter().filter(open).map(String::as_str).collect();
            Err(format!("`{}` has no step `{step}`, it has {}", definition.name, steps.join(", ")))
        }
    }
}

/// The commit of a request that is refused: all stays as it is.
fn stay(run: &Run, now: Timestamp) -> Step {
    let mut stays = goes_on(run, run.status, &run.step, Lease::Release(run.status_due(now)), run.error.clone(), now);
    if let Some(commit) = &mut stays.commit.step {
        commit.attempt = run.attempt;
    }
    stays
}

fn goes_on(run: &Run, status: Status, step: &str, lease: Lease, error: Option<String>, now: Timestamp) -> Step {
    let history = HistoryEntry {
        revision: run.revision + 1,
        step: run.step.clone(),
        attempt: run.attempt,
        outcome: "@".to_owned(),
        to: step.to_owned(),
        status,
        detail: None,
        at: now,
    };
    let decision = Decision {
        status,
        step: step.to_owned(),
        attempt: 0,
        lease,
        error,
        history,
        alarm: None,
        leaves_mailbox: false,
    };
    Step::new(run, decision, None, now)
}
