//! A bond's HTLC against the chain: lnd gives it back by itself near its expiry, and what it has
//! given back can't be claimed any more.

use std::time::Duration;

use bondflow::engine::Status;
use bondflow::payout::ports::{HoldAnswer, Lightning};
use bondflow::sandbox::lnd::Hash32;
use mostro_core::message::Action;
use serde_json::json;

use super::world::{Setup, World};

/// How often the chain's height is read.
const PERIOD: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_htlc_that_lnd_has_canceled_is_never_claimed_nor_paid_for() {
    let mut world = World::new(Setup::default()).await;
    let bond = world.taker_bond();
    let hash = Hash32::of(&world.trade.bonds[1].preimage).0;
    assert_eq!(world.by_hand().cancel(hash).await, HoldAnswer::Canceled);
    world.rule(Action::AdminCancel, false, true).await;
    world.run_is("bond_payout", &bond, "unclaimable", Status::Failed).await;
    world.is_resolved().await;
    world.alarmed("htlc-canceled", 1).await;
    let row = world.bond(&bond).await;
    assert_eq!((row["state"].as_str(), row["failed_reason"].as_str()), (Some("failed"), Some("htlc-canceled")));
    assert!(row["slashed_at"].is_null() && row["node_share_sats"].is_null(), "{row:?}");

    // It is over for good: nobody is told of a slash, asked, or paid.
    let (bolt11, _) = world.invoice(500);
    assert_eq!(world.invoice_refusal(&world.seller, &bolt11).await, "not_allowed_by_status");
    world.restart().await;
    world.clock.advance(Duration::from_secs(600));
    world.drained().await;
    assert_eq!(world.bond(&bond).await, row);
    assert!(!world.was_asked_for(&bond).await);
    assert_eq!(world.times_told(&world.buyer, Action::BondSlashed).await, 0);
    assert_eq!((world.settled(), world.sends()), (0, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bond_that_lnd_does_not_know_or_that_nobody_paid_pauses_its_payout() {
    // lnd knows no invoice, or one that nobody has paid.
    for unpaid in [false, true] {
        let mut world = World::new(Setup::default()).await;
        let bond = world.taker_bond();
        let preimage = [8; 32];
        let hash = Hash32::of(&preimage);
        if unpaid {
            world.unpaid_invoice(1_000, hash.0).await;
        }
        world.write_bond(&bond, json!({ "hash": hash.to_string(), "preimage": hex::encode(preimage) })).await;
        world.rule(Action::AdminCancel, false, true).await;
        world.run_is("bond_payout", &bond, "settle", Status::Paused).await;
        world.is_resolved().await;
        world.alarmed("settle-refused", 1).await;
        assert_eq!(world.bond(&bond).await["state"], "locked");
        assert_eq!(world.times_told(&world.buyer, Action::BondSlashed).await, 0);
        assert!(!world.was_asked_for(&bond).await);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_bond_near_the_height_at_which_lnd_cancels_it_is_alarmed_of_once() {
    let mut world = World::new(Setup::default()).await;
    // It was locked for 147 blocks, lnd cancels 12 before, and the alarm comes 24 before that.
    world.lnd.node.mine(147 - 12 - 24 - 1);
    world.pass(35).await;
    assert_eq!(world.alarms("htlc-near-expiry"), 0);
    world.lnd.node.mine(1);
    world.clock.advance(PERIOD);
    world.alarmed("htlc-near-expiry", 2).await;
    world.pass(65).await;
    world.alarmed("htlc-near-expiry", 2).await;

    // Nobody ruled: lnd lets go of them, and that is told once, too.
    world.lnd.node.mine(24);
    world.clock.advance(PERIOD);
    world.alarmed("bond-lost", 2).await;
    world.pass(65).await;
    assert_eq!((world.alarms("bond-lost"), world.alarms("htlc-near-expiry")), (2, 2));
    world.stop().await;
}
