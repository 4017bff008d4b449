//! S3: an invoice after forfeiture.

use mostro_core::message::Action;

use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s03_an_invoice_after_forfeiture_is_refused_and_changes_nothing() {
    let mut world = World::asking(Setup::default()).await;
    let bond = world.taker_bond();
    world.pass_days(15);
    world.bond_is(&bond, "state", "forfeited").await;

    let (bolt11, hash) = world.invoice(500);
    for _ in 0..2 {
        assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    }
    // Nobody looks at the invoice any more, so neither is a bad one called bad.
    assert_eq!(world.invoice_refusal(&world.seller, "no invoice").await, "not_allowed_by_status");
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, 3);
    assert!(world.lnd.node.ledger().sends_of(hash).is_empty());

    // A restart opens nothing again.
    world.restart().await;
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    world.stop().await;
}
