//! What only this adapter does: the conformance suite tests the duties of every store.

mod fault;
mod opening;
mod several;
mod tls;

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::engine::Status;
use crate::engine::store::{Lease, NewRun, NewSignal, RowChange, RowWrite, StepCommit};
use crate::payout::tables::TABLES;
use crate::sandbox::postgres::{Cluster, Place};

pub(super) use fault::Faults;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(Place::Memory, "-c max_connections=200").unwrap());

/// How long these stores wait for a server that is away.
const WAIT: Duration = Duration::from_millis(300);

/// An empty database.
async fn place() -> String {
    CLUSTER.database("template1").await.unwrap()
}

async fn daemon(url: &str) -> PostgresStore {
    PostgresStore::open(url, TABLES, OpenMode::Daemon, Reckoning::Caller).await.unwrap()
}

fn at(n: i64) -> Timestamp {
    Timestamp(n)
}

fn starting(keys: &[&str]) -> Commit {
    let start = |key: &&str| {
        let pin = Pin { workflow: "flow".into(), version: 1, hash: "h".into() };
        NewRun { pin, key: (*key).into(), step: "first".into(), state: "{}".into(), due_at: at(0) }
    };
    Commit { starts: keys.iter().map(start).collect(), ..Commit::default() }
}

fn id(key: &str) -> RunId {
    RunId::of("flow", key)
}

/// Starts a run and takes it.
async fn claimed(store: &PostgresStore, key: &str) -> Run {
    store.commit(starting(&[key])).await.unwrap();
    store.claim("me", at(0), at(1_000_000), 1).await.unwrap().remove(0)
}

fn step(run: &Run) -> StepCommit {
    StepCommit {
        seq: run.seq,
        revision: run.revision,
        token: run.token,
        mailbox: None,
        known_signals: run.signals,
        consumed: vec![],
        status: Status::Waiting,
        step: "next".into(),
        attempt: 0,
        state: None,
        error: None,
        lease: Lease::Keep,
        history: HistoryEntry {
            revision: run.revision + 1,
            step: run.step.clone(),
            attempt: run.attempt,
            outcome: "done".into(),
            to: "next".into(),
            status: Status::Waiting,
            detail: None,
            at: at(1),
        },
    }
}

fn stepping(run: &Run) -> Commit {
    Commit { at: at(1), step: Some(step(run)), ..Commit::default() }
}

fn fact(name: &str, value: Value) -> Commit {
    let change = RowChange::Insert(Row::from_iter([("value".to_owned(), value)]));
    Commit { rows: vec![RowWrite { table: "facts", key: name.into(), change }], ..Commit::default() }
}

fn signal(key: &str, name: &str) -> Commit {
    let signal = NewSignal { run: id(key), name: name.into(), payload: "{}".into(), dedup: name.into() };
    Commit { signals: vec![signal], ..Commit::default() }
}
