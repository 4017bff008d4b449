//! An invoice over more than the channels on the way can carry: some parts of the payment arrive, and the payee holds
//! them until it waits for the rest no longer.

use bondflow::engine::Status;
use mostro_core::message::Action;

use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};

on_every_lnd!(parts_that_the_payee_holds_keep_a_payment_in_doubt_until_they_are_given_back);

async fn parts_that_the_payee_holds_keep_a_payment_in_doubt_until_they_are_given_back<L: Side>() {
    const SHARE: u64 = 500_000;
    let mut world = World::<L>::asked_for(Setup { bond_sats: 2 * SHARE, ..Setup::default() }).await;
    let bond = world.taker_bond();
    let (bolt11, hash) = world.invoice_of(SHARE, Fate::InParts).await;
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.lnd.holds_parts(hash).await;

    // lnd tells a reason and goes on: no attempt has failed, nothing is sent again, no other invoice is taken.
    for _ in 0..2 {
        world.pass(120).await;
        world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
        let row = world.bond(&bond).await;
        assert_eq!((row["state"].as_str(), &row["payout_attempts"]), (Some("pending-payout"), &0.into()));
        assert_eq!(world.lnd.sends_of(hash).await, 1);
        let (other, _) = world.invoice_of(SHARE, Fate::Paid).await;
        assert_eq!(world.invoice_refusal(&world.seller, &other).await, "not_allowed_by_status");
        world.restart().await;
    }

    world.lnd.gives_parts_back(hash).await;
    let row = world.passing(world.bond_is(&bond, "state", "slashed")).await;
    assert_eq!((&row["payout_attempts"], &row["payout_invoice"]), (&1.into(), &bolt11.into()));
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 1);
    assert_eq!((world.lnd.times_paid(hash).await, world.lnd.payments_of(hash).await), (1, 2));
    assert_eq!(world.lnd.footprint().await.paid_msat, SHARE * 1_000);
    world.stop().await;
}
