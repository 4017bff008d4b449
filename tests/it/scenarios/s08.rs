//! S8: both sides slashed.

use bondflow::engine::Status;
use mostro_core::message::Action;
use serde_json::Value;

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_with_both_slashed_the_node_keeps_both() {
    let mut world = World::new(Setup::default()).await;
    world.rule(Action::AdminCancel, true, true).await;
    for bond in [world.maker_bond(), world.taker_bond()] {
        world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
        let row = world.bond(&bond).await;
        assert_eq!((&row["state"], &row["node_share_sats"]), (&"slashed".into(), &1_000.into()));
        assert_eq!((&row["payout_recipient"], &row["slashed_reason"]), (&Value::Null, &"lost-dispute".into()));
        assert!(!world.was_asked_for(&bond).await);
        assert!(!world.has_run("bond_release", &bond).await);
    }
    world.is_resolved().await;
    assert_eq!(world.settled(), 2);
    let (bolt11, _) = world.invoice(500);
    for client in [&world.seller, &world.buyer] {
        assert_eq!(world.invoice_refusal(client, &bolt11).await, "not_allowed_by_status");
        assert_eq!(world.times_told(client, Action::BondSlashed).await, 1);
        assert_eq!(world.times_told(client, Action::AddBondInvoice).await, 0);
    }
    assert_eq!(world.sends(), 0);
    world.stop().await;
}
