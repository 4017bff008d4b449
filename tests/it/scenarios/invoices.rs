//! What comes of an invoice, by when it comes and what it is: every line of the table, and the
//! order in which an invoice is checked.

use bondflow::engine::{Clock, Status};
use bondflow::payout::tables::CURSORS;
use bondflow::sandbox::lnd::{Behaviour, Currency, Fault, InvoiceSpec};
use mostro_core::message::{Action, BondPayoutRequest, Message, Payload};
use mostro_core::order::SmallOrder;
use serde_json::Value;
use tonic_lnd::tonic::Code;
use uuid::Uuid;

use super::world::{Setup, World};

/// A message with any payload, in place of an invoice.
fn message(world: &World, order: Option<Uuid>, payload: Option<Payload>) -> Message {
    Message::new_order(order, Some(world.seller.number()), None, Action::AddBondInvoice, payload)
}

fn invoice(bolt11: &str) -> Option<Payload> {
    Some(Payload::PaymentRequest(None, bolt11.to_owned(), None))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_that_may_not_be_paid_is_refused_and_forgotten() {
    let mut world = World::asking(Setup::default()).await;
    let now = world.clock.now().secs();
    let of = |sats, spec: InvoiceSpec| world.winner.invoice(sats, spec);
    let day = || InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() };
    let good = of(500, day());
    let hidden = |preimage| InvoiceSpec { preimage: Some(preimage), ..day() };
    let own = world.node_invoice(500).await;
    let bad = [
        ("undecodable", good[..good.len() - 1].to_owned()),
        ("empty", String::new()),
        ("an LNURL", "lnurl1dp68gurn8ghj7um9wfmxjcm99e3k7mf0v9cxj0m385ekvcenxc6r2c35xvukxefcv5mkvv34x5ekzd3ev56nyd3hxqurzepexejxxepnxscrvwfnv9nxzcn9xq6xyefhvgcxxcmyxymnserxfq5fns".to_owned()),
        ("a lightning address", "winner@example.com".to_owned()),
        ("another network", of(500, InvoiceSpec { network: Some(Currency::Bitcoin), ..day() })),
        ("too little", of(499, day())),
        ("too much", of(501, day())),
        ("the whole bond", of(1_000, day())),
        ("no amount", of(500, InvoiceSpec { amountless: true, ..day() })),
        ("expired", of(500, InvoiceSpec { created_at: Some(now - 3_601), expiry: 3_600, ..day() })),
        ("expires too soon", of(500, InvoiceSpec { expiry: 3_599, ..day() })),
        ("expires too late", of(500, InvoiceSpec { expiry: 30 * 86_400 + 1, ..day() })),
        ("a long final hop", of(500, InvoiceSpec { min_final_cltv: 145, ..day() })),
        ("an unknown required feature", of(500, InvoiceSpec { feature_bits: vec![100], ..day() })),
        ("AMP", of(500, InvoiceSpec { feature_bits: vec![30], ..day() })),
        ("optional AMP", of(500, InvoiceSpec { feature_bits: vec![31], ..day() })),
        ("the node's own", own),
        ("the slashed bond's hash", of(500, hidden(world.trade.bonds[1].preimage))),
        ("the other bond's hash", of(500, hidden(world.trade.bonds[0].preimage))),
        ("the escrow's hash", of(500, hidden(world.trade.escrow.unwrap()))),
    ];
    for (what, bolt11) in &bad {
        assert_eq!(world.invoice_refusal(&world.seller, bolt11).await, "invalid_invoice", "{what}");
    }
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, bad.len());
    assert_eq!(world.sends(), 0);
    world.run_is("bond_payout", &world.taker_bond(), "await_invoice", Status::Waiting).await;

    // The bounds themselves are good.
    let edge = of(500, InvoiceSpec { expiry: 3_600, min_final_cltv: 144, ..day() });
    assert_eq!(world.answer(&world.seller, &edge).await.action(), Action::BondInvoiceAccepted);
    world.bond_is(&world.taker_bond(), "state", "slashed").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_is_checked_for_shape_then_order_then_sender_and_state_then_itself() {
    let mut world = World::asking(Setup::default()).await;
    let (good, hash) = world.invoice(500);
    let order = Some(world.trade.order);
    let request = BondPayoutRequest { order: SmallOrder::default(), slashed_at: 0 };
    let stranger = Some(Uuid::new_v4());
    for (what, message, reason) in [
        ("no order id", message(&world, None, invoice(&good)), "invalid_payload"),
        ("no order id and no invoice", message(&world, None, invoice("bad")), "invalid_payload"),
        ("no payload", message(&world, order, None), "invalid_payload"),
        ("a text", message(&world, order, Some(Payload::TextMessage(good.clone()))), "invalid_payload"),
        ("the node's own shape", message(&world, order, Some(Payload::BondPayoutRequest(request))), "invalid_payload"),
        ("shape before order", message(&world, stranger, None), "invalid_payload"),
        ("unknown order", message(&world, stranger, invoice(&good)), "not_found"),
        ("order before invoice", message(&world, stranger, invoice("bad")), "not_found"),
    ] {
        assert_eq!(world.unchanged(world.refusal(&world.seller, &message)).await, reason, "{what}");
    }
    for stranger in [&world.buyer, &world.solver] {
        assert_eq!(world.invoice_refusal(stranger, &good).await, "not_allowed_by_status");
        assert_eq!(world.invoice_refusal(stranger, "bad").await, "not_allowed_by_status", "sender before invoice");
    }
    // A client's own amount and order beside the invoice count for nothing.
    let beside = Some(Payload::PaymentRequest(Some(SmallOrder::default()), good.clone(), Some(7)));
    let accepted = world.seller.request(&message(&world, order, beside), super::world::PATIENCE).await.unwrap();
    assert_eq!(accepted.action(), Action::BondInvoiceAccepted);
    world.bond_is(&world.taker_bond(), "state", "slashed").await;
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_invoice_is_taken_before_the_bond_is_claimed() {
    let mut world = World::new(Setup::default()).await;
    let bond = world.taker_bond();
    world.lnd.node.inject("SettleInvoice", Fault::Answer(Code::Unavailable, "away".to_owned()), 1);
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status", "before the ruling");
    world.rule(Action::AdminCancel, false, true).await;
    world.run_is("bond_payout", &bond, "settle", Status::BackingOff).await;
    world.is_resolved().await;
    world.run_is("bond_release", &world.maker_bond(), "released", Status::Completed).await;
    assert_eq!(world.bond(&bond).await["state"], "locked");
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status", "still locked");
    assert_eq!(world.times_told(&world.buyer, Action::BondSlashed).await, 0);

    world.clock.advance(std::time::Duration::from_secs(1));
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    // What was refused was not kept, and is as good as new.
    assert_eq!(world.lnd.node.ledger().sends_of(hash).len(), 0);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.bond_is(&bond, "state", "slashed").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_invoice_is_refused_while_one_is_in_and_when_it_is_paid() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    let (first, hash) = world.invoice(500);
    let (second, other) = world.invoice(500);
    world.winner.next_of(hash, Behaviour::HOLD, 1);
    let accepted = world.answer(&world.seller, &first).await;
    assert_eq!(accepted.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    let row = world.bond(&bond).await;
    assert_eq!((&row["payout_invoice"], &row["state"]), (&first.clone().into(), &"pending-payout".into()));
    assert_eq!((&row["invoice_request_attempts"], &row["payout_attempts"]), (&0.into(), &0.into()));
    for again in [&second, &first, &"bad".to_owned()] {
        assert_eq!(world.invoice_refusal(&world.seller, again).await, "not_allowed_by_status", "in flight");
    }
    // The window stops the asking, never the tracking.
    world.pass_days(16);
    assert_eq!(world.invoice_refusal(&world.seller, &second).await, "not_allowed_by_status", "past the window");
    assert!(world.lnd.node.release(hash));
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    for again in [&second, &first] {
        assert_eq!(world.invoice_refusal(&world.seller, again).await, "not_allowed_by_status", "paid");
    }
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len(), ledger.sends_of(other).len()), (1, 1, 0));
    assert_eq!(world.times_told(&world.seller, Action::BondInvoiceAccepted).await, 1);
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_again_has_no_second_effect() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    let wrong = world.seller.wrap(&world.seller.bond_invoice(world.trade.order, "bad")).unwrap();
    world.seller.publish(&wrong).await.unwrap();
    world.hears(&world.seller, Action::CantDo, 1).await;
    let (bolt11, hash) = world.invoice(500);
    let right = world.seller.wrap(&world.seller.bond_invoice(world.trade.order, &bolt11)).unwrap();
    world.seller.publish(&right).await.unwrap();
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    let before = world.books().await;

    // A fresh daemon remembers them by its database alone, and reads them again: it reads back
    // further than to the last good contact.
    for _ in 0..2 {
        for event in [&wrong, &right] {
            world.seller.publish(event).await.unwrap();
        }
        world.clock.advance(std::time::Duration::from_secs(60));
        let begun = world.clock.now().secs();
        world.restart().await;
        let relay = world.relay.url();
        world
            .until(|| async {
                let row = world.store().row(CURSORS.name, &relay).await.unwrap().unwrap_or_default();
                let read = row.get("read_until").and_then(Value::as_i64);
                read.filter(|read| *read >= begun).map(drop).ok_or_else(|| format!("read until {read:?}"))
            })
            .await;
    }
    assert_eq!(world.books().await, before);
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, 1);
    assert_eq!(world.times_told(&world.seller, Action::BondInvoiceAccepted).await, 1);
    assert_eq!(world.times_told(&world.seller, Action::BondPayoutCompleted).await, 1);
    assert_eq!(world.lnd.node.ledger().sends_of(hash).len(), 1);
    world.stop().await;
}
