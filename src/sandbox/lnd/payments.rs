//! The node's payments as its clients see them: `routerrpc.Router`, `ListPayments` and `DecodePayReq`.

use super::bolt11::{self, Decoded};
use super::hash::Hash32;
use super::invoices::{amount_msat, make_32};
use super::ledger::{Attempt, Reason, ReceivedSend, Status as PaymentState};
use super::node::{Node, State};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{ListPaymentsRequest, ListPaymentsResponse, PayReq, Payment};
use tonic_lnd::routerrpc::SendPaymentRequest;
use tonic_lnd::tonic::Status;

/// lnd's `--max-cltv-expiry`.
const MAX_CLTV: u32 = 2016;
/// `routing.BlockPadding`.
const BLOCK_PADDING: u64 = 3;
/// `paymentsdb.DefaultMaxPayments`.
const DEFAULT_MAX_PAYMENTS: u64 = 100;
/// `lnwire.AMPRequired` and `AMPOptional`.
const AMP_BITS: [u32; 2] = [30, 31];

/// A stream of one payment's updates.
pub(super) type Updates = UnboundedReceiver<Result<Payment, Status>>;

/// A send that lnd would try to route.
pub(super) struct Intent {
    pub invoice: Decoded,
    pub amount_msat: u64,
    pub fee_limit_msat: u64,
    pub cltv_limit: u64,
}

impl State {
    /// Tells the followers of a payment how it stands.
    pub(super) fn tell_payment(&mut self, hash: Hash32) {
        if let Some(attempt) = self.ledger.payment(hash) {
            let (update, last) = (attempt.rpc(hash), attempt.is_final());
            self.payment_watchers.tell(hash, update, last);
        }
    }

    fn follow_payment(&mut self, hash: Hash32) -> Result<Updates, Status> {
        let attempt = self.ledger.payment(hash).ok_or_else(|| Status::not_found("payment isn't initiated"))?;
        let (update, last) = (attempt.rpc(hash), attempt.is_final());
        Ok(self.payment_watchers.follow(hash, Some(update), last))
    }

    /// `InitPayment`: the index is drawn before the refusal, as in lnd.
    fn init_payment(&mut self, intent: &Intent, request: &str, now: i64) -> Result<u64, Status> {
        let hash = intent.invoice.hash;
        self.last_payment_index += 1;
        if let Some(known) = self.ledger.payment(hash) {
            let refused = |text: &str| Err(Status::already_exists(text));
            match known.status {
                PaymentState::Initiated => return refused("payment already exists"),
                PaymentState::InFlight => return refused("payment is in transition"),
                PaymentState::Succeeded => return refused("invoice is already paid"),
                PaymentState::Failed => {}
            }
        }
        self.ledger.attempts.entry(hash).or_default().push(Attempt {
            payment_index: self.last_payment_index,
            payment_request: request.to_owned(),
            amount_msat: intent.amount_msat,
            fee_msat: 0,
            created_at: now,
            status: PaymentState::Initiated,
            reason: Reason::None,
            has_htlc: false,
            preimage: None,
            resumed: false,
            forgotten: false,
        });
        Ok(self.last_payment_index)
    }
}

impl Node {
    /// `extractIntentFromSendRequest`, in lnd's order: expiry long before duplicates.
    fn intent(&self, request: &SendPaymentRequest) -> Result<Intent, Status> {
        let refused = |text: String| Err(Status::unknown(text));
        if !(-1.0..=1.0).contains(&request.time_pref) {
            return refused("time preference out of range".into());
        }
        let cltv_limit = match request.cltv_limit as u32 {
            0 => MAX_CLTV,
            limit if limit > MAX_CLTV => {
                return refused(format!("total time lock of {limit} exceeds max allowed {MAX_CLTV}"));
            }
            limit => limit,
        };
        let fee_limit_msat = amount_msat(request.fee_limit_sat, request.fee_limit_msat)?;
        let asked_msat = amount_msat(request.amt, request.amt_msat)?;
        if request.payment_request.is_empty() {
            return refused(format!("invalid vertex length of {}, want 33", request.dest.len()));
        }
        if !request.dest.is_empty() {
            return refused("dest and payment_request cannot appear together".into());
        }
        if !request.payment_hash.is_empty() {
            return refused("payment_hash and payment_request cannot appear together".into());
        }
        if request.final_cltv_delta != 0 {
            return refused("final_cltv_delta and payment_request cannot appear together".into());
        }
        let invoice = bolt11::decode(&request.payment_request, self.network.clone())?;
        let valid_until = invoice.created_at + invoice.expiry;
        if (self.now)() > valid_until {
            let until = chrono::DateTime::from_timestamp(valid_until, 0).unwrap_or_default();
            return refused(format!("invoice expired. Valid until {}", until.format("%Y-%m-%d %H:%M:%S +0000 UTC")));
        }
        if invoice.payment_addr.is_none() {
            return refused("payment request must contain either a payment address or blinded paths".into());
        }
        let amount_msat = match invoice.amount_msat {
            None if asked_msat == 0 => {
                return refused("amount must be specified when paying a zero amount invoice".into());
            }
            None => asked_msat,
            Some(_) if asked_msat != 0 => {
                return refused("amount must not be specified when paying a non-zero amount invoice".into());
            }
            Some(amount) => amount,
        };
        if invoice.feature_bits.iter().any(|bit| AMP_BITS.contains(bit)) && !request.amp {
            return refused("the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP invoice".into());
        }
        let padded = invoice.min_final_cltv + BLOCK_PADDING;
        if u64::from(cltv_limit) <= padded {
            return refused(format!("cltv limit {cltv_limit} should be greater than {padded}"));
        }
        if !request.allow_self_payment && invoice.payee == bolt11::public_key(&self.key) {
            return refused("self-payments not allowed".into());
        }
        Ok(Intent { invoice, amount_msat, fee_limit_msat, cltv_limit: cltv_limit.into() })
    }

