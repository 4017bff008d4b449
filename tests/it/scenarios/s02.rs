//! S2: the winner never answers.

use std::time::Duration;

use bondflow::engine::Status;
use mostro_core::message::Action;
use serde_json::Value;

use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};

on_every_lnd! {
    s02_a_share_that_nobody_claims_is_forfeited_at_the_deadline,
    s02_the_window_of_the_present_settings_counts,
    s02_an_answer_in_time_counts_when_the_node_was_away_at_the_deadline,
    s02_an_answer_in_time_counts_also_for_a_failed_payout,
    s02_a_late_answer_is_refused_when_the_node_was_away_at_the_deadline,
}

/// Begins so far in the past that the claim window ends in the present of nodes that go by the machine's clock: a clock
/// ahead of lnd's best block is mistrusted, and nothing is forfeited by it.
fn ends_now() -> Setup {
    Setup { behind: Duration::from_secs(17 * 86_400), ..Setup::with_own_sum() }
}

/// Begins so that the node comes back in the present: real nodes take no send that was valid in the past only.
fn pays_now() -> Setup {
    Setup { behind: Duration::from_secs(15 * 86_400), ..Setup::with_own_sum() }
}

async fn s02_a_share_that_nobody_claims_is_forfeited_at_the_deadline<L: Side>() {
    let mut world = World::<L>::asked_for(ends_now()).await;
    let bond = world.taker_bond();
    let before = world.lnd.footprint().await;
    for requests in 2..=3 {
        world.clock.advance(Duration::from_secs(299));
        assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, requests - 1);
        world.clock.advance(Duration::from_secs(1));
        world.hears(&world.seller, Action::AddBondInvoice, requests).await;
        world.bond_is(&bond, "invoice_request_attempts", requests).await;
        world.rests(&bond).await;
    }

    // The last second is the winner's: he is asked once more.
    world.set_to_deadline(&bond, -1).await;
    let asked = world.hears(&world.seller, Action::AddBondInvoice, 4).await;
    let row = world.bond_is(&bond, "invoice_request_attempts", 4).await;
    for asked in &asked {
        let asked = serde_json::to_value(asked.payload().unwrap()).unwrap();
        assert_eq!(asked["bond_payout_request"]["slashed_at"], row["slashed_at"]);
    }
    world.rests(&bond).await;
    assert_eq!(world.bond(&bond).await["state"], "pending-payout");

    world.set_to_deadline(&bond, 0).await;
    world.run_is("bond_payout", &bond, "forfeited", Status::Completed).await;
    let row = world.bond(&bond).await;
    assert_eq!(row["state"], "forfeited");
    assert_eq!(row["payout_invoice"], Value::Null);
    assert_eq!(row["payout_payment_hash"], Value::Null);
    assert_eq!(row["payout_attempts"], 0);
    assert_eq!(row["node_share_sats"], world.share());

    assert_eq!(world.lnd.footprint().await, before);
    assert_eq!((before.sends, before.paid_msat), (0, 0));
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 4);
    assert_eq!(world.times_told(&world.seller, Action::BondPayoutCompleted).await, 0);
    world.stop().await;
}

async fn s02_the_window_of_the_present_settings_counts<L: Side>() {
    let mut world = World::<L>::asked_for(ends_now()).await;
    let bond = world.taker_bond();
    world.reload("payout_claim_window_days", 30).await;
    world.set_to_deadline(&bond, 0).await;
    world.hears(&world.seller, Action::AddBondInvoice, 2).await;
    world.rests(&bond).await;
    assert_eq!(world.bond(&bond).await["state"], "pending-payout");

    world.reload("payout_claim_window_days", 16).await;
    world.set_to_deadline(&bond, 86_400).await;
    world.bond_is(&bond, "state", "forfeited").await;
    world.stop().await;
}

/// Nobody forfeits for the node's own absence: an answer that was given in time counts, also when
/// the node reads it after the deadline.
async fn s02_an_answer_in_time_counts_when_the_node_was_away_at_the_deadline<L: Side>() {
    let mut world = World::<L>::asked_for(pays_now()).await;
    let bond = world.taker_bond();
    world.stop().await;
    world.clock.advance(Duration::from_secs(15 * 86_400 - 10));
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    world.clock.advance(Duration::from_secs(3_600));
    world.start().await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    assert_eq!(world.times_told(&world.seller, Action::CantDo).await, 0);
    world.stop().await;
}

/// The same for a share whose last payment has failed.
async fn s02_an_answer_in_time_counts_also_for_a_failed_payout<L: Side>() {
    let mut world = World::<L>::asked_for(Setup::with_own_sum()).await;
    let bond = world.taker_bond();
    let (spent, _) = world.invoice_of(world.share(), Fate::Rejected).await;
    world.answer(&world.seller, &spent).await;
    world.bond_is(&bond, "state", "failed").await;
    world.rests(&bond).await;
    world.stop().await;
    world.clock.advance(Duration::from_secs(15 * 86_400 - 10));
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    world.clock.advance(Duration::from_secs(3_600));
    world.start().await;
    world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    world.stop().await;
}

/// An answer from after the deadline does not count, although it is read before anything is
/// decided.
async fn s02_a_late_answer_is_refused_when_the_node_was_away_at_the_deadline<L: Side>() {
    let mut world = World::<L>::asked_for(ends_now()).await;
    let bond = world.taker_bond();
    world.stop().await;
    world.pass_days(15);
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    world.start().await;
    world.run_is("bond_payout", &bond, "forfeited", Status::Completed).await;
    world.hears(&world.seller, Action::CantDo, 1).await;
    assert_eq!(world.lnd.sends_of(hash).await, 0);
    world.stop().await;
}
