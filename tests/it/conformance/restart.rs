//! What was answered is there for the next daemon.

use bondflow::engine::{Commit, CommitError, Status};
use serde_json::json;

use super::StoreUnderTest;
use super::sample::*;

pub async fn everything_is_found_again<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let full = Commit {
        step: Some(step(&run, 1, Status::Waiting)),
        inbox: Some("message".into()),
        starts: vec![new_run("b", 2)],
        signals: vec![new_signal("a", "one", "x")],
        outbox: vec![message("m", Some("slot"))],
        ..writing(1, [insert("facts", "name", [("value", json!("fact"))])])
    };
    commit(store, full).await;
    store.claim(OWNER, at(1), at(77), 1).await.unwrap();
    let before = subject.dump().await;
    assert!(before.iter().any(|(_, rows)| !rows.is_empty()));

    let subject = subject.reopen().await;
    assert_eq!(subject.dump().await, before);
    assert_eq!(read(subject.store(), "a").await.due_at, Some(at(77)), "a lease is a lease for the next daemon too");
    assert!(subject.store().seen("message").await.unwrap());
}

pub async fn numbers_go_on<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let first = rest(subject.store(), "a", Status::Waiting).await;
    commit(subject.store(), sending(0, [message("m1", None)])).await;
    commit(subject.store(), signaling(0, [new_signal("a", "one", "x")])).await;

    let subject = subject.reopen().await;
    let store = subject.store();
    commit(store, starting(1, [new_run("b", 1)])).await;
    commit(store, sending(1, [message("m2", None)])).await;
    commit(store, signaling(1, [new_signal("a", "one", "y"), new_signal("a", "one", "x")])).await;
    assert!(read(store, "b").await.seq > first.seq);
    let (m1, m2) = (store.outbox("m1").await.unwrap().unwrap(), store.outbox("m2").await.unwrap().unwrap());
    assert!(m2.seq > m1.seq);
    let numbers: Vec<i64> = store.mailbox(first.seq).await.unwrap().iter().map(|signal| signal.number).collect();
    assert_eq!(numbers, [1, 2]);
    let run = store.claim(OWNER, at(1), lease_end(), 1).await.unwrap().remove(0);
    assert_eq!(run.token, first.token + 1, "a token is never used for a second lease");
}

pub async fn a_daemon_from_before_is_fenced<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let run = begin(subject.store(), "a").await;
    let subject = subject.reopen().await;
    let store = subject.store();
    assert_eq!(store.release_others("daemon-b", at(2)).await.unwrap(), 1);
    let taken = store.claim("daemon-b", at(2), lease_end(), 1).await.unwrap().remove(0);
    assert_eq!(refused(store, stepping(3, step(&run, 3, Status::Waiting))).await, CommitError::Fenced);
    commit(store, stepping(3, step(&taken, 3, Status::Waiting))).await;
}
