//! S1: a sell order, `admin-cancel`, the buyer slashed.

use bondflow::engine::Status;
use mostro_core::message::Action;

use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};

on_every_lnd!(s01_a_slashed_bond_is_paid_to_the_seller);

async fn s01_a_slashed_bond_is_paid_to_the_seller<L: Side>() {
    let mut world = World::<L>::at_work(Setup::default()).await;
    let bond = world.taker_bond();

    let ruled = world.rule(Action::AdminCancel, false, true).await;
    assert_eq!(ruled.action(), Action::AdminCanceled);

    let asked = world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let asked = serde_json::to_value(asked[0].payload().unwrap()).unwrap();
    assert_eq!(asked["bond_payout_request"]["order"]["amount"], 500);
    world.bond_is(&bond, "state", "pending-payout").await;

    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    let accepted = world.answer(&world.seller, &bolt11).await;
    assert_eq!(accepted.action(), Action::BondInvoiceAccepted);
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    let row = world.bond_is(&bond, "state", "slashed").await;
    assert_eq!(row["payout_attempts"], 0);
    assert_eq!(row["node_share_sats"], 500);
    assert_eq!(row["slashed_reason"], "lost-dispute");

    assert_eq!(world.lnd.times_paid(hash).await, 1);
    assert_eq!(world.lnd.sends_of(hash).await, 1);
    assert_eq!(world.lnd.settled().await, 1);
    world.run_is("bond_release", &world.maker_bond(), "released", Status::Completed).await;
    world.run_is("order_resolution", &world.trade.order.to_string(), "resolved", Status::Completed).await;
    assert_eq!(world.order().await["status"], "canceled-by-admin");
    world.hears(&world.buyer, Action::BondSlashed, 1).await;
    world.stop().await;
}
