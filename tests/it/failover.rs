//! Two daemons, each in a process of its own, on one database: what becomes of the runs of one
//! that is killed, or that stands still, and of what it does when it goes on.

use std::time::Duration;

use bondflow::engine::{Run, RunId, Status};
use bondflow::sandbox::clients::Client;
use bondflow::sandbox::lnd::Fault;
use bondflow::sandbox::mostrod::Trade;
use mostro_core::message::Action;
use tokio::time::Instant;

use crate::scenarios::process::Process;
use crate::scenarios::world::{PATIENCE, Setup, World};

const LEASE: Duration = Duration::from_secs(2);
/// By when runs must go on after the end of the lease of whoever had them.
const BOUND: Duration = Duration::from_secs(3);
/// What a daemon says of a run that another one has by now.
const FENCED: &str = "the run was lost to another lease";

/// What happens to the daemon that has the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Killed,
    Stalled,
}

async fn world(trades: usize) -> World {
    let settings = vec![("engine", format!("lease_seconds = {}", LEASE.as_secs()))];
    let setup = Setup { server: true, real_time: true, settings, more_trades: trades - 1, ..Setup::default() };
    let mut world = World::without_daemon(setup).await;
    world.look().await;
    world
}

/// A daemon that tells when it has lost a run.
async fn start(world: &World) -> Process {
    let log = "bondflow=info,bondflowd=info,bondflow::engine::worker=debug";
    let process = Process::spawn(&world.settings_file(), log);
    process.tells("bondflowd works").await;
    process
}

fn trade(world: &World, n: usize) -> (&Trade, &Client) {
    match n.checked_sub(1) {
        None => (&world.trade, &world.seller),
        Some(n) => (&world.more[n].0, &world.more[n].1),
    }
}

async fn payout(world: &World, trade: &Trade) -> Option<Run> {
    world.store().run(&RunId::of("bond_payout", &trade.bonds[1].id.to_string())).await.unwrap()
}

/// Has `working` take a bond's payout up, which stands at a call that lnd does not answer; then
/// lets the mishap happen beside another daemon. Tells how long it takes until the run goes on
/// with that other one.
async fn orphaned(world: &World, n: usize, mishap: Mishap, working: Process) -> (Duration, Process) {
    let (trade, _) = trade(world, n);
    // The answer comes when it is another's to hear.
    let fault = if mishap == Mishap::Killed { Fault::Stall } else { Fault::Delay(LEASE * 2) };
    world.lnd.node.inject("SettleInvoice", fault, 1);
    let ruling = world.solver.ruling(trade.order, Action::AdminCancel, false, true);
    world.solver.send(&ruling).await.unwrap();
    let held = world
        .until(|| async {
            let run = payout(world, trade).await.filter(|run| run.owner.is_some());
            run.ok_or_else(|| "nobody has taken the payout up".to_owned())
        })
        .await;
    let other = start(world).await;
    assert_eq!(payout(world, trade).await.unwrap().owner, held.owner, "its lease is renewed meanwhile");

    let begun = Instant::now();
    let stalled = match mishap {
        Mishap::Killed => {
            working.kill().await;
            None
        }
        Mishap::Stalled => {
            working.signal("STOP").await;
            Some(working)
        }
    };
    let taken = world
        .until(|| async {
            let run = payout(world, trade).await.filter(|run| run.token > held.token);
            run.ok_or_else(|| "nobody goes on with it".to_owned())
        })
        .await;
    let moved = begun.elapsed();
    assert_ne!(taken.owner, held.owner);
    world.bond_is(&trade.bonds[1].id.to_string(), "state", "pending-payout").await;
    let before = world.store().history(taken.seq).await.unwrap();
    if let Some(stalled) = stalled {
        // It wakes up in the middle of a step of a run that is another's by now.
        stalled.signal("CONT").await;
        stalled.tells(FENCED).await;
        stalled.stop(Duration::from_secs(20)).await;
        let after = world.store().history(taken.seq).await.unwrap();
        assert_eq!(after[..before.len()], before, "it has written nothing");
    }
    (moved, other)
}

