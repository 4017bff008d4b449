//! What people do in a trade, each with the patience of somebody who is owed money.

use std::sync::Arc;
use std::time::Duration;

use bondflow::engine::{Clock, SystemClock, Timestamp};
use bondflow::sandbox::lnd::{Behaviour, InvoiceSpec, Node, Payee, payment_hash};
use mostro_core::message::{Action, BondResolution, Payload};
use nostr_sdk::Keys;
use uuid::Uuid;

use super::crowd::{Crowd, Person};
use super::plot::{BOND_SATS, Beginning, Habit, Plot, TRADE_SATS, WINDOW};

/// More than any payment is tried.
const ALWAYS: usize = 10;

/// Where a story plays.
#[derive(Clone)]
pub struct Stage {
    pub solver: Person,
    pub node: Arc<Node>,
    /// When the window of a bond that was taken over began to run.
    pub began: Timestamp,
}

/// A plot with its people, who listen from the very beginning.
pub struct Cast {
    pub plot: Plot,
    seller: Person,
    buyer: Person,
}

impl Cast {
    pub fn of(plot: Plot, crowd: &Arc<Crowd>) -> Self {
        let (seller, buyer) = (crowd.join(plot.seller.clone()), crowd.join(plot.buyer.clone()));
        Self { plot, seller, buyer }
    }
}

/// Plays a trade to its end, as far as its people see one.
pub async fn play(stage: Stage, cast: Cast) {
    let Cast { plot, seller, buyer } = cast;
    tokio::time::sleep(plot.delay).await;
    let person = |keys: &Keys| if *keys == plot.seller { seller.clone() } else { buyer.clone() };
    let rules = async {
        let Beginning::Ruled { slash_seller, slash_buyer, twice, .. } = plot.beginning else { return };
        let slashed = slash_seller || slash_buyer;
        let payload = slashed.then_some(Payload::BondResolution(BondResolution { slash_seller, slash_buyer }));
        for _ in 0..=u8::from(twice) {
            let action = plot.ruling().unwrap();
            stage.solver.asks(&stage.solver.message(plot.trade.order, action, payload.clone())).await;
        }
    };
    let bond = async {
        let Some(winner) = plot.wins() else { return };
        let claim = Claim {
            stage: &stage,
            person: person(winner),
            order: plot.trade.order,
            sats: BOND_SATS / 2,
            wanted: Action::AddBondInvoice,
            accepted: Action::BondInvoiceAccepted,
            done: Action::BondPayoutCompleted,
        };
        match (plot.winner, plot.beginning) {
            (Habit::Silent, _) => {}
            (Habit::AtDeadline(early), Beginning::TakenOver { closes_after }) => {
                let closes = stage.began.after(closes_after).millis();
                claim.at(Timestamp(closes - early)).await;
            }
            (habit, _) => claim.make(habit).await,
        }
    };
    let trade = async {
        if !plot.owes_the_buyer() {
            return;
        }
        let claim = Claim {
            stage: &stage,
            person: person(&plot.buyer),
            order: plot.trade.order,
            sats: TRADE_SATS,
            wanted: Action::AddInvoice,
            accepted: Action::InvoiceUpdated,
            done: Action::PurchaseCompleted,
        };
        claim.make(plot.creditor).await;
    };
    tokio::join!(rules, bond, trade);
}

/// When a bond that was taken over was slashed, so that its window closes then.
pub fn slashed_at(began: Timestamp, closes_after: Duration) -> i64 {
    began.after(closes_after).secs() - WINDOW
}

/// Somebody who is owed sats, and how that goes in messages.
struct Claim<'a> {
    stage: &'a Stage,
    person: Person,
    order: Uuid,
    sats: u64,
    wanted: Action,
    accepted: Action,
    done: Action,
}

