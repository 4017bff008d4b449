//! Who may rule, on what, and in which order that is checked. Each line fails in all that comes
//! after it too, so that only the order explains the answer.

use std::sync::Arc;

use bondflow::payout::tables::USERS;
use bondflow::sandbox::clients::Client;
use mostro_core::message::{Action, BondResolution, Message, Payload};
use nostr_sdk::Keys;
use serde_json::json;
use uuid::Uuid;

use super::world::{PATIENCE, Setup, World};

/// A ruling of any shape.
fn ruling(client: &Client, order: Option<Uuid>, payload: Option<Payload>) -> Message {
    Message::new_dispute(order, Some(client.number()), None, Action::AdminCancel, payload)
}

/// Slashes both sides.
fn both() -> Option<Payload> {
    Some(Payload::BondResolution(BondResolution { slash_seller: true, slash_buyer: true }))
}

impl World {
    /// A client whose authority is another key than the one that it is answered at.
    async fn client_of(&self, identity: Keys) -> Client {
        let clock = Arc::new(self.clock.clone());
        Client::connect(&[self.relay.url()], identity, Keys::generate(), self.node.public_key(), clock).await.unwrap()
    }

    async fn ruling_refusal(&self, client: &Client, order: Option<Uuid>, payload: Option<Payload>) -> String {
        self.unchanged(self.refusal(client, &ruling(client, order, payload))).await
    }