    /// Takes a send, or refuses it, and lets the network act on it.
    pub(super) fn send_payment(
        self: &Arc<Self>,
        request: SendPaymentRequest,
        caveats: Vec<String>,
    ) -> Result<Updates, Status> {
        let (now, received_ms) = ((self.now)(), self.elapsed_ms());
        let intent = self.intent(&request);
        let read = bolt11::decode(&request.payment_request, self.network.clone()).ok();
        let asked_msat = amount_msat(request.amt, request.amt_msat).unwrap_or(0);
        let taken = self.update(|state| {
            let taken = intent.and_then(|intent| {
                let index = state.init_payment(&intent, &request.payment_request, now)?;
                Ok((state.follow_payment(intent.invoice.hash)?, index, intent))
            });
            state.ledger.sends.push(ReceivedSend {
                hash: read.as_ref().map(|invoice| invoice.hash),
                amount_msat: read.and_then(|invoice| invoice.amount_msat).unwrap_or(asked_msat),
                fee_limit_msat: amount_msat(request.fee_limit_sat, request.fee_limit_msat).unwrap_or(0),
                cltv_limit: request.cltv_limit as u32,
                timeout_seconds: request.timeout_seconds as u32,
                caveats,
                received_at: now,
                received_ms,
                outcome: taken.as_ref().map(|(_, index, _)| *index).map_err(|status| status.message().to_owned()),
            });
            taken
        });
        let (updates, _, intent) = taken?;
        tokio::spawn(self.clone().route(intent));
        Ok(updates)
    }

    pub(super) fn track_payment(&self, hash: &[u8]) -> Result<Updates, Status> {
        let hash = make_32("hash", hash)?;
        self.update(|state| state.follow_payment(hash))
    }

    pub(super) fn list_payments(&self, request: &ListPaymentsRequest) -> ListPaymentsResponse {
        let mut all: Vec<Payment> = self.read(|state| {
            let newest = |(hash, attempts): (&Hash32, &Vec<Attempt>)| {
                attempts.last().filter(|attempt| !attempt.forgotten).map(|attempt| attempt.rpc(*hash))
            };
            state.ledger.attempts.iter().filter_map(newest).collect()
        });
        all.sort_by_key(|payment| payment.payment_index);
        let total_num_payments = if request.count_total_payments { all.len() as u64 } else { 0 };
        let offset = request.index_offset;
        all.retain(|payment| {
            let created_at = (payment.creation_time_ns / 1_000_000_000) as u64;
            let in_page = match request.reversed {
                true => offset == 0 || payment.payment_index < offset,
                false => payment.payment_index > offset,
            };
            in_page
                && (request.include_incomplete || payment.status() == PaymentStatus::Succeeded)
                && created_at >= request.creation_date_start
                && (request.creation_date_end == 0 || created_at <= request.creation_date_end)
        });
        let most = if request.max_payments == 0 { DEFAULT_MAX_PAYMENTS } else { request.max_payments };
        let surplus = all.len().saturating_sub(most as usize);
        match request.reversed {
            true => drop(all.drain(..surplus)),
            false => all.truncate(most as usize),
        }
        ListPaymentsResponse {
            first_index_offset: all.first().map_or(0, |payment| payment.payment_index),
            last_index_offset: all.last().map_or(0, |payment| payment.payment_index),
            total_num_payments,
            payments: all,
        }
    }

    pub(super) fn decode_pay_req(&self, text: &str) -> Result<PayReq, Status> {
        let invoice = bolt11::decode(text, self.network.clone())?;
        let amount_msat = invoice.amount_msat.unwrap_or(0);
        Ok(PayReq {
            destination: invoice.payee.to_string(),
            payment_hash: invoice.hash.to_string(),
            num_satoshis: (amount_msat / 1000) as i64,
            num_msat: amount_msat as i64,
            timestamp: invoice.created_at,
            expiry: invoice.expiry,
            description: invoice.description,
            description_hash: invoice.description_hash.map(String::from).unwrap_or_default(),
            cltv_expiry: invoice.min_final_cltv as i64,
            payment_addr: invoice.payment_addr.unwrap_or(Hash32([0; 32])).0.to_vec(),
            features: bolt11::features(&invoice.feature_bits),
            ..Default::default()
        })
    }
}
