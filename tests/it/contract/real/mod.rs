//! Real lnd nodes as a bed of the contract.
//!
//! They are started once and shared by all rows, one row at a time.

mod chain;
mod foreign;
mod network;
mod peer;
mod process;

use std::io::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::{Clock as _, SystemClock, Timestamp};
use bondflow::lnd::errors::{Meaning, meaning};
use bondflow::lnd::macaroon::Macaroon;
use bondflow::sandbox::lnd::payment_hash;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tonic_lnd::invoicesrpc::AddHoldInvoiceRequest;
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::lnrpc::{
    self, BakeMacaroonRequest, DeleteAllPaymentsRequest, DeleteMacaroonIdRequest, MacaroonPermission, StopRequest,
};

use super::bed::{Access, Ask, Bed, Invoice, hash_of, secret};
use super::calls::{PAUSE, paying, within};
use network::{NARROW_SAT, Network};

/// lnd's own, under which `admin.macaroon` is baked: it can't be deleted.
const DEFAULT_ROOT_KEY: u64 = 0;
/// Any other.
const REVOCABLE_ROOT_KEY: u64 = 7;

/// A network that could not be stood up stays that: the other rows say so at once.
static NETWORK: OnceCell<Result<Mutex<Network>, String>> = OnceCell::const_new();

