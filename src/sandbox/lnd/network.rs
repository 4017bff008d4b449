//! What the network and the payee make of a payment, from the first HTLC to its end.

use super::bolt11;
use super::hash::Hash32;
use super::ledger::{Reason, Status};
use super::node::{Node, State};
use super::payee::{Behaviour, Standing};
use super::payments::Intent;
use nostr_sdk::secp256k1::SecretKey;
use std::sync::Arc;
use std::time::Duration;

/// `routing.BlockPadding`.
const BLOCK_PADDING: u64 = 3;

/// What is left to do after an HTLC was offered.
enum Offered {
    /// The payee claims it after this time.
    Claim(Duration),
    /// Nothing happens by itself any more.
    Done,
}

impl State {
    /// Sends out the HTLC if a route fits, and lets the payee's script decide.
    fn offer(&mut self, intent: &Intent, payee: Option<String>) -> Offered {
        let hash = intent.invoice.hash;
        let Some(payee) = payee.and_then(|name| self.payees.get_mut(&name)) else {
            return self.end(hash, Reason::NoRoute);
        };
        if intent.invoice.feature_bits.iter().any(|bit| bit % 2 == 0 && bolt11::feature_name(*bit).is_none()) {
            return self.end(hash, Reason::NoRoute);
        }
        let behaviour = payee.next_behaviour(hash);
        let route_cltv = intent.invoice.min_final_cltv + BLOCK_PADDING + payee.route_cltv;
        let (fee_msat, after) = match behaviour {
            Behaviour::Initiated => return Offered::Done,
            Behaviour::Fail(Reason::IncorrectPaymentDetails) => (0, None),
            Behaviour::Fail(reason) => return self.end(hash, reason),
            Behaviour::Pay { fee_sat, after } => (fee_sat * 1000, Some(after)),
            Behaviour::Hold { fee_sat } => (fee_sat * 1000, None),
        };
        if fee_msat > intent.fee_limit_msat || route_cltv > intent.cltv_limit {
            return self.end(hash, Reason::NoRoute);
        }
        if intent.amount_msat + fee_msat > self.spendable_msat {
            return self.end(hash, Reason::InsufficientBalance);
        }
        self.lock_htlc(hash, fee_msat);
        let known = self
            .payee_invoice(hash)
            .filter(|invoice| invoice.standing == Standing::Open && intent.amount_msat >= invoice.amount_msat);
        match known {
            Some(invoice) if !matches!(behaviour, Behaviour::Fail(_)) => {
                let pays_by_itself = after.is_some();
                invoice.standing = Standing::Held { amount_msat: intent.amount_msat, fee_msat, pays_by_itself };
                self.spendable_msat -= intent.amount_msat + fee_msat;
                after.map_or(Offered::Done, Offered::Claim)
            }
            _ => self.end(hash, Reason::IncorrectPaymentDetails),
        }
    }

    fn lock_htlc(&mut self, hash: Hash32, fee_msat: u64) {
        if let Some(attempt) = self.ledger.payment_mut(hash) {
            attempt.status = Status::InFlight;
            attempt.has_htlc = true;
            attempt.fee_msat = fee_msat;
        }
        self.tell_payment(hash);
    }

    /// Ends a payment as failed; a failed HTLC first shows its reason while still in flight, as in lnd.
    fn end(&mut self, hash: Hash32, reason: Reason) -> Offered {
        let Some(attempt) = self.ledger.payment_mut(hash) else {
            return Offered::Done;
        };
        if attempt.is_final() {
            return Offered::Done;
        }
        attempt.reason = reason;
        if attempt.has_htlc {
            self.tell_payment(hash);
        }
        if let Some(attempt) = self.ledger.payment_mut(hash) {
            attempt.status = Status::Failed;
        }
        self.tell_payment(hash);
        Offered::Done
    }

