//! What an observation at lnd means for a payment that may have been sent.
//!
//! The rule beneath all others: *no answer is not "no"*. A send is over only when lnd says so of this very send, or when
//! lnd can no longer take it. Two facts about lnd make that decidable:
//!
//! - Each attempt at a hash has a `payment_index` of its own, and only grows. A FAILED under an index that was judged
//!   before is the echo of an earlier attempt and says nothing of the present one.
//! - Each send carries a macaroon that dies at `send_valid_until`. After that second, plus a margin for clocks that
//!   disagree, a send that has not arrived never will, wherever it was delayed.

mod observation;
mod outcome;
mod word;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use observation::{Circumstances, FailureReason, Ledger, Observation, PaymentStatus, Preimage, Refusal};
pub use outcome::{Doubt, Next, Verdict};
pub use word::WordRefused;

/// The margin between lnd's clock and this daemon's that is waited for after `send_valid_until`, in seconds.
pub const SKEW_MARGIN_SECS: i64 = 120;

/// A send that has no verdict yet. Its intent is committed before it leaves, so it may or may not have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRecord {
    /// The number of the intent: 1 for the first send of this hash, then counting. 0 for a payment that was found
    /// under way at lnd without an intent of this database.
    pub intent: u32,
    /// The last second at which lnd takes this send, by lnd's clock, Unix time.
    pub send_valid_until: i64,
    /// lnd has shown this send's own payment: it arrived, and lnd forgetting it is no longer good news.
    pub arrived: bool,
    /// What lnd itself answered to this send, if it refused it.
    pub refusal: Option<Refusal>,
    /// The newest payment that the database knew lnd to have when this send was intended. A lnd that has forgotten it
    /// may have forgotten this send, too, whatever it has paid since.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "witness_text")]
    pub witness: Option<[u8; 32]>,
}

/// All that the database knows about the sends of one payment hash.
///
/// At most one send is without a verdict, by construction: [`HashRecord::begin_send`] refuses while there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashRecord {
    /// SHA-256 of the preimage that proves the payment.
    #[serde(with = "hash_text")]
    pub payment_hash: [u8; 32],
    /// The last second at which lnd takes the invoice, Unix time.
    pub invoice_expires_at: i64,
    /// How many sends were ever begun.
    pub sends: u32,
    /// The highest `payment_index` that was judged; 0 when none was (lnd counts from 1).
    pub judged_index: u64,
    /// How many sends lnd refused without making a payment of them, for reasons that may pass.
    pub refusals: u32,
    /// The send that has no verdict yet.
    pub undecided: Option<SendRecord>,
    /// The payment succeeded, proven by its preimage.
    pub paid: bool,
    /// A person has said that it was never made: it is not sent again, whatever lnd says of it later.
    #[serde(default)]
    pub denied: bool,
}

/// Why a send must not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendForbidden {
    /// A former send of this hash has no verdict.
    #[error("send {intent} of this hash has no verdict yet")]
    Undecided {
        /// The number of that send.
        intent: u32,
    },
    /// The debt is settled.
    #[error("this hash is already paid")]
    Paid,
    /// Somebody has denied it.
    #[error("a person has said that this hash was never paid: it is not sent again")]
    Denied,
}

impl HashRecord {
    /// A hash that was never sent.
    pub fn new(payment_hash: [u8; 32], invoice_expires_at: i64) -> Self {
        Self {
            payment_hash,
            invoice_expires_at,
            sends: 0,
            judged_index: 0,
            refusals: 0,
            undecided: None,
            paid: false,
            denied: false,
        }
    }

    /// The record with the intent of one more send, to be committed before the call. Caller's duty: the last verdict
    /// on every hash of the debt allows it (see [`all_decided`]).
    ///
    /// # Errors
    /// While a former send has no verdict, and once the hash is paid or denied.
    pub fn begin_send(&self, send_valid_until: i64) -> Result<Self, SendForbidden> {
        if self.paid {
            return Err(SendForbidden::Paid);
        }
        if self.denied {
            return Err(SendForbidden::Denied);
        }
        if let Some(SendRecord { intent, .. }) = self.undecided {
            return Err(SendForbidden::Undecided { intent });
        }
        let sends = self.sends.saturating_add(1);
        let undecided = SendRecord { intent: sends, send_valid_until, arrived: false, refusal: None, witness: None };
        Ok(Self { sends, undecided: Some(undecided), ..*self })
    }

