//! The adapter's port: what `Lightning` promises, kept by `lnd::Node` on any lnd.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::Timestamp;
use bondflow::lnd::Node;
use bondflow::lnd::macaroon::Macaroon;
use bondflow::payout::policy::verdict::{FailureReason, Observation, PaymentStatus, Refusal};
use bondflow::payout::ports::{HoldAnswer, HoldState, Lightning, Send};
use tempfile::TempDir;

use super::bed::{Access, Ask, Bed, Invoice, MORE_THAN_THE_NODE_HAS, secret};
use super::calls::{Lnd, SILENCE, within};

/// The adapter under the macaroon that may do everything.
pub fn adapter(access: &Access) -> Node {
    Node::new(&access.address, access.certificate.clone(), access.macaroon.clone()).unwrap()
}

/// The adapter under another macaroon, whose file it reads at each call.
pub fn adapter_under(access: &Access, macaroon: &Macaroon) -> (Node, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("macaroon");
    std::fs::write(&file, macaroon.to_bytes()).unwrap();
    (Node::new(&access.address, access.certificate.clone(), file).unwrap(), folder)
}

/// What the port's rows need around an adapter: every [`Bed`] has it, and so does the double that
/// stands in the adapter's place.
#[async_trait]
pub trait PortBed: Sync {
    /// The adapter of the node under test.
    fn port(&self) -> Arc<dyn Lightning>;
    /// That of a node that never made an invoice.
    fn virgin_port(&self) -> Arc<dyn Lightning>;
    /// A hold invoice of the node's, that nobody has paid.
    async fn own_invoice(&self) -> Invoice;
    /// As [`Bed::invoice`].
    async fn invoice(&self, ask: Ask) -> Invoice;
    /// As [`Bed::winner_holds`].
    async fn winner_holds(&self, invoice: &Invoice);
    /// As [`Bed::winner_settles`].
    async fn winner_settles(&self, invoice: &Invoice);
    /// As [`Bed::winner_cancels`].
    async fn winner_cancels(&self, invoice: &Invoice);
    /// As [`Bed::slashed_pays`].
    async fn slashed_pays(&self, invoice: &Invoice);
    /// As [`Bed::mine`].
    async fn mine(&self, blocks: u32);
    /// As [`Bed::kill`].
    async fn kill(&self);
    /// As [`Bed::start`].
    async fn start(&self);
    /// As [`Bed::lock`].
    async fn lock(&self);
    /// As [`Bed::unlock`].
    async fn unlock(&self);
    /// As [`Bed::serves`].
    async fn serves(&self);
    /// As [`Bed::now`].
    fn now(&self) -> Timestamp;
}

#[async_trait]
impl<B: Bed> PortBed for B {
    fn port(&self) -> Arc<dyn Lightning> {
        Arc::new(adapter(&self.node()))
    }

    fn virgin_port(&self) -> Arc<dyn Lightning> {
        Arc::new(adapter(&self.virgin()))
    }

    async fn own_invoice(&self) -> Invoice {
        Lnd::at(&self.node()).await.hold_invoice().await
    }

    async fn invoice(&self, ask: Ask) -> Invoice {
        Bed::invoice(self, ask).await
    }

    async fn winner_holds(&self, invoice: &Invoice) {
        Bed::winner_holds(self, invoice).await;
    }

    async fn winner_settles(&self, invoice: &Invoice) {
        Bed::winner_settles(self, invoice).await;
    }

    async fn winner_cancels(&self, invoice: &Invoice) {
        Bed::winner_cancels(self, invoice).await;
    }

    async fn slashed_pays(&self, invoice: &Invoice) {
        Bed::slashed_pays(self, invoice).await;
    }

    async fn mine(&self, blocks: u32) {
        Bed::mine(self, blocks).await;
    }

    async fn kill(&self) {
        Bed::kill(self).await;
    }

    async fn start(&self) {
        Bed::start(self).await;
    }

    async fn lock(&self) {
        Bed::lock(self).await;
    }

    async fn unlock(&self) {
        Bed::unlock(self).await;
    }

    async fn serves(&self) {
        Bed::serves(self).await;
    }

    fn now(&self) -> Timestamp {
        Bed::now(self)
    }
}

/// A send that nothing speaks against.
pub fn send(now: Timestamp, invoice: &Invoice) -> Send {
    Send {
        bolt11: invoice.bolt11.clone(),
        hash: invoice.hash,
        amount_sats: None,
        fee_limit_sats: 20,
        cltv_limit: 1_008,
        timeout_secs: 30,
        valid_until: now.after(Duration::from_secs(600)),
    }
}

