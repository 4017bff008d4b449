//! The stand-in and the adapter, face to face over TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tonic_lnd::invoicesrpc::AddHoldInvoiceRequest;

use super::macaroon::Macaroon;
use super::node::Node;
use crate::engine::Timestamp;
use crate::payout::ports::{Hash, Lightning as _, Send};
use crate::sandbox::lnd::{Hash32, Payee, StandIn, StandInOptions, payment_hash};

/// 2026-01-31T12:00:00Z.
pub(super) const NOON: i64 = 1_769_860_800;

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Bench {
    pub(super) lnd: StandIn,
    pub(super) clock: Arc<AtomicI64>,
    pub(super) folder: TempDir,
    pub(super) node: Node,
    pub(super) payee: Payee,
}

impl Bench {
    pub(super) async fn new() -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), Arc::new(AtomicI64::new(NOON)));
        let now = Arc::clone(&clock);
        let options = StandInOptions::new(folder.path(), Arc::new(move || now.load(Ordering::SeqCst)));
        let lnd = StandIn::start(options).await.unwrap();
        let node = Node::new(&lnd.address(), lnd.cert_path(), lnd.macaroon_path()).unwrap();
        let payee = Payee::of(&lnd.node, "bob");
        Self { lnd, clock, folder, node, payee }
    }

    /// The adapter under a macaroon that grants only this.
    pub(super) fn granted(&self, permissions: &[&str]) -> Node {
        self.with_macaroon(&self.lnd.bake(permissions))
    }

    pub(super) fn with_macaroon(&self, macaroon: &Macaroon) -> Node {
        let file = self.file("other.macaroon", &macaroon.to_bytes());
        Node::new(&self.lnd.address(), self.lnd.cert_path(), file).unwrap()
    }

    /// The adapter with a deadline that tests can wait for.
    pub(super) fn impatient(&self) -> Node {
        let deadline = Duration::from_millis(300);
        Node::with_deadline(&self.lnd.address(), self.lnd.cert_path(), self.lnd.macaroon_path(), deadline).unwrap()
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file
    }

    /// A hold invoice of the node's own.
    pub(super) async fn hold_invoice(&self, preimage: [u8; 32]) -> (Hash, String) {
        let hash = Hash32::of(&preimage).0;
        let message = AddHoldInvoiceRequest { hash: hash.to_vec(), value: 1_000, ..Default::default() };
        let request = self.node.lnd.request(message).await.unwrap();
        let added = self.node.lnd.answer(self.node.lnd.invoices().add_hold_invoice(request)).await.unwrap();
        (hash, added.payment_request)
    }

    /// A hold invoice of the node's own that the bonded party has paid.
    pub(super) async fn accepted_invoice(&self, preimage: [u8; 32]) -> Hash {
        let (hash, _) = self.hold_invoice(preimage).await;
        assert!(self.lnd.node.accept(hash));
        hash
    }

    /// Asks until lnd answers.
    pub(super) async fn until_it_answers(&self) {
        let answers = async {
            while self.node.info().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.expect("lnd is up, so that it answers in the end");
    }
}

/// A send that nothing speaks against, until ten minutes after noon.
pub(super) fn send(bolt11: &str) -> Send {
    Send {
        bolt11: bolt11.to_owned(),
        hash: payment_hash(bolt11),
        amount_sats: None,
        fee_limit_sats: 10,
        cltv_limit: 1_008,
        timeout_secs: 60,
        valid_until: Timestamp::from_secs(NOON + 600),
    }
}