    /// The same, the send that was begun being witnessed by the newest payment that lnd is known to have.
    pub fn witnessed(self, witness: Option<[u8; 32]>) -> Self {
        Self { undecided: self.undecided.map(|send| SendRecord { witness, ..send }), ..self }
    }

    /// The highest `payment_index` that was judged, if lnd ever showed a payment of this hash that has ended.
    pub fn newest_judged(&self) -> Option<u64> {
        Some(self.judged_index).filter(|index| *index > 0)
    }

    /// Judges an observation and answers the record to commit with the verdict.
    pub fn judge(&self, seen: Observation, at: &Circumstances) -> (Self, Verdict) {
        match seen {
            Observation::NotFound | Observation::Payment { .. } if self.paid && !self.proven_by(seen) => {
                (*self, Verdict::Operator)
            }
            Observation::Payment { index, status } => self.judge_payment(index, status, at),
            Observation::NotFound => self.judge_absence(at),
            Observation::Refused(refusal) => (self.with_refusal(refusal), no_answer()),
            Observation::Unavailable => (*self, Verdict::Unavailable),
            // Silence about a hash that was never sent is only an lnd that doesn't answer.
            Observation::Silent if self.undecided.is_none() => (*self, Verdict::Unavailable),
            Observation::Silent => (*self, no_answer()),
        }
    }

    fn judge_payment(&self, index: u64, status: PaymentStatus, at: &Circumstances) -> (Self, Verdict) {
        match status {
            // Whichever send it was: the hash is paid, and can be paid only once.
            PaymentStatus::Succeeded { preimage, fee_msat } if preimage.proves(&self.payment_hash) => {
                let record = Self { paid: true, ..self.decided(index) };
                (record, Verdict::Paid { preimage, fee_sats: fee_msat.div_ceil(1_000) })
            }
            PaymentStatus::Succeeded { .. } => {
                (self.with_arrival(index, at), Verdict::InDoubt(Doubt::PreimageMismatch))
            }
            PaymentStatus::InFlight | PaymentStatus::Unknown => {
                (self.with_arrival(index, at), Verdict::InDoubt(Doubt::InFlight))
            }
            PaymentStatus::Failed(reason) if index > self.judged_index => {
                (self.decided(index), self.judge_failure(reason, at))
            }
            PaymentStatus::Failed(_) => self.judge_echo(at),
        }
    }

    /// A failure under a new index: of the undecided send, or of one that the database doesn't know (imported, or
    /// restored from a backup). Either way lnd has nothing of this hash under way.
    fn judge_failure(&self, reason: FailureReason, at: &Circumstances) -> Verdict {
        let attempted = self.undecided.is_some();
        let final_for_invoice = reason == FailureReason::IncorrectPaymentDetails || self.expired(at);
        match (final_for_invoice, reason) {
            (true, FailureReason::InsufficientBalance) => {
                Verdict::Rejected { next: Next::FreshInvoice, attempted: false }
            }
            (true, _) => Verdict::Rejected { next: Next::FreshInvoice, attempted },
            (false, FailureReason::InsufficientBalance) => Verdict::RetryLater,
            (false, _) if attempted => Verdict::Rejected { next: Next::Retry, attempted },
            (false, _) => Verdict::SafeToSend,
        }
    }

    /// lnd's newest payment for the hash is one that was judged before.
    fn judge_echo(&self, at: &Circumstances) -> (Self, Verdict) {
        match self.undecided {
            None => (*self, self.free(at)),
            Some(send) if send.arrived => (*self, Verdict::Operator),
            Some(send) if !send.is_past(at) => (*self, Verdict::InDoubt(Doubt::MayArrive)),
            Some(send) => self.judge_never_arrived(send, at),
        }
    }

    /// lnd knows no payment for the hash.
    fn judge_absence(&self, at: &Circumstances) -> (Self, Verdict) {
        match self.undecided {
            None if self.sends == 0 && self.judged_index == 0 => (*self, self.free(at)),
            None => (*self, self.if_ledger_is_intact(at, self.free(at))),
            Some(send) if send.arrived => (*self, Verdict::Operator),
            // lnd answered this send itself, and has no payment: there is nothing left to wait for.
            Some(SendRecord { refusal: Some(refusal), .. }) if at.ledger != Ledger::Gap => {
                self.judge_refusal(refusal, at)
            }
            Some(send) if !send.is_past(at) => (*self, Verdict::InDoubt(Doubt::MayArrive)),
            Some(send) => self.judge_never_arrived(send, at),
        }
    }

