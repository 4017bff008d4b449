//! The durable-step engine: drives *runs* of *workflow definitions*, one persisted *step* at a
//! time. It knows nothing of bonds, lnd, Nostr or any database.
//!
//! | | |
//! |---|---|
//! | [`Definition`] | the flow's shape and numbers, from `workflows/NAME.toml` |
//! | [`Step`] | Rust code that touches the world, and the pure [`Transition`] that follows |
//! | [`decide`] | pure: (definition, run, what the step said, now) → decision |
//! | [`Store`] | the port to the database: one [`Commit`] is one transaction |
//! | [`Registry`] | definitions bound to their steps, checked against each other |
//! | [`Engine`] | takes due runs under a lease and drives them |
//! | [`Courier`] | publishes the outbox until it is acknowledged |
//!
//! # As a library
//!
//! `examples/order` is a whole program on it: an order that is packed and handed over. What one writes:
//!
//! 1. A definition, TOML: steps, the outcomes of each and where each leads, retries, time-outs, signals. It has no
//!    expressions; what depends on data is an outcome.
//! 2. A state, any `serde` type, and for each step an enum of outcomes ([`outcomes!`](crate::outcomes)) and a [`Step`]:
//!    [`act`](Step::act) touches the world and may be run again after a crash, [`transition`](Step::transition) is pure
//!    and says what is committed with the run's next step.
//! 3. [`Bound::new`] of both, in a [`Registry`]. A step or an outcome that only one side has is an error there.
//! 4. A [`Store`]: `SqliteStore` on a file, `PostgresStore` for several daemons, `MemoryStore` in tests; tables of the
//!    workflow's own are named when it is opened, and written by the same commits ([`Effects::rows`]). And a [`Sealer`]
//!    with a [`Courier`], if something is to be said to the outside.
//! 5. [`Engine::new`] and [`Engine::run`]. Runs are started and signalled by [`Engine::submit`]: a run's key, and a
//!    signal's dedup key, make doing so twice the same as once.
//!
//! In a test the same parts go on a [`VirtualClock`]: days pass at once, and nothing sleeps. Whatever can go wrong in a
//! step is said by a [`StepError`], and each kind is a decision: try again, look it up, wait for a person.
//!
//! # How it holds
//!
//! **What a crash means.** A run is what its last commit says. A step that was under way is run
//! again by whoever takes the run up next; a step whose effect can't be repeated blindly is
//! declared `in-doubt` in the definition, is entered by the commit of its intent, and after a
//! crash only looks its effect up ([`Context::first`]).

mod alarm;
mod clock;
mod decide;
mod definition;
mod dispatch;
pub mod graph;
mod lease;
mod meters;
pub mod operator;
mod outbox;
mod part;
mod registry;
mod retry;
mod run;
mod step;
pub mod store;
mod wait;
mod watches;
mod worker;

pub use alarm::Alarms;
pub use clock::{Clock, SystemClock, Timestamp, VirtualClock};
pub use decide::{Decision, Said, decide};
pub use definition::{Definition, DefinitionError, EndStatus, Route, StepDefinition, StepKind};
pub use dispatch::{Engine, Options, Parts};
pub use meters::Meters;
pub use outbox::{Courier, Offered, Publisher, Sealed, Sealer};
pub use registry::{Bound, Registry, UpgradeError};
pub use retry::RetryPolicy;
pub use run::{HistoryEntry, Pin, Run, RunId, Signal, Status};
pub use step::{
    Call, Cause, Context, Draft, Effects, ErasedStep, Outcome, Performed, Step, StepError, Transition, erase,
};
pub use store::{Commit, CommitError, Retirement, RunFilter, Standing, Store, StoreError};
