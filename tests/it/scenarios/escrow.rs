//! The trade's escrow is not where the ruling needs it: that part of the resolution stops and
//! says so, or is done already; the slashes go on either way.

use bondflow::engine::Status;
use bondflow::payout::ports::{HoldAnswer, Lightning};
use bondflow::sandbox::lnd::{Fault, Hash32};
use mostro_core::message::Action;
use serde_json::json;
use tonic_lnd::tonic::Code;

use super::world::{Setup, World};

fn escrow(world: &World) -> [u8; 32] {
    world.trade.escrow.unwrap()
}

/// Somebody else has lnd give the escrow back.
async fn canceled_by_hand(world: &World) {
    let hash = Hash32::of(&escrow(world)).0;
    assert_eq!(world.by_hand().cancel(hash).await, HoldAnswer::Canceled);
}

/// Somebody else has lnd take the escrow.
async fn settled_by_hand(world: &World) {
    assert_eq!(world.by_hand().settle(escrow(world)).await, HoldAnswer::Settled);
}

/// lnd never knew the escrow that the books name.
async fn unknown(world: &World) {
    let preimage = [9; 32];
    world.write_order(json!({ "hash": Hash32::of(&preimage).to_string(), "preimage": hex::encode(preimage) })).await;
}

/// The resolution has stopped at the escrow and told nobody of what is not so; the bond is
/// claimed, its share is paid, and a restart changes nothing.
async fn stops_and_pays_the_share(mut world: World, action: Action) {
    let order = world.trade.order.to_string();
    let told = if action == Action::AdminSettle { Action::AdminSettled } else { Action::AdminCanceled };
    let answer = world.rule(action, false, true).await;
    assert_eq!(answer.action(), told);
    for restarted in [false, true] {
        world.run_is("order_resolution", &order, "escrow", Status::Paused).await;
        assert_eq!(world.order().await["status"], "dispute");
        assert_eq!(world.dispute().await["status"], "in-progress");
        assert!(!world.has_run("trade_payout", &order).await);
        for party in [&world.seller, &world.buyer] {
            assert_eq!(world.times_told(party, told.clone()).await, 0);
        }
        assert!(world.published(38383).await.is_empty() && world.published(38386).await.is_empty());
        if !restarted {
            world.alarmed("escrow", 1).await;
            world.restart().await;
        }
    }
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &world.taker_bond(), "slashed", Status::Completed).await;
    world.run_is("bond_release", &world.maker_bond(), "released", Status::Completed).await;
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
    assert_eq!(world.lnd.node.ledger().spent_msat, 500_000, "nothing for the trade");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_escrow_that_is_canceled_can_not_be_settled() {
    let world = World::new(Setup::default()).await;
    canceled_by_hand(&world).await;
    stops_and_pays_the_share(world, Action::AdminSettle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_escrow_that_is_settled_can_not_be_canceled() {
    let world = World::new(Setup::default()).await;
    settled_by_hand(&world).await;
    stops_and_pays_the_share(world, Action::AdminCancel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_escrow_that_is_missing_can_not_be_settled() {
    let world = World::new(Setup::default()).await;
    unknown(&world).await;
    stops_and_pays_the_share(world, Action::AdminSettle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ruling_wants_may_have_been_done_already() {
    let mut world = World::new(Setup::default()).await;
    canceled_by_hand(&world).await;
    world.rule(Action::AdminCancel, false, false).await;
    world.is_resolved().await;
    assert_eq!(world.order().await["status"], "canceled-by-admin");
    assert_eq!(world.published(38383).await, ["canceled"]);
    world.stop().await;

    let mut world = World::new(Setup::default()).await;
    unknown(&world).await;
    world.rule(Action::AdminCancel, false, false).await;
    world.is_resolved().await;
    assert_eq!(world.order().await["status"], "canceled-by-admin");
    world.stop().await;

    let mut world = World::new(Setup::default()).await;
    settled_by_hand(&world).await;
    world.rule(Action::AdminSettle, false, false).await;
    world.is_resolved().await;
    assert_eq!(world.order().await["status"], "settled-hold-invoice");
    world.hears(&world.buyer, Action::AddInvoice, 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_escrow_there_is_nothing_to_pay_the_buyer_from() {
    let mut world = World::new(Setup { escrow: false, ..Setup::default() }).await;
    world.rule(Action::AdminSettle, true, false).await;
    world.is_resolved().await;
    world.rests(&world.maker_bond()).await;
    assert_eq!(world.order().await["status"], "settled-by-admin");
    assert_eq!(world.published(38383).await, ["success"]);
    assert_eq!(world.published(38386).await, ["settled"]);
    assert!(!world.has_run("trade_payout", &world.trade.order.to_string()).await);
    assert_eq!(world.times_told(&world.buyer, Action::AddInvoice).await, 0);
    assert_eq!(world.settled(), 1, "the bond alone");
    world.stop().await;
}

/// No status and no notice claims what lnd has not confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_lnd_says_nothing_of_the_escrow_nothing_is_said_of_the_trade() {
    let mut world = World::new(Setup::default()).await;
    let order = world.trade.order.to_string();
    world.lnd.node.inject("CancelInvoice", Fault::Answer(Code::Unavailable, "away".to_owned()), 4);
    world.rule(Action::AdminCancel, false, true).await;
    world.run_is("order_resolution", &order, "escrow", Status::BackingOff).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    assert_eq!(world.order().await["status"], "dispute");
    for party in [&world.seller, &world.buyer] {
        assert_eq!(world.times_told(party, Action::AdminCanceled).await, 0);
    }
    world.passing(world.is_resolved()).await;
    assert_eq!(world.order().await["status"], "canceled-by-admin");
    world.hears(&world.seller, Action::AdminCanceled, 1).await;
    world.hears(&world.buyer, Action::AdminCanceled, 1).await;
    world.stop().await;
}
