//! The node's own invoices: `invoicesrpc.Invoices`, and what the bonded party does to a hold invoice.

use super::bolt11::{self, Draft};
use super::hash::Hash32;
use super::ledger::InvoiceCall;
use super::node::{Node, State};
use super::own_invoice::{OwnInvoice, Standing};
use tokio::sync::mpsc::UnboundedReceiver;
use tonic_lnd::invoicesrpc::lookup_invoice_msg::InvoiceRef;
use tonic_lnd::invoicesrpc::{AddHoldInvoiceRequest, AddHoldInvoiceResp, LookupInvoiceMsg};
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::lnrpc::{Invoice, PaymentHash};
use tonic_lnd::tonic::Status;

/// `invoicesrpc.DefaultInvoiceExpiry`, seconds.
const DEFAULT_EXPIRY: i64 = 86_400;
/// `chainreg.DefaultBitcoinTimeLockDelta`.
const DEFAULT_CLTV: u64 = 80;
/// `routing.MinCLTVDelta`.
const MIN_CLTV: u64 = 18;
/// `lnwire.RouteBlindingOptional`, which lnd sets on its invoices.
const ROUTE_BLINDING: usize = 25;
/// `routing.BlockPadding`: what a payer adds to the final CLTV.
const BLOCK_PADDING: u32 = 3;

/// `lntypes.MakeHash` and `MakePreimage`: `what` is `hash` or `preimage`.
pub(super) fn make_32(what: &str, bytes: &[u8]) -> Result<Hash32, Status> {
    let wrong = |_| Status::unknown(format!("invalid {what} length of {}, want 32", bytes.len()));
    <[u8; 32]>::try_from(bytes).map(Hash32).map_err(wrong)
}

fn call<T>(hash: Hash32, outcome: &Result<T, Status>) -> InvoiceCall {
    InvoiceCall { hash, refusal: outcome.as_ref().err().map(|status| status.message().to_owned()) }
}

