//! S5: an invoice that can't be routed.

use bondflow::engine::Status;
use bondflow::sandbox::lnd::Behaviour;
use mostro_core::message::Action;

use super::world::{Setup, World};

/// Three attempts fail: the bond is failed, and the winner is asked again.
async fn failed() -> (World, [u8; 32]) {
    let world = World::asking(Setup { max_retries: 3, ..Setup::default() }).await;
    let bond = world.taker_bond();
    let (bolt11, hash) = world.invoice(500);
    world.winner.next(Behaviour::UNROUTABLE, 3);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    for attempt in 1..3 {
        assert_eq!(world.alarms("payout-failed"), 0);
        world.back_off(&bond, attempt).await;
    }
    world.bond_is(&bond, "state", "failed").await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.rests(&bond).await;

    let row = world.bond(&bond).await;
    assert_eq!(row["payout_attempts"], 3);
    assert_eq!(row["payout_invoice"], bolt11);
    assert_eq!(row["invoice_request_attempts"], 1, "the re-request is the first since an invoice was in");
    assert_eq!(world.alarms("payout-failed"), 1);
    let ledger = world.lnd.node.ledger();
    let mut indices: Vec<_> = ledger.sends_of(hash).iter().map(|send| send.outcome.clone().unwrap()).collect();
    indices.dedup();
    assert_eq!(indices.len(), 3, "three sends, each a payment of its own");
    assert_eq!(ledger.spent_msat, 0);
    (world, hash)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s05_a_failed_payout_is_asked_for_again_and_paid_inside_the_window() {
    let (mut world, spent) = failed().await;
    let bond = world.taker_bond();
    let asked = world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    assert_eq!(
        serde_json::to_value(asked[0].payload().unwrap()).unwrap(),
        serde_json::to_value(asked[1].payload().unwrap()).unwrap(),
        "the same share, the same deadline"
    );
    let old = world.bond(&bond).await["payout_invoice"].as_str().unwrap().to_owned();
    assert_eq!(world.invoice_refusal(&world.seller, &old).await, "invalid_invoice");

    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    let row = world.bond(&bond).await;
    assert_eq!(row["state"], "slashed");
    assert_eq!((&row["payout_attempts"], &row["invoice_request_attempts"]), (&0.into(), &0.into()));
    assert_eq!(row["payout_invoice"], bolt11);
    assert_eq!(world.times_told(&world.seller, Action::BondPayoutCompleted).await, 1);
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(spent), ledger.times_paid(hash)), (0, 1));
    assert_eq!(ledger.spent_msat, 500_000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s05_past_the_window_a_failed_payout_is_left_to_the_operator() {
    let (mut world, spent) = failed().await;
    let bond = world.taker_bond();
    let before = world.bond(&bond).await;
    world.set_to_deadline(&bond, 0).await;
    world.run_is("bond_payout", &bond, "await_invoice", Status::Paused).await;
    assert_eq!(world.bond(&bond).await, before);
    assert_eq!(world.alarms("payout-failed"), 2);

    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    world.restart().await;
    world.clock.advance(std::time::Duration::from_secs(86_400));
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    assert_eq!(world.bond(&bond).await, before);
    world.run_is("bond_payout", &bond, "await_invoice", Status::Paused).await;
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 2);
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.sends_of(spent).len(), ledger.sends_of(hash).len()), (3, 0));
    world.stop().await;
}
