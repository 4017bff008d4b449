//! The daemon as a real process, killed with SIGKILL in each step of S1 and started again: one
//! payment, one claimed bond, and each message once.

use std::time::Duration;

use bondflow::engine::{RunId, Status};
use bondflow::sandbox::lnd::{Behaviour, Fault};
use mostro_core::message::Action;
use tonic_lnd::lnrpc::invoice::InvoiceState;

use super::process::Process;
use super::world::{Setup, World};

/// Where the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    RulingPublished,
    CancelNotTaken,
    CancelUnanswered,
    SettleNotTaken,
    SettleUnanswered,
    SettleCut,
    RequestUnpublished,
    RequestHeard,
    AnswerWhileAway,
    AnswerPublished,
    InvoiceTaken,
    RepliesUnpublished,
    SendNotTaken,
    SendUnanswered,
    SendCut,
    InFlight,
    PaidWhileAway,
    CompletionUnpublished,
}

use Point::{
    AnswerWhileAway, CancelNotTaken, CancelUnanswered, CompletionUnpublished, InFlight, InvoiceTaken, PaidWhileAway,
    RepliesUnpublished, RequestHeard, RequestUnpublished, RulingPublished, SendCut, SendNotTaken, SendUnanswered,
    SettleCut, SettleNotTaken, SettleUnanswered,
};

impl Point {
    /// What lnd does to the calls up to there.
    fn arm(self, world: &World) {
        let node = &world.lnd.node;
        match self {
            CancelNotTaken => node.inject("CancelInvoice", Fault::Stall, 2),
            CancelUnanswered => node.inject("CancelInvoice", Fault::StallAfterActing, 2),
            SettleNotTaken => node.inject("SettleInvoice", Fault::Stall, 1),
            SettleUnanswered => node.inject("SettleInvoice", Fault::StallAfterActing, 1),
            SettleCut => node.inject("SettleInvoice", Fault::DropAfterActing, 1),
            RequestUnpublished => node.inject("SettleInvoice", Fault::Delay(Duration::from_millis(500)), 1),
            InvoiceTaken => node.inject("TrackPaymentV2", Fault::Stall, 1),
            SendNotTaken => node.inject("SendPaymentV2", Fault::Stall, 1),
            SendUnanswered => node.inject("SendPaymentV2", Fault::StallAfterActing, 1),
            SendCut => node.inject("SendPaymentV2", Fault::DropAfterActing, 1),
            InFlight | PaidWhileAway | CompletionUnpublished => world.winner.next(Behaviour::HOLD, 1),
            _ => {}
        }
    }

    const fn before_the_answer(self) -> bool {
        matches!(
            self,
            RulingPublished
                | CancelNotTaken
                | CancelUnanswered
                | SettleNotTaken
                | SettleUnanswered
                | SettleCut
                | RequestUnpublished
                | RequestHeard
        )
    }
}

