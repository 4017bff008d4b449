//! A world in which all is well, broken in one place at a time.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::engine::store::{OutboxEntry, OutboxMessage, OutboxState, Row};
use crate::engine::{Pin, Run, RunId, Signal, Status, Timestamp};
use crate::payout::bond_payout::{self, BondPayout, BondView};
use crate::payout::bond_release;
use crate::payout::books::columns;
use crate::payout::debt::{Debt, Proof};
use crate::payout::messages::{OrderSummary, Ruling};
use crate::payout::order_resolution::{self, Escrow, OrderResolution};
use crate::payout::policy::{HashRecord, NodeShare, Split};
use crate::payout::trade_payout::{self, TradePayout};

const SLASHED_AT: i64 = 1_800_000_000;

fn preimage(byte: u8) -> [u8; 32] {
    [byte; 32]
}

fn hash(byte: u8) -> [u8; 32] {
    Sha256::digest(preimage(byte)).into()
}

fn hash_text(byte: u8) -> String {
    hex::encode(hash(byte))
}

fn summary() -> OrderSummary {
    OrderSummary {
        id: "order".into(),
        kind: "sell".into(),
        status: None,
        amount_sats: 0,
        fiat_code: "EUR".into(),
        fiat_amount: 1,
        payment_method: "cash".into(),
        premium: 0,
    }
}

fn paid_debt(owed: u64, byte: u8) -> Debt {
    let record = HashRecord { sends: 1, judged_index: 7, paid: true, ..HashRecord::new(hash(byte), SLASHED_AT + 99) };
    let proof = Proof { hash: hash_text(byte), preimage: hex::encode(preimage(byte)), fee_sats: Some(1) };
    Debt { hashes: vec![record], paid: Some(proof), ..Debt::of(owed) }
}

fn payout(recipient: Option<&str>, split: Split, debt: Debt) -> BondPayout {
    let decided = BondPayout::decided(summary(), "slashed".into(), recipient.map(str::to_owned), split);
    BondPayout { slashed_at: Some(SLASHED_AT), debt, ..decided }
}

/// What a test breaks.
struct World {
    records: Records,
    outside: Outside,
}

impl World {
    /// A paid bond and a paid trade, a forfeited bond, one that waits for an invoice, one that
    /// was lost, and one that was given back.
    fn good() -> Self {
        let mut world = Self { records: Records::default(), outside: Outside::default() };
        let half = Split::new(1_000, NodeShare::new(500_000).unwrap());
        let paid = BondPayout { bond: BondView::Slashed, ..payout(Some("winner"), half, paid_debt(500, 1)) };
        world.bond("paid", &paid, ("slashed", Status::Completed), 21);
        let silent = BondPayout { bond: BondView::Forfeited, ..payout(Some("winner"), half, Debt::of(500)) };
        world.bond("silent", &silent, ("forfeited", Status::Completed), 22);
        let asked = BondPayout { bond: BondView::PendingPayout, ..payout(Some("winner"), half, Debt::of(500)) };
        world.bond("asked", &asked, ("await_invoice", Status::Waiting), 23);
        let lost =
            BondPayout { bond: BondView::Failed, slashed_at: None, ..payout(Some("winner"), half, Debt::of(500)) };
        world.bond("lost", &lost, ("unclaimable", Status::Failed), 24);
        world.outside.settled.remove(&hash_text(24));
        world.change("bonds", "lost", json!({ "failed_reason": "htlc-canceled", "slashed_at": null }));
        world.add_run(bond_release::NAME, "back", "{}".into(), ("released", Status::Completed));
        let back = json!({ "id": "back", "order_id": "order", "state": "released", "released_at": SLASHED_AT, "amount_sats": 1000 });
        world.records.bonds.insert("back".into(), columns(back));

        let resolution =
            OrderResolution { ruling: Ruling::Settle, solver: "solver".into(), escrow: Some(Escrow::Settled) };
        world.add_run(order_resolution::NAME, "order", text(&resolution), ("resolved", Status::Completed));
        let trade = TradePayout {
            order: summary(),
            buyer: Some("buyer".into()),
            left_invoice: None,
            requests: 0,
            last_request_at: None,
            debt: paid_debt(99_000, 2),
        };
        world.add_run(trade_payout::NAME, "order", text(&trade), ("paid", Status::Completed));
        let order = json!({ "id": "order", "hash": hash_text(30), "status": "settled-by-admin" });
        world.records.orders.insert("order".into(), columns(order));
        world.outside.settled.insert(hash_text(30));
        world.payment("paid", 1, 500);
        world.payment("order", 2, 99_000);
        world
    }

