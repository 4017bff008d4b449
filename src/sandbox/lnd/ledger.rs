//! What the stand-in has seen and paid, for tests to judge.

use super::hash::Hash32;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One `SendPaymentV2` that passed authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedSend {
    /// Absent when the invoice could not be read.
    pub hash: Option<Hash32>,
    /// The invoice's amount, or the request's for an amountless invoice.
    pub amount_msat: u64,
    pub fee_limit_msat: u64,
    /// As the request says it; 0 when unset.
    pub cltv_limit: u32,
    pub timeout_seconds: u32,
    /// The macaroon's first-party caveats, oldest first.
    pub caveats: Vec<String>,
    /// Unix seconds of the stand-in's clock.
    pub received_at: i64,
    /// Milliseconds of tokio's clock since the node was made.
    pub received_ms: u64,
    /// The payment's index, or the text of the refusal.
    pub outcome: Result<u64, String>,
}

/// One `SettleInvoice` or `CancelInvoice`, and the refusal's text if it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceCall {
    pub hash: Hash32,
    pub refusal: Option<String>,
}

/// lnd's payment status, with the status that older clients see as in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Initiated,
    InFlight,
    Succeeded,
    Failed,
}

/// lnd's failure reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    None,
    Timeout,
    NoRoute,
    Error,
    IncorrectPaymentDetails,
    InsufficientBalance,
    Canceled,
}

/// One accepted send: lnd gives each its own index, also for the same hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub payment_index: u64,
    pub payment_request: String,
    pub amount_msat: u64,
    /// Zero until an HTLC is locked.
    pub fee_msat: u64,
    /// Unix seconds.
    pub created_at: i64,
    pub status: Status,
    pub reason: Reason,
    /// Whether an HTLC was ever sent out for it.
    pub has_htlc: bool,
    pub preimage: Option<Hash32>,
    /// The node was restarted while this payment was in flight: its session holds no route any more.
    pub resumed: bool,
    /// The payment database was wiped after it: lnd knows nothing of it.
    pub forgotten: bool,
}

/// Everything that tests ask about. Amounts in millisatoshis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub sends: Vec<ReceivedSend>,
    pub settles: Vec<InvoiceCall>,
    pub cancels: Vec<InvoiceCall>,
    /// The attempts for each hash, oldest first.
    pub attempts: BTreeMap<Hash32, Vec<Attempt>>,
    /// How often each hash was really paid, whatever the payment database knows.
    pub paid: BTreeMap<Hash32, u32>,
    /// What left the node in paid HTLCs, fees not counted.
    pub spent_msat: u64,
    pub fees_msat: u64,
    /// What the node's own settled invoices brought in.
    pub claimed_msat: u64,
}

impl Ledger {
    /// The sends that named this hash, refused ones included.
    pub fn sends_of(&self, hash: impl Into<Hash32>) -> Vec<&ReceivedSend> {
        let hash = hash.into();
        self.sends.iter().filter(|send| send.hash == Some(hash)).collect()
    }

    /// How often this hash was really paid.
    pub fn times_paid(&self, hash: impl Into<Hash32>) -> u32 {
        self.paid.get(&hash.into()).copied().unwrap_or(0)
    }

    /// The payment as lnd's database knows it.
    pub fn payment(&self, hash: impl Into<Hash32>) -> Option<&Attempt> {
        self.attempts.get(&hash.into())?.last().filter(|attempt| !attempt.forgotten)
    }

    pub(super) fn payment_mut(&mut self, hash: Hash32) -> Option<&mut Attempt> {
        self.attempts.get_mut(&hash)?.last_mut().filter(|attempt| !attempt.forgotten)
    }
}
