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

mod clock;
mod decide;
mod definition;
mod registry;
mod retry;
mod run;
mod step;
pub mod store;

pub use clock::{Clock, SystemClock, Timestamp, VirtualClock};
pub use decide::{Decision, Said, decide};
pub use definition::{Definition, DefinitionError, EndStatus, Route, StepDefinition, StepKind};
pub use registry::{Bound, Registry, UpgradeError};
pub use retry::RetryPolicy;
pub use run::{HistoryEntry, Pin, Run, RunId, Signal, Status};
pub use step::{
    Call, Cause, Context, Draft, Effects, ErasedStep, Outcome, Performed, Step, StepError, Transition, erase,
};
pub use store::{Commit, CommitError, Store, StoreError};