    fn bond(&mut self, id: &str, state: &BondPayout, at: (&str, Status), own: u8) {
        let row = json!({
            "id": id, "order_id": "order", "state": super::super::books::BondState::ALL.iter()
                .map(|state| state.as_str()).find(|name| json!(state.bond) == json!(name)),
            "amount_sats": state.amount_sats, "node_share_sats": state.node_share_sats,
            "slashed_at": state.slashed_at, "payout_recipient": state.recipient, "hash": hash_text(own),
            "payout_preimage": state.debt.paid.as_ref().map(|proof| &proof.preimage),
        });
        self.records.bonds.insert(id.into(), columns(row));
        self.outside.settled.insert(hash_text(own));
        self.add_run(bond_payout::NAME, id, text(state), at);
    }

    fn payment(&mut self, key: &str, byte: u8, sats: u64) {
        let row = json!({ "hash": hash_text(byte), "run": key, "amount_sats": sats, "fee_limit_sats": 10, "verdict": "paid" });
        self.records.payments.insert(hash_text(byte), columns(row));
        let used = json!({ "hash": hash_text(byte), "used_by": key });
        self.records.hashes.insert(hash_text(byte), columns(used));
        self.outside.paid.insert(hash_text(byte), vec![sats]);
    }

    fn add_run(&mut self, workflow: &str, key: &str, state: String, (step, status): (&str, Status)) {
        let seq = i64::try_from(self.records.runs.len()).unwrap() + 1;
        let at = Timestamp::from_secs(SLASHED_AT + 15 * 86_400);
        self.records.runs.push(Run {
            seq,
            id: RunId::of(workflow, key),
            pin: Pin { workflow: workflow.into(), version: 1, hash: "hash".into() },
            key: key.into(),
            status,
            step: step.into(),
            attempt: 0,
            state,
            revision: 5,
            token: 5,
            owner: None,
            due_at: (!status.is_final()).then_some(at),
            signals: 0,
            heard: 0,
            error: None,
            created_at: at,
            updated_at: at,
            retired_at: None,
        });
    }

    fn run(&mut self, workflow: &str, key: &str) -> &mut Run {
        self.records.runs.iter_mut().find(|run| run.pin.workflow == workflow && run.key == key).unwrap()
    }

    /// Changes fields of a run's state.
    fn know(&mut self, workflow: &str, key: &str, change: Value) {
        let run = self.run(workflow, key);
        let mut state: Row = serde_json::from_str(&run.state).unwrap();
        state.extend(columns(change));
        run.state = text(&state);
    }

    /// Changes the debt in a run's state.
    fn owe(&mut self, workflow: &str, key: &str, change: Value) {
        let mut debt = serde_json::from_str::<Row>(&self.run(workflow, key).state).unwrap()["debt"].take();
        debt.as_object_mut().unwrap().extend(columns(change));
        self.know(workflow, key, json!({ "debt": debt }));
    }

    fn change(&mut self, table: &str, key: &str, change: Value) {
        let rows = match table {
            "bonds" => &mut self.records.bonds,
            "orders" => &mut self.records.orders,
            _ => &mut self.records.payments,
        };
        rows.get_mut(key).unwrap().extend(columns(change));
    }

