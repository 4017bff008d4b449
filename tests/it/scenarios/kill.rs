//! The daemon as a real process, killed with SIGKILL in each step of S1 and started again: one
//! payment, one claimed bond, and each message once.

use std::time::Duration;

use bondflow::engine::{RunId, Status};
use bondflow::sandbox::lnd::Fault;
use mostro_core::message::Action;
use tonic_lnd::lnrpc::invoice::InvoiceState;

use super::process::Process;
use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};

/// A kill between the intent and the send has the daemon wait until that send can't arrive any more: its lease, and two
/// minutes between the clocks.
const UNTIL_SENT_AGAIN: Duration = Duration::from_secs(180);

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
    /// What goes wrong with the calls up to there.
    fn arm<L: Side>(self, lnd: &L) {
        match self {
            CancelNotTaken => lnd.inject("CancelInvoice", Fault::Stall, 2),
            CancelUnanswered => lnd.inject("CancelInvoice", Fault::StallAfterActing, 2),
            SettleNotTaken => lnd.inject("SettleInvoice", Fault::Stall, 1),
            SettleUnanswered => lnd.inject("SettleInvoice", Fault::StallAfterActing, 1),
            SettleCut => lnd.inject("SettleInvoice", Fault::DropAfterActing, 1),
            RequestUnpublished => lnd.inject("SettleInvoice", Fault::Delay(Duration::from_millis(500)), 1),
            InvoiceTaken => lnd.inject("TrackPaymentV2", Fault::Stall, 1),
            SendNotTaken => lnd.inject("SendPaymentV2", Fault::Stall, 1),
            SendUnanswered => lnd.inject("SendPaymentV2", Fault::StallAfterActing, 1),
            SendCut => lnd.inject("SendPaymentV2", Fault::DropAfterActing, 1),
            _ => {}
        }
    }

    /// What becomes of the payment.
    const fn fate(self) -> Fate {
        match self {
            InFlight | PaidWhileAway | CompletionUnpublished => Fate::Held,
            _ => Fate::Paid,
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

/// A world on the machine's clock, and a daemon's process in it whose leases are short; who does not answer is asked
/// again after so many seconds.
pub(super) async fn real<L: Side>(interval: u32) -> (World<L>, Process) {
    real_with(interval, Setup::default().max_retries).await
}

/// The same; an invoice is given up after so many failed attempts.
pub(super) async fn real_with<L: Side>(interval: u32, max_retries: u32) -> (World<L>, Process) {
    let settings = vec![
        ("engine", "lease_seconds = 2".to_owned()),
        ("anti_abuse_bond", format!("payout_invoice_window_seconds = {interval}")),
    ];
    let setup = Setup { real_time: true, faulty_lnd: true, settings, max_retries, ..Setup::with_own_sum() };
    let mut world = World::<L>::idle(setup).await;
    world.look().await;
    let process = Process::start(&world).await;
    (world, process)
}

/// The solver's word, published; nobody waits for an answer.
pub(super) async fn ruled<L: Side>(world: &World<L>) {
    let ruling = world.solver.ruling(world.trade.order, Action::AdminCancel, false, true);
    world.solver.send(&ruling).await.unwrap();
}

async fn payout_is<L: Side>(world: &World<L>, step: &str) {
    let id = RunId::of("bond_payout", &world.taker_bond());
    world
        .until(|| async {
            let run = world.store().run(&id).await.unwrap();
            run.filter(|run| run.step == step).map(drop).ok_or_else(|| format!("not at {step}"))
        })
        .await;
}

/// Waits until lnd has so much behind it.
async fn lnd_has<L: Side>(world: &World<L>, what: &str, done: impl AsyncFn(&L) -> bool) {
    world.until(|| async { done(&world.lnd).await.then_some(()).ok_or_else(|| format!("not {what}")) }).await;
}

async fn sent<L: Side>(world: &World<L>, hash: [u8; 32]) {
    lnd_has(world, "sent", async |lnd: &L| lnd.sends_of(hash).await > 0).await;
}

/// Everything has come to its end, once: the winner was asked, and an invoice taken, so many times, and the last of them
/// is paid.
pub(super) async fn done_once<L: Side>(world: &World<L>, process: Process, hash: [u8; 32], rounds: usize) {
    let bond = world.taker_bond();
    let row = world
        .until_within(UNTIL_SENT_AGAIN, || async {
            let row = world.bond(&bond).await;
            (row["state"] == "slashed").then_some(row).ok_or_else(|| "not slashed".to_owned())
        })
        .await;
    assert_eq!(row["payout_attempts"], 0);
    let node_share = row["node_share_sats"].as_u64().unwrap();
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
    assert_eq!(world.seller.count(&Action::BondInvoiceAccepted), rounds);
    let asked = world.seller.count(&Action::AddBondInvoice);
    // Whoever is asked at a short interval may be asked once more before the answer is in.
    assert!(asked == rounds || rounds > 1 && asked > rounds, "asked {asked} times");
    assert_eq!(world.seller.count(&Action::BondPayoutCompleted), 1);
    assert_eq!(world.buyer.count(&Action::BondSlashed), 1);
    for client in [&world.seller, &world.buyer, &world.solver] {
        assert_eq!(client.count(&Action::AdminCanceled), 1);
        assert_eq!(client.count(&Action::CantDo), 0);
    }
    let lnd = &world.lnd;
    assert_eq!((lnd.times_paid(hash).await, lnd.payments_of(hash).await), (1, 1));
    let paid_msat = lnd.footprint().await.paid_msat;
    assert_eq!(node_share * 1_000 + paid_msat, world.setup.bond_sats * 1_000, "the shares are the bond");
    assert_eq!(lnd.settled().await, 1, "the slashed bond and nothing else");
    assert_eq!(lnd.stands(world.trade.bonds[1].preimage).await, InvoiceState::Settled);
    assert_eq!(lnd.stands(world.trade.bonds[0].preimage).await, InvoiceState::Canceled);
    assert_eq!(lnd.stands(world.trade.escrow.unwrap()).await, InvoiceState::Canceled);
    assert_eq!(world.order().await["status"], "canceled-by-admin");
}

async fn killed_at<L: Side>(point: Point) {
    let (world, mut process) = real::<L>(300).await;
    let lnd = &world.lnd;
    point.arm(lnd);
    ruled(&world).await;
    match point {
        CancelNotTaken => world.run_is("bond_release", &world.maker_bond(), "cancel", Status::Running).await,
        CancelUnanswered => lnd_has(&world, "canceled", async |lnd: &L| lnd.footprint().await.cancels >= 2).await,
        SettleNotTaken => payout_is(&world, "settle").await,
        SettleUnanswered | SettleCut => lnd_has(&world, "settled", async |lnd: &L| lnd.settled().await == 1).await,
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

    let (bolt11, hash) = world.invoice_of(world.share(), point.fate()).await;
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
        SendUnanswered | SendCut => sent(&world, hash).await,
        InFlight => lnd.is_held(hash).await,
        PaidWhileAway => {
            lnd.is_held(hash).await;
            process.kill().await;
            lnd.claims(hash).await;
            process = Process::start(&world).await;
        }
        CompletionUnpublished => {
            world.hears(&world.seller, Action::BondInvoiceAccepted, 1).await;
            lnd.is_held(hash).await;
            world.relay.refuse(true);
            lnd.claims(hash).await;
            world.bond_is(&world.taker_bond(), "state", "slashed").await;
        }
        _ => {}
    }
    if !point.before_the_answer() && !matches!(point, AnswerWhileAway | PaidWhileAway) {
        process = again(&world, process).await;
    }
    if point == SendNotTaken {
        // Nothing is sent again before the first send can't arrive any more, by any clock.
        tokio::time::sleep(Duration::from_secs(110)).await;
        assert_eq!(lnd.sends_of(hash).await, 0, "sent while the first send could arrive");
        world
            .until_within(Duration::from_secs(60), || async {
                (lnd.sends_of(hash).await > 0).then_some(()).ok_or_else(|| "not sent again".to_owned())
            })
            .await;
    }
    if point == InFlight {
        world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
        lnd.claims(hash).await;
    }
    done_once(&world, process, hash, 1).await;
}

/// Kills the process, mends the world and starts it again.
pub(super) async fn again<L: Side>(world: &World<L>, process: Process) -> Process {
    process.kill().await;
    world.lnd.clear_faults();
    world.relay.refuse(false);
    Process::start(world).await
}

macro_rules! killed {
    ($($name:ident: $point:ident,)*) => {$(
        async fn $name<L: Side>() {
            killed_at::<L>(Point::$point).await;
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
    killed_before_lnd_takes_the_send: SendNotTaken,
    killed_before_it_hears_that_lnd_sends: SendUnanswered,
    killed_when_the_connection_broke_after_the_send: SendCut,
    killed_with_the_payment_in_flight: InFlight,
    killed_and_paid_meanwhile: PaidWhileAway,
    killed_before_the_completion_is_published: CompletionUnpublished,
}

on_every_lnd! {
    killed_when_the_ruling_is_published,
    killed_before_lnd_cancels,
    killed_before_it_hears_that_lnd_canceled,
    killed_before_lnd_settles,
    killed_before_it_hears_that_lnd_settled,
    killed_when_the_connection_broke_after_the_settle,
    killed_before_the_request_is_published,
    killed_when_the_request_is_heard,
    killed_before_the_answer_is_published,
    killed_when_the_answer_is_published,
    killed_when_the_invoice_is_taken,
    killed_before_any_reply_is_published,
    #[ignore = "waits two minutes until the send can't arrive any more"]
    killed_before_lnd_takes_the_send,
    killed_before_it_hears_that_lnd_sends,
    killed_when_the_connection_broke_after_the_send,
    killed_with_the_payment_in_flight,
    killed_and_paid_meanwhile,
    killed_before_the_completion_is_published,
    killed_at_any_moment,
}

/// At no matter which moment: after the ruling, and once more after the invoice.
async fn killed_at_any_moment<L: Side>() {
    for delay in [0, 3, 6, 10, 15, 22, 32, 48, 70, 110].map(Duration::from_millis) {
        let (world, mut process) = real::<L>(300).await;
        // lnd takes its time, so that the moments fall into the calls too.
        world.lnd.inject("*", Fault::Delay(Duration::from_millis(4)), 1_000);
        ruled(&world).await;
        tokio::time::sleep(delay).await;
        process.kill().await;
        process = Process::start(&world).await;
        world.hears(&world.seller, Action::AddBondInvoice, 1).await;
        let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
        let answer = world.seller.bond_invoice(world.trade.order, &bolt11);
        world.seller.send(&answer).await.unwrap();
        tokio::time::sleep(delay).await;
        process.kill().await;
        process = Process::start(&world).await;
        done_once(&world, process, hash, 1).await;
    }
}
