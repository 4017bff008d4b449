//! S12: a payee holds the HTLC.

use bondflow::engine::Status;
use bondflow::sandbox::clients::Client;
use bondflow::sandbox::lnd::{Behaviour, Payee, Reason, payment_hash};
use bondflow::sandbox::mostrod::Trade;
use mostro_core::error::CantDoReason;
use mostro_core::message::{Action, Payload};

use super::world::{PATIENCE, Setup, World};

/// Two trades besides the first, whose winner holds the payment.
async fn held() -> (World, String, [u8; 32]) {
    let world = World::new(Setup { more_trades: 2, ..Setup::default() }).await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    world.winner.next(Behaviour::HOLD, 1);
    let (bolt11, hash) = world.invoice(500);
    world.answer(&world.seller, &bolt11).await;
    world.lnd.node.wait_for_htlc(hash).await;
    (world, bolt11, hash)
}

/// Another trade, from its ruling to its payment.
async fn goes_on(world: &World, (trade, seller): &(Trade, Client)) {
    let ruling = world.solver.ruling(trade.order, Action::AdminCancel, false, true);
    assert_eq!(world.solver.request(&ruling, PATIENCE).await.unwrap().action(), Action::AdminCanceled);
    world.hears(seller, Action::AddBondInvoice, 1).await;
    let other = Payee::of(&world.lnd.node, "another");
    let bolt11 = other.invoice(500, Default::default());
    let answer = seller.bond_invoice(trade.order, &bolt11);
    assert_eq!(seller.request(&answer, PATIENCE).await.unwrap().action(), Action::BondInvoiceAccepted);
    world.hears(seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.node.ledger().times_paid(payment_hash(&bolt11)), 1);
    let row = world.bond_is(&trade.bonds[1].id.to_string(), "state", "slashed").await;
    assert_eq!(row["payout_attempts"], 0);
}

/// Neither the invoice that is in nor another is taken.
async fn takes_no_invoice(world: &World, first: &str) {
    let (second, _) = world.invoice(500);
    for bolt11 in [first, &second] {
        let refused = world.answer(&world.seller, bolt11).await;
        assert_eq!(refused.action(), Action::CantDo);
        let reason = Some(CantDoReason::NotAllowedByStatus);
        assert!(matches!(refused.payload(), Some(Payload::CantDo(told)) if *told == reason));
    }
}

/// In doubt, asked once, sent once, nothing decided.
async fn in_doubt(world: &World, hash: [u8; 32]) {
    let bond = world.taker_bond();
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    let row = world.bond(&bond).await;
    assert_eq!((row["state"].as_str(), &row["payout_attempts"]), (Some("pending-payout"), &0.into()));
    assert_eq!(world.lnd.node.ledger().sends_of(hash).len(), 1);
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_a_held_payment_stays_in_doubt_and_holds_up_nobody() {
    let (mut world, bolt11, hash) = held().await;
    goes_on(&world, &world.more[0]).await;
    takes_no_invoice(&world, &bolt11).await;
    // In the end the claim window is over and the invoice has expired: neither says "not paid".
    for days in [0, 1, 20] {
        world.pass_days(days);
        world.restart().await;
        world.pass(400).await;
        in_doubt(&world, hash).await;
        takes_no_invoice(&world, &bolt11).await;
    }
    world.lnd.node.mine(3);
    goes_on(&world, &world.more[1]).await;

    assert!(world.lnd.node.release(hash));
    world.passing(world.bond_is(&world.taker_bond(), "state", "slashed")).await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
    assert_eq!(world.lnd.node.ledger().spent_msat, 3 * 500_000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_a_held_payment_that_is_given_back_is_asked_for_again() {
    let (mut world, bolt11, hash) = held().await;
    // lnd shows a reason while parts are still locked: that is no verdict.
    world.lnd.node.show_reason(hash, Reason::IncorrectPaymentDetails);
    world.restart().await;
    world.pass(70).await;
    in_doubt(&world, hash).await;
    takes_no_invoice(&world, &bolt11).await;

    assert!(world.lnd.node.fail(hash));
    world.passing(world.hears(&world.seller, Action::AddBondInvoice, 2)).await;
    let row = world.bond(&world.taker_bond()).await;
    assert_eq!((row["state"].as_str(), &row["payout_attempts"]), (Some("failed"), &1.into()));
    let (fresh, fresh_hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &fresh).await.action(), Action::BondInvoiceAccepted);
    world.passing(world.bond_is(&world.taker_bond(), "state", "slashed")).await;
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.times_paid(fresh_hash)), (0, 1));
    world.stop().await;
}
