//! What a test lets go wrong in a call of the store.

use crate::engine::Timestamp;
use crate::engine::store::{Commit, CommitError, Delivery, Retirement, StoreError};

/// A call of the store, as the hook is told of it; see the store's method of the same name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Call<'a> {
    /// A commit.
    Commit(&'a Commit),
    /// Taking due runs: owner, now, until, limit.
    Claim(&'a str, Timestamp, Timestamp, u32),
    /// Prolonging leases: owner, now, until.
    Renew(&'a str, Timestamp, Timestamp),
    /// Ending the leases of the dead: owner, now.
    ReleaseOthers(&'a str, Timestamp),
    /// Taking or prolonging the lease on a part: part, owner, now, until.
    Hold(&'a str, &'a str, Timestamp, Timestamp),
    /// Making a run due.
    Wake(i64, Timestamp),
    /// Retiring finished runs.
    Retire(&'a [Retirement], Timestamp),
    /// Forgetting old messages: before, limit.
    ForgetMessages(Timestamp, u32),
    /// Writing down deliveries.
    Delivered(&'a [Delivery]),
    /// Going on under another timeline.
    BeginTimeline,
    /// Any call that changes nothing.
    Read,
}

/// What goes wrong. Calls other than commits answer with a `StoreError` to each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and the caller is told so.
    Unavailable,
    /// The caller isn't told whether it was written; a later call will be answered again.
    Unknown {
        /// Whether it was, unless a check of its own fails: then that is the answer.
        applied: bool,
    },
    /// The daemon dies in the call: each later call of this store fails.
    Crash {
        /// Whether it was written.
        applied: bool,
    },
}

/// Decides what goes wrong in a call.
pub(super) type Hook = Box<dyn FnMut(Call<'_>) -> Option<Fault> + Send>;

/// A fault as its caller sees it.
pub(super) enum Failure {
    Unavailable,
    Unknown,
    Crashed,
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable => Self::Unavailable("a fault was asked for".into()),
            Failure::Unknown => Self::Unknown("a fault was asked for".into()),
            Failure::Crashed => Self::Unknown("the store has crashed".into()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self(match failure {
            Failure::Unavailable | Failure::Unknown => "a fault was asked for".into(),
            Failure::Crashed => "the store has crashed".into(),
        })
    }
}
