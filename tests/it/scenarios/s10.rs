//! S10: lnd is down when the daemon starts, and in the middle of a payout.

use bondflow::engine::Status;
use mostro_core::message::Action;

use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};

on_every_lnd! {
    s10_lnd_is_down_at_the_very_first_start,
    s10_lnd_is_down_at_start_and_between_the_steps,
    s10_lnd_is_killed_with_a_payment_in_flight,
    s10_lnd_is_shut_down_with_a_payment_in_flight,
    s10_lnd_is_killed_with_a_payment_in_flight_and_the_daemon_restarts,
}

/// The bond is paid with one send, and no attempt was spent on lnd's absence.
async fn paid_once<L: Side>(world: &World<L>, hash: [u8; 32]) {
    let bond = world.taker_bond();
    let row = world.passing(world.bond_is(&bond, "state", "slashed")).await;
    assert_eq!(row["payout_attempts"], 0);
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    assert_eq!(world.lnd.sends_of(hash).await, 1);
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 1);
}

async fn s10_lnd_is_down_at_the_very_first_start<L: Side>() {
    let mut world = World::<L>::idle(Setup::default()).await;
    world.lnd.kill().await;
    let mut starting = tokio::spawn(world.starting());
    let ruling = world.solver.ruling(world.trade.order, Action::AdminCancel, false, true);
    world.solver.send(&ruling).await.unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut starting).await;
    assert!(early.is_err(), "nothing can be decided before lnd's network and key are known");

    world.lnd.serves().await;
    world.started(starting.await.unwrap());
    world.hears(&world.solver, Action::AdminCanceled, 1).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    paid_once(&world, hash).await;
    world.stop().await;
}

async fn s10_lnd_is_down_at_start_and_between_the_steps<L: Side>() {
    let mut world = World::<L>::at_work(Setup::default()).await;
    let bond = world.taker_bond();
    world.stop().await;
    world.lnd.kill().await;
    world.start().await;

    assert_eq!(world.rule(Action::AdminCancel, false, true).await.action(), Action::AdminCanceled);
    world.pass(120).await;
    assert_eq!(world.bond(&bond).await["state"], "locked");
    assert_eq!(world.order().await["status"], "dispute", "no status claims what lnd has not confirmed");
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 0);
    world.lnd.serves().await;
    world.passing(world.bond_is(&bond, "state", "pending-payout")).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;

    // A wallet that waits for its password is as good as no lnd.
    world.lnd.lock().await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.pass(60).await;
    world.lnd.shut_down().await;
    world.restart().await;
    world.pass(60).await;
    assert_eq!(world.bond(&bond).await["payout_attempts"], 0);
    world.lnd.serves().await;
    paid_once(&world, hash).await;
    world
        .passing(world.run_is("order_resolution", &world.trade.order.to_string(), "resolved", Status::Completed))
        .await;
    world.stop().await;
}

/// How lnd goes away.
#[derive(Clone, Copy)]
enum Leaves {
    Killed,
    ShutDown,
}

async fn leaves_with_a_payment_in_flight<L: Side>(how: Leaves, daemon_restarts: bool) {
    let mut world = World::<L>::at_work(Setup::default()).await;
    let bond = world.taker_bond();
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Held).await;
    world.answer(&world.seller, &bolt11).await;
    world.lnd.is_held(hash).await;
    match how {
        Leaves::Killed => world.lnd.kill().await,
        Leaves::ShutDown => world.lnd.shut_down().await,
    }
    if daemon_restarts {
        world.restart().await;
    }
    world.pass(180).await;
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    // The payee takes the sats while nobody looks.
    world.lnd.claims(hash).await;
    world.lnd.serves().await;
    paid_once(&world, hash).await;
    world.stop().await;
}

async fn s10_lnd_is_killed_with_a_payment_in_flight<L: Side>() {
    leaves_with_a_payment_in_flight::<L>(Leaves::Killed, false).await;
}

async fn s10_lnd_is_shut_down_with_a_payment_in_flight<L: Side>() {
    leaves_with_a_payment_in_flight::<L>(Leaves::ShutDown, false).await;
}

async fn s10_lnd_is_killed_with_a_payment_in_flight_and_the_daemon_restarts<L: Side>() {
    leaves_with_a_payment_in_flight::<L>(Leaves::Killed, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_lnd_dies_of_the_send_itself() {
    use bondflow::sandbox::lnd::Fault;
    for fault in [Fault::DropAfterActing, Fault::DropBeforeActing] {
        let acted = fault == Fault::DropAfterActing;
        let mut world = World::new(Setup::default()).await;
        world.rule(Action::AdminCancel, false, true).await;
        world.hears(&world.seller, Action::AddBondInvoice, 1).await;
        world.lnd.node.inject("SendPaymentV2", fault, 1);
        let (bolt11, hash) = world.invoice(500);
        world.answer(&world.seller, &bolt11).await;
        if acted {
            world.lnd.node.wait_for_send(hash).await;
            assert!(world.lnd.node.ledger().payment(hash).is_some());
        } else {
            // Nothing is sent again while the first send could still arrive.
            world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
            world.pass(20).await;
            assert!(world.lnd.node.ledger().sends_of(hash).is_empty());
        }
        world.lnd.stop().await;
        world.pass(30).await;
        world.lnd.restart().await.unwrap();
        paid_once(&world, hash).await;
        world.stop().await;
    }
}
