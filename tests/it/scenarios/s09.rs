//! S9: nobody slashed.

use bondflow::engine::Status;
use bondflow::sandbox::lnd::Hash32;
use mostro_core::message::Action;
use serde_json::Value;
use tonic_lnd::lnrpc::invoice::InvoiceState;

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_with_nobody_slashed_both_bonds_are_given_back() {
    let mut world = World::new(Setup::default()).await;
    // A null payload means no slash.
    world.rule(Action::AdminCancel, false, false).await;
    for bond in &world.trade.bonds {
        let id = bond.id.to_string();
        world.run_is("bond_release", &id, "released", Status::Completed).await;
        let row = world.bond(&id).await;
        assert_eq!((&row["state"], &row["node_share_sats"]), (&"released".into(), &Value::Null));
        assert!(row["released_at"].is_i64() && row["slashed_at"].is_null());
        assert!(!world.has_run("bond_payout", &id).await);
        let hash = Hash32::of(&bond.preimage);
        assert_eq!(world.lnd.node.invoice_state(hash), Some(InvoiceState::Canceled));
    }
    world.is_resolved().await;
    assert_eq!(world.settled(), 0);
    for client in [&world.seller, &world.buyer] {
        let told: Vec<_> = world.told(client).await.iter().map(|kind| kind["action"].clone()).collect();
        assert_eq!(told, ["admin-canceled"]);
    }
    world.stop().await;
}
