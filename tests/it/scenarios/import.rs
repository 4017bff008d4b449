//! A database in which mostrod left debts in every state: each is paid once, whatever mostrod
//! has sent for it, and what mostrod had decided stays.

use std::time::Duration;

use bondflow::engine::{Clock, Status};
use bondflow::payout::ports::{HoldAnswer, Lightning};
use bondflow::sandbox::lnd::{Behaviour, InvoiceSpec, payment_hash};
use mostro_core::message::{Action, Payload};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::world::{Setup, World};

/// When mostrod slashed the buyer's bond, before now.
const SLASHED: Duration = Duration::from_secs(3_600);

/// A trade that mostrod ruled, whose buyer's bond is claimed and 700 of 1,000 sats are owed; the
/// settings of today would share otherwise.
async fn left(columns: &str) -> World {
    let world = World::left(Setup { share: "0.9", ..Setup::default() }).await;
    let slashed_at = world.clock.now().secs() - SLASHED.as_secs() as i64;
    edit(
        &world,
        &format!(
            "UPDATE bonds SET state = 'pending-payout', slashed_reason = 'timeout', slashed_at = {slashed_at}, \
             node_share_sats = 300, payout_recipient = (SELECT seller_pubkey FROM orders), {columns} \
             WHERE role = 'taker'; \
             UPDATE bonds SET state = 'released' WHERE role = 'maker'; \
             UPDATE orders SET status = 'canceled-by-admin'; UPDATE disputes SET status = 'seller-refunded'"
        ),
    )
    .await;
    assert_eq!(world.by_hand().settle(world.trade.bonds[1].preimage).await, HoldAnswer::Settled);
    world
}

async fn edit(world: &World, statements: &str) {
    let options = SqliteConnectOptions::new().filename(world.mostrod());
    let mut mostrod = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut mostrod).await.unwrap();
    mostrod.close().await.unwrap();
}

fn invoice(world: &World, sats: u64) -> (String, [u8; 32]) {
    let bolt11 = world.winner.invoice(sats, InvoiceSpec { expiry: 20 * 86_400, ..InvoiceSpec::default() });
    let hash = payment_hash(&bolt11);
    (bolt11, hash)
}

async fn taken_over(world: &mut World) {
    world.take_over().await;
    world.start().await;
}

