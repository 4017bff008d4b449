//! Replies that race in earnest: many at once, on connections of their own, for a payout that
//! waits and for one that has failed. One wins.

use bondflow::engine::Status;
use bondflow::sandbox::lnd::Behaviour;
use futures_util::future::join_all;
use mostro_core::message::Action;

use super::world::{PATIENCE, Setup, World};

const REPLIES: usize = 16;

/// Sends that many good invoices at once; the hash of the one that won.
async fn race(world: &World, behaviour: Behaviour) -> [u8; 32] {
    let invoices: Vec<(String, [u8; 32])> = (0..REPLIES).map(|_| world.invoice(500)).collect();
    for (_, hash) in &invoices {
        world.winner.next_of(*hash, behaviour, 1);
    }
    let replies = invoices.iter().map(|(bolt11, hash)| async {
        let message = world.seller.bond_invoice(world.trade.order, bolt11);
        (world.seller.request(&message, PATIENCE).await.unwrap().action(), *hash)
    });
    let answers = join_all(replies).await;
    let won: Vec<_> = answers.iter().filter(|(action, _)| *action == Action::BondInvoiceAccepted).collect();
    let refused = answers.iter().filter(|(action, _)| *action == Action::CantDo).count();
    assert_eq!((won.len(), refused), (1, REPLIES - 1), "{answers:?}");
    won[0].1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_replies_at_once_one_wins_also_for_a_failed_payout() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    // Held until all are answered: after its failure another one would be welcome.
    let failed = race(&world, Behaviour::HOLD).await;
    world.lnd.node.wait_for_htlc(failed).await;
    assert!(world.lnd.node.fail(failed));
    world.bond_is(&bond, "state", "failed").await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.rests(&bond).await;
    let paid = race(&world, Behaviour::PAY).await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    assert_eq!(world.times_told(&world.seller, Action::BondInvoiceAccepted).await, 2);
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, 2 * (REPLIES - 1));
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(failed), ledger.times_paid(paid)), (0, 1));
    assert_eq!((world.sends(), ledger.spent_msat), (2, 500_000));
    world.stop().await;
}
