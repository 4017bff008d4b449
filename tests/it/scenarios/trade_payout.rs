//! The buyer's sats after a settled escrow: the invoice that he left, if it can be paid, and
//! another one if it can't.

use bondflow::engine::{Clock, Status};
use bondflow::sandbox::lnd::{Behaviour, InvoiceSpec, payment_hash};
use mostro_core::message::Action;
use serde_json::json;

use super::world::{PATIENCE, Setup, World};

const TRADE_SATS: u64 = 100_000;

fn day() -> InvoiceSpec {
    InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() }
}

async fn settled_with(left: Option<String>) -> World {
    let world = World::new(Setup::default()).await;
    world.write_order(json!({ "buyer_invoice": left })).await;
    assert_eq!(world.rule(Action::AdminSettle, false, false).await.action(), Action::AdminSettled);
    world
}

/// The buyer is asked, answers well, and is paid once.
async fn asked_and_paid(mut world: World, times: usize) {
    let order = world.trade.order.to_string();
    world.hears(&world.buyer, Action::AddInvoice, times).await;
    world.run_is("trade_payout", &order, "await_invoice", Status::Waiting).await;
    assert_eq!(world.order().await["status"], "settled-hold-invoice");
    let bolt11 = world.winner.invoice(TRADE_SATS, day());
    let answer = world.buyer.request(&world.buyer.trade_invoice(world.trade.order, &bolt11), PATIENCE).await.unwrap();
    assert_eq!(answer.action(), Action::InvoiceUpdated);
    world.run_is("trade_payout", &order, "paid", Status::Completed).await;
    world.hears(&world.buyer, Action::PurchaseCompleted, 1).await;
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(payment_hash(&bolt11)), ledger.spent_msat), (1, TRADE_SATS * 1_000));
    assert_eq!(world.order().await["status"], "settled-by-admin");
    assert_eq!(world.order().await["buyer_invoice"], bolt11);
    assert_eq!(world.times_told(&world.buyer, Action::AddInvoice).await, times);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_that_has_expired_is_asked_for_again() {
    let world = World::new(Setup::default()).await;
    let created_at = Some(world.clock.now().secs() - 3_700);
    let expired = world.winner.invoice(TRADE_SATS, InvoiceSpec { created_at, ..InvoiceSpec::default() });
    world.write_order(json!({ "buyer_invoice": expired })).await;
    world.rule(Action::AdminSettle, false, false).await;
    asked_and_paid(world, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_invoice_counts_as_one_that_can_not_be_paid() {
    for left in ["buyer@example.com", "lnurl1dp68gurn8ghj7um9wfmxjcm99e3k7mf0", "garbage"] {
        asked_and_paid(settled_with(Some(left.to_owned())).await, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_over_another_amount_is_asked_for_again() {
    let world = World::new(Setup::default()).await;
    let wrong = world.winner.invoice(TRADE_SATS + 1, day());
    world.write_order(json!({ "buyer_invoice": wrong })).await;
    world.rule(Action::AdminSettle, false, false).await;
    asked_and_paid(world, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_without_an_amount_is_paid_what_is_owed() {
    let mut world = World::new(Setup { fee_sats: 600, ..Setup::default() }).await;
    let open = world.winner.invoice(TRADE_SATS - 600, InvoiceSpec { amountless: true, ..day() });
    world.write_order(json!({ "buyer_invoice": open })).await;
    world.rule(Action::AdminSettle, false, false).await;
    world.run_is("trade_payout", &world.trade.order.to_string(), "paid", Status::Completed).await;
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(payment_hash(&open)), ledger.spent_msat), (1, (TRADE_SATS - 600) * 1_000));
    assert_eq!(world.times_told(&world.buyer, Action::AddInvoice).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_that_its_payee_turns_down_is_asked_for_again() {
    let world = World::new(Setup::default()).await;
    let left = world.winner.invoice(TRADE_SATS, day());
    world.winner.next_of(payment_hash(&left), Behaviour::INCORRECT_DETAILS, 1);
    world.write_order(json!({ "buyer_invoice": left })).await;
    world.rule(Action::AdminSettle, false, false).await;
    world.hears(&world.buyer, Action::AddInvoice, 1).await;
    // The same invoice again is no other one.
    let again = world.buyer.trade_invoice(world.trade.order, &left);
    assert_eq!(world.refusal(&world.buyer, &again).await, "invalid_invoice");
    world.alarmed("payout-failed", 1).await;
    asked_and_paid(world, 1).await;
}

/// Without an answer the buyer is asked again at the usual cadence, and the debt never lapses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_buyers_debt_never_lapses() {
    let world = settled_with(None).await;
    world.hears(&world.buyer, Action::AddInvoice, 1).await;
    world.drained().await;
    world.pass_days(40);
    asked_and_paid(world, 2).await;
}
