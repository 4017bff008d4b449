//! Payments run side by side under two caps: for the node, and for each payee.

use bondflow::engine::Status;
use bondflow::sandbox::clients::Client;
use bondflow::sandbox::lnd::{Behaviour, InvoiceSpec, Payee, payment_hash};
use bondflow::sandbox::mostrod::Trade;
use mostro_core::message::Action;

use super::world::{PATIENCE, Setup, World};

fn capped(node: u32, payee: u32) -> Setup {
    let settings = [("max_inflight_payouts", node), ("max_inflight_payouts_per_destination", payee)]
        .map(|(key, value)| ("lightning", format!("{key} = {value}")));
    Setup { more_trades: 2, settings: settings.into(), ..Setup::default() }
}

/// Rules a trade and answers for its winner with an invoice of that payee; bond and hash.
async fn invoiced(world: &World, trade: &Trade, seller: &Client, payee: &Payee) -> (String, [u8; 32]) {
    let ruling = world.solver.ruling(trade.order, Action::AdminCancel, false, true);
    assert_eq!(world.solver.request(&ruling, PATIENCE).await.unwrap().action(), Action::AdminCanceled);
    world.hears(seller, Action::AddBondInvoice, 1).await;
    let bolt11 = payee.invoice(500, InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() });
    let answer = seller.request(&seller.bond_invoice(trade.order, &bolt11), PATIENCE).await.unwrap();
    assert_eq!(answer.action(), Action::BondInvoiceAccepted);
    (trade.bonds[1].id.to_string(), payment_hash(&bolt11))
}

/// The first trade's payment is sent, and the payee holds it.
async fn held(world: &World) -> (String, [u8; 32]) {
    world.winner.next(Behaviour::HOLD, 1);
    let (bond, hash) = invoiced(world, &world.trade, &world.seller, &world.winner).await;
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    (bond, hash)
}

/// Waits for its turn, unsent, without having spent an attempt.
async fn waits(world: &World, bond: &str, hash: [u8; 32]) {
    world.run_is("bond_payout", bond, "await_slot", Status::Waiting).await;
    assert_eq!(world.bond(bond).await["payout_attempts"], 0);
    assert!(world.lnd.node.ledger().sends_of(hash).is_empty());
}

async fn paid_once(world: &World, bond: &str, hash: [u8; 32]) {
    world.run_is("bond_payout", bond, "slashed", Status::Completed).await;
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len()), (1, 1));
    assert_eq!(world.bond(bond).await["payout_attempts"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payee_that_holds_payments_delays_only_its_own() {
    let mut world = World::new(capped(100, 1)).await;
    let (first, first_hash) = held(&world).await;
    let (second, second_hash) = {
        let (trade, seller) = &world.more[0];
        invoiced(&world, trade, seller, &world.winner).await
    };
    waits(&world, &second, second_hash).await;
    // Another payee's goes on at once, and no time makes the held one count less for its payee.
    let (third, third_hash) = {
        let (trade, seller) = &world.more[1];
        invoiced(&world, trade, seller, &Payee::of(&world.lnd.node, "another")).await
    };
    paid_once(&world, &third, third_hash).await;
    world.restart().await;
    world.pass(70).await;
    waits(&world, &second, second_hash).await;

    assert!(world.lnd.node.release(first_hash));
    paid_once(&world, &first, first_hash).await;
    paid_once(&world, &second, second_hash).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_held_past_its_time_leaves_the_nodes_cap_to_the_others() {
    let mut world = World::new(capped(1, 0)).await;
    let (first, first_hash) = held(&world).await;
    let (second, second_hash) = {
        let (trade, seller) = &world.more[0];
        invoiced(&world, trade, seller, &world.winner).await
    };
    waits(&world, &second, second_hash).await;
    // `payment_timeout` is a minute.
    world.passing(paid_once(&world, &second, second_hash)).await;
    world.run_is("bond_payout", &first, "pay", Status::InDoubt).await;
    assert!(world.lnd.node.release(first_hash));
    world.passing(paid_once(&world, &first, first_hash)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_nodes_cap_goes_on_as_soon_as_a_payment_ends() {
    let mut world = World::new(capped(1, 0)).await;
    let (first, first_hash) = held(&world).await;
    let mut waiting = Vec::new();
    for (trade, seller) in &world.more {
        let (bond, hash) = invoiced(&world, trade, seller, &world.winner).await;
        waits(&world, &bond, hash).await;
        waiting.push((bond, hash));
    }
    // The clock stands still: only the end of a payment can wake the next.
    assert!(world.lnd.node.release(first_hash));
    paid_once(&world, &first, first_hash).await;
    for (bond, hash) in &waiting {
        paid_once(&world, bond, *hash).await;
    }
    world.stop().await;
}