pub async fn real(settings: &[(&'static str, &str)]) -> (World, Process) {
    let settings = settings.iter().map(|(section, line)| (*section, (*line).to_owned())).collect();
    let mut world = World::without_daemon(Setup { real_time: true, settings, ..Setup::default() }).await;
    world.look().await;
    let process = Process::start(&world).await;
    (world, process)
}

/// The solver's word, published; nobody waits for an answer.
pub async fn ruled(world: &World) {
    let ruling = world.solver.ruling(world.trade.order, Action::AdminCancel, false, true);
    world.solver.send(&ruling).await.unwrap();
}

async fn payout_is(world: &World, step: &str) {
    let id = RunId::of("bond_payout", &world.taker_bond());
    world
        .until(|| async {
            let run = world.store().run(&id).await.unwrap();
            run.filter(|run| run.step == step).map(drop).ok_or_else(|| format!("not at {step}"))
        })
        .await;
}

/// Everything has come to its end, once.
pub async fn done_once(world: &World, process: Process, hash: [u8; 32]) {
    let bond = world.taker_bond();
    let row = world.bond_is(&bond, "state", "slashed").await;
    assert_eq!((&row["payout_attempts"], &row["node_share_sats"]), (&0.into(), &500.into()));
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    world.run_is("bond_release", &world.maker_bond(), "released", Status::Completed).await;
    let order = world.trade.order.to_string();
    world.run_is("order_resolution", &order, "resolved", Status::Completed).await;
    world
        .until(|| async {
            let waiting = world.store().outbox_next().await.unwrap();
            waiting.map_or(Ok(()), |at| Err(format!("a message waits until {at}")))
        })
        .await;
    process.stop(Duration::from_secs(10)).await;

    // All that the relay has for them is heard before it is counted.
    for client in [&world.seller, &world.buyer, &world.solver] {
        let (key, relay) = (client.key(), &world.relay);
        world
            .until(|| async {
                let stored = relay.events().await;
                let stored = stored.iter().filter(|event| event.tags.public_keys().any(|to| *to == key)).count();
                let heard = client.heard().len();
                (heard == stored).then_some(()).ok_or_else(|| format!("{heard} of {stored} heard"))
            })
            .await;
    }
    for action in [Action::AddBondInvoice, Action::BondInvoiceAccepted, Action::BondPayoutCompleted] {
        assert_eq!(world.seller.count(&action), 1, "{action:?}");
    }
    assert_eq!(world.buyer.count(&Action::BondSlashed), 1);
    for client in [&world.seller, &world.buyer, &world.solver] {
        assert_eq!(client.count(&Action::AdminCanceled), 1);
        assert_eq!(client.count(&Action::CantDo), 0);
    }
    let (node, ledger) = (&world.lnd.node, world.lnd.node.ledger());
    assert_eq!((ledger.times_paid(hash), ledger.spent_msat), (1, 500_000));
    assert_eq!(ledger.sends_of(hash).iter().filter(|send| send.outcome.is_ok()).count(), 1);
    assert_eq!(ledger.claimed_msat, 1_000_000, "the slashed bond and nothing else");
    let state = |preimage: [u8; 32]| node.invoice_state(bondflow::sandbox::lnd::Hash32::of(&preimage));
    assert_eq!(state(world.trade.bonds[1].preimage), Some(InvoiceState::Settled));
    assert_eq!(state(world.trade.bonds[0].preimage), Some(InvoiceState::Canceled));
    assert_eq!(state(world.trade.escrow.unwrap()), Some(InvoiceState::Canceled));
    assert_eq!(world.order().await["status"], "canceled-by-admin");
}

async fn killed_at(point: Point) {
    let (world, mut process) = real(&[("engine", "lease_seconds = 2")]).await;
    let node = &world.lnd.node;
    point.arm(&world);
    ruled(&world).await;
    match point {
        CancelNotTaken => world.run_is("bond_release", &world.maker_bond(), "cancel", Status::Running).await,
        CancelUnanswered => node.wait_until(|ledger| ledger.cancels.len() >= 2).await,
        SettleNotTaken => payout_is(&world, "settle").await,
        SettleUnanswered | SettleCut => {
            node.wait_until(|ledger| ledger.settles.iter().any(|call| call.refusal.is_none())).await;
        }
        RequestUnpublished => {
            world.hears(&world.solver, Action::AdminCanceled, 1).await;
            world.relay.refuse(true);
            payout_is(&world, "await_invoice").await;
        }
        RulingPublished => {}
        _ => drop(world.hears(&world.seller, Action::AddBondInvoice, 1).await),
    }
    if point.before_the_answer() {
        process = again(&world, process).await;
        world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    }

    let (bolt11, hash) = world.invoice(500);
    let answer = world.seller.wrap(&world.seller.bond_invoice(world.trade.order, &bolt11)).unwrap();
    match point {
        AnswerWhileAway => {
            process.kill().await;
            world.seller.publish(&answer).await.unwrap();
            process = Process::start(&world).await;
        }
        RepliesUnpublished => {
            process.kill().await;
            world.seller.publish(&answer).await.unwrap();
            world.relay.refuse(true);
            process = Process::start(&world).await;
            world.bond_is(&world.taker_bond(), "state", "slashed").await;
        }
        _ => world.seller.publish(&answer).await.unwrap(),
    }
    match point {
        InvoiceTaken => payout_is(&world, "intend").await,
        SendNotTaken => payout_is(&world, "pay").await,
        SendUnanswered | SendCut => node.wait_for_send(hash).await,
        InFlight => node.wait_for_htlc(hash).await,
        PaidWhileAway => {
            node.wait_for_htlc(hash).await;
            process.kill().await;
            assert!(node.release(hash));
            process = Process::start(&world).await;
        }
        CompletionUnpublished => {
            world.hears(&world.seller, Action::BondInvoiceAccepted, 1).await;
            node.wait_for_htlc(hash).await;
            world.relay.refuse(true);
            assert!(node.release(hash));
            world.bond_is(&world.taker_bond(), "state", "slashed").await;
        }
        _ => {}
    }
    if !point.before_the_answer() && !matches!(point, AnswerWhileAway | PaidWhileAway) {
        process = again(&world, process).await;
    }
    if point == SendNotTaken {
        // Nothing is sent again before the first send can't arrive any more, by any clock.
        let twice = tokio::time::timeout(Duration::from_secs(110), node.wait_for_send(hash)).await;
        assert!(twice.is_err(), "sent while the first send could arrive");
        node.wait_for_send(hash).await;
    }
    if point == InFlight {
        world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
        assert!(node.release(hash));
    }
    done_once(&world, process, hash).await;
}

/// Kills the process, mends the world and starts it again.
async fn again(world: &World, process: Process) -> Process {
    process.kill().await;
    world.lnd.node.clear_faults();
    world.relay.refuse(false);
    Process::start(world).await
}

macro_rules! killed {
    ($($(#[$attribute:meta])* $name:ident: $point:ident,)*) => {$(
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            killed_at(Point::$point).await;
        }
    )*};
}

killed! {
    killed_when_the_ruling_is_published: RulingPublished,
    killed_before_lnd_cancels: CancelNotTaken,
    killed_before_it_hears_that_lnd_canceled: CancelUnanswered,
    killed_before_lnd_settles: SettleNotTaken,
    killed_before_it_hears_that_lnd_settled: SettleUnanswered,
    killed_when_the_connection_broke_after_the_settle: SettleCut,
    killed_before_the_request_is_published: RequestUnpublished,
    killed_when_the_request_is_heard: RequestHeard,
    killed_before_the_answer_is_published: AnswerWhileAway,
    killed_when_the_answer_is_published: AnswerPublished,
    killed_when_the_invoice_is_taken: InvoiceTaken,
    killed_before_any_reply_is_published: RepliesUnpublished,
    #[ignore = "waits two minutes until the send can't arrive any more"]
    killed_before_lnd_takes_the_send: SendNotTaken,
    killed_before_it_hears_that_lnd_sends: SendUnanswered,
    killed_when_the_connection_broke_after_the_send: SendCut,
    killed_with_the_payment_in_flight: InFlight,
    killed_and_paid_meanwhile: PaidWhileAway,
    killed_before_the_completion_is_published: CompletionUnpublished,
}

/// At no matter which moment: after the ruling, and once more after the invoice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment() {
    for delay in [0, 3, 6, 10, 15, 22, 32, 48, 70, 110].map(Duration::from_millis) {
        let (world, mut process) = real(&[("engine", "lease_seconds = 2")]).await;
        // lnd takes its time, so that the moments fall into the calls too.
        world.lnd.node.inject("*", Fault::Delay(Duration::from_millis(4)), 1_000);
        ruled(&world).await;
        tokio::time::sleep(delay).await;
        process.kill().await;
        process = Process::start(&world).await;
        world.hears(&world.seller, Action::AddBondInvoice, 1).await;
        let (bolt11, hash) = world.invoice(500);
        let answer = world.seller.bond_invoice(world.trade.order, &bolt11);
        world.seller.send(&answer).await.unwrap();
        tokio::time::sleep(delay).await;
        process.kill().await;
        process = Process::start(&world).await;
        done_once(&world, process, hash).await;
    }
}
