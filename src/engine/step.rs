//! What a workflow's author writes: steps, their outcomes, and what follows from an outcome.
//!
//! A step has two halves that never mix. [`Step::act`] touches the world (or only reads) and
//! returns an outcome; it may be run again after a crash. [`Step::transition`] is pure: from the
//! outcome it makes the new state and [`Effects`], which the engine commits in one transaction
//! with the run's next step.

use std::marker::PhantomData;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clock::Timestamp;
use super::operator::{Offered, Word};
use super::run::{Run, RunId, Signal, Status};
use super::store::{Guard, NewRun, NewSignal, Nudge, RowWrite};

/// The outcomes of a step: an enum whose variants the definition names.
///
/// Made by [`outcomes!`](crate::outcomes).
pub trait Outcome: Send + 'static {
    /// All names, as the definition has them.
    const NAMES: &'static [&'static str];
    /// This one's name.
    fn name(&self) -> &'static str;
}

/// Declares a step's outcomes, each with its name in the definition.
///
/// ```
/// bondflow::outcomes! {
///     /// What came of knocking.
///     pub enum Knock {
///         /// Somebody opened.
///         Opened => "opened",
///         /// Nobody did, for the n-th time.
///         Silent(u32) => "silent",
///     }
/// }
/// ```
#[macro_export]
macro_rules! outcomes {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident $(($($field:ty),+ $(,)?))? => $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis enum $name { $($(#[$variant_meta])* $variant $(($($field),+))?),+ }
        impl $crate::engine::Outcome for $name {
            const NAMES: &'static [&'static str] = &[$($text),+];
            fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $text),+ }
            }
        }
    };
}

/// Why a step has no outcome; each kind is a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// Nothing happened that would forbid it: run the step again by its retry policy.
    Retry(Cause),
    /// An effect may or may not have happened: look it up until the world tells.
    Doubt(Cause),
    /// A person has to look.
    Pause(Cause),
}

/// The reason behind a [`StepError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// One line for the operator; no secrets.
    pub reason: String,
    /// The kind of alarm that it is worth, if any.
    pub alarm: Option<&'static str>,
}

impl Cause {
    /// A reason without an alarm.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), alarm: None }
    }

    /// A reason with an alarm of that kind.
    pub fn alarming(alarm: &'static str, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), alarm: Some(alarm) }
    }
}

impl StepError {
    /// Run again.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry(Cause::new(reason))
    }

    /// Stop for a person.
    pub fn pause(alarm: &'static str, reason: impl Into<String>) -> Self {
        Self::Pause(Cause::alarming(alarm, reason))
    }

    /// Look it up.
    pub fn doubt(reason: impl Into<String>) -> Self {
        Self::Doubt(Cause::new(reason))
    }

    /// The reason, for people.
    pub fn reason(self) -> String {
        match self {
            Self::Retry(cause) | Self::Doubt(cause) | Self::Pause(cause) => cause.reason,
        }
    }
}

/// What a step sees when it runs.
#[derive(Debug, Clone)]
pub struct Context<'a, S> {
    /// The run's public name.
    pub id: &'a RunId,
    /// The key it was started with.
    pub key: &'a str,
    /// The workflow's state.
    pub state: &'a S,
    /// How often this step has asked to be run again.
    pub attempt: u32,
    /// The present time.
    pub now: Timestamp,
    /// The signals in the mailbox that this step takes, in their order.
    pub signals: &'a [Signal],
    /// Whether nobody can have run this step before: the commit that led here was made by this
    /// worker, under this lease, a moment ago. After a crash, a retry or a resume it is false.
    pub first: bool,
    /// Until when the lease holds; an effect that reaches the world later must be refused there.
    pub lease_until: Timestamp,
}

/// A message to the outside in the workflow's own words, not yet sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What it is, for people and for whoever waits for its acknowledgment.
    pub topic: String,
    /// What it says: the sealing adapter's own format, JSON text.
    pub content: String,
}

/// All that a transition writes besides the run itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Conditions.
    pub guards: Vec<Guard>,
    /// The workflow's own rows.
    pub rows: Vec<RowWrite>,
    /// Messages to the outside.
    pub drafts: Vec<Draft>,
    /// Runs to start.
    pub starts: Vec<NewRun>,
    /// Signals to other runs.
    pub signals: Vec<NewSignal>,
    /// Waiting runs to make due.
    pub nudges: Vec<Nudge>,
    /// Alarms: kind and text, told once the commit stands.
    pub alarms: Vec<(&'static str, String)>,
    /// Lines for the log, told once the commit stands.
    pub notes: Vec<String>,
}

