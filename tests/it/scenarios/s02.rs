//! S2: the winner never answers.

use std::time::Duration;

use bondflow::engine::Status;
use mostro_core::message::Action;
use serde_json::Value;

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s02_a_share_that_nobody_claims_is_forfeited_at_the_deadline() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    let before = world.lnd.node.ledger();
    for requests in 2..=3 {
        world.clock.advance(Duration::from_secs(299));
        assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, requests - 1);
        world.clock.advance(Duration::from_secs(1));
        world.hears(&world.seller, Action::AddBondInvoice, requests).await;
        world.bond_is(&bond, "invoice_request_attempts", requests).await;
        world.rests(&bond).await;
    }

    // The last second is the winner's: he is asked once more.
    world.set_to_deadline(&bond, -1).await;
    let asked = world.hears(&world.seller, Action::AddBondInvoice, 4).await;
    let row = world.bond_is(&bond, "invoice_request_attempts", 4).await;
    for asked in &asked {
        let asked = serde_json::to_value(asked.payload().unwrap()).unwrap();
        assert_eq!(asked["bond_payout_request"]["slashed_at"], row["slashed_at"]);
    }
    world.rests(&bond).await;
    assert_eq!(world.bond(&bond).await["state"], "pending-payout");

    world.set_to_deadline(&bond, 0).await;
    world.run_is("bond_payout", &bond, "forfeited", Status::Completed).await;
    let row = world.bond(&bond).await;
    assert_eq!(row["state"], "forfeited");
    assert_eq!(row["payout_invoice"], Value::Null);
    assert_eq!(row["payout_payment_hash"], Value::Null);
    assert_eq!(row["payout_attempts"], 0);
    assert_eq!(row["node_share_sats"], 500);

    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.sends.len(), ledger.settles.len()), (before.sends.len(), before.settles.len()));
    assert_eq!(world.sends(), 0);
    assert_eq!(ledger.cancels.len(), before.cancels.len());
    assert_eq!(ledger.spent_msat, 0);
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 4);
    assert_eq!(world.times_told(&world.seller, Action::BondPayoutCompleted).await, 0);
    world.stop().await;
}