impl Claim<'_> {
    async fn make(&self, habit: Habit) {
        self.person.hears_often(&self.wanted, 1).await;
        let node = &self.stage.node;
        match habit {
            Habit::Late(after) => tokio::time::sleep(after).await,
            Habit::Wrong => {
                for bad in ["lnbc1", &self.invoice(self.sats + 1).0, &self.expired()] {
                    let answer = self.person.asks(&self.message(bad)).await;
                    assert_eq!(answer.action(), Action::CantDo, "an invoice that is none was taken");
                }
            }
            Habit::Repeating => {
                let event = self.person.says(&self.message(&self.invoice(self.sats).0)).await;
                for _ in 0..3 {
                    self.person.publishes(&event).await;
                }
            }
            Habit::Racing => {
                let (one, other) = (self.message(&self.invoice(self.sats).0), self.message(&self.invoice(self.sats).0));
                let (one, other) = tokio::join!(self.person.asks(&one), self.person.asks(&other));
                let taken = [one, other].iter().filter(|answer| answer.action() == self.accepted).count();
                assert!(taken <= 1, "two invoices were taken for one debt");
            }
            Habit::Holding(_) | Habit::GivingBack(_) => {
                let (bolt11, hash) = self.invoice(self.sats);
                self.payee().next_of(hash, Behaviour::HOLD, 1);
                if self.person.asks(&self.message(&bolt11)).await.action() == self.accepted {
                    node.wait_for_htlc(hash).await;
                    if let Habit::Holding(long) | Habit::GivingBack(long) = habit {
                        tokio::time::sleep(long).await;
                    }
                    if matches!(habit, Habit::Holding(_)) {
                        node.release(hash)
                    } else {
                        node.fail(hash)
                    };
                }
            }
            Habit::Unreachable => {
                let (bolt11, hash) = self.invoice(self.sats);
                self.payee().next_of(hash, Behaviour::UNROUTABLE, ALWAYS);
                self.person.asks(&self.message(&bolt11)).await;
            }
            Habit::Prompt | Habit::Silent | Habit::AtDeadline(_) => {}
        }
        self.insist().await;
    }

    /// Sends good invoices until one is paid: another one whenever it is asked again, or was refused.
    async fn insist(&self) {
        loop {
            let asked = self.person.heard(&self.wanted);
            if self.person.heard(&self.done) > 0 {
                return;
            }
            let answer = self.person.asks(&self.message(&self.invoice(self.sats).0)).await;
            let accepted = answer.action() == self.accepted;
            tokio::select! {
                () = self.person.hears_often(&self.done, 1) => return,
                () = self.person.hears_often(&self.wanted, asked + 1) => {}
                () = tokio::time::sleep(Duration::from_secs(3)), if !accepted => {}
            }
        }
    }

    /// Answers at that very time: who is too late gets nothing.
    async fn at(&self, at: Timestamp) {
        let wait = SystemClock.now().until(at);
        tokio::time::sleep(wait).await;
        let answer = self.person.asks(&self.message(&self.invoice(self.sats).0)).await;
        if answer.action() == self.accepted {
            self.person.hears_often(&self.done, 1).await;
        }
    }

    fn payee(&self) -> Payee {
        // Of several payees, so that one cap does not hold up all.
        let payees = ["anna", "bert", "cleo", "dora"];
        Payee::of(&self.stage.node, payees[usize::from(self.order.as_bytes()[0]) % payees.len()])
    }

    fn invoice(&self, sats: u64) -> (String, [u8; 32]) {
        let bolt11 = self.payee().invoice(sats, InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() });
        let hash = payment_hash(&bolt11);
        (bolt11, hash)
    }

    fn expired(&self) -> String {
        let created_at = Some(SystemClock.now().secs() - 7_200);
        self.payee().invoice(self.sats, InvoiceSpec { expiry: 3_600, created_at, ..InvoiceSpec::default() })
    }

    fn message(&self, bolt11: &str) -> mostro_core::message::Message {
        let payload = Payload::PaymentRequest(None, bolt11.to_owned(), None);
        self.person.message(self.order, self.wanted.clone(), Some(payload))
    }
}
