//! What only this adapter does: the conformance suite tests the duties of every store.

mod cuts;
mod fault;
mod group;
mod opening;
mod plan;

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::engine::Status;
use crate::engine::store::{Lease, NewRun, NewSignal, RowChange, RowWrite, StepCommit};

pub(super) use fault::Faults;

const TABLES: &[Table] = &[
    Table { name: "facts", key: "name", columns: &["value"] },
    Table { name: "cursors", key: "relay", columns: &["read_until", "complete_at"] },
];
const LONG: Timestamp = Timestamp(1_000_000);
const BUSY: Duration = Duration::from_millis(50);

/// A folder of its own with the path of a database in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bonds.db");
    (folder, path)
}

async fn daemon(path: &Path) -> SqliteStore {
    SqliteStore::open_within(path, TABLES, OpenMode::Daemon, BUSY).await.unwrap()
}

fn start(key: &str) -> NewRun {
    let pin = Pin { workflow: "flow".into(), version: 1, hash: "h".into() };
    NewRun { pin, key: key.into(), step: "first".into(), state: "{}".into(), due_at: Timestamp(0) }
}

fn starting(keys: &[String]) -> Commit {
    Commit { starts: keys.iter().map(|key| start(key)).collect(), ..Commit::default() }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key-{n}")).collect()
}

/// Starts so many runs and takes them.
async fn claimed(store: &SqliteStore, count: usize) -> Vec<Run> {
    store.commit(starting(&keys(count))).await.unwrap();
    let runs = store.claim("me", Timestamp(0), LONG, 10_000).await.unwrap();
    assert_eq!(runs.len(), count);
    runs
}

fn step(run: &Run) -> Commit {
    let history = HistoryEntry {
        revision: run.revision + 1,
        step: run.step.clone(),
        attempt: run.attempt,
        outcome: "done".into(),
        to: "next".into(),
        status: Status::Running,
        detail: None,
        at: Timestamp(1),
    };
    let step = StepCommit {
        seq: run.seq,
        revision: run.revision,
        token: run.token,
        mailbox: None,
        known_signals: run.signals,
        consumed: vec![],
        status: Status::Running,
        step: "next".into(),
        attempt: 0,
        state: Some(r#"{"n":1}"#.into()),
        error: None,
        lease: Lease::Keep,
        history,
    };
    Commit { at: Timestamp(1), step: Some(step), ..Commit::default() }
}

fn fact(name: &str, value: Value) -> Commit {
    let change = RowChange::Insert(Row::from_iter([("value".to_owned(), value)]));
    Commit { rows: vec![RowWrite { table: "facts", key: name.into(), change }], ..Commit::default() }
}

fn signal(key: &str, name: &str) -> Commit {
    let run = RunId::of("flow", key);
    let signal = NewSignal { run, name: name.into(), payload: "{}".into(), dedup: name.into() };
    Commit { signals: vec![signal], ..Commit::default() }
}

async fn value(store: &SqliteStore, name: &str) -> Option<Value> {
    store.row("facts", name).await.unwrap().map(|row| row["value"].clone())
}

#[tokio::test]
async fn rows_keep_the_types_of_their_values() {
    let (_folder, path) = place();
    let store = daemon(&path).await;
    for (name, kept) in [("text", json!("1")), ("quote", json!("it's \"ü\"\n")), ("empty", json!(""))] {
        store.commit(fact(name, kept.clone())).await.unwrap();
        assert_eq!(value(&store, name).await, Some(kept));
    }
    let row = Row::from_iter([("read_until".to_owned(), json!(i64::MAX)), ("complete_at".to_owned(), Value::Null)]);
    let write = RowWrite { table: "cursors", key: "r".into(), change: RowChange::Upsert(row) };
    store.commit(Commit { rows: vec![write], ..Commit::default() }).await.unwrap();
    let expected = json!({ "relay": "r", "read_until": i64::MAX, "complete_at": null });
    assert_eq!(Value::Object(store.row("cursors", "r").await.unwrap().unwrap()), expected);
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_of_a_daemon_that_was_killed() {
    let (_folder, path) = place();
    let store = daemon(&path).await;
    let runs = claimed(&store, 3).await;
    store.commit(step(&runs[1])).await.unwrap();
    store.commit(fact("kept", json!("yes"))).await.unwrap();
    // The files as they are, without the last words of the process.
    let (_other, copy) = place();
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", path.display()), format!("{}{end}", copy.display())).unwrap();
    }
    let next = daemon(&copy).await;
    assert_eq!(value(&next, "kept").await, Some(json!("yes")));
    let found = next.runs(&RunFilter::default()).await.unwrap();
    assert_eq!(found, store.runs(&RunFilter::default()).await.unwrap());
    assert_eq!(next.history(runs[1].seq).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_daemon_that_only_drops_its_store_leaves_all_to_the_next() {
    let (_folder, path) = place();
    let store = daemon(&path).await;
    let runs = claimed(&store, 2).await;
    store.commit(step(&runs[0])).await.unwrap();
    drop(store);
    let store = daemon(&path).await;
    let found = store.run(&runs[0].id).await.unwrap().unwrap();
    assert_eq!((found.revision, found.owner.as_deref()), (1, Some("me")));
}