/// A transition under construction: the new state and the effects.
#[derive(Debug)]
pub struct Transition<'a, S> {
    /// The run's key.
    pub key: &'a str,
    /// When the transition is decided.
    pub now: Timestamp,
    /// The state, to be changed in place.
    pub state: S,
    /// What else is written.
    pub effects: Effects,
    /// A line for the history, where the outcome's name does not say it all.
    pub detail: Option<String>,
    /// The attempt by which a back-off of the outcome's route is reckoned, where the workflow
    /// counts its own.
    pub attempt: Option<u32>,
    taken: Vec<i64>,
    signals: &'a [Signal],
}

impl<S> Transition<'_, S> {
    /// Consumes a signal that the step saw: it is delivered with this commit and never again.
    pub fn take(&mut self, signal: i64) {
        let seen = self.signals.iter().any(|one| one.number == signal);
        if seen && !self.taken.contains(&signal) {
            self.taken.push(signal);
        }
    }

    /// Consumes every signal that the step saw.
    pub fn take_all(&mut self) {
        self.taken = self.signals.iter().map(|signal| signal.number).collect();
    }
}

/// One step of a workflow whose state is `S`.
#[async_trait]
pub trait Step<S: Sync>: Send + Sync + 'static {
    /// The step's name in the definition.
    const NAME: &'static str;
    /// Its outcomes.
    type Outcome: Outcome;

    /// Touches the world. Of an in-doubt step the call with [`Context::first`] acts on the intent
    /// that the commit before it stored; any other call must only look.
    async fn act(&self, cx: &Context<'_, S>) -> Result<Self::Outcome, StepError>;

    /// Decides what is written. Pure: no clock, no chance, no I/O.
    fn transition(&self, outcome: Self::Outcome, tx: &mut Transition<'_, S>);

    /// Of a waiting step: when to run if no signal comes. Asked when the run enters the step and
    /// again after each run of it. Of an in-doubt step: when to look again if the watch is silent.
    fn wake_at(&self, _state: &S, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    /// Of an in-doubt step: resolves when it is worth looking again, at once when it is already.
    /// It holds no lease and no worker, ends when the run is taken up, and a wake-up time of the
    /// run stands behind it.
    fn watch(&self, _state: &S) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Of a waiting step: an operator wants to put a signal into the mailbox. Gives the signal's payload
    /// as the step takes it; the run goes on here with it. It may look at the world, and changes
    /// nothing. By default a signal is taken as it is, while the run waits in this very step.
    ///
    /// # Errors
    /// Why it is not taken.
    async fn admit(&self, _cx: &Context<'_, S>, offered: Offered<'_>) -> Result<String, String> {
        let waits = matches!(offered.status, Status::Waiting | Status::BackingOff | Status::Running);
        if waits && offered.at == Self::NAME {
            Ok(offered.payload.to_string())
        } else {
            Err(format!("it does not wait at `{}`: it is {} at `{}`", Self::NAME, offered.status, offered.at))
        }
    }

    /// Of an in-doubt step: the outcome by a person's word instead of the world's. It verifies what can be
    /// verified; it may look at the world, and must not act.
    ///
    /// # Errors
    /// Why the word does not count.
    async fn resolve(&self, _cx: &Context<'_, S>, _word: &Word) -> Result<Self::Outcome, String> {
        Err(format!("`{}` takes nobody's word", Self::NAME))
    }
}

/// What a step led to, its type forgotten.
#[derive(Debug)]
pub struct Performed {
    /// The outcome's name.
    pub outcome: &'static str,
    /// The new state, JSON text.
    pub state: String,
    /// What else is written.
    pub effects: Effects,
    /// The signals that were consumed.
    pub taken: Vec<i64>,
    /// A line for the history.
    pub detail: Option<String>,
    /// See [`Transition::attempt`].
    pub attempt: Option<u32>,
}

/// What the engine hands to a step, the state still text.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The run.
    pub run: &'a Run,
    /// The signals that the step takes.
    pub signals: &'a [Signal],
    /// See [`Context::first`].
    pub first: bool,
    /// The present time.
    pub now: Timestamp,
    /// See [`Context::lease_until`].
    pub lease_until: Timestamp,
}

/// A step whose types are forgotten: what the registry holds.
#[async_trait]
pub trait ErasedStep: Send + Sync {
    /// The step's name.
    fn name(&self) -> &'static str;
    /// Its outcomes' names.
    fn outcomes(&self) -> &'static [&'static str];
    /// Acts and decides.
    async fn perform(&self, call: Call<'_>) -> Result<Performed, StepError>;
    /// See [`Step::admit`].
    async fn admit(&self, call: Call<'_>, offered: Offered<'_>) -> Result<String, String>;
    /// See [`Step::resolve`]; decides, too.
    async fn resolve(&self, call: Call<'_>, word: &Word) -> Result<Performed, String>;
    /// See [`Step::wake_at`].
    fn wake_at(&self, state: &str, now: Timestamp) -> Option<Timestamp>;
    /// See [`Step::watch`].
    fn watch(&self, state: &str) -> Option<BoxFuture<'static, ()>>;
}

/// Forgets a step's types.
pub fn erase<S, T>(step: T) -> Box<dyn ErasedStep>
where
    S: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    T: Step<S>,
{
    Box::new(Erased { step, state: PhantomData::<fn() -> S> })
}

struct Erased<S, T> {
    step: T,
    state: PhantomData<fn() -> S>,
}

fn read<S: DeserializeOwned>(state: &str) -> Result<S, StepError> {
    serde_json::from_str(state)
        .map_err(|error| StepError::pause("state", format!("the run's state can't be read: {error}")))
}

impl<'a> Call<'a> {
    fn context<S>(&self, state: &'a S) -> Context<'a, S> {
        Context {
            id: &self.run.id,
            key: &self.run.key,
            state,
            attempt: self.run.attempt,
            now: self.now,
            signals: self.signals,
            first: self.first,
            lease_until: self.lease_until,
        }
    }
}

impl<S, T> Erased<S, T>
where
    S: Serialize + Sync,
    T: Step<S>,
{
    /// What follows from an outcome.
    fn decided(&self, call: Call<'_>, state: S, outcome: T::Outcome) -> Result<Performed, StepError> {
        let name = outcome.name();
        let mut tx = Transition {
            key: &call.run.key,
            now: call.now,
            state,
            effects: Effects::default(),
            detail: None,
            attempt: None,
            taken: Vec::new(),
            signals: call.signals,
        };
        self.step.transition(outcome, &mut tx);
        let state = serde_json::to_string(&tx.state)
            .map_err(|error| StepError::pause("state", format!("the run's state can't be written: {error}")))?;
        Ok(Performed {
            outcome: name,
            state,
            effects: tx.effects,
            taken: tx.taken,
            detail: tx.detail,
            attempt: tx.attempt,
        })
    }
}

#[async_trait]
impl<S, T> ErasedStep for Erased<S, T>
where
    S: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    T: Step<S>,
{
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn outcomes(&self) -> &'static [&'static str] {
        T::Outcome::NAMES
    }

    async fn perform(&self, call: Call<'_>) -> Result<Performed, StepError> {
        let state: S = read(&call.run.state)?;
        let outcome = self.step.act(&call.context(&state)).await?;
        self.decided(call, state, outcome)
    }

    async fn admit(&self, call: Call<'_>, offered: Offered<'_>) -> Result<String, String> {
        let state: S = read(&call.run.state).map_err(StepError::reason)?;
        self.step.admit(&call.context(&state), offered).await
    }

    async fn resolve(&self, call: Call<'_>, word: &Word) -> Result<Performed, String> {
        let state: S = read(&call.run.state).map_err(StepError::reason)?;
        let outcome = self.step.resolve(&call.context(&state), word).await?;
        self.decided(call, state, outcome).map_err(StepError::reason)
    }

    fn wake_at(&self, state: &str, now: Timestamp) -> Option<Timestamp> {
        read::<S>(state).ok().and_then(|state| self.step.wake_at(&state, now))
    }

    fn watch(&self, state: &str) -> Option<BoxFuture<'static, ()>> {
        read::<S>(state).ok().and_then(|state| self.step.watch(&state))
    }
}