    async fn make_read_only(&self, category: i64, is_solver: i64) {
        let user = json!({ "category": category, "is_solver": is_solver });
        self.write(USERS, &self.trade.solver.clone().unwrap(), user).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ruling_is_checked_in_the_protocols_order() {
    let mut world = World::new(Setup::default()).await;
    let (order, unknown) = (Some(world.trade.order), Some(Uuid::new_v4()));
    let (solver, stranger) = (&world.solver, &world.buyer);
    // From here on nothing is in order: neither the status, nor the rights, nor the bonds.
    world.write_order(json!({ "status": "canceled" })).await;
    world.write_bond(&world.maker_bond(), json!({ "state": "released" })).await;
    world.make_read_only(1, 1).await;

    assert_eq!(world.ruling_refusal(stranger, None, both()).await, "invalid_payload");
    let text = || Some(Payload::TextMessage("slash them all".to_owned()));
    assert_eq!(world.ruling_refusal(stranger, unknown, text()).await, "invalid_payload");
    assert_eq!(world.ruling_refusal(stranger, unknown, both()).await, "not_found");
    assert_eq!(world.ruling_refusal(stranger, order, both()).await, "is_not_your_dispute");
    world.write_dispute(json!({ "solver_pubkey": world.node.public_key().to_hex() })).await;
    assert_eq!(world.ruling_refusal(stranger, order, both()).await, "dispute_taken_by_admin");
    assert_eq!(world.ruling_refusal(solver, order, both()).await, "dispute_taken_by_admin");
    world.write_dispute(json!({ "solver_pubkey": null })).await;
    assert_eq!(world.ruling_refusal(solver, order, both()).await, "is_not_your_dispute");
    world.write_dispute(json!({ "solver_pubkey": solver.key().to_hex() })).await;
    assert_eq!(world.ruling_refusal(solver, order, both()).await, "not_authorized");
    world.make_read_only(2, 0).await;
    assert_eq!(world.ruling_refusal(solver, order, both()).await, "not_authorized");
    world.make_read_only(2, 1).await;
    assert_eq!(world.ruling_refusal(solver, order, both()).await, "not_allowed_by_status");
    world.write_order(json!({ "status": "dispute" })).await;
    assert_eq!(world.ruling_refusal(solver, order, both()).await, "invalid_payload");
    for broken in [
        json!({ "state": "requested" }),
        json!({ "state": "locked", "preimage": null }),
        json!({ "preimage": "11".repeat(32), "amount_sats": 0 }),
    ] {
        world.write_bond(&world.maker_bond(), broken).await;
        assert_eq!(world.ruling_refusal(solver, order, both()).await, "invalid_payload");
    }
    assert_eq!(world.settled(), 0);

    // The identity key rules, whatever key the message comes from and is answered at.
    let preimage = hex::encode(world.trade.bonds[0].preimage);
    world.write_bond(&world.maker_bond(), json!({ "preimage": preimage, "amount_sats": 1_000 })).await;
    let ruled = world.rule(Action::AdminCancel, true, true).await;
    assert_eq!(ruled.action(), Action::AdminCanceled);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ruling_that_is_sent_again_is_refused_and_starts_nothing_twice() {
    let mut world = World::asking(Setup::default()).await;
    for (action, seller, buyer) in
        [(Action::AdminCancel, false, true), (Action::AdminSettle, true, false), (Action::AdminCancel, false, false)]
    {
        let again = world.solver.ruling(world.trade.order, action, seller, buyer);
        assert_eq!(world.unchanged(world.refusal(&world.solver, &again)).await, "not_allowed_by_status");
    }
    assert_eq!(world.settled(), 1);
    assert_eq!(world.times_told(&world.solver, Action::AdminCanceled).await, 1);
    assert_eq!(world.times_told(&world.seller, Action::AddBondInvoice).await, 1);
    assert_eq!(world.times_told(&world.buyer, Action::BondSlashed).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_rulings_at_once_one_counts() {
    let mut world = World::new(Setup::default()).await;
    let cancel = world.solver.ruling(world.trade.order, Action::AdminCancel, false, true);
    let settle = world.solver.ruling(world.trade.order, Action::AdminSettle, true, false);
    let (cancel, settle) =
        tokio::join!(world.solver.request(&cancel, PATIENCE), world.solver.request(&settle, PATIENCE));
    let answers = [cancel.unwrap().action(), settle.unwrap().action()];
    let (slashed, kept) = match answers {
        [Action::AdminCanceled, Action::CantDo] => (world.taker_bond(), world.maker_bond()),
        [Action::CantDo, Action::AdminSettled] => (world.maker_bond(), world.taker_bond()),
        answers => panic!("not one ruling: {answers:?}"),
    };
    world.bond_is(&slashed, "state", "pending-payout").await;
    world.bond_is(&kept, "state", "released").await;
    assert!(!world.has_run("bond_payout", &kept).await && !world.has_run("bond_release", &slashed).await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_own_key_may_rule_on_any_dispute_but_not_against_status_and_bonds() {
    let mut world = World::new(Setup::default()).await;
    let admin = world.client_of(world.node.clone()).await;
    let order = Some(world.trade.order);
    assert_eq!(world.ruling_refusal(&admin, Some(Uuid::new_v4()), both()).await, "not_found");
    world.write_order(json!({ "status": "canceled" })).await;
    assert_eq!(world.ruling_refusal(&admin, order, both()).await, "not_allowed_by_status");
    world.write_order(json!({ "status": "dispute" })).await;
    world.write_bond(&world.maker_bond(), json!({ "state": "released" })).await;
    assert_eq!(world.ruling_refusal(&admin, order, both()).await, "invalid_payload");

    let message = admin.ruling(world.trade.order, Action::AdminCancel, false, true);
    let ruled = admin.request(&message, PATIENCE).await.unwrap();
    assert_eq!(ruled.action(), Action::AdminCanceled);
    world.bond_is(&world.taker_bond(), "state", "pending-payout").await;
    world.is_resolved().await;
    assert_eq!(world.times_told(&world.solver, Action::AdminCanceled).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_solver_whose_trade_key_is_another_rules_by_the_identity() {
    let mut world = World::new(Setup::default()).await;
    let identity = Keys::generate();
    let solver = world.client_of(identity.clone()).await;
    let order = Some(world.trade.order);
    // The trade key of the message is the assigned one's, but not the identity.
    world.write_dispute(json!({ "solver_pubkey": solver.key().to_hex() })).await;
    assert_eq!(world.ruling_refusal(&solver, order, both()).await, "is_not_your_dispute");
    let key = identity.public_key().to_hex();
    world.write_dispute(json!({ "solver_pubkey": key })).await;
    assert_eq!(world.ruling_refusal(&solver, order, both()).await, "not_authorized");
    world.write(USERS, &key, json!({ "is_solver": 1, "category": 2 })).await;
    let ruled = solver.request(&ruling(&solver, order, both()), PATIENCE).await.unwrap();
    assert_eq!(ruled.action(), Action::AdminCanceled);
    world.stop().await;
}