    fn broken(&self) -> Vec<Violation> {
        let mut all = check(&self.records);
        all.extend(outside(&self.records, &self.outside));
        all
    }
}

fn text(state: &impl serde::Serialize) -> String {
    serde_json::to_string(state).unwrap()
}

/// Breaks a good world; the violation must be among what is found, and name the row.
#[track_caller]
fn breaks(invariant: Invariant, row: &str, harm: impl FnOnce(&mut World)) {
    let mut world = World::good();
    harm(&mut world);
    let found = world.broken();
    let named = found.iter().any(|violation| violation.invariant == invariant && violation.row.contains(row));
    assert!(named, "{invariant} at {row} is not among {found:#?}");
}

#[test]
fn in_a_good_world_nothing_is_found() {
    assert_eq!(World::good().broken(), []);
}

#[test]
fn paid_once() {
    let b = bond_payout::NAME;
    breaks(Invariant::PaidOnce, "paid", |world| world.outside.paid.get_mut(&hash_text(1)).unwrap().push(500));
    breaks(Invariant::PaidOnce, "paid", |world| {
        world.outside.paid.insert(hash_text(1), vec![501]);
    });
    breaks(Invariant::PaidOnce, "payments", |world| {
        world.outside.paid.insert(hash_text(9), vec![500]);
    });
    breaks(Invariant::PaidOnce, "paid", |world| {
        world.payment("paid", 3, 500);
        world.outside.paid.remove(&hash_text(3));
    });
    breaks(Invariant::PaidOnce, "payments", |world| {
        world.change("payments", &hash_text(1), json!({ "amount_sats": 499 }))
    });
    breaks(Invariant::PaidOnce, "paid", |world| world.owe(b, "paid", json!({ "paid": null })));
    breaks(Invariant::PaidOnce, "asked", |world| {
        let hashes = json!([HashRecord::new(hash(1), SLASHED_AT)]);
        world.owe(b, "asked", json!({ "hashes": hashes }));
    });
    breaks(Invariant::PaidOnce, "paid", |world| drop(world.records.hashes.remove(&hash_text(1))));
}

#[test]
fn claimed_first() {
    breaks(Invariant::ClaimedFirst, "payments", |world| {
        world.know(bond_payout::NAME, "paid", json!({ "bond": "locked" }));
    });
    breaks(Invariant::ClaimedFirst, "payments", |world| {
        world.know(order_resolution::NAME, "order", json!({ "escrow": "none" }));
    });
    breaks(Invariant::ClaimedFirst, "paid", |world| {
        world.outside.settled.remove(&hash_text(21));
    });
    breaks(Invariant::ClaimedFirst, "order", |world| {
        world.outside.settled.remove(&hash_text(30));
    });
}

#[test]
fn shares_add_up() {
    let b = bond_payout::NAME;
    breaks(Invariant::SharesAddUp, "asked", |world| world.know(b, "asked", json!({ "node_share_sats": null })));
    breaks(Invariant::SharesAddUp, "asked", |world| world.know(b, "asked", json!({ "node_share_sats": 1001 })));
    breaks(Invariant::SharesAddUp, "asked", |world| world.know(b, "asked", json!({ "node_share_sats": 501 })));
    breaks(Invariant::SharesAddUp, "asked", |world| world.owe(b, "asked", json!({ "owed_sats": 499 })));
    breaks(Invariant::SharesAddUp, "asked", |world| world.know(b, "asked", json!({ "recipient": null })));
    breaks(Invariant::SharesAddUp, "bonds asked", |world| {
        world.change("bonds", "asked", json!({ "amount_sats": 999 }))
    });
}

