//! S12: a payee holds the HTLC.

use bondflow::engine::Status;
use bondflow::sandbox::clients::Client;
use bondflow::sandbox::mostrod::Trade;
use mostro_core::error::CantDoReason;
use mostro_core::message::{Action, Payload};

use super::side::{Fate, Side, on_every_lnd};
use super::world::{PATIENCE, Setup, World};

on_every_lnd! {
    s12_a_held_payment_stays_in_doubt_and_holds_up_nobody,
    s12_a_held_payment_that_is_given_back_is_asked_for_again,
}

/// Two trades besides the first, whose winner holds the payment.
async fn held<L: Side>() -> (World<L>, String, [u8; 32]) {
    let world = World::<L>::at_work(Setup { more_trades: 2, ..Setup::default() }).await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Held).await;
    world.answer(&world.seller, &bolt11).await;
    world.lnd.is_held(hash).await;
    (world, bolt11, hash)
}

/// Another trade, from its ruling to its payment.
async fn goes_on<L: Side>(world: &World<L>, (trade, seller): &(Trade, Client)) {
    let ruling = world.solver.ruling(trade.order, Action::AdminCancel, false, true);
    assert_eq!(world.solver.request(&ruling, PATIENCE).await.unwrap().action(), Action::AdminCanceled);
    world.hears(seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    let answer = seller.bond_invoice(trade.order, &bolt11);
    assert_eq!(seller.request(&answer, PATIENCE).await.unwrap().action(), Action::BondInvoiceAccepted);
    world.hears(seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    let row = world.bond_is(&trade.bonds[1].id.to_string(), "state", "slashed").await;
    assert_eq!(row["payout_attempts"], 0);
}

/// Neither the invoice that is in nor another is taken.
async fn takes_no_invoice<L: Side>(world: &World<L>, first: &str) {
    let (second, _) = world.invoice_of(500, Fate::Paid).await;
    for bolt11 in [first, &second] {
        let refused = world.answer(&world.seller, bolt11).await;
        assert_eq!(refused.action(), Action::CantDo);
        let reason = Some(CantDoReason::NotAllowedByStatus);
        assert!(matches!(refused.payload(), Some(Payload::CantDo(told)) if *told == reason));
    }
}

/// In doubt, asked once, sent once, nothing decided.
async fn in_doubt<L: Side>(world: &World<L>, hash: [u8; 32]) {
    let bond = world.taker_bond();
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    let row = world.bond(&bond).await;
    assert_eq!((row["state"].as_str(), &row["payout_attempts"]), (Some("pending-payout"), &0.into()));
    assert_eq!(world.lnd.sends_of(hash).await, 1);
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 1);
}

async fn s12_a_held_payment_stays_in_doubt_and_holds_up_nobody<L: Side>() {
    let (mut world, bolt11, hash) = held::<L>().await;
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
    world.lnd.mine(3).await;
    goes_on(&world, &world.more[1]).await;

    world.lnd.claims(hash).await;
    world.passing(world.bond_is(&world.taker_bond(), "state", "slashed")).await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    assert_eq!(world.lnd.footprint().await.paid_msat, 3 * 500_000);
    world.stop().await;
}

async fn s12_a_held_payment_that_is_given_back_is_asked_for_again<L: Side>() {
    let (mut world, bolt11, hash) = held::<L>().await;
    // lnd shows a reason while parts are still locked: that is no verdict.
    world.lnd.shows_reason(hash).await;
    world.restart().await;
    world.pass(70).await;
    in_doubt(&world, hash).await;
    takes_no_invoice(&world, &bolt11).await;

    world.lnd.gives_back(hash).await;
    world.passing(world.hears(&world.seller, Action::AddBondInvoice, 2)).await;
    let row = world.bond(&world.taker_bond()).await;
    assert_eq!((row["state"].as_str(), &row["payout_attempts"]), (Some("failed"), &1.into()));
    let (fresh, fresh_hash) = world.invoice_of(500, Fate::Paid).await;
    assert_eq!(world.answer(&world.seller, &fresh).await.action(), Action::BondInvoiceAccepted);
    world.passing(world.bond_is(&world.taker_bond(), "state", "slashed")).await;
    assert_eq!((world.lnd.times_paid(hash).await, world.lnd.times_paid(fresh_hash).await), (0, 1));
    world.stop().await;
}
