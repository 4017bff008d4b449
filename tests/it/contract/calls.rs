//! The calls of the contract, as the daemon's client types make them, and how a row states what comes of one.

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bondflow::lnd::errors::{Meaning, Refusal, meaning};
use bondflow::lnd::macaroon::Macaroon;
use tempfile::TempDir;
use tonic_lnd::Client;
use tonic_lnd::invoicesrpc::lookup_invoice_msg::InvoiceRef;
use tonic_lnd::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, LookupInvoiceMsg, SettleInvoiceMsg, SubscribeSingleInvoiceRequest,
};
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{self, GetInfoRequest, GetInfoResponse, Payment};
use tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use tonic_lnd::tonic::{Code, Status, Streaming};

use super::bed::{Access, Invoice, hash_of, secret};

/// How long a row waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a row listens to make sure that nothing comes.
pub const SILENCE: Duration = Duration::from_millis(500);

/// Waits for what must come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// lnd refuses: the call, its gRPC code, what its text contains, and what the adapter takes that for.
#[track_caller]
pub fn refused<T>(call: &str, answer: Result<T, Status>, code: Code, text: &str, means: Refusal) {
    answers(call, answer, code, text, &Meaning::Refused(means));
}

/// As [`refused`], for any error.
#[track_caller]
pub fn answers<T>(call: &str, answer: Result<T, Status>, code: Code, text: &str, means: &Meaning) {
    let Err(status) = answer else { panic!("{call} is taken, not answered {code:?} `{text}`") };
    assert_eq!(status.code(), code, "{call}: {status:?}");
    assert!(status.message().contains(text), "{call}: `{}` does not contain `{text}`", status.message());
    assert_eq!(meaning(&status), *means, "{call}: the adapter reads `{}`", status.message());
}

/// A send that nothing speaks against.
pub fn paying(bolt11: &str) -> SendPaymentRequest {
    SendPaymentRequest {
        payment_request: bolt11.to_owned(),
        fee_limit_sat: 20,
        cltv_limit: 1_008,
        timeout_seconds: 30,
        ..SendPaymentRequest::default()
    }
}

/// A client of one node.
#[derive(Clone)]
pub struct Lnd(Client);

impl Lnd {
    /// Under the macaroon that may do everything.
    pub async fn at(access: &Access) -> Self {
        Self::open(access, access.macaroon.clone()).await.unwrap()
    }

