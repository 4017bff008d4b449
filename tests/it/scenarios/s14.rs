//! S14: relays are away.

use std::time::Duration;

use bondflow::sandbox::lnd::Behaviour;
use mostro_core::message::Action;

use super::world::{Setup, World};

/// Lets an hour go by, minute after minute.
async fn an_hour(world: &World) {
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each message of the payout was heard once, of the requests so many, and the sats were sent once.
async fn once_each(world: &World, hash: [u8; 32], requests: usize) {
    world.passing(world.hears(&world.seller, Action::BondPayoutCompleted, 1)).await;
    world.bond_is(&world.taker_bond(), "state", "slashed").await;
    world.passing(world.hears(&world.buyer, Action::BondSlashed, 1)).await;
    for action in [Action::BondInvoiceAccepted, Action::BondPayoutCompleted] {
        assert_eq!(world.seller.count(&action), 1, "{action:?}");
    }
    assert_eq!(world.seller.count(&Action::AddBondInvoice), requests);
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_the_relay_is_away_for_an_hour() {
    // So long that on a slow machine no further one falls due while the relay is reached again.
    let interval = ("anti_abuse_bond", "payout_invoice_window_seconds = 3000".to_owned());
    let mut world = World::new(Setup { settings: vec![interval], ..Setup::default() }).await;
    let bond = world.taker_bond();
    // The bond can't be claimed until the relay is gone: then there is a request nobody hears.
    world.lnd.stop().await;
    world.rule(Action::AdminCancel, false, true).await;
    world.relay.shut().await;
    world.lnd.restart().await.unwrap();
    world.passing(world.bond_is(&bond, "state", "pending-payout")).await;
    world.passing(world.bond_is(&bond, "invoice_request_attempts", 1)).await;
    an_hour(&world).await;
    let row = world.bond(&bond).await;
    assert_eq!(row["invoice_request_attempts"], 1, "no second request while the first is on its way");
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 0);
    world.relay.open().await.unwrap();
    world.passing(world.hears(&world.seller, Action::AddBondInvoice, 1)).await;

    // The answer reaches a relay that is cut off from the daemon: so it asks once more, and waits
    // with that for the relay.
    world.winner.next(Behaviour::HOLD, 1);
    let (bolt11, hash) = world.invoice(500);
    let answer = world.seller.wrap(&world.seller.bond_invoice(world.trade.order, &bolt11)).unwrap();
    world.relay.shut().await;
    world.relay.store(&answer).await.unwrap();
    an_hour(&world).await;
    assert!(world.bond(&bond).await["payout_invoice"].is_null());
    world.relay.open().await.unwrap();
    world.passing(world.hears(&world.seller, Action::BondInvoiceAccepted, 1)).await;

    // And the notice of the payment waits for another hour.
    world.lnd.node.wait_for_htlc(hash).await;
    world.relay.shut().await;
    assert!(world.lnd.node.release(hash));
    world.passing(world.bond_is(&bond, "state", "slashed")).await;
    an_hour(&world).await;
    world.relay.open().await.unwrap();
    once_each(&world, hash, 2).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_one_of_three_relays_is_away() {
    let mut world = World::new(Setup { more_relays: 2, ..Setup::default() }).await;
    world.more_relays[0].shut().await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    // Another one goes, so that two different ones have what was said so far.
    world.more_relays[0].open().await.unwrap();
    world.relay.shut().await;
    let (bolt11, hash) = world.invoice(500);
    let answer = world.seller.wrap(&world.seller.bond_invoice(world.trade.order, &bolt11)).unwrap();
    world
        .passing(world.until(|| async { world.seller.publish(&answer).await.map_err(|error| error.to_string()) }))
        .await;
    world.passing(world.hears(&world.seller, Action::BondInvoiceAccepted, 1)).await;
    world.relay.open().await.unwrap();
    once_each(&world, hash, 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_answers_that_came_while_the_daemon_was_stopped_are_caught_up() {
    let mut world = World::new(Setup { more_relays: 1, ..Setup::default() }).await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    world.stop().await;
    let (bolt11, hash) = world.invoice(500);
    let (late, late_hash) = world.invoice(500);
    let answer = world.seller.wrap(&world.seller.bond_invoice(world.trade.order, &bolt11)).unwrap();
    for _ in 0..3 {
        world.seller.publish(&answer).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(3_600));
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &late)).await.unwrap();
    world.clock.advance(Duration::from_secs(3_600));
    world.start().await;
    // One of the two is taken, whichever is read first; the other is answered.
    world.passing(world.hears(&world.seller, Action::CantDo, 1)).await;
    world.passing(world.hears(&world.seller, Action::BondPayoutCompleted, 1)).await;
    let ledger = world.lnd.node.ledger();
    let paid = if ledger.sends_of(hash).is_empty() { late_hash } else { hash };
    once_each(&world, paid, 1).await;
    world.restart().await;
    world.pass(120).await;
    once_each(&world, paid, 1).await;
    assert_eq!(world.seller.count(&Action::CantDo), 1);
    assert_eq!(world.lnd.node.ledger().spent_msat, 500_000);
    world.stop().await;
}
