//! S7: another share in the settings while a payout is under way.

use bondflow::engine::Status;
use bondflow::sandbox::lnd::Behaviour;
use mostro_core::message::Action;

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s07_a_restart_with_another_share_pays_what_was_frozen() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    world.setup.share = "0.9";
    world.restart().await;
    let (tenth, _) = world.invoice(100);
    assert_eq!(world.invoice_refusal(&world.seller, &tenth).await, "invalid_invoice");

    let (bolt11, hash) = world.invoice(500);
    world.winner.next_of(hash, Behaviour::HOLD, 1);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    world.restart().await;
    assert!(world.lnd.node.release(hash));
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    let row = world.bond(&bond).await;
    assert_eq!((&row["state"], &row["node_share_sats"]), (&"slashed".into(), &500.into()));
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.sends_of(hash).len(), ledger.times_paid(hash)), (1, 1));
    assert_eq!(ledger.spent_msat, 500_000);
    assert_eq!(world.times_told(&world.seller, Action::BondPayoutCompleted).await, 1);
    world.stop().await;

    // The settings of the restart are in force for what is slashed from then on.
    let mut other = World::asking(Setup { share: "0.9", ..Setup::default() }).await;
    assert_eq!(other.bond(&other.taker_bond()).await["node_share_sats"], 900);
    other.stop().await;
}