#[test]
fn rows_follow_runs() {
    for change in [
        json!({ "state": "slashed" }),
        json!({ "node_share_sats": 400 }),
        json!({ "slashed_at": SLASHED_AT + 1 }),
        json!({ "payout_recipient": "another" }),
        json!({ "payout_preimage": "00" }),
    ] {
        breaks(Invariant::RowsFollowRuns, "bonds asked", |world| world.change("bonds", "asked", change));
    }
    breaks(Invariant::RowsFollowRuns, "asked", |world| world.run(bond_payout::NAME, "asked").state = "{}".into());
    breaks(Invariant::RowsFollowRuns, "asked", |world| drop(world.records.bonds.remove("asked")));
}

#[test]
fn no_end_without_evidence() {
    let b = bond_payout::NAME;
    breaks(Invariant::Evidence, "paid", |world| {
        let other = Proof { hash: hash_text(1), preimage: hex::encode(preimage(9)), fee_sats: Some(1) };
        world.owe(b, "paid", json!({ "paid": other }));
    });
    breaks(Invariant::Evidence, "paid", |world| drop(world.outside.paid.remove(&hash_text(1))));
    breaks(Invariant::Evidence, "silent", |world| {
        world.run(b, "silent").updated_at = Timestamp::from_secs(SLASHED_AT + 86_399);
    });
    breaks(Invariant::Evidence, "asked", |world| {
        let run = world.run(b, "asked");
        (run.step, run.status, run.due_at) = ("slashed".into(), Status::Completed, None);
    });
    breaks(Invariant::Evidence, "lost", |world| world.change("bonds", "lost", json!({ "failed_reason": null })));
    breaks(Invariant::Evidence, "lost", |world| {
        world.outside.settled.insert(hash_text(24));
    });
    breaks(Invariant::Evidence, "order", |world| world.change("orders", "order", json!({ "status": "dispute" })));
    breaks(Invariant::Evidence, "order", |world| {
        let run = world.run(order_resolution::NAME, "order");
        (run.status, run.due_at) = (Status::BackingOff, Some(Timestamp(0)));
    });
    breaks(Invariant::Evidence, "order", |world| {
        world.know(order_resolution::NAME, "order", json!({ "escrow": null }))
    });
    breaks(Invariant::Evidence, "back", |world| world.change("bonds", "back", json!({ "state": "locked" })));
    breaks(Invariant::Evidence, "back", |world| {
        world.change("bonds", "back", json!({ "hash": hash_text(40) }));
        world.outside.settled.insert(hash_text(40));
    });
}

#[test]
fn while_a_payment_is_undecided_nothing_else_is_done() {
    let b = bond_payout::NAME;
    let undecided = |world: &mut World| {
        let record = HashRecord::new(hash(5), SLASHED_AT).begin_send(SLASHED_AT).unwrap();
        world.owe(b, "asked", json!({ "hashes": [record] }));
        world.records.hashes.insert(hash_text(5), Row::new());
    };
    breaks(Invariant::UndecidedBlocks, "asked", undecided);
    breaks(Invariant::UndecidedBlocks, "asked", |world| {
        undecided(world);
        let run = world.run(b, "asked");
        (run.step, run.status, run.due_at) = ("pay".into(), Status::Completed, None);
    });
    // A person who insists may cancel such a run.
    for (status, due_at) in [(Status::InDoubt, Some(Timestamp(0))), (Status::Canceled, None)] {
        let mut fine = World::good();
        undecided(&mut fine);
        let run = fine.run(b, "asked");
        (run.step, run.status, run.due_at) = ("pay".into(), status, due_at);
        assert_eq!(fine.broken(), []);
    }
}