/// Pays the winner of that trade, and sees that it happened once.
async fn paid_once(world: &World, n: usize) {
    let (trade, seller) = trade(world, n);
    world.hears(seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(500);
    let answer = seller.request(&seller.bond_invoice(trade.order, &bolt11), PATIENCE).await.unwrap();
    assert_eq!(answer.action(), Action::BondInvoiceAccepted);
    let bond = trade.bonds[1].id.to_string();
    world.bond_is(&bond, "state", "slashed").await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    world.hears(seller, Action::BondPayoutCompleted, 1).await;
    for action in [Action::AddBondInvoice, Action::BondInvoiceAccepted, Action::BondPayoutCompleted] {
        assert_eq!(seller.count(&action), 1, "{action:?}");
    }
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
}

/// One mishap after the other; each time whoever was beside goes on.
async fn mishaps(mishaps: &[Mishap]) -> Vec<(Mishap, Duration)> {
    let world = world(mishaps.len()).await;
    let mut working = start(&world).await;
    let mut moved = Vec::new();
    for (n, mishap) in mishaps.iter().enumerate() {
        let (took, other) = orphaned(&world, n, *mishap, working).await;
        moved.push((*mishap, took));
        working = other;
    }
    for n in 0..mishaps.len() {
        paid_once(&world, n).await;
    }
    let spent = world.lnd.node.ledger().spent_msat;
    assert_eq!(spent, 500_000 * mishaps.len() as u64, "nothing was paid twice");
    working.stop(Duration::from_secs(10)).await;
    moved
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_a_daemon_that_dies_or_stalls_go_on_with_the_other() {
    for (mishap, took) in mishaps(&[Mishap::Killed, Mishap::Stalled]).await {
        // What a busy machine adds to it says nothing of the daemons.
        assert!(took < BOUND * 3, "{mishap:?}: {took:?}");
    }
}

/// `make bench-failover`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of some minutes"]
async fn bench() {
    let all: Vec<Mishap> = (0..40).map(|n| if n % 2 == 0 { Mishap::Killed } else { Mishap::Stalled }).collect();
    let moved = mishaps(&all).await;
    for mishap in [Mishap::Killed, Mishap::Stalled] {
        let mut took: Vec<Duration> = moved.iter().filter(|(what, _)| *what == mishap).map(|(_, took)| *took).collect();
        took.sort();
        println!(
            "{mishap:?} {} times: the orphaned run goes on after {:?} at most, median {:?}; lease + 1 s = {BOUND:?}",
            took.len(),
            took[took.len() - 1],
            took[took.len() / 2],
        );
    }
    println!("every winner was paid once");
    let worst = moved.iter().map(|(_, took)| *took).max().unwrap();
    assert!(worst <= BOUND, "{worst:?}");
}

/// A daemon is frozen exactly when it has looked at its lease and calls lnd to pay: the call
/// arrives when its lease is over. lnd itself refuses it.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_was_frozen_on_its_way_is_refused_by_lnd() {
    let world = world(1).await;
    let frozen = start(&world).await;
    let ruling = world.solver.ruling(world.trade.order, Action::AdminCancel, false, true);
    world.solver.send(&ruling).await.unwrap();
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let sent = Instant::now();
    let late = LEASE * 2;
    world.lnd.node.inject("SendPaymentV2", Fault::Delay(late), 1);
    let (bolt11, hash) = world.invoice(500);
    let answer = world.seller.bond_invoice(world.trade.order, &bolt11);
    world.seller.send(&answer).await.unwrap();
    let held = world
        .until(|| async {
            let run = payout(&world, &world.trade).await.filter(|run| run.step == "pay" && run.owner.is_some());
            // The call is on its way.
            run.filter(|_| world.lnd.node.faults_to_come() == 0).ok_or_else(|| "it does not come to pay".to_owned())
        })
        .await;
    frozen.signal("STOP").await;
    let other = start(&world).await;
    let taken = world
        .until(|| async {
            let run = payout(&world, &world.trade).await.filter(|run| run.token > held.token);
            run.ok_or_else(|| "nobody goes on with it".to_owned())
        })
        .await;
    // The call arrives at last. lnd would note it as a send, had it let it in.
    tokio::time::sleep_until(sent + late + Duration::from_secs(3)).await;
    frozen.signal("CONT").await;
    frozen.tells(FENCED).await;
    frozen.stop(Duration::from_secs(20)).await;
    // The other one only looks: whether the send could still arrive it can't know yet.
    world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
    assert!(payout(&world, &world.trade).await.unwrap().token >= taken.token);
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.sends_of(hash).len(), ledger.times_paid(hash), ledger.spent_msat), (0, 0, 0));
    other.stop(Duration::from_secs(20)).await;
}
