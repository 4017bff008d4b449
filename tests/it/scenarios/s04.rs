//! S4: the node keeps all of a slashed bond.

use bondflow::engine::Status;
use mostro_core::message::Action;
use serde_json::Value;

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s04_with_the_whole_share_for_the_node_nobody_is_asked_and_nothing_is_paid() {
    let mut world = World::new(Setup { share: "1.0", ..Setup::default() }).await;
    let bond = world.taker_bond();
    world.rule(Action::AdminCancel, false, true).await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    world.is_resolved().await;
    let row = world.bond(&bond).await;
    assert_eq!((&row["state"], &row["node_share_sats"]), (&"slashed".into(), &1_000.into()));
    assert_eq!((&row["payout_recipient"], &row["payout_invoice"]), (&Value::Null, &Value::Null));
    assert!(row["slashed_at"].is_i64());

    let (bolt11, _) = world.invoice(1_000);
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    assert!(!world.was_asked_for(&bond).await);
    let told: Vec<_> = world.told(&world.seller).await.iter().map(|kind| kind["action"].clone()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&"admin-canceled".into()) && told.contains(&"cant-do".into()), "{told:?}");
    assert_eq!(world.times_told(&world.buyer, Action::BondSlashed).await, 1);
    assert_eq!(world.settled(), 1);
    assert_eq!(world.sends(), 0);
    world.stop().await;
}