/// The node under test among real nodes, to itself for one row.
pub struct RealBed(MutexGuard<'static, Network>);

impl RealBed {
    /// # Panics
    /// When `LND_BIN` does not name the binaries, or the nodes don't stand.
    pub async fn open() -> Self {
        let stand_up = || async {
            let since = tokio::time::Instant::now();
            let network = Network::stand_up().await.map_err(|error| format!("{error:#}"))?;
            // Past libtest, which keeps what a row prints.
            writeln!(std::io::stderr(), "contract: real nodes ready in {:.1} s", since.elapsed().as_secs_f32())
                .map_err(|error| error.to_string())?;
            Ok(Mutex::new(network))
        };
        let network = match NETWORK.get_or_init(stand_up).await {
            Ok(network) => network.lock().await,
            Err(why) => panic!("no real nodes: {why}"),
        };
        network.restore().await.unwrap();
        Self(network)
    }
}

impl RealBed {
    async fn bake_under(&self, root_key_id: u64, calls: &[&str]) -> Macaroon {
        let uri = |call: &&str| MacaroonPermission { entity: "uri".to_owned(), action: (*call).to_owned() };
        let permissions = calls.iter().map(uri).collect();
        let message = BakeMacaroonRequest { permissions, root_key_id, ..BakeMacaroonRequest::default() };
        let node = self.0.node.client().await;
        let baked = node.client().lightning().bake_macaroon(message).await.unwrap().into_inner().macaroon;
        Macaroon::from_bytes(&hex::decode(baked).unwrap()).unwrap()
    }

    /// An invoice that nothing is wrong with, of a node that can't be reached.
    pub async fn invoice_of_a_stranger(&self, sats: u64, expiry: Duration) -> String {
        let winner = self.0.winner.identity().await.unwrap();
        foreign::invoice_behind(&winner, self.now(), sats, expiry, &[])
    }

    /// Leaves about so many sats that can go from the router to the winner.
    pub async fn narrow_the_way(&self, sats: u64) {
        self.0.narrow_the_way(i64::try_from(sats).unwrap()).await.unwrap();
    }

    /// Undoes it.
    pub async fn widen_the_way(&self) {
        self.0.restore().await.unwrap();
    }

    /// How often the winner was paid what an invoice asks for; zero for an invoice of somebody else.
    pub async fn times_paid(&self, hash: [u8; 32]) -> u32 {
        match self.0.winner.client().await.look_up(&hash).await {
            Ok(invoice) if invoice.state() == InvoiceState::Settled => {
                u32::try_from(invoice.amt_paid_msat / invoice.value_msat).unwrap()
            }
            // One that was held and given back still shows what was held.
            Ok(_) => 0,
            Err(status) => {
                assert!(matches!(meaning(&status), Meaning::Refused(_)), "{status:?}");
                0
            }
        }
    }
}

#[async_trait]
impl Bed for RealBed {
    fn node(&self) -> Access {
        self.0.node.access()
    }

    fn virgin(&self) -> Access {
        self.0.router.access()
    }

    async fn invoice(&self, ask: Ask) -> Invoice {
        let winner = self.0.winner.client().await;
        let (value, expiry) = (ask.amount_sat.unwrap_or(0) as i64, ask.expiry.as_secs() as i64);
        if ask.hold {
            let cltv_expiry = ask.final_cltv;
            let message = AddHoldInvoiceRequest { value, expiry, cltv_expiry, ..AddHoldInvoiceRequest::default() };
            return winner.hold_invoice_with(message).await;
        }
        let preimage = secret();
        let (r_preimage, cltv_expiry) = (preimage.to_vec(), ask.final_cltv);
        let message = lnrpc::Invoice { r_preimage, value, expiry, cltv_expiry, ..lnrpc::Invoice::default() };
        let bolt11 = winner.client().lightning().add_invoice(message).await.unwrap().into_inner().payment_request;
        Invoice { bolt11, hash: hash_of(preimage), preimage }
    }

    async fn amp_invoice(&self) -> String {
        let message = lnrpc::Invoice { value: 5_000, is_amp: true, ..lnrpc::Invoice::default() };
        let winner = self.0.winner.client().await;
        winner.client().lightning().add_invoice(message).await.unwrap().into_inner().payment_request
    }

    async fn invoice_with_features(&self, bits: &[usize]) -> String {
        let winner = self.0.winner.identity().await.unwrap();
        foreign::invoice_behind(&winner, self.now(), 5_000, Ask::default().expiry, bits)
    }

    async fn narrow_invoice(&self) -> Invoice {
        let message = AddHoldInvoiceRequest { value: NARROW_SAT + 500_000, ..AddHoldInvoiceRequest::default() };
        self.0.slashed.client().await.hold_invoice_with(message).await
    }

    async fn rest_finds_no_route(&self, _: &Invoice) {}

    async fn winner_holds(&self, invoice: &Invoice) {
        self.0.winner.client().await.until_invoice(&invoice.hash, InvoiceState::Accepted).await;
    }

    async fn winner_settles(&self, invoice: &Invoice) {
        self.winner_holds(invoice).await;
        self.0.winner.client().await.settle(&invoice.preimage).await.unwrap();
    }

    async fn winner_cancels(&self, invoice: &Invoice) {
        self.0.winner.client().await.cancel(&invoice.hash).await.unwrap();
    }

    async fn slashed_pays(&self, invoice: &Invoice) {
        assert_eq!(payment_hash(&invoice.bolt11), invoice.hash);
        let (slashed, node) = (self.0.slashed.client().await, self.0.node.client().await);
        let payment = slashed.pay(paying(&invoice.bolt11));
        tokio::select! {
            () = node.until_invoice(&invoice.hash, InvoiceState::Accepted) => {}
            end = payment => panic!("the slashed party's payment ends: {end:?}"),
        }
    }

    async fn mine(&self, blocks: u32) {
        self.0.mine(blocks).await.unwrap();
    }

    async fn kill(&self) {
        self.0.node.kill().unwrap();
    }

    async fn start(&self) {
        self.0.node.start(&self.0.chain, true).unwrap();
        self.0.node.listens().await.unwrap();
    }

    async fn shut_down(&self) {
        self.0.node.client().await.client().lightning().stop_daemon(StopRequest {}).await.unwrap();
        within("the end of lnd", async {
            while self.0.node.runs() {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }

    async fn lock(&self) {
        self.kill().await;
        // Without the flag that opens it by itself, the wallet waits for a password.
        self.0.node.start(&self.0.chain, false).unwrap();
        self.0.node.listens().await.unwrap();
    }

    async fn unlock(&self) {
        self.kill().await;
        self.start().await;
    }

    async fn serves(&self) {
        self.0.settled().await.unwrap();
    }

    async fn hang(&self) {
        self.0.node.signal("STOP").await.unwrap();
    }

    async fn wake(&self) {
        self.0.node.signal("CONT").await.unwrap();
    }

    async fn renew_certificate(&self) {
        self.kill().await;
        self.0.node.drop_certificate().unwrap();
        self.start().await;
        self.serves().await;
    }

    async fn syncing(&self) -> Access {
        self.0.start_late().await.unwrap()
    }

    async fn sync(&self) {
        self.0.late_syncs().await.unwrap();
    }

    async fn wipe_payments(&self) {
        let all = DeleteAllPaymentsRequest { all_payments: true, ..DeleteAllPaymentsRequest::default() };
        self.0.node.client().await.client().lightning().delete_all_payments(all).await.unwrap();
    }

    async fn bake(&self, calls: &[&str]) -> Macaroon {
        self.bake_under(DEFAULT_ROOT_KEY, calls).await
    }

    async fn bake_revocable(&self, calls: &[&str]) -> Macaroon {
        self.bake_under(REVOCABLE_ROOT_KEY, calls).await
    }

    async fn revoke(&self) {
        let message = DeleteMacaroonIdRequest { root_key_id: REVOCABLE_ROOT_KEY };
        let node = self.0.node.client().await;
        let revoked = node.client().lightning().delete_macaroon_id(message).await.unwrap().into_inner();
        assert!(revoked.deleted);
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
