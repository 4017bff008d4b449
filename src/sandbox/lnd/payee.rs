//! The other nodes: they issue invoices with real preimages and treat the HTLCs as their script says.

use super::bolt11::{self, Draft};
use super::hash::Hash32;
use super::ledger::Reason;
use super::node::{Node, State};
use lightning_invoice::Currency;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a payment to a payee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Behaviour {
    /// Paid, `after` the HTLC was locked, over a route that costs `fee_sat`.
    Pay { fee_sat: u64, after: Duration },
    /// The HTLC stays locked until `Node::release` or `Node::fail`.
    Hold { fee_sat: u64 },
    /// lnd knows the payment, but no HTLC goes out, until `Node::fail`.
    Initiated,
    /// It fails. With `IncorrectPaymentDetails` an HTLC reached the payee first.
    Fail(Reason),
}

impl Behaviour {
    /// Paid at once by a direct neighbour.
    pub const PAY: Self = Self::Pay { fee_sat: 0, after: Duration::ZERO };
    /// Held by a direct neighbour.
    pub const HOLD: Self = Self::Hold { fee_sat: 0 };
    /// No route, also within all limits.
    pub const UNROUTABLE: Self = Self::Fail(Reason::NoRoute);
    /// The payee rejects the HTLC: final for the invoice.
    pub const INCORRECT_DETAILS: Self = Self::Fail(Reason::IncorrectPaymentDetails);
    /// The node's channels hold too little.
    pub const INSUFFICIENT_BALANCE: Self = Self::Fail(Reason::InsufficientBalance);
    /// No attempt got through within `timeout_seconds`; reported at once.
    pub const TIMEOUT: Self = Self::Fail(Reason::Timeout);
}

/// How a payee's invoice differs from a plain one that lasts an hour from now.
#[derive(Debug, Clone)]
pub struct InvoiceSpec {
    /// Seconds.
    pub expiry: u64,
    /// Blocks.
    pub min_final_cltv: u64,
    /// The payee decides later: payments are held unless a script says otherwise.
    pub hold: bool,
    /// Names the preimage; a fresh one by default.
    pub preimage: Option<[u8; 32]>,
    /// The invoice names no amount, so the payer must.
    pub amountless: bool,
    /// Feature bits on top of TLV onion, payment address and optional MPP, below 256.
    pub feature_bits: Vec<usize>,
    /// Another network than the node's.
    pub network: Option<Currency>,
    /// Unix seconds; now by default.
    pub created_at: Option<i64>,
    /// The memo that payers see.
    pub description: String,
}

impl Default for InvoiceSpec {
    fn default() -> Self {
        Self {
            expiry: 3600,
            min_final_cltv: 80,
            hold: false,
            preimage: None,
            amountless: false,
            feature_bits: Vec::new(),
            network: None,
            created_at: None,
            description: "payout".to_owned(),
        }
    }
}

/// How a payee's invoice stands at the payee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    Open,
    Held { amount_msat: u64, fee_msat: u64, pays_by_itself: bool },
    Paid,
    Canceled,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PayeeInvoice {
    pub preimage: Hash32,
    pub amount_msat: u64,
    pub hold: bool,
    pub standing: Standing,
    pub script: VecDeque<Behaviour>,
}

/// What is stored of a payee.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PayeeState {
    /// Blocks that the route adds to the final CLTV.
    pub route_cltv: u64,
    pub script: VecDeque<Behaviour>,
    pub always: Option<Behaviour>,
    pub invoices: BTreeMap<Hash32, PayeeInvoice>,
}

impl PayeeState {
    /// What this payment meets: the hash's script, then the payee's, then its habit.
    pub(super) fn next_behaviour(&mut self, hash: Hash32) -> Behaviour {
        let invoice = self.invoices.get_mut(&hash);
        let hold = invoice.as_ref().is_some_and(|invoice| invoice.hold);
        let scripted = invoice.and_then(|invoice| invoice.script.pop_front());
        let habit = if hold { Behaviour::HOLD } else { self.always.unwrap_or(Behaviour::PAY) };
        scripted.or_else(|| self.script.pop_front()).unwrap_or(habit)
    }
}

impl State {
    pub(super) fn payee_invoice(&mut self, hash: Hash32) -> Option<&mut PayeeInvoice> {
        self.payees.values_mut().find_map(|payee| payee.invoices.get_mut(&hash))
    }
}

