//! [`Lightning`] over lnd's gRPC.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use futures_util::future::BoxFuture;
use tonic_lnd::invoicesrpc::lookup_invoice_msg::InvoiceRef;
use tonic_lnd::invoicesrpc::{CancelInvoiceMsg, LookupInvoiceMsg, SettleInvoiceMsg};
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::lnrpc::{
    GetInfoRequest, GetInfoResponse, Invoice, InvoiceHtlcState, ListPaymentsRequest, ListPaymentsResponse, Payment,
};
use tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use tonic_lnd::tonic::{Status, Streaming};

use super::channel::{CALL_TIMEOUT, Lnd};
use super::connect::BadAddress;
use super::errors::{Meaning, Outage, Refusal, line, meaning};
use super::{payment, watch};
use crate::engine::Timestamp;
use crate::payout::policy::verdict::{self, Observation};
use crate::payout::ports::{Hash, HoldAnswer, HoldState, Lightning, Made, NodeInfo, Send, Unavailable};

/// How many payments are asked for at a time.
const PAGE: u64 = 100;
const NANOS: i64 = 1_000_000_000;

/// lnd at an address. Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct Node {
    pub(super) lnd: Lnd,
}

impl Node {
    /// lnd at `https://HOST:PORT`, which must hold the certificate of that file; calls go under the macaroon of that
    /// file. Nothing is connected nor read yet. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the address is of another form.
    pub fn new(address: &str, certificate: PathBuf, macaroon: PathBuf) -> Result<Self, BadAddress> {
        Self::with_deadline(address, certificate, macaroon, CALL_TIMEOUT)
    }

    /// As [`new`](Self::new), with another deadline for each call.
    ///
    /// # Errors
    /// When the address is of another form.
    pub fn with_deadline(
        address: &str,
        certificate: PathBuf,
        macaroon: PathBuf,
        deadline: Duration,
    ) -> Result<Self, BadAddress> {
        Lnd::new(address, certificate, macaroon, deadline).map(|lnd| Self { lnd })
    }

    async fn settle_invoice(&self, preimage: [u8; 32]) -> Result<(), Status> {
        let request = self.lnd.request(SettleInvoiceMsg { preimage: preimage.to_vec() }).await?;
        self.lnd.answer(self.lnd.invoices().settle_invoice(request)).await.map(drop)
    }

    async fn cancel_invoice(&self, hash: Hash) -> Result<(), Status> {
        let request = self.lnd.request(CancelInvoiceMsg { payment_hash: hash.to_vec() }).await?;
        self.lnd.answer(self.lnd.invoices().cancel_invoice(request)).await.map(drop)
    }

    async fn look_up_invoice(&self, hash: Hash) -> Result<Invoice, Status> {
        let invoice_ref = Some(InvoiceRef::PaymentHash(hash.to_vec()));
        let request = self.lnd.request(LookupInvoiceMsg { invoice_ref, ..LookupInvoiceMsg::default() }).await?;
        self.lnd.answer(self.lnd.invoices().lookup_invoice_v2(request)).await
    }

    async fn send_payment(&self, send: &Send) -> Result<Option<Payment>, Status> {
        let time = last_second(send.valid_until).ok_or_else(|| Status::internal("a time limit that is no date"))?;
        let request = self.lnd.request_before(&time, payment_request(send)).await?;
        let (first, _stream) = self.lnd.first(self.lnd.router().send_payment_v2(request)).await?;
        Ok(first)
    }

    pub(super) async fn track_payment(&self, hash: Hash) -> Result<(Option<Payment>, Streaming<Payment>), Status> {
        // Without in-flight updates lnd says nothing, not even in headers, until the payment is over.
        let message = TrackPaymentRequest { payment_hash: hash.to_vec(), no_inflight_updates: false };
        let request = self.lnd.request(message).await?;
        self.lnd.first(self.lnd.router().track_payment_v2(request)).await
    }

