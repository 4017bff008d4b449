//! S11: two replies race.

use bondflow::engine::Status;
use bondflow::payout::tables::HASHES;
use mostro_core::message::Action;

use super::side::{Fate, Side, on_every_lnd};
use super::world::{PATIENCE, Setup, World};

on_every_lnd! {
    s11_of_two_racing_replies_one_wins_also_for_a_failed_payout,
    s11_of_two_replies_that_wait_for_the_daemon_one_wins,
}

/// An invoice and its payment hash.
type Invoice = (String, [u8; 32]);

/// Sends two invoices at once; which of them won, and which did not.
async fn race<L: Side>(world: &World<L>, fate: Fate) -> (Invoice, Invoice) {
    let invoices = [world.invoice_of(500, fate).await, world.invoice_of(500, fate).await];
    let [first, second] = invoices.clone().map(|(bolt11, _)| world.seller.bond_invoice(world.trade.order, &bolt11));
    let (first, second) = tokio::join!(world.seller.request(&first, PATIENCE), world.seller.request(&second, PATIENCE));
    judged(world, invoices, [first.unwrap().action(), second.unwrap().action()]).await
}

/// Tells the one that won from the other, of which nothing may be left.
async fn judged<L: Side>(world: &World<L>, [one, other]: [Invoice; 2], answers: [Action; 2]) -> (Invoice, Invoice) {
    let (winner, loser) = match answers {
        [Action::BondInvoiceAccepted, Action::CantDo] => (one, other),
        [Action::CantDo, Action::BondInvoiceAccepted] => (other, one),
        answers => panic!("not one winner: {answers:?}"),
    };
    let told = world.told(&world.seller).await;
    let refusals: Vec<_> = told.iter().filter(|kind| kind["action"] == "cant-do").collect();
    assert!(refusals.iter().all(|kind| kind["payload"]["cant_do"] == "not_allowed_by_status"), "{refusals:?}");
    assert!(world.store().row(HASHES.name, &hex::encode(loser.1)).await.unwrap().is_none());
    assert_eq!(world.lnd.sends_of(loser.1).await, 0);
    (winner, loser)
}

async fn s11_of_two_racing_replies_one_wins_also_for_a_failed_payout<L: Side>() {
    let mut world = World::<L>::asked_for(Setup::default()).await;
    let bond = world.taker_bond();
    let (failed, _) = race(&world, Fate::Rejected).await;
    world.bond_is(&bond, "state", "failed").await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.rests(&bond).await;
    assert_eq!(world.bond(&bond).await["payout_invoice"], failed.0);

    let (paid, lost) = race(&world, Fate::Paid).await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    let row = world.bond(&bond).await;
    assert_eq!((&row["state"], &row["payout_invoice"]), (&"slashed".into(), &paid.0.clone().into()));
    assert_eq!(world.times_told(&world.seller, Action::BondInvoiceAccepted).await, 2);
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, 2);
    for (invoice, times) in [(failed, 0), (paid, 1), (lost, 0)] {
        assert_eq!(world.lnd.times_paid(invoice.1).await, times);
    }
    assert_eq!(world.lnd.footprint().await.paid_msat, 500_000);
    world.stop().await;
}

/// Both lie at the relay when the daemon comes back: it reads them in one page and takes them in
/// side by side.
async fn s11_of_two_replies_that_wait_for_the_daemon_one_wins<L: Side>() {
    let mut world = World::<L>::asked_for(Setup::default()).await;
    let bond = world.taker_bond();
    world.stop().await;
    let invoices = [world.invoice_of(500, Fate::Paid).await, world.invoice_of(500, Fate::Paid).await];
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
    assert_eq!((world.lnd.times_paid(paid.1).await, world.lnd.footprint().await.paid_msat), (1, 500_000));
    world.stop().await;
}
