//! A commit is applied whole or not at all.

use bondflow::engine::store::{Guard, RowChange};
use bondflow::engine::{Commit, CommitError, Run, Status};
use serde_json::json;

use super::StoreUnderTest;
use super::sample::*;

/// A commit with something in each part, which moves `run`.
fn full(run: &Run) -> Commit {
    Commit {
        step: Some(step(run, 5, Status::Waiting)),
        guards: vec![Guard::NoRun { run: id("new") }],
        inbox: Some("message".into()),
        rows: vec![insert("facts", "name", [("value", json!("fact"))])],
        starts: vec![new_run("new", 9)],
        signals: vec![new_signal("new", "hello", "1"), new_signal("old", "hello", "1")],
        nudges: vec![nudge(10)],
        outbox: vec![message("m1", None)],
        ..empty(5)
    }
}

pub async fn all_parts_are_written_at_once<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "old").await;
    assert_eq!(commit(store, full(&run)).await.signals, 1);

    let old = read(store, "old").await;
    assert_eq!((old.revision, old.status, old.due_at), (1, Status::Waiting, Some(at(5))));
    assert_eq!(store.mailbox(old.seq).await.unwrap().len(), 1);
    let new = read(store, "new").await;
    assert_eq!((new.revision, new.status, new.due_at, new.signals), (0, Status::Running, Some(at(9)), 1));
    assert_eq!(store.mailbox(new.seq).await.unwrap().len(), 1);
    assert_eq!(store.row("facts", "name").await.unwrap().unwrap()["value"], "fact");
    assert!(store.seen("message").await.unwrap());
    assert_eq!(store.outbox("m1").await.unwrap().unwrap().due_at, at(5));
}

pub async fn a_refused_commit_leaves_nothing<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "old").await;
    let there = Commit {
        inbox: Some("there".into()),
        signals: vec![new_signal("old", "hello", "0")],
        ..writing(0, [insert("facts", "there", [("value", json!("fact"))])])
    };
    commit(store, there).await;
    let before = subject.dump().await;

    let mut stale = full(&run);
    stale.step.as_mut().unwrap().revision += 1;
    let mut deaf = full(&run);
    deaf.step.as_mut().unwrap().mailbox = Some(0);
    let seen = Commit { inbox: Some("there".into()), ..full(&run) };
    let mut guarded = full(&run);
    guarded.guards.push(Guard::NoRun { run: id("old") });
    let mut inserted = full(&run);
    inserted.rows.push(insert("facts", "there", [("value", json!("other"))]));
    let mut updated = full(&run);
    updated.rows.push(write("facts", "missing", RowChange::Update { set: row([]), expect: row([]) }));

    assert_eq!(refused(store, stale).await, CommitError::Fenced);
    assert_eq!(refused(store, deaf).await, CommitError::Mail);
    assert_eq!(refused(store, seen).await, CommitError::Seen);
    for conflicting in [guarded, inserted, updated] {
        let answer = refused(store, conflicting).await;
        assert!(matches!(answer, CommitError::Conflict(_)), "{answer:?}");
    }
    assert_eq!(subject.dump().await, before);
    commit(store, full(&run)).await;
}

pub async fn checks_see_the_tables_before_the_commit<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let guards = vec![
        Guard::NoRun { run: id("new") },
        Guard::Absent { table: "facts", key: "name".into() },
        Guard::Fewer { table: "facts", matching: row([]), at_least: None, limit: 1 },
    ];
    let rows = [insert("facts", "name", [("value", json!("fact"))])];
    let first = Commit { guards, starts: vec![new_run("new", 0)], ..writing(0, rows) };
    commit(store, first.clone()).await;
    assert!(matches!(refused(store, first).await, CommitError::Conflict(_)));
}

pub async fn an_incoming_message_is_taken_once<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    assert!(!store.seen("message").await.unwrap());
    let incoming = |key: &str| Commit { inbox: Some("message".into()), ..starting(0, [new_run(key, 0)]) };
    commit(store, incoming("a")).await;
    assert!(store.seen("message").await.unwrap());
    assert!(!store.seen("MESSAGE").await.unwrap());
    assert_eq!(refused(store, incoming("b")).await, CommitError::Seen);
    assert_eq!(store.run(&id("b")).await.unwrap(), None);
}

pub async fn an_empty_commit_is_fine<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let before = subject.dump().await;
    assert_eq!(commit(subject.store(), empty(0)).await.signals, 0);
    assert_eq!(subject.dump().await, before);
}
