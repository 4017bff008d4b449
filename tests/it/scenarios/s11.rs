//! S11: two replies race.

use bondflow::engine::Status;
use bondflow::payout::tables::HASHES;
use bondflow::sandbox::lnd::Behaviour;
use mostro_core::message::Action;

use super::world::{PATIENCE, Setup, World};

/// An invoice and its payment hash.
type Invoice = (String, [u8; 32]);

/// Sends two invoices at once; which of them won, and which did not.
async fn race(world: &World) -> (Invoice, Invoice) {
    let invoices = [world.invoice(500), world.invoice(500)];
    let [first, second] = invoices.clone().map(|(bolt11, _)| world.seller.bond_invoice(world.trade.order, &bolt11));
    let (first, second) = tokio::join!(world.seller.request(&first, PATIENCE), world.seller.request(&second, PATIENCE));
    judged(world, invoices, [first.unwrap().action(), second.unwrap().action()]).await
}

/// Tells the one that won from the other, of which nothing may be left.
async fn judged(world: &World, [one, other]: [Invoice; 2], answers: [Action; 2]) -> (Invoice, Invoice) {
    let (winner, loser) = match answers {
        [Action::BondInvoiceAccepted, Action::CantDo] => (one, other),
        [Action::CantDo, Action::BondInvoiceAccepted] => (other, one),
        answers => panic!("not one winner: {answers:?}"),
    };
    let told = world.told(&world.seller).await;
    let refusals: Vec<_> = told.iter().filter(|kind| kind["action"] == "cant-do").collect();
    assert!(refusals.iter().all(|kind| kind["payload"]["cant_do"] == "not_allowed_by_status"), "{refusals:?}");
    assert!(world.store().row(HASHES.name, &hex::encode(loser.1)).await.unwrap().is_none());
    assert!(world.lnd.node.ledger().sends_of(loser.1).is_empty());
    (winner, loser)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_of_two_racing_replies_one_wins_also_for_a_failed_payout() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    world.winner.next(Behaviour::INCORRECT_DETAILS, 1);
    let (failed, _) = race(&world).await;
    world.bond_is(&bond, "state", "failed").await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.rests(&bond).await;
    assert_eq!(world.bond(&bond).await["payout_invoice"], failed.0);

    let (paid, lost) = race(&world).await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    let row = world.bond(&bond).await;
    assert_eq!((&row["state"], &row["payout_invoice"]), (&"slashed".into(), &paid.0.clone().into()));
    assert_eq!(world.times_told(&world.seller, Action::BondInvoiceAccepted).await, 2);
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, 2);
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(failed.1), ledger.times_paid(paid.1), ledger.times_paid(lost.1)), (0, 1, 0));
    assert_eq!(ledger.spent_msat, 500_000);
    world.stop().await;
}

/// Both lie at the relay when the daemon comes back: it reads them in one page and takes them in
/// side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_of_two_replies_that_wait_for_the_daemon_one_wins() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    world.stop().await;
    let invoices = [world.invoice(500), world.invoice(500)];
    let mut numbers = Vec::new();
    for (bolt11, _) in &invoices {
        let message = world.seller.bond_invoice(world.trade.order, bolt11);
        numbers.push(message.get_inner_message_kind().request_id);
        world.seller.send(&message).await.unwrap();
    }
    world.start().await;
    let mut answers = Vec::new();
    for number in numbers {
        let answer = world.seller.wait_for(PATIENCE, |heard| heard.request_id() == number).await.unwrap();
        answers.push(answer.action());
    }
    let (paid, _) = judged(&world, invoices, answers.try_into().unwrap()).await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, 1);
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(paid.1), ledger.spent_msat), (1, 500_000));
    world.stop().await;
}