    /// At most so many payments before an index, newest last; index 0 asks for the newest of all.
    pub(super) async fn list_payments(&self, before: u64, most: u64) -> Result<ListPaymentsResponse, Status> {
        let message = ListPaymentsRequest {
            include_incomplete: true,
            index_offset: before,
            max_payments: most,
            reversed: true,
            ..ListPaymentsRequest::default()
        };
        let request = self.lnd.request(message).await?;
        self.lnd.answer(self.lnd.lightning().list_payments(request)).await
    }

    pub(super) async fn get_info(&self) -> Result<GetInfoResponse, Status> {
        let request = self.lnd.request(GetInfoRequest {}).await?;
        self.lnd.answer(self.lnd.lightning().get_info(request)).await
    }
}

#[async_trait]
impl Lightning for Node {
    async fn settle(&self, preimage: [u8; 32]) -> HoldAnswer {
        match self.settle_invoice(preimage).await {
            Ok(()) => HoldAnswer::Settled,
            Err(status) => hold_answer(&status),
        }
    }

    async fn cancel(&self, hash: Hash) -> HoldAnswer {
        match self.cancel_invoice(hash).await {
            Ok(()) => HoldAnswer::Canceled,
            Err(status) => hold_answer(&status),
        }
    }

    async fn hold_state(&self, hash: Hash) -> Result<HoldState, Unavailable> {
        match self.look_up_invoice(hash).await {
            Ok(invoice) => hold_state(&invoice, hash),
            Err(status) if meaning(&status) == Meaning::Refused(Refusal::UnknownInvoice) => Ok(HoldState::Unknown),
            Err(status) => Err(Unavailable(line(&status))),
        }
    }

    async fn send(&self, send: &Send) -> Observation {
        match self.send_payment(send).await {
            Ok(Some(shown)) => payment::observe(&shown, send.hash),
            Ok(None) => Observation::Silent,
            Err(status) => {
                tracing::warn!(hash = %hex::encode(send.hash), answer = %line(&status), "a send got no payment");
                after_send(&meaning(&status))
            }
        }
    }

    async fn track(&self, hash: Hash) -> Observation {
        match self.track_payment(hash).await {
            Ok((Some(shown), _stream)) => payment::observe(&shown, hash),
            Ok((None, _stream)) => Observation::Silent,
            Err(status) => {
                tracing::debug!(hash = %hex::encode(hash), answer = %line(&status), "tracking shows no payment");
                after_track(&meaning(&status))
            }
        }
    }

    fn watch(&self, hash: Hash, seen: bool) -> BoxFuture<'static, ()> {
        Box::pin(watch::watch(self.clone(), hash, seen))
    }

    async fn payments_since(&self, since: Timestamp) -> Result<Vec<Made>, Unavailable> {
        let mut made = Vec::new();
        let mut before = 0;
        loop {
            let page = self.list_payments(before, PAGE).await.map_err(|status| Unavailable(line(&status)))?;
            let old = |payment: &Payment| payment.creation_time_ns / NANOS < since.secs();
            made.extend(page.payments.iter().filter(|payment| !old(payment)).filter_map(payment::made));
            // Newest last, and the next page is the one before.
            if page.payments.first().is_none_or(old) {
                return Ok(made);
            }
            before = page.first_index_offset;
        }
    }

    async fn info(&self) -> Result<NodeInfo, Unavailable> {
        let info = self.get_info().await.map_err(|status| Unavailable(line(&status)))?;
        node_info(info).ok_or_else(|| Unavailable("lnd names no network".to_owned()))
    }
}