#[test]
fn no_run_is_forgotten() {
    let b = bond_payout::NAME;
    breaks(Invariant::NothingForgotten, "asked", |world| world.run(b, "asked").due_at = None);
    breaks(Invariant::NothingForgotten, "paid", |world| world.run(b, "paid").due_at = Some(Timestamp(0)));
    breaks(Invariant::NothingForgotten, "asked", |world| {
        let run = world.run(b, "asked");
        (run.status, run.due_at, run.signals) = (Status::Paused, None, 1);
        let (seq, name) = (run.seq, "@resume".to_owned());
        let request = Signal { number: 1, name, payload: "{}".into(), at: Timestamp(0) };
        world.records.mail.insert(seq, vec![request]);
    });
    breaks(Invariant::NothingForgotten, "bonds asked", |world| world.records.runs.retain(|run| run.key != "asked"));
    breaks(Invariant::NothingForgotten, "order", |world| {
        world.records.runs.retain(|run| run.pin.workflow != trade_payout::NAME);
        world.change("orders", "order", json!({ "status": "settled-hold-invoice" }));
    });
    let mut fine = World::good();
    let run = fine.run(b, "asked");
    (run.status, run.due_at) = (Status::Paused, None);
    assert_eq!(fine.broken(), []);
}

#[test]
fn what_is_frozen_never_changes() {
    let b = bond_payout::NAME;
    let looked = |harm: &dyn Fn(&mut World)| {
        let (mut frozen, mut world) = (Frozen::default(), World::good());
        assert_eq!(frozen.look(&world.records), []);
        harm(&mut world);
        frozen.look(&world.records)
    };
    assert_eq!(looked(&|world| world.change("bonds", "asked", json!({ "payout_attempts": 3 }))), []);
    let change = |what: Value| looked(&move |world| world.change("bonds", "asked", what.clone()));
    for what in [
        json!({ "slashed_at": SLASHED_AT + 1 }),
        json!({ "slashed_at": null }),
        json!({ "node_share_sats": 1 }),
        json!({ "payout_recipient": "another" }),
        json!({ "amount_sats": 1 }),
    ] {
        let found = change(what.clone());
        assert!(found.iter().any(|found| found.row == "bonds asked"), "{what}: {found:?}");
    }
    for harm in [
        (&|world: &mut World| world.know(b, "asked", json!({ "recipient": "another" }))) as &dyn Fn(&mut World),
        &|world| world.owe(b, "asked", json!({ "owed_sats": 1 })),
        &|world| world.run(b, "asked").revision = 4,
        &|world| world.run(b, "asked").token = 4,
    ] {
        assert_eq!(looked(harm).len(), 1);
    }
}

fn message(id: &str, state: OutboxState) -> OutboxEntry {
    let message = OutboxMessage {
        id: id.into(),
        lane: "lane".into(),
        topic: "topic".into(),
        slot: None,
        body: String::new(),
        expires_at: None,
    };
    OutboxEntry { seq: 1, message, state, attempts: 0, due_at: Timestamp(0), created_at: Timestamp(0) }
}

#[test]
fn what_relays_have_was_decided_and_what_is_acknowledged_they_have() {
    let outbox = [message("a", OutboxState::Acknowledged), message("b", OutboxState::Pending)];
    let published = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(notices(&outbox, &published(&["a"])), []);
    assert_eq!(notices(&outbox, &published(&["a", "b"])), []);
    for (ids, row) in [(&["b"][..], "outbox a"), (&["a", "c"], "outbox c")] {
        let found = notices(&outbox, &published(ids));
        assert_eq!((found.len(), found[0].row.as_str()), (1, row));
    }
}

#[test]
fn a_request_has_one_answer() {
    let asked = |number| Asked { event: format!("e{number}"), sender: "ann".into(), request_id: number };
    let told = |event: &str, to: &str, request_id| Told { event: event.into(), to: to.into(), request_id };
    let all = [asked(1), asked(2)];
    let answers = vec![told("x", "ann", 1), told("x", "ann", 1), told("y", "ann", 2), told("z", "bob", 2)];
    assert_eq!(one_effect(&all, &answers, true), []);
    assert_eq!(one_effect(&all, &answers[..1], false), []);
    assert_eq!(one_effect(&all, &answers[..1], true).len(), 1);
    let twice = [answers, vec![told("w", "ann", 1)]].concat();
    assert_eq!(one_effect(&all, &twice, false)[0].row, "inbox e1");
}