impl Node {
    /// The node's own invoices as of now.
    fn invoices<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.update(|state| {
            state.cancel_near_expiry((self.now)());
            act(state)
        })
    }

    /// The bonded party pays this open invoice: it becomes accepted. False if it is not open.
    pub fn accept(&self, hash: impl Into<Hash32>) -> bool {
        let (hash, at) = (hash.into(), (self.now)());
        self.invoices(|state| {
            let height = state.height;
            let open = state.invoices.get(&hash).filter(|invoice| invoice.standing == Standing::Open);
            let Some(invoice) = open else { return false };
            let htlc_expiry = height + invoice.cltv_expiry as u32 + BLOCK_PADDING;
            state.put(hash, Standing::Accepted { height, htlc_expiry, at });
            true
        })
    }

    /// Issues a hold invoice of this preimage and has it paid: its HTLC is locked in.
    pub fn lock_in(&self, preimage: [u8; 32], sat: u64) -> Hash32 {
        let hash = Hash32::of(&preimage);
        let value = i64::try_from(sat).unwrap_or(i64::MAX);
        let request = AddHoldInvoiceRequest { hash: hash.0.to_vec(), value, cltv_expiry: 144, ..Default::default() };
        if self.add_hold_invoice(request).is_ok() {
            self.accept(hash);
        }
        hash
    }

    /// How an own invoice stands, as lnd would tell.
    pub fn invoice_state(&self, hash: impl Into<Hash32>) -> Option<InvoiceState> {
        let hash = hash.into();
        self.invoices(|state| Some(state.invoices.get(&hash)?.rpc(hash).state()))
    }

    pub(super) fn settle_invoice(&self, preimage: &[u8]) -> Result<(), Status> {
        let preimage = make_32("preimage", preimage)?;
        self.invoices(|state| {
            let outcome = state.settle(preimage, (self.now)());
            state.ledger.settles.push(call(Hash32::of(&preimage.0), &outcome));
            outcome
        })
    }

    pub(super) fn cancel_invoice(&self, hash: &[u8]) -> Result<(), Status> {
        let hash = make_32("hash", hash)?;
        self.invoices(|state| {
            let outcome = state.cancel(hash);
            state.ledger.cancels.push(call(hash, &outcome));
            outcome
        })
    }

    pub(super) fn add_hold_invoice(&self, request: AddHoldInvoiceRequest) -> Result<AddHoldInvoiceResp, Status> {
        let hash = make_32("hash", &request.hash)?;
        let amount_msat = amount_msat(request.value, request.value_msat)?;
        if request.cltv_expiry != 0 && request.cltv_expiry < MIN_CLTV {
            let text = format!("CLTV delta of {} must be greater than minimum of {MIN_CLTV}", request.cltv_expiry);
            return Err(Status::unknown(text));
        }
        let cltv_expiry = if request.cltv_expiry == 0 { DEFAULT_CLTV } else { request.cltv_expiry };
        let expiry = if request.expiry > 0 { request.expiry } else { DEFAULT_EXPIRY };
        let created_at = (self.now)();
        self.invoices(|state| {
            if state.invoices.contains_key(&hash) {
                return Err(Status::unknown("invoice with payment hash already exists"));
            }
            let payment_addr = self.draw(state);
            let draft = Draft {
                network: self.network.clone(),
                hash,
                payment_addr,
                amount_msat: Some(amount_msat).filter(|amount| *amount > 0),
                created_at,
                expiry: expiry as u64,
                min_final_cltv: cltv_expiry,
                description: request.memo.clone(),
                feature_bits: vec![ROUTE_BLINDING],
            };
            let bolt11 = bolt11::sign(draft, &self.key)?;
            let add_index = state.invoices.len() as u64 + 1;
            let invoice = OwnInvoice {
                bolt11: bolt11.clone(),
                memo: request.memo,
                payment_addr,
                amount_msat,
                created_at,
                expiry,
                cltv_expiry,
                add_index,
                standing: Standing::Open,
            };
            state.invoices.insert(hash, invoice);
            state.put(hash, Standing::Open);
            Ok(AddHoldInvoiceResp { payment_request: bolt11, add_index, payment_addr: payment_addr.0.to_vec() })
        })
    }

    pub(super) fn lookup_invoice_v2(&self, request: &LookupInvoiceMsg) -> Result<Invoice, Status> {
        let wanted = match &request.invoice_ref {
            Some(InvoiceRef::PaymentHash(hash)) => make_32("hash", hash).map_err(|status| {
                Status::invalid_argument(format!("unable to parse pay hash: {}", status.message()))
            })?,
            Some(InvoiceRef::PaymentAddr(addr)) => self
                .read(|state| state.invoices.iter().find(|(_, at)| at.payment_addr.0 == **addr).map(|(hash, _)| *hash))
                .unwrap_or(Hash32([0; 32])),
            Some(InvoiceRef::SetId(_)) => Hash32([0; 32]),
            None => return Err(Status::invalid_argument("invoice ref must be set")),
        };
        self.find(wanted).map_err(|text| match text {
            VIRGIN => Status::unknown(text),
            _ => Status::not_found(text),
        })
    }

    pub(super) fn lookup_invoice(&self, request: &PaymentHash) -> Result<Invoice, Status> {
        #[allow(deprecated, reason = "lnd still reads the field")]
        let bytes = match request.r_hash_str.as_str() {
            "" => request.r_hash.clone(),
            text => hex::decode(text).map_err(|error| Status::unknown(format!("encoding/hex: {error}")))?,
        };
        let hash = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
            Status::unknown(format!("payment hash must be exactly 32 bytes, is instead {}", bytes.len()))
        })?;
        self.find(Hash32(hash)).map_err(Status::not_found)
    }

    fn find(&self, hash: Hash32) -> Result<Invoice, &'static str> {
        self.invoices(|state| match state.invoices.get(&hash) {
            Some(invoice) => Ok(invoice.rpc(hash)),
            None if state.invoices.is_empty() => Err(VIRGIN),
            None => Err("unable to locate invoice"),
        })
    }

    pub(super) fn follow_invoice(&self, hash: &[u8]) -> Result<UnboundedReceiver<Result<Invoice, Status>>, Status> {
        let hash = make_32("hash", hash)?;
        self.invoices(|state| {
            let known = state.invoices.get(&hash);
            let last = known.is_some_and(OwnInvoice::is_final);
            let first = known.map(|invoice| invoice.rpc(hash));
            Ok(state.invoice_watchers.follow(hash, first, last))
        })
    }
}

const VIRGIN: &str = "there are no existing invoices";

/// `lnrpc.UnmarshallAmt`.
pub(super) fn amount_msat(sat: i64, msat: i64) -> Result<u64, Status> {
    match (sat, msat) {
        (sat, msat) if sat != 0 && msat != 0 => Err(Status::unknown("sat and msat arguments are mutually exclusive")),
        (sat, msat) if sat < 0 || msat < 0 => Err(Status::unknown("amount cannot be negative")),
        (0, msat) => Ok(msat as u64),
        (sat, _) => Ok(sat as u64 * 1000),
    }
}
