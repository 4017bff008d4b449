//! What can be observed of a payment at lnd, in words that no other node software would mind.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A preimage that lnd showed. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Preimage(pub [u8; 32]);

impl Preimage {
    /// Whether this is the proof of payment for the hash.
    pub fn proves(&self, payment_hash: &[u8; 32]) -> bool {
        Sha256::digest(self.0)[..] == payment_hash[..]
    }
}

impl std::fmt::Debug for Preimage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Preimage(…)")
    }
}

/// Why lnd refused to make a payment of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The invoice can't be paid, now or later: expired, pays lnd itself, asks for more CLTV than allowed, another
    /// network.
    Invoice,
    /// Any other error that lnd itself answered, recognised as such.
    Other,
}

/// Why lnd gave up a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The payee refused it: unknown hash, canceled invoice, wrong amount or too little final CLTV.
    IncorrectPaymentDetails,
    /// lnd's own channels lack the sats.
    InsufficientBalance,
    /// No route, time-out, internal error, canceled, or none named. lnd also says "no route" of a payment that it
    /// resumed after a restart, so this is never proof against the invoice.
    Other,
}

/// lnd's word on a payment. Decided on its status alone: a payment in flight may already carry a failure reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Settled, with what is claimed to be the preimage, and the routing fee.
    Succeeded {
        /// All zeros when lnd has none.
        preimage: Preimage,
        /// The routing fee paid, in millisatoshis.
        fee_msat: u64,
    },
    /// All of its parts are back.
    Failed(FailureReason),
    /// Some part may be on its way, or none has left yet.
    InFlight,
    /// A status that this daemon doesn't know; as good as in flight.
    Unknown,
}

/// What came back from lnd when a payment was tracked or sent, in words that no other node software would mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// lnd showed a payment for the hash.
    Payment {
        /// lnd's `payment_index`; 0 when it named none.
        index: u64,
        /// Where the payment stands.
        status: PaymentStatus,
    },
    /// Tracking says that no payment was ever initiated for the hash.
    NotFound,
    /// lnd itself answered the *send* with an error that means it made no payment of it. Not for "already exists",
    /// nor for an outdated macaroon: those are [`Observation::Silent`].
    Refused(Refusal),
    /// lnd can't serve: locked, starting, permission denied, TLS error.
    Unavailable,
    /// No verdict of any kind: stream ended, time-out, transport error, already exists, unrecognised error.
    Silent,
}

/// Whether lnd still knows the newest payment that the database knows, over all hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// It does, or the database knows of none (then there is nothing to tell a wiped lnd by).
    Intact,
    /// It doesn't: its payment database was wiped or rolled back.
    Gap,
    /// Nobody has asked yet.
    Unread,
}

/// Under which circumstances something was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// The clock *before* the call left, Unix time. An answer given before a send arrived must not be read as one
    /// given after that send became impossible, however late it is looked at.
    pub asked_at: i64,
    /// The state of lnd's payment database, read for this observation.
    pub ledger: Ledger,
    /// How far apart the clocks of lnd and the daemon may be, in seconds ([`super::SKEW_MARGIN_SECS`]).
    pub skew_margin_secs: i64,
}