/// A handle on another node.
#[derive(Clone)]
pub struct Payee {
    node: Arc<Node>,
    name: String,
}

impl Payee {
    /// The payee of this name; a new one pays at once, over a free direct channel.
    pub fn of(node: &Arc<Node>, name: &str) -> Self {
        node.update(|state| {
            state.payees.entry(name.to_owned()).or_default();
        });
        Self { node: node.clone(), name: name.to_owned() }
    }

    fn update<T>(&self, change: impl FnOnce(&mut PayeeState) -> T) -> T {
        self.node.update(|state| change(state.payees.entry(self.name.clone()).or_default()))
    }

    /// The payee's public key in hexadecimal.
    pub fn identity(&self) -> String {
        bolt11::public_key(&self.node.payee_key(&self.name)).to_string()
    }

    /// Issues a BOLT 11 invoice for `amount_sat`.
    ///
    /// # Panics
    /// If the spec makes no valid invoice.
    pub fn invoice(&self, amount_sat: u64, spec: InvoiceSpec) -> String {
        let preimage = match spec.preimage {
            Some(preimage) => Hash32(preimage),
            None => self.node.update(|state| self.node.draw(state)),
        };
        let hash = Hash32::of(&preimage.0);
        let draft = Draft {
            network: spec.network.unwrap_or(self.node.network.clone()),
            hash,
            payment_addr: self.node.update(|state| self.node.draw(state)),
            amount_msat: Some(amount_sat * 1000).filter(|_| !spec.amountless),
            created_at: spec.created_at.unwrap_or_else(|| (self.node.now)()),
            expiry: spec.expiry,
            min_final_cltv: spec.min_final_cltv,
            description: spec.description,
            feature_bits: spec.feature_bits,
        };
        let bolt11 = bolt11::sign(draft, &self.node.payee_key(&self.name)).expect("the spec makes a valid invoice");
        let invoice = PayeeInvoice {
            preimage,
            amount_msat: amount_sat * 1000,
            hold: spec.hold,
            standing: Standing::Open,
            script: VecDeque::new(),
        };
        self.update(|payee| payee.invoices.insert(hash, invoice));
        bolt11
    }

    /// The next `times` payments to this payee, unless the hash has a script of its own.
    pub fn next(&self, behaviour: Behaviour, times: usize) {
        self.update(|payee| payee.script.extend(std::iter::repeat_n(behaviour, times)));
    }

    /// The next `times` payments of this hash.
    ///
    /// # Panics
    /// If this payee issued no such invoice.
    pub fn next_of(&self, hash: impl Into<Hash32>, behaviour: Behaviour, times: usize) {
        let hash = hash.into();
        self.update(|payee| {
            let invoice = payee.invoices.get_mut(&hash).expect("the payee issued this invoice");
            invoice.script.extend(std::iter::repeat_n(behaviour, times));
        });
    }

    /// What happens once the scripts are used up.
    pub fn always(&self, behaviour: Behaviour) {
        self.update(|payee| payee.always = Some(behaviour));
    }

    /// How many blocks the route to this payee adds to the final CLTV.
    pub fn set_route_cltv(&self, blocks: u64) {
        self.update(|payee| payee.route_cltv = blocks);
    }

    /// The payee cancels an invoice that nobody has paid yet.
    pub fn cancel(&self, hash: impl Into<Hash32>) {
        let hash = hash.into();
        self.update(|payee| {
            if let Some(invoice) = payee.invoices.get_mut(&hash)
                && invoice.standing == Standing::Open
            {
                invoice.standing = Standing::Canceled;
            }
        });
    }

    /// The preimage of an invoice of this payee.
    pub fn preimage(&self, hash: impl Into<Hash32>) -> Option<[u8; 32]> {
        let hash = hash.into();
        self.update(|payee| Some(payee.invoices.get(&hash)?.preimage.0))
    }
}

/// The payment hash of any invoice.
///
/// # Panics
/// If `bolt11` is no invoice.
pub fn payment_hash(bolt11: &str) -> [u8; 32] {
    let signed: lightning_invoice::SignedRawBolt11Invoice = bolt11.parse().expect("an invoice");
    let hash = signed.raw_invoice().payment_hash().expect("an invoice names its hash").0;
    *nostr_sdk::hashes::Hash::as_byte_array(&hash)
}