    /// The undecided send did not reach lnd in time, and now can't; unless lnd has forgotten it.
    fn judge_never_arrived(&self, send: SendRecord, at: &Circumstances) -> (Self, Verdict) {
        match (at.ledger, send.refusal) {
            (Ledger::Gap, _) => (*self, Verdict::Operator),
            (Ledger::Unread, _) => (*self, Verdict::InDoubt(Doubt::LedgerUnread)),
            (Ledger::Intact, Some(refusal)) => self.judge_refusal(refusal, at),
            (Ledger::Intact, None) => (self.decided(0), self.free(at)),
        }
    }

    fn judge_refusal(&self, refusal: Refusal, at: &Circumstances) -> (Self, Verdict) {
        let decided = self.decided(0);
        if refusal == Refusal::Invoice || self.expired(at) {
            (decided, Verdict::Rejected { next: Next::FreshInvoice, attempted: false })
        } else {
            (Self { refusals: self.refusals.saturating_add(1), ..decided }, Verdict::Refused)
        }
    }

    fn if_ledger_is_intact(&self, at: &Circumstances, verdict: Verdict) -> Verdict {
        match at.ledger {
            Ledger::Intact => verdict,
            Ledger::Gap => Verdict::Operator,
            Ledger::Unread => Verdict::InDoubt(Doubt::LedgerUnread),
        }
    }

    /// Nothing is under way: the invoice may be sent, or is of no use any more.
    fn free(&self, at: &Circumstances) -> Verdict {
        if self.expired(at) {
            Verdict::Rejected { next: Next::FreshInvoice, attempted: false }
        } else {
            Verdict::SafeToSend
        }
    }

    fn proven_by(&self, seen: Observation) -> bool {
        matches!(seen, Observation::Payment { status: PaymentStatus::Succeeded { preimage, .. }, .. }
            if preimage.proves(&self.payment_hash))
    }

    fn expired(&self, at: &Circumstances) -> bool {
        self.invoice_expires_at <= at.asked_at
    }

    fn decided(&self, index: u64) -> Self {
        Self { undecided: None, judged_index: self.judged_index.max(index), ..*self }
    }

    /// lnd showed a payment under way. One that no send of the database explains (imported, or sent before a restored
    /// backup) is taken on as a send of its own, so that it blocks every other until it has a verdict.
    fn with_arrival(&self, index: u64, at: &Circumstances) -> Self {
        // A stale answer about an attempt that has been judged since says nothing of the present send.
        if index != 0 && index <= self.judged_index {
            return *self;
        }
        let adopted =
            SendRecord { intent: 0, send_valid_until: at.asked_at, arrived: true, refusal: None, witness: None };
        let undecided = self.undecided.map_or(adopted, |send| SendRecord { arrived: true, ..send });
        Self { undecided: Some(undecided), sends: self.sends.max(1), ..*self }
    }

    fn with_refusal(&self, refusal: Refusal) -> Self {
        let undecided = self.undecided.map(|send| SendRecord { refusal: Some(refusal), ..send });
        Self { undecided, ..*self }
    }
}

impl SendRecord {
    /// lnd was asked after the last moment at which this send could reach it.
    fn is_past(&self, at: &Circumstances) -> bool {
        at.asked_at > self.send_valid_until.saturating_add(at.skew_margin_secs)
    }
}

/// Whether every hash of a debt is decided and none is paid: only then may another invoice be asked for, accepted or
/// sent, whoever commands it.
pub fn all_decided<'a>(hashes: impl IntoIterator<Item = &'a HashRecord>) -> bool {
    hashes.into_iter().all(|hash| hash.undecided.is_none() && !hash.paid)
}

fn no_answer() -> Verdict {
    Verdict::InDoubt(Doubt::NoAnswer)
}

/// A payment hash as hex text, as everything else that is stored has it.
mod hash_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(hash))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(serde::de::Error::custom)?;
        bytes.try_into().map_err(|_| serde::de::Error::custom("a hash has 32 bytes"))
    }
}

/// The same for a witness, if there is one.
mod witness_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::hash_text;

    pub fn serialize<S: Serializer>(witness: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        match witness {
            None => serializer.serialize_none(),
            Some(hash) => hash_text::serialize(hash, serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        #[derive(Deserialize)]
        struct Hash(#[serde(with = "hash_text")] [u8; 32]);
        Ok(Option::<Hash>::deserialize(deserializer)?.map(|Hash(hash)| hash))
    }
}

#[cfg(test)]
mod tests;