/// The bond ended paid, once, by that payment, under the split and with the reason that mostrod
/// had written; nobody was told of a slash anew.
async fn is_paid(mut world: World, hash: [u8; 32], sends: usize, requests: usize) {
    let bond = world.taker_bond();
    world.passing(world.run_is("bond_payout", &bond, "slashed", Status::Completed)).await;
    let row = world.bond(&bond).await;
    assert_eq!((row["state"].as_str(), row["node_share_sats"].as_i64()), (Some("slashed"), Some(300)));
    assert_eq!(row["slashed_reason"], "timeout");
    assert_eq!(row["payout_payment_hash"], hex::encode(hash));
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len()), (1, sends));
    assert_eq!(ledger.spent_msat, 700_000);
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, requests);
    assert_eq!(world.times_told(&world.seller, Action::BondPayoutCompleted).await, 1);
    assert_eq!(world.times_told(&world.buyer, Action::BondSlashed).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_nobody_was_paid_is_asked_for_with_the_deadline_that_clients_know() {
    let mut world = left("payout_invoice = NULL").await;
    taken_over(&mut world).await;
    let asked = world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let Some(Payload::BondPayoutRequest(request)) = asked[0].payload() else { panic!("{asked:?}") };
    assert_eq!(request.order.amount, 700);
    let slashed_at = world.bond(&world.taker_bond()).await["slashed_at"].as_i64();
    assert_eq!(Some(request.slashed_at), slashed_at);
    let (bolt11, hash) = invoice(&world, 700);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    is_paid(world, hash, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_that_mostrod_took_is_paid_without_asking() {
    let mut world = left("payout_invoice = NULL").await;
    let (bolt11, hash) = invoice(&world, 700);
    edit(&world, &format!("UPDATE bonds SET payout_invoice = '{bolt11}' WHERE role = 'taker'")).await;
    taken_over(&mut world).await;
    is_paid(world, hash, 1, 0).await;
}

/// mostrod has written down that it is about to send, or has sent; nobody knows which.
async fn mostrod_sent(world: &World, bolt11: &str, hash: [u8; 32]) {
    let (hash, now) = (hex::encode(hash), world.clock.now().secs());
    let columns = format!("payout_invoice = '{bolt11}', payout_payment_hash = '{hash}', payout_sent_at = {now}");
    edit(world, &format!("UPDATE bonds SET {columns} WHERE role = 'taker'")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_mostrod_made_is_found_and_not_made_again() {
    let mut world = left("payout_invoice = NULL").await;
    let (bolt11, hash) = invoice(&world, 700);
    mostrod_sent(&world, &bolt11, hash).await;
    world.pay_by_hand(&bolt11, hash).await;
    world.by_hand().watch(hash, false).await;
    taken_over(&mut world).await;
    is_paid(world, hash, 1, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_of_mostrods_that_is_in_flight_is_followed_to_its_end() {
    let mut world = left("payout_invoice = NULL").await;
    let bond = world.taker_bond();
    let (bolt11, hash) = invoice(&world, 700);
    mostrod_sent(&world, &bolt11, hash).await;
    world.winner.next_of(hash, Behaviour::HOLD, 1);
    world.pay_by_hand(&bolt11, hash).await;
    world.lnd.node.wait_for_htlc(hash).await;
    taken_over(&mut world).await;
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    let (another, _) = invoice(&world, 700);
    let another = world.seller.bond_invoice(world.trade.order, &another);
    assert_eq!(world.refusal(&world.seller, &another).await, "not_allowed_by_status");
    world.pass_days(20);
    world.restart().await;
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    assert!(world.lnd.node.release(hash));
    is_paid(world, hash, 1, 0).await;
}

/// The hash was written, the process died, and lnd never heard of it: that can't be told from a
/// send that is still on its way until it can't arrive any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_of_mostrods_that_never_reached_lnd_is_made_when_it_can_not_arrive_any_more() {
    let mut world = left("payout_invoice = NULL").await;
    let (bolt11, hash) = invoice(&world, 700);
    mostrod_sent(&world, &bolt11, hash).await;
    taken_over(&mut world).await;
    world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
    assert_eq!(world.sends(), 0);
    is_paid(world, hash, 1, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_payout_is_asked_for_again() {
    let mut world = left("payout_attempts = 5").await;
    let (old, old_hash) = invoice(&world, 700);
    let columns =
        format!("state = 'failed', payout_invoice = '{old}', payout_payment_hash = '{}'", hex::encode(old_hash));
    edit(&world, &format!("UPDATE bonds SET {columns} WHERE role = 'taker'")).await;
    world.winner.next_of(old_hash, Behaviour::UNROUTABLE, 1);
    world.pay_by_hand(&old, old_hash).await;
    taken_over(&mut world).await;
    world.passing(world.hears(&world.seller, Action::AddBondInvoice, 1)).await;
    let again = world.seller.bond_invoice(world.trade.order, &old);
    assert_eq!(world.refusal(&world.seller, &again).await, "invalid_invoice");
    let (bolt11, hash) = invoice(&world, 700);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    assert_eq!(world.lnd.node.ledger().times_paid(old_hash), 0);
    is_paid(world, hash, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_without_the_time_of_its_slash_pauses() {
    let mut world = left("payout_invoice = NULL").await;
    edit(&world, "UPDATE bonds SET slashed_at = NULL WHERE role = 'taker'").await;
    taken_over(&mut world).await;
    let bond = world.taker_bond();
    world.run_is("bond_payout", &bond, "settle", Status::Paused).await;
    assert!(world.bond(&bond).await["slashed_at"].is_null());
    assert!(!world.was_asked_for(&bond).await);
    assert_eq!(world.times_told(&world.buyer, Action::BondSlashed).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_without_its_share_pauses() {
    let mut world = left("payout_invoice = NULL").await;
    edit(&world, "UPDATE bonds SET node_share_sats = NULL WHERE role = 'taker'").await;
    taken_over(&mut world).await;
    let bond = world.taker_bond();
    world.run_is("bond_payout", &bond, "settle", Status::Paused).await;
    assert!(!world.was_asked_for(&bond).await);
    world.stop().await;
}

/// The escrow is settled and the buyer is owed the trade's sats.
async fn unpaid_buyer() -> World {
    let world = World::left(Setup::default()).await;
    edit(
        &world,
        "UPDATE orders SET status = 'settled-hold-invoice'; UPDATE disputes SET status = 'settled'; \
         UPDATE bonds SET state = 'released'",
    )
    .await;
    assert_eq!(world.by_hand().settle(world.trade.escrow.unwrap()).await, HoldAnswer::Settled);
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_whom_mostrod_owes_the_trades_sats_gets_them_once() {
    for mostrod_paid in [true, false] {
        let mut world = unpaid_buyer().await;
        let (bolt11, hash) = invoice(&world, 100_000);
        edit(&world, &format!("UPDATE orders SET buyer_invoice = '{bolt11}'")).await;
        if mostrod_paid {
            world.pay_by_hand(&bolt11, hash).await;
            world.by_hand().watch(hash, false).await;
        }
        taken_over(&mut world).await;
        let order = world.trade.order.to_string();
        world.passing(world.run_is("trade_payout", &order, "paid", Status::Completed)).await;
        let ledger = world.lnd.node.ledger();
        assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len()), (1, 1));
        assert_eq!(ledger.spent_msat, 100_000_000);
        assert_eq!(world.order().await["status"], "settled-by-admin");
        world.hears(&world.buyer, Action::PurchaseCompleted, 1).await;
        world.stop().await;
    }
}
