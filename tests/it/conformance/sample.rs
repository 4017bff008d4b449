//! Small pieces that the tests are made of.

use bondflow::engine::store::{
    Commit, Committed, Lease, NewRun, NewSignal, Nudge, OutboxMessage, Row, RowChange, RowWrite, StepCommit,
};
use bondflow::engine::{CommitError, HistoryEntry, Pin, Run, RunId, Status, Store, Timestamp};
use serde_json::Value;

pub const OWNER: &str = "daemon-a";

/// `n` milliseconds after the tests' epoch.
pub fn at(n: i64) -> Timestamp {
    Timestamp(1_700_000_000_000 + n)
}

/// When a lease that was taken by [`begin`] ends.
pub fn lease_end() -> Timestamp {
    at(1_000)
}

pub fn pin() -> Pin {
    Pin { workflow: "flow".into(), version: 1, hash: "ab".repeat(32) }
}

pub fn id(key: &str) -> RunId {
    RunId::of("flow", key)
}

pub fn new_run(key: &str, due: i64) -> NewRun {
    NewRun { pin: pin(), key: key.into(), step: "first".into(), state: "{\"n\":0}".into(), due_at: at(due) }
}

pub fn new_signal(key: &str, name: &str, dedup: &str) -> NewSignal {
    NewSignal { run: id(key), name: name.into(), payload: format!("{{\"from\":\"{dedup}\"}}"), dedup: dedup.into() }
}

pub fn nudge(limit: u32) -> Nudge {
    Nudge { workflow: "flow".into(), step: "wait".into(), limit }
}

pub fn message(id: &str, slot: Option<&str>) -> OutboxMessage {
    OutboxMessage {
        id: id.into(),
        lane: "lane".into(),
        topic: "topic".into(),
        slot: slot.map(Into::into),
        body: format!("body of {id}"),
        expires_at: None,
    }
}

pub fn row<const N: usize>(values: [(&str, Value); N]) -> Row {
    values.into_iter().map(|(column, value)| (column.to_owned(), value)).collect()
}

pub fn write(table: &'static str, key: &str, change: RowChange) -> RowWrite {
    RowWrite { table, key: key.into(), change }
}

pub fn insert<const N: usize>(table: &'static str, key: &str, values: [(&str, Value); N]) -> RowWrite {
    write(table, key, RowChange::Insert(row(values)))
}

pub fn empty(n: i64) -> Commit {
    Commit { at: at(n), ..Commit::default() }
}

pub fn starting(n: i64, starts: impl IntoIterator<Item = NewRun>) -> Commit {
    Commit { starts: starts.into_iter().collect(), ..empty(n) }
}

pub fn signaling(n: i64, signals: impl IntoIterator<Item = NewSignal>) -> Commit {
    Commit { signals: signals.into_iter().collect(), ..empty(n) }
}

pub fn nudging(n: i64, nudges: impl IntoIterator<Item = Nudge>) -> Commit {
    Commit { nudges: nudges.into_iter().collect(), ..empty(n) }
}

pub fn writing(n: i64, rows: impl IntoIterator<Item = RowWrite>) -> Commit {
    Commit { rows: rows.into_iter().collect(), ..empty(n) }
}

pub fn sending(n: i64, outbox: impl IntoIterator<Item = OutboxMessage>) -> Commit {
    Commit { outbox: outbox.into_iter().collect(), ..empty(n) }
}

/// The step of `run` that goes on to `status` at the step `wait`, taking nothing, letting go.
pub fn step(run: &Run, n: i64, status: Status) -> StepCommit {
    StepCommit {
        seq: run.seq,
        revision: run.revision,
        token: run.token,
        mailbox: None,
        known_signals: run.signals,
        consumed: vec![],
        status,
        step: "wait".into(),
        attempt: 0,
        state: None,
        error: None,
        lease: Lease::Release(None),
        history: HistoryEntry {
            revision: run.revision + 1,
            step: run.step.clone(),
            attempt: run.attempt,
            outcome: "done".into(),
            to: "wait".into(),
            status,
            detail: None,
            at: at(n),
        },
    }
}

pub fn stepping(n: i64, step: StepCommit) -> Commit {
    Commit { step: Some(step), ..empty(n) }
}

pub async fn commit(store: &dyn Store, commit: Commit) -> Committed {
    store.commit(commit).await.unwrap()
}

pub async fn refused(store: &dyn Store, commit: Commit) -> CommitError {
    store.commit(commit).await.unwrap_err()
}

pub async fn read(store: &dyn Store, key: &str) -> Run {
    store.run(&id(key)).await.unwrap().unwrap()
}

/// Starts a run and takes it under a lease of [`OWNER`] until [`lease_end`].
pub async fn begin(store: &dyn Store, key: &str) -> Run {
    commit(store, starting(0, [new_run(key, 0)])).await;
    let mut claimed = store.claim(OWNER, at(0), lease_end(), 100).await.unwrap();
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

/// Starts a run and leaves it with that status, at the step `wait`, without a lease or a timer.
pub async fn rest(store: &dyn Store, key: &str, status: Status) -> Run {
    let run = begin(store, key).await;
    commit(store, stepping(0, step(&run, 0, status))).await;
    read(store, key).await
}

pub fn keys(runs: &[Run]) -> Vec<&str> {
    runs.iter().map(|run| run.key.as_str()).collect()
}
