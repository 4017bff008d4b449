//! The stand-in.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bondflow::engine::Clock;
use bondflow::sandbox::lnd::{
    Behaviour, Fault, Hash32, InvoiceSpec, Payee, Reason, StandIn, StandInOptions, payment_hash,
};
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::staterpc::WalletState;

use super::{Access, Fate, Footprint, Side};
use crate::contract::calls::within;

/// More than any scenario lets fail.
const ALWAYS: usize = 10;

impl Side for StandIn {
    type Winner = Payee;

    async fn open(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        let now = Arc::new(move || clock.now().secs());
        StandIn::start(StandInOptions::new(folder, now)).await.unwrap()
    }

    fn winner(&self) -> Payee {
        Payee::of(&self.node, "winner")
    }

    fn access(&self) -> Access {
        Access { address: self.address(), certificate: self.cert_path(), macaroon: self.macaroon_path() }
    }

    fn faulty_access(&self) -> Access {
        self.access()
    }

    fn inject(&self, method: &str, fault: Fault, times: u32) {
        self.node.inject(method, fault, times);
    }

    fn clear_faults(&self) {
        self.node.clear_faults();
    }

    async fn identity(&self) -> String {
        self.node.identity()
    }

    async fn locks_in(&self, preimage: [u8; 32], sats: u64) {
        self.node.lock_in(preimage, sats);
    }

    async fn invoice(&self, sats: u64, fate: Fate) -> String {
        let winner = self.winner();
        let bolt11 = winner.invoice(sats, InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() });
        let (behaviour, times) = match fate {
            Fate::Paid => return bolt11,
            Fate::Held => (Behaviour::HOLD, ALWAYS),
            Fate::Rejected => (Behaviour::INCORRECT_DETAILS, ALWAYS),
            Fate::Unroutable => (Behaviour::UNROUTABLE, ALWAYS),
            Fate::InParts => (Behaviour::HOLD, 1),
        };
        winner.next_of(payment_hash(&bolt11), behaviour, times);
        bolt11
    }

    async fn is_held(&self, hash: [u8; 32]) {
        within("an HTLC of the winner's", self.node.wait_for_htlc(hash)).await;
    }

    async fn claims(&self, hash: [u8; 32]) {
        assert!(self.node.release(hash), "the winner holds a payment");
    }

    async fn gives_back(&self, hash: [u8; 32]) {
        assert!(self.node.fail(hash), "the winner holds a payment");
    }

    async fn shows_reason(&self, hash: [u8; 32]) {
        self.node.show_reason(hash, Reason::IncorrectPaymentDetails);
    }

    async fn holds_parts(&self, hash: [u8; 32]) {
        self.is_held(hash).await;
        self.node.show_reason(hash, Reason::NoRoute);
    }

    async fn gives_parts_back(&self, hash: [u8; 32]) {
        assert!(self.node.give_parts_back(hash), "the winner holds parts of a payment");
    }

    async fn times_paid(&self, hash: [u8; 32]) -> u32 {
        self.node.ledger().times_paid(hash)
    }

    async fn sends_of(&self, hash: [u8; 32]) -> usize {
        self.node.ledger().sends_of(hash).len()
    }

    async fn payments_of(&self, hash: [u8; 32]) -> usize {
        let ledger = self.node.ledger();
        let mut indices: Vec<_> = ledger.sends_of(hash).iter().filter_map(|send| send.outcome.clone().ok()).collect();
        indices.dedup();
        indices.len()
    }

    async fn settled(&self) -> usize {
        let ledger = self.node.ledger();
        let granted = ledger.settles.iter().filter(|call| call.refusal.is_none());
        granted.map(|call| call.hash).collect::<BTreeSet<_>>().len()
    }

    async fn stands(&self, preimage: [u8; 32]) -> InvoiceState {
        self.node.invoice_state(Hash32::of(&preimage)).unwrap()
    }

    async fn footprint(&self) -> Footprint {
        let ledger = self.node.ledger();
        Footprint {
            // The probes of the macaroon name no invoice.
            sends: ledger.sends.iter().filter(|send| send.hash.is_some()).count(),
            settles: ledger.settles.len(),
            cancels: ledger.cancels.len(),
            paid_msat: ledger.spent_msat,
        }
    }

    async fn mine(&self, blocks: u32) {
        self.node.mine(blocks);
    }

    async fn kill(&self) {
        self.stop().await;
    }

    async fn shut_down(&self) {
        self.shutdown().await;
    }

    async fn lock(&self) {
        self.node.set_wallet(WalletState::Locked);
    }

    async fn serves(&self) {
        self.node.set_wallet(WalletState::ServerActive);
        self.restart().await.unwrap();
    }
}
