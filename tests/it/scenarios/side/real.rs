//! Four real nodes: the slashed party, the node under test, a router and the winner.
//!
//! They go by the machine's clock, whatever the daemon's shows.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bondflow::engine::{Clock, SystemClock};
use bondflow::sandbox::lnd::{Fault, Gate, payment_hash};
use tokio::task::JoinHandle;
use tonic_lnd::invoicesrpc::AddHoldInvoiceRequest;
use tonic_lnd::lnrpc::htlc_attempt::HtlcStatus;
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{ListPaymentsRequest, Payment, PaymentFailureReason};
use tonic_lnd::routerrpc::TrackPaymentsRequest;

use super::{Access, Fate, Footprint, Side};
use crate::contract::bed::{Ask, Bed as _, Invoice, hash_of};
use crate::contract::calls::{Lnd, PAUSE};
use crate::contract::macaroons::documented;
use crate::contract::real::RealBed;

const DAY_SECS: u64 = 86_400;
/// A payee waits two minutes for the rest of a payment in parts; with something to spare.
const PARTS_WAIT: Duration = Duration::from_secs(240);

/// The payments that lnd began: hash in hexadecimal, and index. Another send makes another index.
type Begun = HashSet<(String, u64)>;

/// The nodes, to themselves for one scenario.
pub struct RealSide {
    bed: RealBed,
    /// The daemon's: lnd's certificate, and a macaroon with the least permissions.
    access: Access,
    gate: Gate,
    clock: Arc<dyn Clock>,
    /// What the winner can decide about.
    held: Mutex<HashMap<[u8; 32], Invoice>>,
    /// The hold invoices of the node.
    own: Mutex<Vec<[u8; 32]>>,
    /// The last payment of the scenario before.
    last_index: u64,
    begun: Arc<Mutex<Begun>>,
    following: JoinHandle<()>,
}

