//! The rules of a payout as pure functions: no clock, no I/O, no settings of their own.
//!
//! - [`split`]: who gets which part of a slashed bond.
//! - [`fees`]: what its payment may cost.
//! - [`gate`]: which invoice is taken.
//! - [`verdict`]: what lnd's answers mean for a payment that may have been sent.
//! - [`window`]: when the winner is asked, and when the share is forfeited.

pub mod fees;
pub mod gate;
pub mod millionths;
pub mod split;
pub mod verdict;
pub mod window;

pub use fees::FeePolicy;
pub use gate::{AcceptedInvoice, Amountless, GateRules, InvoiceDefect, Network, NodeKey, admit};
pub use millionths::{FractionError, Millionths};
pub use split::{NodeShare, Split, SplitError};
pub use verdict::{
    Circumstances, Doubt, FailureReason, HashRecord, Ledger, Next, Observation, PaymentStatus, Preimage, Refusal,
    SendForbidden, SendRecord, Verdict, WordRefused, all_decided,
};
pub use window::{Attendance, ClaimWindow, Forfeiture, Hold};
