//! A debt that is paid over Lightning: what both payouts, the bond's and the trade's, have in
//! common. Their states hold a [`Debt`]; the steps [`AwaitSlot`], [`Intend`] and [`Pay`] work on
//! any state that does.
//!
//! **Never twice.** Every hash that was ever accepted for the debt keeps its [`HashRecord`], and a
//! send begins only when each of them is decided and none is paid. The intent (which hash, until
//! when lnd may take it) is committed before the send; the send itself carries a macaroon that
//! lnd refuses after that time. So whatever is lost on the way, an answer, a process, a lease,
//! the next look at lnd either finds this very send or knows that it can't arrive any more.

mod await_slot;
mod cancel;
mod intend;
mod invoice;
mod pay;
mod retry;

pub use await_slot::{AwaitSlot, Slot};
pub use cancel::cancel;
pub use intend::{Intend, Intended, found_row};
pub use invoice::{Considered, InvoiceSignal, SIGNAL, consider, given_at, insisted, offered, unwanted};
pub use pay::{Pay, Paying};
pub use retry::{reenter, reentry, reentry_owing};

use std::str::FromStr;

use lightning_invoice::Bolt11Invoice;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::store::RowWrite;
use crate::engine::{Effects, Timestamp};

use super::books::secret32;
use super::policy::{AcceptedInvoice, Amountless, HashRecord, Preimage, all_decided};

/// What is owed, and all that was ever done to pay it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// What is owed, sats.
    pub owed_sats: u64,
    /// The invoice that is being paid, or was tried last.
    pub invoice: Option<Invoice>,
    /// Whether that invoice is of no use any more.
    pub spent: bool,
    /// How many sends of it lnd has failed.
    pub attempts: u32,
    /// Every hash that was ever accepted for this debt.
    pub hashes: Vec<HashRecord>,
    /// The commit that entered the step `pay` was an intent: its first run sends.
    pub send_now: bool,
    /// What proves that the debt is paid.
    pub paid: Option<Proof>,
}

/// An accepted invoice, as the debt needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// In lower case.
    pub bolt11: String,
    /// Its payment hash, hex.
    pub hash: String,
    /// Whom lnd pays, hex.
    pub payee: String,
    /// It names no amount: the send must.
    pub amountless: bool,
    /// The last second at which lnd takes it, Unix time.
    pub expires_at: i64,
}

/// What proves that a debt is paid.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The payment hash, hex.
    pub hash: String,
    /// The preimage, hex: its SHA-256 is the hash.
    pub preimage: String,
    /// What routing cost, sats; none when only a person's word tells of the payment.
    pub fee_sats: Option<u64>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("hash", &self.hash).field("fee_sats", &self.fee_sats).finish_non_exhaustive()
    }
}

impl Debt {
    /// A debt that nobody has sent an invoice for.
    pub const fn of(owed_sats: u64) -> Self {
        Self { owed_sats, invoice: None, spent: false, attempts: 0, hashes: Vec::new(), send_now: false, paid: None }
    }

    /// Whether another invoice may be asked for or accepted: everything sent before is decided.
    pub fn is_free(&self) -> bool {
        self.paid.is_none() && all_decided(&self.hashes)
    }

    /// Whether there is an invoice to pay, or something to look up first.
    pub fn has_work(&self) -> bool {
        !self.is_free() || self.invoice.is_some() && !self.spent
    }