    /// Under this macaroon.
    pub async fn under(access: &Access, macaroon: &Macaroon) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("macaroon");
        std::fs::write(&file, macaroon.to_bytes()).unwrap();
        Self::open(access, file).await.unwrap()
    }

    /// Fails only if a file is missing: nothing is connected yet.
    pub async fn open(access: &Access, macaroon: PathBuf) -> Result<Self, tonic_lnd::ConnectError> {
        // A second installation is refused, and the first one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tonic_lnd::connect(access.address.clone(), access.certificate.clone(), macaroon).await.map(Self)
    }

    /// For calls that only one row makes.
    pub fn client(&self) -> Client {
        self.0.clone()
    }

    pub async fn settle(&self, preimage: &[u8]) -> Result<(), Status> {
        let message = SettleInvoiceMsg { preimage: preimage.to_vec() };
        self.client().invoices().settle_invoice(message).await.map(drop)
    }

    pub async fn cancel(&self, hash: &[u8]) -> Result<(), Status> {
        let message = CancelInvoiceMsg { payment_hash: hash.to_vec() };
        self.client().invoices().cancel_invoice(message).await.map(drop)
    }

    pub async fn add_hold(&self, message: AddHoldInvoiceRequest) -> Result<String, Status> {
        let added = self.client().invoices().add_hold_invoice(message).await?;
        Ok(added.into_inner().payment_request)
    }

    /// A hold invoice over 1000 sats.
    pub async fn hold_invoice(&self) -> Invoice {
        self.hold_invoice_with(AddHoldInvoiceRequest { value: 1_000, ..AddHoldInvoiceRequest::default() }).await
    }

    /// A hold invoice of that kind, under a hash of its own.
    pub async fn hold_invoice_with(&self, message: AddHoldInvoiceRequest) -> Invoice {
        let preimage = secret();
        let hash = hash_of(preimage);
        let bolt11 = self.add_hold(AddHoldInvoiceRequest { hash: hash.to_vec(), ..message }).await.unwrap();
        Invoice { bolt11, hash, preimage }
    }

    pub async fn look_up(&self, hash: &[u8]) -> Result<lnrpc::Invoice, Status> {
        let invoice_ref = Some(InvoiceRef::PaymentHash(hash.to_vec()));
        let message = LookupInvoiceMsg { invoice_ref, ..LookupInvoiceMsg::default() };
        self.client().invoices().lookup_invoice_v2(message).await.map(|answer| answer.into_inner())
    }

    pub async fn follow_invoice(&self, hash: &[u8]) -> Result<Streaming<lnrpc::Invoice>, Status> {
        let message = SubscribeSingleInvoiceRequest { r_hash: hash.to_vec() };
        self.client().invoices().subscribe_single_invoice(message).await.map(|answer| answer.into_inner())
    }

    /// Waits until an invoice is in a state.
    pub async fn until_invoice(&self, hash: &[u8], wanted: InvoiceState) {
        within(&format!("an invoice that is {wanted:?}"), async {
            let mut states = self.follow_invoice(hash).await.unwrap();
            while let Some(invoice) = states.message().await.unwrap() {
                if invoice.state() == wanted {
                    return;
                }
            }
            panic!("the invoice ends otherwise than {wanted:?}");
        })
        .await;
    }

    pub async fn send(&self, message: SendPaymentRequest) -> Result<Streaming<Payment>, Status> {
        self.client().router().send_payment_v2(message).await.map(|answer| answer.into_inner())
    }

    pub async fn follow_payment(&self, hash: &[u8]) -> Result<Streaming<Payment>, Status> {
        let message = TrackPaymentRequest { payment_hash: hash.to_vec(), no_inflight_updates: false };
        self.client().router().track_payment_v2(message).await.map(|answer| answer.into_inner())
    }

    /// The payment as it is now.
    pub async fn track(&self, hash: &[u8]) -> Result<Payment, Status> {
        Ok(self.follow_payment(hash).await?.message().await?.expect("a stream of a known payment begins with it"))
    }

    async fn followed(&self, hash: &[u8], wanted: &impl Fn(&Payment) -> bool) -> Result<Payment, Status> {
        let mut payments = self.follow_payment(hash).await?;
        while let Some(payment) = payments.message().await? {
            if wanted(&payment) {
                return Ok(payment);
            }
        }
        panic!("the payment ends otherwise");
    }

    /// Waits until the payment, which may be about to begin, is as wanted.
    pub async fn until_payment(&self, hash: &[u8], wanted: impl Fn(&Payment) -> bool) -> Payment {
        within("a payment as wanted", async {
            loop {
                match self.followed(hash, &wanted).await {
                    Ok(payment) => return payment,
                    Err(status) if status.code() == Code::NotFound => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(status) => panic!("{status}"),
                }
            }
        })
        .await
    }

    /// Sends, and waits until an HTLC is on its way.
    pub async fn send_htlc(&self, invoice: &Invoice) {
        self.send(paying(&invoice.bolt11)).await.unwrap();
        self.until_payment(&invoice.hash, |payment| !payment.htlcs.is_empty()).await;
    }

    /// Sends, and waits for the end.
    pub async fn pay(&self, message: SendPaymentRequest) -> Payment {
        all(self.send(message).await.unwrap()).await.pop().expect("a payment's stream ends with its end")
    }

    pub async fn info(&self) -> Result<GetInfoResponse, Status> {
        self.client().lightning().get_info(GetInfoRequest {}).await.map(|answer| answer.into_inner())
    }
}

/// A stream up to its end.
pub async fn all<T: Debug>(mut stream: Streaming<T>) -> Vec<T> {
    within("the end of a stream", async {
        let mut items = Vec::new();
        while let Some(item) = stream.message().await.unwrap() {
            items.push(item);
        }
        items
    })
    .await
}

/// Whether a payment is under way.
pub fn in_flight(payment: &Payment) -> bool {
    payment.status() == PaymentStatus::InFlight
}

/// Waits until a node serves.
pub async fn serves(access: &Access) {
    within("a node that serves", async {
        loop {
            if let Ok(lnd) = Lnd::open(access, access.macaroon.clone()).await
                && lnd.info().await.is_ok()
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Between two looks at a process that tells nobody what becomes of it.
pub const PAUSE: Duration = Duration::from_millis(20);