impl Drop for RealSide {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// Writes down every payment that lnd begins or resumes, for as long as it runs and when it is back.
async fn follow(node: Access, begun: Arc<Mutex<Begun>>) {
    loop {
        let lnd = Lnd::at(&node).await;
        if let Ok(answer) = lnd.client().router().track_payments(TrackPaymentsRequest::default()).await {
            let mut payments = answer.into_inner();
            while let Ok(Some(payment)) = payments.message().await {
                begun.lock().unwrap().insert((payment.payment_hash, payment.payment_index));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The two files as an operator would give them to a daemon: the macaroon is what `docs/operations.md` has baked.
async fn daemons_own(bed: &RealBed, folder: &Path) -> Access {
    std::fs::create_dir_all(folder).unwrap();
    let (certificate, macaroon) = (folder.join("tls.cert"), folder.join("bondflow.macaroon"));
    std::fs::copy(bed.node().certificate, &certificate).unwrap();
    std::fs::write(&macaroon, bed.bake(&documented()).await.to_bytes()).unwrap();
    Access { address: bed.node().address, certificate, macaroon }
}

impl RealSide {
    async fn node(&self) -> Lnd {
        Lnd::at(&self.bed.node()).await
    }

    /// The payments of this scenario that lnd knows, the last of each hash.
    async fn payments(&self) -> Vec<Payment> {
        let index_offset = self.last_index;
        let message = ListPaymentsRequest { include_incomplete: true, index_offset, ..ListPaymentsRequest::default() };
        self.node().await.client().lightning().list_payments(message).await.unwrap().into_inner().payments
    }

    /// All that were begun in this scenario.
    async fn all_begun(&self) -> Begun {
        let listed = self.payments().await.into_iter().map(|payment| (payment.payment_hash, payment.payment_index));
        let mut begun = self.begun.lock().unwrap();
        begun.extend(listed);
        begun.iter().filter(|(_, index)| *index > self.last_index).cloned().collect()
    }

    async fn own_that_are(&self, wanted: InvoiceState) -> usize {
        let node = self.node().await;
        let own = self.own.lock().unwrap().clone();
        let mut count = 0;
        for hash in own {
            count += usize::from(node.look_up(&hash).await.unwrap().state() == wanted);
        }
        count
    }

    fn held(&self, hash: [u8; 32]) -> Invoice {
        self.held.lock().unwrap()[&hash].clone()
    }
}

impl Side for RealSide {
    type Winner = ();

    async fn open(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        let bed = RealBed::open().await;
        let access = daemons_own(&bed, folder).await;
        let gate = Gate::open(&folder.join("gate"), &access.address, &access.certificate).await.unwrap();
        let last = ListPaymentsRequest {
            include_incomplete: true,
            reversed: true,
            max_payments: 1,
            ..ListPaymentsRequest::default()
        };
        let node = Lnd::at(&bed.node()).await;
        let last_index = node.client().lightning().list_payments(last).await.unwrap().into_inner().last_index_offset;
        let begun = Arc::default();
        let following = tokio::spawn(follow(bed.node(), Arc::clone(&begun)));
        Self { bed, access, gate, clock, held: Mutex::default(), own: Mutex::default(), last_index, begun, following }
    }

    fn winner(&self) {}

    fn access(&self) -> Access {
        self.access.clone()
    }

    fn faulty_access(&self) -> Access {
        Access { address: self.gate.address(), certificate: self.gate.cert_path(), ..self.access() }
    }

    fn inject(&self, method: &str, fault: Fault, times: u32) {
        self.gate.inject(method, fault, times);
    }

    fn clear_faults(&self) {
        self.gate.clear_faults();
    }

    async fn identity(&self) -> String {
        self.node().await.info().await.unwrap().identity_pubkey
    }

    async fn locks_in(&self, preimage: [u8; 32], sats: u64) {
        let hash = hash_of(preimage);
        let (value, expiry) = (i64::try_from(sats).unwrap(), DAY_SECS as i64);
        let message = AddHoldInvoiceRequest { hash: hash.to_vec(), value, expiry, ..AddHoldInvoiceRequest::default() };
        let bolt11 = self.node().await.add_hold(message).await.unwrap();
        self.own.lock().unwrap().push(hash);
        self.bed.slashed_pays(&Invoice { bolt11, hash, preimage }).await;
    }

    async fn invoice(&self, sats: u64, fate: Fate) -> String {
        // For a daemon whose clock was moved ahead too, it lasts for a day.
        let ahead = self.clock.now().secs().saturating_sub(SystemClock.now().secs());
        let expiry = Duration::from_secs(DAY_SECS + u64::try_from(ahead).unwrap_or(0));
        match fate {
            Fate::Unroutable => return self.bed.invoice_of_a_stranger(sats, expiry).await,
            Fate::InParts => self.bed.narrow_the_way(sats * 7 / 10).await,
            Fate::Paid | Fate::Held | Fate::Rejected => {}
        }
        let hold = fate == Fate::Held;
        let invoice = self.bed.invoice(Ask { amount_sat: Some(sats), expiry, hold, ..Ask::default() }).await;
        if fate == Fate::Rejected {
            self.bed.winner_cancels(&invoice).await;
        }
        assert_eq!(payment_hash(&invoice.bolt11), invoice.hash);
        self.held.lock().unwrap().insert(invoice.hash, invoice.clone());
        invoice.bolt11
    }

    async fn is_held(&self, hash: [u8; 32]) {
        self.bed.winner_holds(&self.held(hash)).await;
    }

    async fn claims(&self, hash: [u8; 32]) {
        self.bed.winner_settles(&self.held(hash)).await;
    }

    async fn gives_back(&self, hash: [u8; 32]) {
        self.bed.winner_cancels(&self.held(hash)).await;
    }

    async fn shows_reason(&self, _: [u8; 32]) {}

    async fn holds_parts(&self, hash: [u8; 32]) {
        let no_way = |payment: &Payment| payment.failure_reason() == PaymentFailureReason::FailureReasonNoRoute;
        let stuck = self.node().await.until_payment(&hash, no_way).await;
        assert_eq!(stuck.status(), PaymentStatus::InFlight, "{stuck:?}");
        let held = stuck.htlcs.iter().filter(|htlc| htlc.status() == HtlcStatus::InFlight).count();
        assert!(held > 0, "{stuck:?}");
    }

    async fn gives_parts_back(&self, hash: [u8; 32]) {
        let gone = async {
            let mut payments = self.node().await.follow_payment(&hash).await.unwrap();
            while let Some(payment) = payments.message().await.unwrap() {
                if payment.status() == PaymentStatus::Failed {
                    return;
                }
            }
            panic!("the payment ends otherwise");
        };
        tokio::time::timeout(PARTS_WAIT, gone).await.expect("the payee does not wait for ever");
        self.bed.widen_the_way().await;
    }

    async fn times_paid(&self, hash: [u8; 32]) -> u32 {
        self.bed.times_paid(hash).await
    }

    async fn sends_of(&self, hash: [u8; 32]) -> usize {
        self.payments_of(hash).await
    }

    async fn payments_of(&self, hash: [u8; 32]) -> usize {
        let hash = hex::encode(hash);
        self.all_begun().await.iter().filter(|(of, _)| *of == hash).count()
    }

    async fn settled(&self) -> usize {
        self.own_that_are(InvoiceState::Settled).await
    }

    async fn stands(&self, preimage: [u8; 32]) -> InvoiceState {
        self.node().await.look_up(&hash_of(preimage)).await.unwrap().state()
    }

    async fn footprint(&self) -> Footprint {
        let paid = self.payments().await.into_iter().filter(|payment| payment.status() == PaymentStatus::Succeeded);
        Footprint {
            sends: self.all_begun().await.len(),
            settles: self.settled().await,
            cancels: self.own_that_are(InvoiceState::Canceled).await,
            paid_msat: paid.map(|payment| u64::try_from(payment.value_msat).unwrap()).sum(),
        }
    }

    async fn mine(&self, blocks: u32) {
        self.bed.mine(blocks).await;
    }

    async fn kill(&self) {
        self.bed.kill().await;
    }

    async fn shut_down(&self) {
        // A locked wallet serves no call that could ask for it.
        if self.node().await.info().await.is_ok() {
            self.bed.shut_down().await;
        } else {
            self.bed.kill().await;
        }
    }

    async fn lock(&self) {
        self.bed.lock().await;
    }

    async fn serves(&self) {
        self.bed.kill().await;
        self.bed.start().await;
        self.bed.serves().await;
    }
}
