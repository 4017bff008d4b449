//! The rows and traps of lnd's behaviour, seen through the daemon's own client over real TLS.

mod access;
mod faults;
mod invoices;
mod payments;

use super::*;
use std::sync::atomic::AtomicI64;
use tempfile::TempDir;
use tonic_lnd::Client;
use tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, LookupInvoiceMsg, SettleInvoiceMsg, SubscribeSingleInvoiceRequest,
    lookup_invoice_msg::InvoiceRef,
};
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{
    AddressType, GetInfoRequest, ListPaymentsRequest, NewAddressRequest, PayReqString, Payment,
    PaymentFailureReason as Why,
};
use tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use tonic_lnd::staterpc::{
    GetStateRequest, GetStateResponse, SubscribeStateRequest, SubscribeStateResponse, WalletState,
};
use tonic_lnd::tonic::codec::ProstCodec;
use tonic_lnd::tonic::codegen::http::uri::PathAndQuery;
use tonic_lnd::tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_lnd::tonic::{self, Code, Streaming};

/// 2026-01-31T12:00:00Z.
const NOON: i64 = 1_769_860_800;

struct Bench {
    lnd: StandIn,
    clock: Arc<AtomicI64>,
    folder: TempDir,
    client: Client,
    payee: Payee,
}

fn options(folder: &TempDir, clock: &Arc<AtomicI64>) -> StandInOptions {
    let clock = clock.clone();
    StandInOptions::new(folder.path(), Arc::new(move || clock.load(Ordering::SeqCst)))
}

async fn connect(lnd: &StandIn, macaroon: PathBuf) -> Client {
    // A second installation is refused, and the first one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tonic_lnd::connect(lnd.address(), lnd.cert_path(), macaroon).await.unwrap()
}

impl Bench {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StandInOptions)) -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), Arc::new(AtomicI64::new(NOON)));
        let mut options = options(&folder, &clock);
        change(&mut options);
        let lnd = StandIn::start(options).await.unwrap();
        let client = connect(&lnd, lnd.macaroon_path()).await;
        let payee = Payee::of(&lnd.node, "bob");
        Self { lnd, clock, folder, client, payee }
    }

    async fn client_with(&self, macaroon: &Macaroon) -> Client {
        let file = self.folder.path().join("narrow.macaroon");
        std::fs::write(&file, macaroon.to_bytes()).unwrap();
        connect(&self.lnd, file).await
    }

    fn admin(&self) -> Macaroon {
        Macaroon::from_bytes(&std::fs::read(self.lnd.macaroon_path()).unwrap()).unwrap()
    }

    async fn add_hold(&mut self, preimage: [u8; 32]) -> Result<[u8; 32], tonic::Status> {
        let hash = Hash32::of(&preimage).0;
        let request = AddHoldInvoiceRequest { hash: hash.to_vec(), value: 1000, ..Default::default() };
        self.client.invoices().add_hold_invoice(request).await.map(|_| hash)
    }

    async fn settle(&mut self, preimage: &[u8]) -> Result<(), tonic::Status> {
        let request = SettleInvoiceMsg { preimage: preimage.to_vec() };
        self.client.invoices().settle_invoice(request).await.map(drop)
    }

    async fn cancel(&mut self, hash: &[u8]) -> Result<(), tonic::Status> {
        let request = CancelInvoiceMsg { payment_hash: hash.to_vec() };
        self.client.invoices().cancel_invoice(request).await.map(drop)
    }

    async fn lookup(&mut self, hash: [u8; 32]) -> Result<InvoiceState, tonic::Status> {
        let invoice_ref = Some(InvoiceRef::PaymentHash(hash.to_vec()));
        let request = LookupInvoiceMsg { invoice_ref, ..Default::default() };
        Ok(self.client.invoices().lookup_invoice_v2(request).await?.into_inner().state())
    }

    /// An invoice of the payee, with its hash.
    fn invoice(&self, spec: InvoiceSpec) -> (String, [u8; 32]) {
        let bolt11 = self.payee.invoice(5000, spec);
        let hash = payment_hash(&bolt11);
        (bolt11, hash)
    }

    async fn send(&mut self, bolt11: &str) -> Result<Streaming<Payment>, tonic::Status> {
        self.send_as(request(bolt11)).await
    }

    async fn send_as(&mut self, request: SendPaymentRequest) -> Result<Streaming<Payment>, tonic::Status> {
        Ok(self.client.router().send_payment_v2(request).await?.into_inner())
    }

    async fn refusal(&mut self, request: SendPaymentRequest) -> (Code, String) {
        shown(self.send_as(request).await.unwrap_err())
    }

    /// The end of a payment that this call sends.
    async fn pay(&mut self, bolt11: &str) -> Payment {
        let stream = self.send(bolt11).await.unwrap();
        all(stream).await.pop().unwrap()
    }

    async fn track(&mut self, hash: &[u8]) -> Result<Streaming<Payment>, tonic::Status> {
        let request = TrackPaymentRequest { payment_hash: hash.to_vec(), no_inflight_updates: false };
        Ok(self.client.router().track_payment_v2(request).await?.into_inner())
    }

    /// How lnd shows the payment now.
    async fn shown(&mut self, hash: [u8; 32]) -> Payment {
        self.track(&hash).await.unwrap().message().await.unwrap().unwrap()
    }
}

fn request(bolt11: &str) -> SendPaymentRequest {
    SendPaymentRequest {
        payment_request: bolt11.to_owned(),
        fee_limit_sat: 50,
        cltv_limit: 500,
        timeout_seconds: 60,
        ..Default::default()
    }
}

async fn all(mut stream: Streaming<Payment>) -> Vec<Payment> {
    let mut updates = Vec::new();
    while let Some(update) = stream.message().await.unwrap() {
        updates.push(update);
    }
    updates
}

fn shown(status: tonic::Status) -> (Code, String) {
    (status.code(), status.message().to_owned())
}

fn unknown<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> String {
    let (code, text) = shown(result.unwrap_err());
    assert_eq!(code, Code::Unknown, "{text}");
    text
}
