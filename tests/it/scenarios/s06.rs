//! S6: a buy order, `admin-settle`, the seller slashed.

use bondflow::engine::Status;
use bondflow::sandbox::lnd::payment_hash;
use mostro_core::message::Action;

use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};

on_every_lnd! {
    s06_the_buyer_is_asked_for_the_share_and_gets_the_trades_sats,
    s06_a_buyer_without_an_invoice_is_asked_for_one,
}

fn buy_order() -> Setup {
    Setup { kind: "buy", fee_sats: 600, ..Setup::default() }
}

async fn s06_the_buyer_is_asked_for_the_share_and_gets_the_trades_sats<L: Side>() {
    let mut world = World::<L>::at_work(Setup { buyer_invoice: Some(Fate::Held), ..buy_order() }).await;
    let order = world.trade.order.to_string();
    let trade_hash = payment_hash(world.trade.buyer_invoice.as_deref().unwrap());
    let ruled = world.rule(Action::AdminSettle, true, false).await;
    assert_eq!(ruled.action(), Action::AdminSettled);

    // The buyer made the order, so the slashed seller is its taker.
    let bond = world.taker_bond();
    let asked = world.hears(&world.buyer, Action::AddBondInvoice, 1).await;
    let asked = serde_json::to_value(asked[0].payload().unwrap()).unwrap();
    assert_eq!(asked["bond_payout_request"]["order"]["amount"], 500);
    world.run_is("bond_release", &world.maker_bond(), "released", Status::Completed).await;

    // Until the buyer has the sats, nothing says that the trade is a success.
    world.run_is("trade_payout", &order, "pay", Status::InDoubt).await;
    assert_eq!(world.order().await["status"], "settled-hold-invoice");
    assert_eq!(world.published(38383).await, [""; 0]);
    assert_eq!(world.published(38386).await, ["settled"]);
    world.lnd.is_held(trade_hash).await;
    world.lnd.claims(trade_hash).await;
    world.run_is("trade_payout", &order, "paid", Status::Completed).await;
    assert_eq!(world.order().await["status"], "settled-by-admin");
    assert_eq!(world.published(38383).await, ["success"]);

    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    assert_eq!(world.answer(&world.buyer, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    assert_eq!(world.bond(&bond).await["state"], "slashed");

    assert_eq!((world.lnd.times_paid(hash).await, world.lnd.times_paid(trade_hash).await), (1, 1));
    assert_eq!(world.lnd.footprint().await.paid_msat, (500 + 100_000 - 600) * 1_000);
    assert_eq!(world.lnd.settled().await, 2, "the bond and the escrow");
    for (action, to_buyer, to_seller) in [
        (Action::AdminSettled, 1, 1),
        (Action::AddBondInvoice, 1, 0),
        (Action::BondPayoutCompleted, 1, 0),
        (Action::PurchaseCompleted, 1, 0),
        (Action::AddInvoice, 0, 0),
        (Action::BondSlashed, 0, 1),
    ] {
        assert_eq!(world.times_told(&world.buyer, action.clone()).await, to_buyer, "{action:?} to the buyer");
        assert_eq!(world.times_told(&world.seller, action.clone()).await, to_seller, "{action:?} to the seller");
    }
    world.stop().await;
}

async fn s06_a_buyer_without_an_invoice_is_asked_for_one<L: Side>() {
    let mut world = World::<L>::at_work(buy_order()).await;
    let order = world.trade.order.to_string();
    world.rule(Action::AdminSettle, false, false).await;
    let asked = world.hears(&world.buyer, Action::AddInvoice, 1).await;
    let asked = serde_json::to_value(asked[0].payload().unwrap()).unwrap();
    assert_eq!(asked["order"]["amount"], 100_000 - 600);
    world.run_is("trade_payout", &order, "await_invoice", Status::Waiting).await;

    let (wrong, _) = world.invoice_of(100_000, Fate::Paid).await;
    let (right, hash) = world.invoice_of(100_000 - 600, Fate::Paid).await;
    for (client, bolt11, reason) in [(&world.seller, &right, "invalid_peer"), (&world.buyer, &wrong, "invalid_invoice")]
    {
        assert_eq!(world.refusal(client, &client.trade_invoice(world.trade.order, bolt11)).await, reason);
    }
    let message = world.buyer.trade_invoice(world.trade.order, &right);
    let updated = world.buyer.request(&message, super::world::PATIENCE).await.unwrap();
    assert_eq!(updated.action(), Action::InvoiceUpdated);
    world.run_is("trade_payout", &order, "paid", Status::Completed).await;
    assert_eq!(world.times_told(&world.buyer, Action::PurchaseCompleted).await, 1);
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    assert_eq!(world.order().await["status"], "settled-by-admin");
    world.stop().await;
}
