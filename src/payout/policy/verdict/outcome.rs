//! What an observation can mean.

use super::observation::Preimage;

/// What to do with an invoice that lnd didn't pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the same invoice again, after a backoff, while attempts are left; then ask for a fresh one.
    Retry,
    /// This invoice can't be paid any more: ask for a fresh one.
    FreshInvoice,
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// lnd has the payment in flight.
    InFlight,
    /// The send may still reach lnd.
    MayArrive,
    /// Nothing was learned, or only how lnd answered the send: track.
    NoAnswer,
    /// The answer depends on [`super::Circumstances::ledger`]: read it and judge again.
    LedgerUnread,
    /// lnd says succeeded, but its preimage isn't the hash's. For a person: this must never happen.
    PreimageMismatch,
}

/// What an observation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Paid, proven.
    Paid {
        /// The proof.
        preimage: Preimage,
        /// The routing fee in sats, rounded up.
        fee_sats: u64,
    },
    /// Not paid, and nothing of it is under way.
    Rejected {
        /// What may still be done with the invoice.
        next: Next,
        /// A payment of ours was made and failed: it counts as an attempt.
        attempted: bool,
    },
    /// lnd lacks the sats: send again later, with an alarm, spending no attempt.
    RetryLater,
    /// lnd answered the send with an error of its own and made no payment of it: backoff, counted in
    /// [`super::HashRecord::refusals`] under a cap of its own, then ask for a fresh invoice.
    Refused,
    /// Nothing is under way and nothing can arrive any more: a send may begin.
    SafeToSend,
    /// Neither send nor ask for anything: track until there is a verdict.
    InDoubt(Doubt),
    /// lnd can't serve: wait, with an alarm, spending no attempt. Whatever was undecided still is.
    Unavailable,
    /// lnd has forgotten payments that the database knows of. In doubt until a person resolves it.
    Operator,
}

impl Verdict {
    /// The kind of alarm that goes with the verdict, if any.
    pub fn alarm(&self) -> Option<&'static str> {
        match self {
            Self::RetryLater => Some("insufficient-balance"),
            Self::Unavailable => Some("lnd-unavailable"),
            Self::Operator => Some("payments-forgotten"),
            Self::InDoubt(Doubt::PreimageMismatch) => Some("preimage-mismatch"),
            _ => None,
        }
    }
}