/// The caveat's time, cut to the second: lnd refuses from that second on.
fn last_second(valid_until: Timestamp) -> Option<String> {
    let time = DateTime::from_timestamp(valid_until.secs(), 0)?;
    Some(time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A fee limit and a limit on blocks always go with it: lnd takes an unset one for zero, and for 2016.
fn payment_request(send: &Send) -> SendPaymentRequest {
    SendPaymentRequest {
        payment_request: send.bolt11.clone(),
        amt: send.amount_sats.map_or(0, sats),
        fee_limit_sat: sats(send.fee_limit_sats),
        cltv_limit: i32::try_from(send.cltv_limit.max(1)).unwrap_or(i32::MAX),
        timeout_seconds: i32::try_from(send.timeout_secs.max(1)).unwrap_or(i32::MAX),
        allow_self_payment: false,
        amp: false,
        no_inflight_updates: false,
        ..SendPaymentRequest::default()
    }
}

/// lnd reckons in millisatoshis, unchecked: what exceeds all bitcoin there is would wrap around to something small.
fn sats(sats: u64) -> i64 {
    const ALL: i64 = 21_000_000 * 100_000_000;
    i64::try_from(sats).map_or(ALL, |sats| sats.min(ALL))
}

fn hold_answer(status: &Status) -> HoldAnswer {
    match meaning(status) {
        Meaning::Refused(Refusal::AlreadySettled) => HoldAnswer::Settled,
        Meaning::Refused(Refusal::AlreadyCanceled) => HoldAnswer::Canceled,
        Meaning::Refused(Refusal::StillOpen) => HoldAnswer::StillOpen,
        Meaning::Refused(Refusal::UnknownInvoice) => HoldAnswer::Unknown,
        Meaning::Refused(_) => HoldAnswer::Refused(line(status)),
        Meaning::Unavailable(_) | Meaning::InDoubt => HoldAnswer::Unavailable(line(status)),
    }
}

fn hold_state(invoice: &Invoice, hash: Hash) -> Result<HoldState, Unavailable> {
    if invoice.r_hash != hash {
        return Err(Unavailable("lnd shows another invoice than the one asked for".to_owned()));
    }
    match InvoiceState::try_from(invoice.state) {
        Ok(InvoiceState::Open) => Ok(HoldState::Open),
        Ok(InvoiceState::Settled) => Ok(HoldState::Settled),
        Ok(InvoiceState::Canceled) => Ok(HoldState::Canceled),
        Ok(InvoiceState::Accepted) => lowest_expiry(invoice)
            .map(|expiry_height| HoldState::Accepted { expiry_height })
            .ok_or_else(|| Unavailable("lnd shows an accepted invoice without its HTLCs".to_owned())),
        Err(_) => Err(Unavailable(format!("lnd shows an invoice in state {}", invoice.state))),
    }
}

fn lowest_expiry(invoice: &Invoice) -> Option<u32> {
    let accepted = invoice.htlcs.iter().filter(|htlc| htlc.state == InvoiceHtlcState::Accepted as i32);
    accepted.filter_map(|htlc| u32::try_from(htlc.expiry_height).ok()).min()
}

/// "Already exists" says that an earlier send arrived, and an outdated macaroon that this one came too late, or that
/// another of its copies did: neither says what became of the payment.
fn after_send(meaning: &Meaning) -> Observation {
    match meaning {
        Meaning::Refused(
            Refusal::InvoiceExpired | Refusal::SelfPayment | Refusal::CltvLimit | Refusal::WrongNetwork,
        ) => Observation::Refused(verdict::Refusal::Invoice),
        Meaning::Refused(
            Refusal::AmountNeeded
            | Refusal::AmountNotWanted
            | Refusal::CltvLimitTooHigh
            | Refusal::InvoiceKind
            | Refusal::Malformed,
        ) => Observation::Refused(verdict::Refusal::Other),
        Meaning::Refused(_) | Meaning::InDoubt | Meaning::Unavailable(Outage::MacaroonExpired) => Observation::Silent,
        Meaning::Unavailable(_) => Observation::Unavailable,
    }
}

fn after_track(meaning: &Meaning) -> Observation {
    match meaning {
        Meaning::Refused(Refusal::UnknownPayment) => Observation::NotFound,
        Meaning::Unavailable(_) => Observation::Unavailable,
        Meaning::Refused(_) | Meaning::InDoubt => Observation::Silent,
    }
}

pub(super) fn node_info(info: GetInfoResponse) -> Option<NodeInfo> {
    Some(NodeInfo {
        network: info.chains.into_iter().next()?.network,
        identity: info.identity_pubkey,
        alias: info.alias,
        version: info.version,
        synced_to_chain: info.synced_to_chain,
        block_height: info.block_height,
        best_block_time: info.best_header_timestamp,
    })
}

#[cfg(test)]
mod tests;
