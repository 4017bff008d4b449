//! A database as a daemon leaves it, on any store, at a time that stands still.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bondflow::engine::operator::AUDIT;
use bondflow::engine::store::{Lease, NewRun, OutboxMessage, RowWrite, StepCommit};
use bondflow::engine::{Clock, Commit, Definition, HistoryEntry, Run, RunId, Status, Store, Timestamp, VirtualClock};
use bondflow::payout::books::insert;
use bondflow::payout::policy::HashRecord;
use bondflow::payout::tables::{BONDS, DISPUTES, HASHES, ORDERS, PAYMENTS};
use bondflow::payout::{bond_payout, bond_release, order_resolution, trade_payout};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// When it begins: long ago, so that no database's clock is behind it.
pub const START: Timestamp = Timestamp(1_732_354_000_000);
pub const BOND: &str = "5a6a786d-88f2-4f42-9b92-efba8f2bf994";
pub const ORDER: &str = "34d272ca-11aa-473b-9425-be3bb6739e3b";
/// A bond whose payment is in doubt, and its order.
pub const DOUBTED: &str = "0d0abe10-3c55-4a86-8d3f-1f6a5a1f8b7e";
pub const ITS_ORDER: &str = "9f0e9a1c-62f1-44a5-b1c9-0c4f3f8d2a11";
/// A bond that could not be given back.
pub const STUCK: &str = "c0ffee00-7d3a-4b5e-9a53-6f1a2b3c4d5e";

/// What proves the payment in doubt.
pub const PREIMAGE: [u8; 32] = [9; 32];

/// What is written, for the test to read.
#[derive(Clone, Default)]
pub struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    /// All that was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A store that a daemon writes, and its time.
pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: VirtualClock,
}

impl World {
    /// With nothing in it.
    pub fn empty(store: Arc<dyn Store>) -> Self {
        Self { store, clock: VirtualClock::starting_at(START) }
    }

    /// A bond's payout that waits for an invoice, two hours old, and a trade's that was not begun.
    pub async fn small(store: Arc<dyn Store>) -> Self {
        let world = Self::empty(store);
        world.start(bond_payout::DEFINITION, BOND, &payout(ORDER, debt(500))).await;
        world.go(bond_payout::NAME, BOND, "await_invoice", Status::Waiting, Some(300), None).await;
        world.clock.advance(Duration::from_secs(7_200 - 60));
        let trade = json!({ "order": summary(ORDER), "buyer": "cc", "left_invoice": null, "requests": 0,
            "last_request_at": null, "debt": debt(99_000) });
        world.start(trade_payout::DEFINITION, ORDER, &trade).await;
        world.rows().await;
        world.clock.advance(Duration::from_secs(60));
        world
    }

    /// The same with a run in each other status, requests that were answered, and a message on its way.
    pub async fn large(store: Arc<dyn Store>) -> Self {
        let world = Self::small(store).await;
        let at = world.now();
        let record = HashRecord::new(Sha256::digest(PREIMAGE).into(), at.secs() + 86_400);
        let sent = record.begin_send(at.secs() + 20).unwrap();
        let mut doubted = debt(500);
        doubted["hashes"] = json!([sent]);
        doubted["invoice"] = json!({ "bolt11": "lnbc5u1", "hash": hex::encode(record.payment_hash),
            "payee": "02dd", "amountless": false, "expires_at": record.invoice_expires_at });
        world.start(bond_payout::DEFINITION, DOUBTED, &payout(ITS_ORDER, doubted)).await;
        world.go(bond_payout::NAME, DOUBTED, "pay", Status::InDoubt, Some(60), Some("lnd gave no answer")).await;
        world.start(bond_release::DEFINITION, STUCK, &json!({ "amount_sats": 1000 })).await;
        let why = "the bond is settled: it can't be given back";
        world.go(bond_release::NAME, STUCK, "cancel", Status::Paused, None, Some(why)).await;
        let resolution = json!({ "ruling": "cancel", "solver": "dd", "escrow": "canceled" });
        world.start(order_resolution::DEFINITION, ITS_ORDER, &resolution).await;
        world.go(order_resolution::NAME, ITS_ORDER, "resolved", Status::Completed, None, None).await;
        let release = RunId::of(bond_release::NAME, STUCK);
        let asked = |number: u64, request: &str, by: &str, outcome: &str, detail: &str| {
            let at = world.now().millis() + i64::try_from(number).unwrap() * 1_000;
            let key = format!("{at:013}-{release}-{number}");
            let row = json!({ "ticket": format!("ticket {number}"), "run": release, "workflow": bond_release::NAME,
                "key": STUCK, "request": request, "arguments": null, "forced": number == 2, "asked_by": by,
                "reason": "a look at it", "asked_at": at, "applied_at": at + 5, "outcome": outcome,
                "detail": detail, "step": "cancel", "status": "paused", "revision": 2 });
            insert(AUDIT, &key, row)
        };
        let payment = json!({ "run": DOUBTED, "destination": "02dd", "amount_sats": 500, "fee_limit_sats": 10,
            "sends": 1, "last_send_at": at.secs(), "valid_until": at.secs() + 20 });
        let rows = vec![
            bond(DOUBTED, ITS_ORDER, "pending-payout"),
            bond(STUCK, ITS_ORDER, "locked"),
            order(ITS_ORDER, "canceled-by-admin"),
            insert(HASHES, &hex::encode(record.payment_hash), json!({ "used_by": format!("payout {DOUBTED}") })),
            insert(PAYMENTS, &hex::encode(record.payment_hash), payment),
            insert(DISPUTES, "d1", json!({ "order_id": ITS_ORDER, "status": "settled" })),
            asked(1, "resume", "ann", "applied", "runs `cancel` now"),
            asked(2, "retry", "bob", "refused", "`bond_release` has no step `pay`, it has cancel"),
        ];
        let message = OutboxMessage {
            id: "e1".to_owned(),
            lane: "bb".to_owned(),
            topic: format!("add-bond-invoice {BOND}"),
            slot: None,
            body: "{}".to_owned(),
            expires_at: None,
        };
        let commit = Commit { at: world.now(), rows, outbox: vec![message], ..Commit::default() };
        world.store.commit(commit).await.unwrap();
        world.clock.advance(Duration::from_secs(600));
        world
    }

