//! An invoice that lnd has paid at somebody else's request, before the run sent anything.

use bondflow::engine::Status;
use bondflow::payout::ports::Lightning;
use mostro_core::message::Action;

use super::world::{Setup, World};

/// The payment is found at lnd, taken as the debt's, and nothing is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_that_lnd_has_paid_is_not_paid_again() {
    let mut world = World::new(Setup::default()).await;
    let bond = world.taker_bond();
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;

    let (bolt11, hash) = world.invoice(500);
    world.pay_by_hand(&bolt11, hash).await;
    world.by_hand().watch(hash, false).await;

    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len()), (1, 1));
    world.stop().await;
}
