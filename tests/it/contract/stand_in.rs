//! The stand-in as a bed of the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::Timestamp;
use bondflow::lnd::macaroon::Macaroon;
use bondflow::sandbox::lnd::{Behaviour, Fault, InvoiceSpec, Payee, Reason, StandIn, StandInOptions, payment_hash};
use tempfile::TempDir;
use tonic_lnd::staterpc::WalletState;

use super::bed::{Access, Ask, Bed, Invoice, MORE_THAN_THE_NODE_HAS, ROUTER_CLTV, hash_of, secret};

/// 2026-01-31T12:00:00Z.
const NOON: i64 = 1_769_860_800;
/// What lnd's router takes for a small payment by default, sats.
const ROUTING_FEE: u64 = 1;
/// How long the node is "starting" after a start.
const STARTING: Duration = Duration::from_millis(100);

/// A stand-in with a winner behind a router.
pub struct StandInBed {
    lnd: StandIn,
    virgin: StandIn,
    winner: Payee,
    clock: Arc<AtomicI64>,
    _folders: [TempDir; 2],
}

impl StandInBed {
    pub async fn open() -> Self {
        let clock = Arc::new(AtomicI64::new(NOON));
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let options = |folder: &TempDir| {
            let now = Arc::clone(&clock);
            StandInOptions::new(folder.path(), Arc::new(move || now.load(Ordering::SeqCst)))
        };
        let lnd = StandIn::start(StandInOptions {
            spendable_sat: MORE_THAN_THE_NODE_HAS - 5_000_000,
            ..options(&folders[0])
        });
        let virgin = StandIn::start(StandInOptions { name: "virgin".to_owned(), ..options(&folders[1]) });
        let (lnd, virgin) = (lnd.await.unwrap(), virgin.await.unwrap());
        let winner = Payee::of(&lnd.node, "winner");
        winner.set_route_cltv(ROUTER_CLTV);
        winner.always(Behaviour::Pay { fee_sat: ROUTING_FEE, after: Duration::ZERO });
        Self { lnd, virgin, winner, clock, _folders: folders }
    }

    fn invoice_as(&self, amount_sat: u64, spec: InvoiceSpec) -> Invoice {
        let preimage = secret();
        let hold = spec.hold;
        let bolt11 = self.winner.invoice(amount_sat, InvoiceSpec { preimage: Some(preimage), ..spec });
        let hash = hash_of(preimage);
        assert_eq!(payment_hash(&bolt11), hash);
        if hold {
            self.winner.next_of(hash, Behaviour::Hold { fee_sat: ROUTING_FEE }, 10);
        }
        Invoice { bolt11, hash, preimage }
    }
}

fn uris(calls: &[&str]) -> Vec<String> {
    calls.iter().map(|call| format!("uri:{call}")).collect()
}

fn access(lnd: &StandIn) -> Access {
    Access { address: lnd.address(), certificate: lnd.cert_path(), macaroon: lnd.macaroon_path() }
}

#[async_trait]
impl Bed for StandInBed {
    fn node(&self) -> Access {
        access(&self.lnd)
    }

    fn virgin(&self) -> Access {
        access(&self.virgin)
    }

    async fn invoice(&self, ask: Ask) -> Invoice {
        let spec = InvoiceSpec {
            expiry: ask.expiry.as_secs(),
            min_final_cltv: ask.final_cltv,
            hold: ask.hold,
            amountless: ask.amount_sat.is_none(),
            ..InvoiceSpec::default()
        };
        self.invoice_as(ask.amount_sat.unwrap_or(0), spec)
    }

    async fn amp_invoice(&self) -> String {
        self.invoice_with_features(&[30]).await
    }

    async fn invoice_with_features(&self, bits: &[usize]) -> String {
        self.invoice_as(5_000, InvoiceSpec { feature_bits: bits.to_vec(), ..InvoiceSpec::default() }).bolt11
    }

    async fn narrow_invoice(&self) -> Invoice {
        self.invoice(Ask::hold()).await
    }

    async fn rest_finds_no_route(&self, invoice: &Invoice) {
        self.lnd.node.wait_for_htlc(invoice.hash).await;
        self.lnd.node.show_reason(invoice.hash, Reason::NoRoute);
    }

    async fn winner_holds(&self, invoice: &Invoice) {
        self.lnd.node.wait_for_htlc(invoice.hash).await;
    }

    async fn winner_settles(&self, invoice: &Invoice) {
        self.winner_holds(invoice).await;
        assert!(self.lnd.node.release(invoice.hash), "the winner holds a payment");
    }

    async fn winner_cancels(&self, invoice: &Invoice) {
        if !self.lnd.node.fail(invoice.hash) {
            self.winner.cancel(invoice.hash);
        }
    }

    async fn slashed_pays(&self, invoice: &Invoice) {
        assert!(self.lnd.node.accept(invoice.hash), "the invoice is open");
    }

    async fn mine(&self, blocks: u32) {
        self.lnd.node.mine(blocks);
    }

    async fn kill(&self) {
        self.lnd.stop().await;
    }

    async fn start(&self) {
        self.lnd.node.set_wallet(WalletState::Unlocked);
        self.lnd.restart().await.unwrap();
        let node = Arc::clone(&self.lnd.node);
        tokio::spawn(async move {
            tokio::time::sleep(STARTING).await;
            node.set_wallet(WalletState::ServerActive);
        });
    }

    async fn shut_down(&self) {
        self.lnd.shutdown().await;
    }

    async fn lock(&self) {
        self.lnd.stop().await;
        self.lnd.node.set_wallet(WalletState::Locked);
        self.lnd.restart().await.unwrap();
    }

    async fn unlock(&self) {
        self.lnd.node.set_wallet(WalletState::ServerActive);
    }

    async fn serves(&self) {
        super::calls::serves(&self.node()).await;
    }

    async fn hang(&self) {
        self.lnd.node.inject("*", Fault::Stall, u32::MAX);
    }

    async fn wake(&self) {
        self.lnd.node.clear_faults();
    }

    async fn renew_certificate(&self) {
        self.lnd.stop().await;
        self.lnd.expire_certificate().unwrap();
        self.lnd.restart().await.unwrap();
    }

    async fn syncing(&self) -> Access {
        self.virgin.node.set_wallet(WalletState::RpcActive);
        self.virgin.node.set_synced(false);
        self.virgin()
    }

    async fn sync(&self) {
        self.virgin.node.set_synced(true);
        self.virgin.node.set_wallet(WalletState::ServerActive);
    }

    async fn wipe_payments(&self) {
        self.lnd.node.wipe_payments();
    }

    async fn bake(&self, calls: &[&str]) -> Macaroon {
        self.lnd.bake(&uris(calls))
    }

    async fn bake_revocable(&self, calls: &[&str]) -> Macaroon {
        self.lnd.bake_revocable(&uris(calls))
    }

    async fn revoke(&self) {
        self.lnd.revoke();
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.clock.load(Ordering::SeqCst))
    }

    async fn pass(&self, time: Duration) {
        let secs = i64::try_from(time.as_secs()).unwrap();
        self.clock.fetch_add(secs, Ordering::SeqCst);
    }
}