#[track_caller]
fn status(observation: Observation) -> PaymentStatus {
    match observation {
        Observation::Payment { status, .. } => status,
        other => panic!("no payment but {other:?}"),
    }
}

pub async fn a_bond_is_settled_once_and_for_all(bed: &dyn PortBed) {
    let node = bed.port();
    let bond = bed.own_invoice().await;
    assert_eq!(node.hold_state(bond.hash).await, Ok(HoldState::Open));
    assert_eq!(node.settle(bond.preimage).await, HoldAnswer::StillOpen);
    bed.slashed_pays(&bond).await;
    let Ok(HoldState::Accepted { expiry_height }) = node.hold_state(bond.hash).await else { panic!("accepted") };
    assert!(expiry_height > node.info().await.unwrap().block_height + 80);
    assert_eq!(node.settle(bond.preimage).await, HoldAnswer::Settled);
    assert_eq!(node.settle(bond.preimage).await, HoldAnswer::Settled);
    assert_eq!(node.cancel(bond.hash).await, HoldAnswer::Settled);
    assert_eq!(node.hold_state(bond.hash).await, Ok(HoldState::Settled));
}

pub async fn a_bond_is_canceled_once_and_for_all(bed: &dyn PortBed) {
    let node = bed.port();
    let bond = bed.own_invoice().await;
    bed.slashed_pays(&bond).await;
    assert_eq!(node.cancel(bond.hash).await, HoldAnswer::Canceled);
    assert_eq!(node.cancel(bond.hash).await, HoldAnswer::Canceled);
    assert_eq!(node.settle(bond.preimage).await, HoldAnswer::Canceled);
    assert_eq!(node.hold_state(bond.hash).await, Ok(HoldState::Canceled));
}

pub async fn a_bond_that_nobody_made_is_unknown(bed: &dyn PortBed) {
    for node in [bed.port(), bed.virgin_port()] {
        assert_eq!(node.settle(secret()).await, HoldAnswer::Unknown);
        assert_eq!(node.cancel(secret()).await, HoldAnswer::Unknown);
        assert_eq!(node.hold_state(secret()).await, Ok(HoldState::Unknown));
    }
}

pub async fn a_payment_is_watched_to_its_end(bed: &dyn PortBed) {
    let node = bed.port();
    let invoice = bed.invoice(Ask::hold()).await;
    assert_eq!(node.track(invoice.hash).await, Observation::NotFound);
    assert_eq!(status(node.send(&send(bed.now(), &invoice)).await), PaymentStatus::InFlight);
    assert_eq!(node.send(&send(bed.now(), &invoice)).await, Observation::Silent, "it exists: no verdict");
    assert_eq!(status(node.track(invoice.hash).await), PaymentStatus::InFlight);
    let mut watch = tokio::spawn(node.watch(invoice.hash, false));
    assert!(tokio::time::timeout(SILENCE, &mut watch).await.is_err(), "it is under way");
    bed.winner_settles(&invoice).await;
    within("the end of the payment", watch).await.unwrap();
    let PaymentStatus::Succeeded { preimage, fee_msat } = status(node.track(invoice.hash).await) else {
        panic!("paid")
    };
    assert!(preimage.proves(&invoice.hash));
    assert!((1_000..=20_000).contains(&fee_msat), "{fee_msat}");
    assert_eq!(
        node.send(&send(bed.now(), &invoice)).await,
        Observation::Silent,
        "it is paid: no verdict on a new send"
    );
}

pub async fn each_failure_has_its_index_and_its_reason(bed: &dyn PortBed) {
    let node = bed.port();
    let mut last = 0;
    let (plain, dear) = (Ask::hold(), Ask { amount_sat: Some(MORE_THAN_THE_NODE_HAS), ..Ask::hold() });
    for (ask, fee_limit_sats, why) in [
        (plain.clone(), 0, FailureReason::Other),
        (dear, 100_000, FailureReason::InsufficientBalance),
        (plain, 20, FailureReason::IncorrectPaymentDetails),
    ] {
        let invoice = bed.invoice(ask).await;
        bed.winner_cancels(&invoice).await;
        node.send(&Send { fee_limit_sats, ..send(bed.now(), &invoice) }).await;
        within("the end of the payment", node.watch(invoice.hash, false)).await;
        let Observation::Payment { index, status } = node.track(invoice.hash).await else { panic!("no payment") };
        assert_eq!(status, PaymentStatus::Failed(why));
        assert!(index > last, "{index} after {last}");
        last = index;
    }
}

