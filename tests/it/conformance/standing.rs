//! Where a database stands in its own history.

use bondflow::engine::Status;
use bondflow::engine::store::{Lease, StepCommit};

use super::StoreUnderTest;
use super::sample::*;

pub async fn the_count_rises_with_each_commit_and_claim<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, [new_run("first", 500)])).await;
    let mut before = store.standing().await.unwrap();
    assert!((1..=64).contains(&before.timeline.len()) && !before.timeline.contains(char::is_whitespace));
    commit(store, starting(0, [new_run("a", 0)])).await;
    for turn in 1..4 {
        let run = store.claim(OWNER, at(turn), at(1_000), 1).await.unwrap().remove(0);
        let claimed = store.standing().await.unwrap();
        assert!(claimed.count > before.count);
        let due = StepCommit { lease: Lease::Release(Some(at(turn + 1))), ..step(&run, turn, Status::Waiting) };
        commit(store, stepping(turn, due)).await;
        before = store.standing().await.unwrap();
        assert!(before.count > claimed.count && before.timeline == claimed.timeline);
    }
    let stale = StepCommit { token: 0, ..step(&read(store, "a").await, 9, Status::Waiting) };
    refused(store, stepping(9, stale)).await;
    assert_eq!(store.standing().await.unwrap(), before, "what is refused is no history");
}

pub async fn a_history_is_found_again_and_another_is_not<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, [new_run("a", 0)])).await;
    let first = store.standing().await.unwrap();
    assert_eq!(store.reached(&first.timeline).await.unwrap(), Some(first.count));
    assert_eq!(store.reached("another").await.unwrap(), None);
    let subject = subject.reopen().await;
    let store = subject.store();
    assert_eq!(store.reached(&first.timeline).await.unwrap(), Some(first.count));
    store.begin_timeline().await.unwrap();
    commit(store, starting(1, [new_run("b", 1)])).await;
    let begun = store.standing().await.unwrap();
    assert_ne!(begun.timeline, first.timeline);
    assert_eq!(store.reached(&begun.timeline).await.unwrap(), Some(begun.count));
}

pub async fn the_last_commit_is_of_a_run_or_a_message<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    assert_eq!(store.last_commit().await.unwrap(), None);
    commit(store, starting(3, [new_run("a", 3)])).await;
    assert_eq!(store.last_commit().await.unwrap(), Some(at(3)));
    commit(store, sending(9, [message("m", None)])).await;
    assert_eq!(store.last_commit().await.unwrap(), Some(at(9)));
    let run = store.claim(OWNER, at(10), lease_end(), 1).await.unwrap().remove(0);
    assert_eq!(store.last_commit().await.unwrap(), Some(at(9)), "a claim decides nothing");
    commit(store, stepping(11, step(&run, 50, Status::Waiting))).await;
    assert_eq!(store.last_commit().await.unwrap(), Some(at(11)));
}
