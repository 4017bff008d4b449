//! S5: an invoice that can't be routed.

use std::time::Duration;

use bondflow::engine::Status;
use mostro_core::message::Action;

use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};

on_every_lnd! {
    s05_a_failed_payout_is_asked_for_again_and_paid_inside_the_window,
    s05_past_the_window_a_failed_payout_is_left_to_the_operator,
}

/// Three attempts fail: the bond is failed, and the winner is asked again, for the third time.
async fn failed<L: Side>() -> (World<L>, [u8; 32]) {
    // The slash is nearly a day old when the payments come to real nodes, in their present: a window of one day ends
    // before the clock is too far ahead of their best block.
    let nearly_a_day = Duration::from_secs(23 * 3_600);
    let world = World::<L>::asked_for(Setup { max_retries: 3, behind: nearly_a_day, ..Setup::default() }).await;
    let bond = world.taker_bond();
    world.clock.advance(nearly_a_day);
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.rests(&bond).await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Unroutable).await;
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    for attempt in 1..3 {
        assert_eq!(world.alarms("payout-failed"), 0);
        world.back_off(&bond, attempt).await;
    }
    world.bond_is(&bond, "state", "failed").await;
    world.hears(&world.seller, Action::AddBondInvoice, 3).await;
    world.rests(&bond).await;

    let row = world.bond(&bond).await;
    assert_eq!(row["payout_attempts"], 3);
    assert_eq!(row["payout_invoice"], bolt11);
    assert_eq!(row["invoice_request_attempts"], 1, "the re-request is the first since an invoice was in");
    world.alarmed("payout-failed", 1).await;
    assert_eq!(world.lnd.payments_of(hash).await, 3, "three sends, each a payment of its own");
    assert_eq!(world.lnd.footprint().await.paid_msat, 0);
    (world, hash)
}

async fn s05_a_failed_payout_is_asked_for_again_and_paid_inside_the_window<L: Side>() {
    let (mut world, spent) = failed::<L>().await;
    let bond = world.taker_bond();
    let asked = world.hears(&world.seller, Action::AddBondInvoice, 3).await;
    assert_eq!(
        serde_json::to_value(asked[0].payload().unwrap()).unwrap(),
        serde_json::to_value(asked[2].payload().unwrap()).unwrap(),
        "the same share, the same deadline"
    );
    let old = world.bond(&bond).await["payout_invoice"].as_str().unwrap().to_owned();
    assert_eq!(world.invoice_refusal(&world.seller, &old).await, "invalid_invoice");

    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    let row = world.bond(&bond).await;
    assert_eq!(row["state"], "slashed");
    assert_eq!((&row["payout_attempts"], &row["invoice_request_attempts"]), (&0.into(), &0.into()));
    assert_eq!(row["payout_invoice"], bolt11);
    assert_eq!(world.times_told(&world.seller, Action::BondPayoutCompleted).await, 1);
    assert_eq!((world.lnd.times_paid(spent).await, world.lnd.times_paid(hash).await), (0, 1));
    assert_eq!(world.lnd.footprint().await.paid_msat, 500_000);
    world.stop().await;
}

async fn s05_past_the_window_a_failed_payout_is_left_to_the_operator<L: Side>() {
    let (mut world, spent) = failed::<L>().await;
    let bond = world.taker_bond();
    let before = world.bond(&bond).await;
    world.reload("payout_claim_window_days", 1).await;
    world.set_to_slash(&bond, 86_400).await;
    world.run_is("bond_payout", &bond, "await_invoice", Status::Paused).await;
    assert_eq!(world.bond(&bond).await, before);
    world.alarmed("payout-failed", 2).await;

    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    world.restart().await;
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    assert_eq!(world.bond(&bond).await, before);
    world.run_is("bond_payout", &bond, "await_invoice", Status::Paused).await;
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 3);
    assert_eq!((world.lnd.sends_of(spent).await, world.lnd.sends_of(hash).await), (3, 0));
    world.stop().await;
}