    /// The rows of the order and its bond: what tells which runs are the order's.
    async fn rows(&self) {
        let rows = vec![order(ORDER, "settled-hold-invoice"), bond(BOND, ORDER, "pending-payout")];
        self.store.commit(Commit { at: self.now(), rows, ..Commit::default() }).await.unwrap();
    }

    async fn start(&self, definition: &str, key: &str, state: &Value) {
        let bound = Definition::parse(definition).unwrap();
        let (pin, step, due_at) = (bound.pin(), bound.start, self.now());
        let start = NewRun { pin, key: key.to_owned(), step, state: state.to_string(), due_at };
        self.store.commit(Commit { at: self.now(), starts: vec![start], ..Commit::default() }).await.unwrap();
    }

    /// Brings a run to a step, as a worker does.
    pub async fn go(
        &self,
        workflow: &str,
        key: &str,
        to: &str,
        status: Status,
        due_in: Option<u64>,
        error: Option<&str>,
    ) {
        let now = self.now();
        let id = RunId::of(workflow, key);
        let seq = self.run(&id).await.seq;
        self.store.wake(seq, now).await.unwrap();
        self.store.claim("worker", now, now.after(Duration::from_secs(15)), 10).await.unwrap();
        let run = self.run(&id).await;
        let lease = Lease::Release(due_in.map(|secs| now.after(Duration::from_secs(secs))));
        let history = HistoryEntry {
            revision: run.revision + 1,
            step: run.step.clone(),
            attempt: run.attempt,
            outcome: "claimed".to_owned(),
            to: to.to_owned(),
            status,
            detail: None,
            at: now,
        };
        let step = StepCommit {
            seq: run.seq,
            revision: run.revision,
            token: run.token,
            mailbox: None,
            known_signals: run.signals,
            consumed: Vec::new(),
            status,
            step: to.to_owned(),
            attempt: 0,
            state: None,
            error: error.map(str::to_owned),
            lease,
            history,
        };
        self.store.commit(Commit { at: now, step: Some(step), ..Commit::default() }).await.unwrap();
        // What else was due is nobody's.
        self.store.release_others("nobody", now).await.unwrap();
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn run(&self, id: &RunId) -> Run {
        self.store.run(id).await.unwrap().unwrap()
    }
}

fn summary(order: &str) -> Value {
    json!({ "id": order, "kind": "sell", "status": null, "amount_sats": 0, "fiat_code": "USD",
        "fiat_amount": 100, "payment_method": "bank", "premium": 0 })
}

fn debt(owed: u64) -> Value {
    json!({ "owed_sats": owed, "invoice": null, "spent": false, "attempts": 0, "hashes": [], "send_now": false,
        "paid": null })
}

fn payout(order: &str, debt: Value) -> Value {
    json!({ "order": summary(order), "slashed": "aa", "recipient": "bb", "amount_sats": 1000, "node_share_sats": 500,
        "slashed_at": START.secs(), "bond": "pending-payout", "requests": 1, "last_request_at": START.secs(),
        "reopened_at": null, "debt": debt })
}

fn order(id: &str, status: &str) -> RowWrite {
    let row = json!({ "kind": "sell", "status": status, "amount": 99_300, "fee": 300,
        "preimage": "5ec2e7" });
    insert(ORDERS, id, row)
}

fn bond(id: &str, order: &str, state: &str) -> RowWrite {
    let slashed = state != "locked";
    let row = json!({ "order_id": order, "pubkey": "aa", "role": "maker", "amount_sats": 1000, "state": state,
        "node_share_sats": slashed.then_some(500), "slashed_at": slashed.then_some(START.secs()),
        "payout_recipient": slashed.then_some("bb"), "preimage": "5ec2e7" });
    insert(BONDS, id, row)
}
