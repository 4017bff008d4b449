//! The Lightning double as a bed of the contract's port: the rows that the adapter keeps on a real
//! lnd, it keeps, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::Timestamp;
use bondflow::payout::policy::verdict::Observation;
use bondflow::payout::ports::{Hash, HoldAnswer, HoldState, Lightning, Made, NodeInfo, Send, Unavailable};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::bed::{Ask, Invoice, MORE_THAN_THE_NODE_HAS, secret};
use super::doubles::invoices::{Draft, sign};
use super::doubles::lnd::{Fate, Lnd, Own, Payable, Serving, hash_of};
use super::doubles::time::Time;
use super::port::{self, PortBed};

/// How long a payment that the winner decides about is held: for ever, as rows go.
const FOR_EVER: u32 = u32::MAX;

/// The double, and somebody who lets its time pass.
struct DoubleBed {
    lnd: Lnd,
    virgin: Lnd,
    time: Time,
    passing: JoinHandle<()>,
}

impl Drop for DoubleBed {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

/// The double itself behind the port.
struct Port(Lnd);

#[async_trait]
impl Lightning for Port {
    async fn settle(&self, preimage: [u8; 32]) -> HoldAnswer {
        self.0.settle(preimage)
    }

    async fn cancel(&self, hash: Hash) -> HoldAnswer {
        self.0.cancel(hash)
    }

    async fn hold_state(&self, hash: Hash) -> Result<HoldState, Unavailable> {
        self.0.hold_state(hash)
    }

    async fn send(&self, send: &Send) -> Observation {
        self.0.send(send)
    }

    async fn track(&self, hash: Hash) -> Observation {
        self.0.track(hash)
    }

    fn watch(&self, hash: Hash, seen: bool) -> BoxFuture<'static, ()> {
        Box::pin(self.0.clone().watch(hash, seen))
    }

    async fn payments_since(&self, since: Timestamp) -> Result<Vec<Made>, Unavailable> {
        self.0.payments_since(since)
    }

    async fn info(&self) -> Result<NodeInfo, Unavailable> {
        self.0.info()
    }
}

impl DoubleBed {
    fn open() -> Self {
        let time = Time::new();
        let (lnd, virgin) = (Lnd::new(&time), Lnd::new(&time));
        let passing = tokio::spawn({
            let (lnd, time) = (lnd.clone(), time.clone());
            async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    time.set(time.now().after(Duration::from_millis(20)));
                    lnd.act();
                }
            }
        });
        Self { lnd, virgin, time, passing }
    }
}

#[async_trait]
impl PortBed for DoubleBed {
    fn port(&self) -> Arc<dyn Lightning> {
        Arc::new(Port(self.lnd.clone()))
    }

    fn virgin_port(&self) -> Arc<dyn Lightning> {
        Arc::new(Port(self.virgin.clone()))
    }

    async fn own_invoice(&self) -> Invoice {
        let (preimage, created_at) = (secret(), self.time.now().secs());
        let hash = hash_of(preimage);
        self.lnd.own(preimage, Own::Open);
        let (sats, fates) = (Some(1_000), VecDeque::new());
        self.lnd.offer(Payable { preimage, sats, expires_at: created_at + 3_600, final_cltv: 80, own: true, fates });
        let draft = Draft { preimage, sats: 1_000, created_at, expiry_secs: 3_600, final_cltv: 80, payee: 1 };
        Invoice { bolt11: sign(&draft), hash, preimage }
    }

    async fn invoice(&self, ask: Ask) -> Invoice {
        let (preimage, created_at) = (secret(), self.time.now().secs());
        let fate = match ask.amount_sat {
            Some(sats) if sats >= MORE_THAN_THE_NODE_HAS => Fate::Short,
            _ if ask.hold => Fate::HeldThenPaid(FOR_EVER),
            _ => Fate::Paid(0),
        };
        self.lnd.offer(Payable {
            preimage,
            sats: ask.amount_sat,
            expires_at: created_at + i64::try_from(ask.expiry.as_secs()).unwrap(),
            final_cltv: u32::try_from(ask.final_cltv).unwrap(),
            own: false,
            fates: VecDeque::from([fate]),
        });
        let draft = Draft {
            preimage,
            sats: ask.amount_sat.unwrap_or(1),
            created_at,
            expiry_secs: 3_600,
            final_cltv: 80,
            payee: 2,
        };
        Invoice { bolt11: sign(&draft), hash: hash_of(preimage), preimage }
    }

    async fn winner_holds(&self, invoice: &Invoice) {
        assert!(self.lnd.holds(invoice.hash), "the winner holds a payment");
    }

    async fn winner_settles(&self, invoice: &Invoice) {
        self.winner_holds(invoice).await;
        self.lnd.end_hold(invoice.hash, true);
    }

    async fn winner_cancels(&self, invoice: &Invoice) {
        self.lnd.end_hold(invoice.hash, false);
    }

    async fn slashed_pays(&self, invoice: &Invoice) {
        self.lnd.own(invoice.preimage, Own::Accepted);
    }

    async fn mine(&self, blocks: u32) {
        self.lnd.mine(blocks);
    }

    async fn kill(&self) {
        self.lnd.set_serving(Serving::Gone);
    }

    async fn start(&self) {
        self.lnd.restart();
    }

    async fn lock(&self) {
        self.lnd.set_serving(Serving::Locked);
    }

    async fn unlock(&self) {
        self.lnd.set_serving(Serving::Yes);
    }

    async fn serves(&self) {}

    fn now(&self) -> Timestamp {
        self.time.now()
    }
}

macro_rules! on_the_double {
    ($($row:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $row() {
            port::$row(&DoubleBed::open()).await;
        }
    )+};
}

on_the_double! {
    a_bond_is_settled_once_and_for_all,
    a_bond_is_canceled_once_and_for_all,
    a_bond_that_nobody_made_is_unknown,
    a_payment_is_watched_to_its_end,
    each_failure_has_its_index_and_its_reason,
    what_is_refused_is_no_payment,
    a_node_that_is_gone_comes_back,
    a_locked_wallet_is_an_outage,
    the_node_tells_its_standing,
}