    fn claim(&mut self, hash: Hash32) -> bool {
        let Some(invoice) = self.payee_invoice(hash) else {
            return false;
        };
        let Standing::Held { amount_msat, fee_msat, .. } = invoice.standing else {
            return false;
        };
        invoice.standing = Standing::Paid;
        let preimage = invoice.preimage;
        *self.ledger.paid.entry(hash).or_default() += 1;
        self.ledger.spent_msat += amount_msat;
        self.ledger.fees_msat += fee_msat;
        if let Some(attempt) = self.ledger.payment_mut(hash).filter(|attempt| !attempt.is_final()) {
            attempt.status = Status::Succeeded;
            attempt.preimage = Some(preimage);
            self.tell_payment(hash);
        }
        true
    }

    /// The payee gives back what it holds; this is how its invoice stands afterwards.
    fn give_back(&mut self, hash: Hash32, leaves: Standing) -> bool {
        let mut gave_back = false;
        if let Some(invoice) = self.payee_invoice(hash)
            && let Standing::Held { amount_msat, fee_msat, .. } = invoice.standing
        {
            invoice.standing = leaves;
            self.spendable_msat += amount_msat + fee_msat;
            gave_back = true;
        }
        if let Some(attempt) = self.ledger.payment(hash).filter(|attempt| !attempt.is_final()) {
            let reason = match attempt.reason {
                // After a restart the session is empty, so that what never left finds no route.
                Reason::None if attempt.resumed && !attempt.has_htlc => Reason::NoRoute,
                Reason::None => Reason::IncorrectPaymentDetails,
                shown => shown,
            };
            self.end(hash, reason);
            gave_back = true;
        }
        gave_back
    }
}

impl Node {
    pub(super) fn payee_key(&self, name: &str) -> SecretKey {
        bolt11::key(&format!("{} payee {name}", self.identity()))
    }

    /// Routes a payment that lnd has taken.
    pub(super) async fn route(self: Arc<Self>, intent: Intent) {
        let hash = intent.invoice.hash;
        let names: Vec<String> = self.read(|state| state.payees.keys().cloned().collect());
        let payee = names.into_iter().find(|name| bolt11::public_key(&self.payee_key(name)) == intent.invoice.payee);
        match self.update(|state| state.offer(&intent, payee)) {
            Offered::Done => {}
            Offered::Claim(Duration::ZERO) => drop(self.release(hash)),
            Offered::Claim(after) => {
                tokio::time::sleep(after).await;
                self.release(hash);
            }
        }
    }

    /// The payee claims a held HTLC. False if it holds none.
    pub fn release(&self, hash: impl Into<Hash32>) -> bool {
        let hash = hash.into();
        self.update(|state| state.claim(hash))
    }

    /// The payee gives a held HTLC back for good. False if the payment is not in flight.
    pub fn fail(&self, hash: impl Into<Hash32>) -> bool {
        let hash = hash.into();
        self.update(|state| state.give_back(hash, Standing::Canceled))
    }

    /// The payee holds parts of a payment and waits for the rest no longer: the parts go back, and the invoice can
    /// still be paid. False if the payment is not in flight.
    pub fn give_parts_back(&self, hash: impl Into<Hash32>) -> bool {
        let hash = hash.into();
        self.update(|state| state.give_back(hash, Standing::Open))
    }

    /// Shows a failure reason on a payment that stays in flight: lnd does so for a payment in parts of which
    /// some found no route, and once `timeout_seconds` have passed.
    pub fn show_reason(&self, hash: impl Into<Hash32>, reason: Reason) {
        let hash = hash.into();
        self.update(|state| {
            if let Some(attempt) = state.ledger.payment_mut(hash) {
                attempt.reason = reason;
            }
            state.tell_payment(hash);
        });
    }

    /// Lets payees claim what they were about to claim when the process was killed.
    pub(super) fn claim_left_over(&self) {
        let about_to = |state: &State| -> Vec<Hash32> {
            let invoices = state.payees.values().flat_map(|payee| &payee.invoices);
            invoices
                .filter(|(_, invoice)| matches!(invoice.standing, Standing::Held { pays_by_itself: true, .. }))
                .map(|(hash, _)| *hash)
                .collect()
        };
        for hash in self.read(about_to) {
            self.release(hash);
        }
    }
}