    /// A debt that another daemon may have tried to pay under these hashes: nothing is sent, asked
    /// for or accepted before lnd has told, or can't be reached by that daemon's sends any more.
    pub fn taken_over(
        owed_sats: u64,
        bolt11: Option<&str>,
        amountless: Amountless,
        tried: &[[u8; 32]],
        at: Timestamp,
    ) -> Self {
        let mut debt = Self::of(owed_sats);
        let invoice = bolt11.and_then(|text| Bolt11Invoice::from_str(text).ok());
        let expires_at = invoice.as_ref().and_then(|invoice| i64::try_from(invoice.expires_at()?.as_secs()).ok());
        let own_hash = invoice.as_ref().map(|invoice| *invoice.payment_hash().as_ref());
        // An invoice over another amount was never good: it is only looked up, under its hash.
        let fits = |invoice: &Bolt11Invoice| match invoice.amount_milli_satoshis() {
            Some(msat) => Some(msat) == owed_sats.checked_mul(1_000),
            None => amountless == Amountless::Allow,
        };
        let invoice = invoice.filter(fits);
        if let (Some(invoice), Some(hash), Some(expires_at)) = (&invoice, own_hash, expires_at) {
            debt.hashes.push(HashRecord::new(hash, expires_at));
            debt.invoice = Some(Invoice {
                bolt11: invoice.to_string(),
                hash: hex::encode(hash),
                payee: hex::encode(invoice.get_payee_pub_key().serialize()),
                amountless: invoice.amount_milli_satoshis().is_none(),
                expires_at,
            });
        }
        for hash in tried {
            let known = debt.hashes.iter_mut().find(|record| record.payment_hash == *hash);
            let begun = |record: HashRecord| record.begin_send(at.secs()).unwrap_or(record);
            match known {
                Some(record) => *record = begun(*record),
                // Its invoice is not known: it counts as over, so that only lnd's word can revive it.
                None => debt.hashes.push(begun(HashRecord::new(*hash, at.secs()))),
            }
        }
        debt
    }

    /// Takes a payment on that was made without an intent of this database: it is in doubt until
    /// lnd has told its end.
    pub fn adopt(&mut self, hash: [u8; 32], at: Timestamp) -> HashRecord {
        let known = self.hashes.iter().find(|record| record.payment_hash == hash);
        let record = known.copied().unwrap_or_else(|| HashRecord::new(hash, at.secs()));
        // lnd has it, whatever a person said.
        let record = HashRecord { denied: false, ..record };
        let record = record.begin_send(at.secs()).unwrap_or(record);
        self.hashes.retain(|record| record.payment_hash != hash);
        self.hashes.push(record);
        self.send_now = false;
        record
    }

    /// Whether there is a proof of payment, and it proves what it says.
    pub fn is_proven(&self) -> bool {
        self.paid.as_ref().is_some_and(|proof| {
            let (hash, preimage) = (secret32(&proof.hash), secret32(&proof.preimage));
            matches!((hash, preimage), (Some(hash), Some(preimage)) if Preimage(preimage).proves(&hash))
        })
    }

    /// Takes an invoice as the one to pay; the attempts count from zero.
    pub fn accept(&mut self, accepted: &AcceptedInvoice) {
        let invoice = Invoice {
            bolt11: accepted.bolt11.clone(),
            hash: hex::encode(accepted.payment_hash),
            payee: hex::encode(accepted.payee),
            amountless: accepted.amountless,
            expires_at: accepted.expires_at,
        };
        if !self.hashes.iter().any(|known| known.payment_hash == accepted.payment_hash) {
            self.hashes.push(HashRecord::new(accepted.payment_hash, accepted.expires_at));
        }
        (self.invoice, self.spent, self.attempts, self.send_now) = (Some(invoice), false, 0, false);
    }

    /// The record of the present invoice.
    pub fn record(&self) -> Option<&HashRecord> {
        let hash = &self.invoice.as_ref()?.hash;
        self.hashes.iter().find(|record| hex::encode(record.payment_hash) == *hash)
    }

    /// Replaces the record of a hash.
    pub fn keep(&mut self, record: HashRecord) {
        if let Some(known) = self.hashes.iter_mut().find(|known| known.payment_hash == record.payment_hash) {
            *known = record;
        }
    }

    /// The record that a look at lnd is about: the one without a verdict, if there is one, else
    /// the present invoice's.
    pub fn open_record(&self) -> Option<&HashRecord> {
        self.hashes.iter().find(|record| record.undecided.is_some()).or_else(|| self.record())
    }
}

/// A run's state that holds a [`Debt`].
pub trait Owing: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The workflow's name.
    const WORKFLOW: &'static str;
    /// The order that it is about.
    fn order_id(&self) -> &str;
    /// The debt.
    fn debt(&self) -> &Debt;
    /// The debt, to be changed.
    fn debt_mut(&mut self) -> &mut Debt;
    /// The state as the workflow's table shows it.
    fn project(&self, key: &str) -> Vec<RowWrite>;
    /// What follows when the present invoice can't be paid any more, besides asking for another.
    fn spent(&mut self, why: &str, now: Timestamp, effects: &mut Effects);
}
