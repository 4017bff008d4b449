//! lnd lacks the sats, or is not synced to its chain: nothing is spent of the attempts, and
//! nothing of the window is lost.

use bondflow::engine::Status;
use bondflow::sandbox::lnd::Behaviour;
use mostro_core::message::Action;

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_liquidity_spends_no_attempt() {
    // One failed attempt would be the last.
    let mut world = World::asking(Setup { max_retries: 1, ..Setup::default() }).await;
    let bond = world.taker_bond();
    let (bolt11, hash) = world.invoice(500);
    world.winner.next_of(hash, Behaviour::INSUFFICIENT_BALANCE, 3);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "intend", Status::BackingOff).await;
    world.alarmed("insufficient-balance", 1).await;
    let (second, _) = world.invoice(500);
    assert_eq!(world.invoice_refusal(&world.seller, &second).await, "not_allowed_by_status");

    world.passing(world.run_is("bond_payout", &bond, "slashed", Status::Completed)).await;
    let row = world.bond(&bond).await;
    assert_eq!((row["state"].as_str(), &row["payout_attempts"]), (Some("slashed"), &0.into()));
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len()), (1, 4));
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 1);
    assert_eq!(world.alarms("payout-failed"), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_liquidity_closes_no_window_on_an_invoice_that_is_in() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    world.set_to_deadline(&bond, -10).await;
    let (bolt11, hash) = world.invoice(500);
    world.winner.next_of(hash, Behaviour::INSUFFICIENT_BALANCE, 5);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "intend", Status::BackingOff).await;
    world.passing(world.run_is("bond_payout", &bond, "slashed", Status::Completed)).await;
    let slashed_at = world.bond(&bond).await["slashed_at"].as_i64().unwrap();
    assert!(world.now().secs() > slashed_at + 15 * 86_400, "it was paid past the deadline");
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_payment_starts_while_lnd_is_not_synced_to_its_chain() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    world.lnd.node.set_synced(false);
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "intend", Status::BackingOff).await;
    world.pass(120).await;
    assert_eq!((world.sends(), world.bond(&bond).await["payout_attempts"].as_i64()), (0, Some(0)));
    world.lnd.node.set_synced(true);
    world.passing(world.run_is("bond_payout", &bond, "slashed", Status::Completed)).await;
    assert_eq!(world.lnd.node.ledger().sends_of(hash).len(), 1);
    world.stop().await;
}