pub async fn what_is_refused_is_no_payment(bed: &dyn PortBed) {
    let node = bed.port();
    let invoice = bed.invoice(Ask::default()).await;
    let own = bed.own_invoice().await;
    let far = Send { cltv_limit: 20, ..send(bed.now(), &invoice) };
    let twice = Send { amount_sats: Some(1), ..send(bed.now(), &invoice) };
    for (wanted, refusal) in
        [(send(bed.now(), &own), Refusal::Invoice), (far, Refusal::Invoice), (twice, Refusal::Other)]
    {
        assert_eq!(node.send(&wanted).await, Observation::Refused(refusal));
        assert_eq!(node.track(wanted.hash).await, Observation::NotFound);
    }
    let late = Send { valid_until: bed.now(), ..send(bed.now(), &invoice) };
    assert_eq!(node.send(&late).await, Observation::Silent, "too late: of no other send does that say anything");
    assert_eq!(node.track(invoice.hash).await, Observation::NotFound);
    let amountless = bed.invoice(Ask { amount_sat: None, ..Ask::default() }).await;
    assert_eq!(node.send(&send(bed.now(), &amountless)).await, Observation::Refused(Refusal::Other));
    node.send(&Send { amount_sats: Some(321), ..send(bed.now(), &amountless) }).await;
    within("the end of the payment", node.watch(amountless.hash, false)).await;
    assert!(matches!(status(node.track(amountless.hash).await), PaymentStatus::Succeeded { .. }));
}

/// One adapter all along, as in the daemon.
pub async fn a_node_that_is_gone_comes_back(bed: &dyn PortBed) {
    let node = bed.port();
    let (bond, invoice) = (bed.own_invoice().await, bed.invoice(Ask::hold()).await);
    bed.slashed_pays(&bond).await;
    assert_eq!(status(node.send(&send(bed.now(), &invoice)).await), PaymentStatus::InFlight);
    bed.winner_holds(&invoice).await;
    bed.kill().await;
    assert!(matches!(node.settle(bond.preimage).await, HoldAnswer::Unavailable(_)));
    // The call that finds the old connection broken is in doubt; those after it never leave.
    within("an lnd that is gone", async { while node.track(invoice.hash).await != Observation::Unavailable {} }).await;
    assert!(node.hold_state(bond.hash).await.is_err());
    bed.start().await;
    within("an lnd that is back", async {
        loop {
            match node.track(invoice.hash).await {
                Observation::Unavailable | Observation::Silent => {}
                other => return assert_eq!(status(other), PaymentStatus::InFlight),
            }
            tokio::time::sleep(super::calls::PAUSE).await;
        }
    })
    .await;
    bed.serves().await;
    assert_eq!(node.settle(bond.preimage).await, HoldAnswer::Settled);
    bed.winner_settles(&invoice).await;
    within("the end of the payment", node.watch(invoice.hash, false)).await;
    assert!(matches!(status(node.track(invoice.hash).await), PaymentStatus::Succeeded { .. }));
}

pub async fn a_locked_wallet_is_an_outage(bed: &dyn PortBed) {
    let node = bed.port();
    let invoice = bed.invoice(Ask::default()).await;
    bed.lock().await;
    assert_eq!(node.send(&send(bed.now(), &invoice)).await, Observation::Unavailable);
    assert_eq!(node.track(invoice.hash).await, Observation::Unavailable);
    assert!(matches!(node.settle(secret()).await, HoldAnswer::Unavailable(_)));
    bed.unlock().await;
    bed.serves().await;
    within("an lnd that is back", async {
        while node.track(invoice.hash).await != Observation::NotFound {
            tokio::time::sleep(super::calls::PAUSE).await;
        }
    })
    .await;
}

pub async fn the_node_tells_its_standing(bed: &dyn PortBed) {
    let node = bed.port();
    let before = node.info().await.unwrap();
    bed.mine(2).await;
    let info = node.info().await.unwrap();
    assert_eq!((info.network.as_str(), info.synced_to_chain), ("simnet", true));
    assert_eq!(info.block_height, before.block_height + 2);
    assert_eq!(info.identity.len(), 66);
    assert!(info.version.starts_with("0.20."), "{}", info.version);
    assert!((info.best_block_time - bed.now().secs()).abs() < 7_200);
}
