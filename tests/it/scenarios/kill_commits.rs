//! The daemon's process is killed after each commit of S1, of S5 and of S12, one commit more each time, until none is
//! left (`make crash-matrix`). A few moments of each are in every test run: those of S1 in `kill`, of S12 in `kill_held`, of
//! S5 here.

use std::time::Duration;

use bondflow::engine::{RunId, Status};
use bondflow::sandbox::lnd::Fault;
use mostro_core::message::Action;

use super::kill::{again, done_once, real_with, ruled};
use super::process::Process;
use super::side::{Fate, Side, on_every_lnd};
use super::world::World;

on_every_lnd! {
    #[ignore = "some twenty runs of a whole scenario: minutes"]
    killed_after_each_commit_of_a_payout,
    #[ignore = "some twenty runs of a whole scenario: minutes"]
    killed_after_each_commit_of_a_held_payout,
    #[ignore = "some thirty runs of a whole scenario: minutes"]
    killed_after_each_commit_of_a_payout_that_fails_at_first,
    killed_after_a_failed_attempt,
    killed_when_another_invoice_is_asked_for,
    killed_when_another_invoice_is_taken,
    killed_before_it_hears_that_lnd_sends_to_another_invoice,
}

/// The payment of the first invoice never gets through.
async fn failing<L: Side>() -> (World<L>, Process) {
    let (world, process) = real_with::<L>(300, 2).await;
    ruled(&world).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, _) = world.invoice_of(world.share(), Fate::Unroutable).await;
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    (world, process)
}

/// The winner is asked for another invoice, and gives one that is paid.
async fn another<L: Side>(world: &World<L>) -> [u8; 32] {
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    hash
}

async fn killed_after_a_failed_attempt<L: Side>() {
    let (world, process) = failing::<L>().await;
    world.run_is("bond_payout", &world.taker_bond(), "intend", Status::BackingOff).await;
    let process = again(&world, process).await;
    let hash = another(&world).await;
    done_once(&world, process, hash, 2).await;
}

async fn killed_when_another_invoice_is_asked_for<L: Side>() {
    let (world, process) = failing::<L>().await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    let process = again(&world, process).await;
    let hash = another(&world).await;
    done_once(&world, process, hash, 2).await;
}

async fn killed_when_another_invoice_is_taken<L: Side>() {
    let (world, process) = failing::<L>().await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.lnd.inject("TrackPaymentV2", Fault::Stall, 1);
    let hash = another(&world).await;
    world.hears(&world.seller, Action::BondInvoiceAccepted, 2).await;
    let process = again(&world, process).await;
    done_once(&world, process, hash, 2).await;
}

async fn killed_before_it_hears_that_lnd_sends_to_another_invoice<L: Side>() {
    let (world, process) = failing::<L>().await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.lnd.inject("SendPaymentV2", Fault::StallAfterActing, 1);
    let hash = another(&world).await;
    world
        .until(|| async { (world.lnd.sends_of(hash).await > 0).then_some(()).ok_or_else(|| "not sent".to_owned()) })
        .await;
    let process = again(&world, process).await;
    done_once(&world, process, hash, 2).await;
}

async fn killed_after_each_commit_of_a_payout<L: Side>() {
    killed_after_each_commit::<L>(&[Fate::Paid]).await;
}

async fn killed_after_each_commit_of_a_held_payout<L: Side>() {
    killed_after_each_commit::<L>(&[Fate::Held]).await;
}

async fn killed_after_each_commit_of_a_payout_that_fails_at_first<L: Side>() {
    killed_after_each_commit::<L>(&[Fate::Unroutable, Fate::Paid]).await;
}

/// The winner answers one request after the other with an invoice of these fates.
async fn killed_after_each_commit<L: Side>(fates: &[Fate]) {
    let mut commit = 1;
    while is_killed_after::<L>(commit, fates).await {
        commit += 1;
    }
    assert!(commit > 10, "a payout has more than {commit} commits");
}

/// The runs of a ruling that slashes one bond.
fn runs<L: Side>(world: &World<L>) -> [RunId; 3] {
    [
        RunId::of("order_resolution", &world.trade.order.to_string()),
        RunId::of("bond_release", &world.maker_bond()),
        RunId::of("bond_payout", &world.taker_bond()),
    ]
}

/// How many commits these runs have behind them, and how the payout stands.
async fn commits<L: Side>(world: &World<L>) -> (i64, Option<Status>) {
    let (mut count, mut payout) = (0_i64, None);
    for id in runs(world) {
        let run = world.store().run(&id).await.unwrap();
        count += run.as_ref().map_or(0, |run| run.revision + 1);
        payout = run.map(|run| run.status);
    }
    (count, payout)
}

/// Kills the process once there are so many commits; false if there never are.
async fn is_killed_after<L: Side>(commit: i64, fates: &[Fate]) -> bool {
    const PATIENCE: Duration = Duration::from_secs(200);
    let (world, mut process) = real_with::<L>(300, 3).await;
    ruled(&world).await;
    let (mut killed, mut answered, mut hash, mut claimed) = (false, 0, None, !fates.contains(&Fate::Held));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (count, payout) = commits(&world).await;
        if !killed && count >= commit {
            process = again(&world, process).await;
            killed = true;
            continue;
        }
        if let Some(fate) = fates.get(answered)
            && world.seller.count(&Action::AddBondInvoice) > answered
        {
            let (bolt11, of) = world.invoice_of(world.share(), *fate).await;
            world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
            (answered, hash) = (answered + 1, Some(of));
        }
        if let (false, Some(hash), Some(Status::InDoubt)) = (claimed, hash, payout)
            // A send that was cut off may still be to come.
            && world.lnd.payments_of(hash).await > 0
        {
            world.lnd.claims(hash).await;
            claimed = true;
        }
        if payout == Some(Status::Completed) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "after commit {commit}: {payout:?}, {count} commits");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    done_once(&world, process, hash.unwrap(), fates.len()).await;
    killed
}
