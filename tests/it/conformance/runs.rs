//! Runs are started once and moved by whoever holds their lease.

use bondflow::engine::store::{Lease, StepCommit};
use bondflow::engine::{CommitError, HistoryEntry, Pin, Run, RunId, Status, Store};

use super::StoreUnderTest;
use super::sample::*;

pub async fn a_started_run_is_new_and_due<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(3, [new_run("a", 7)])).await;
    let run = read(store, "a").await;
    let expected = Run {
        seq: run.seq,
        id: id("a"),
        pin: pin(),
        key: "a".into(),
        status: Status::Running,
        step: "first".into(),
        attempt: 0,
        state: "{\"n\":0}".into(),
        revision: 0,
        token: 0,
        owner: None,
        due_at: Some(at(7)),
        signals: 0,
        heard: 0,
        error: None,
        created_at: at(3),
        updated_at: at(3),
        retired_at: None,
    };
    assert_eq!(run, expected);
    assert_eq!(store.history(run.seq).await.unwrap(), vec![]);
}

pub async fn one_key_starts_one_run<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, [new_run("a", 1), new_run("a", 2)])).await;
    let first = read(store, "a").await;
    assert_eq!(first.due_at, Some(at(1)));

    let mut later = new_run("a", 5);
    later.pin.version = 2;
    later.state = "{}".into();
    commit(store, starting(5, [later, new_run("b", 5)])).await;
    assert_eq!(read(store, "a").await, first);
    assert!(read(store, "b").await.seq > first.seq);

    let ended = begin_claimed(store, "a").await;
    commit(store, stepping(6, step(&ended, 6, Status::Completed))).await;
    let last = read(store, "a").await;
    commit(store, starting(7, [new_run("a", 7)])).await;
    assert_eq!(read(store, "a").await, last);
}

/// Takes runs that are there, and gives the one with that key.
async fn begin_claimed(store: &dyn Store, key: &str) -> Run {
    let claimed = store.claim(OWNER, at(5), lease_end(), 10).await.unwrap();
    claimed.into_iter().find(|run| run.key == key).unwrap()
}

pub async fn one_key_of_two_workflows_is_two_runs<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let mut other = new_run("a", 0);
    other.pin = Pin { workflow: "other".into(), ..pin() };
    commit(store, starting(0, [new_run("a", 0), other])).await;
    assert!(store.run(&id("a")).await.unwrap().is_some());
    assert!(store.run(&RunId::of("other", "a")).await.unwrap().is_some());
}

pub async fn a_step_moves_its_run<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let moved = StepCommit {
        status: Status::BackingOff,
        step: "second".into(),
        attempt: 3,
        state: Some("{\"n\":1}".into()),
        error: Some("not yet".into()),
        lease: Lease::Release(Some(at(50))),
        ..step(&run, 10, Status::BackingOff)
    };
    commit(store, stepping(10, moved)).await;
    let expected = Run {
        status: Status::BackingOff,
        step: "second".into(),
        attempt: 3,
        state: "{\"n\":1}".into(),
        error: Some("not yet".into()),
        revision: 1,
        owner: None,
        due_at: Some(at(50)),
        updated_at: at(10),
        ..run
    };
    assert_eq!(read(store, "a").await, expected);
}

pub async fn what_a_step_does_not_say<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let failing = StepCommit {
        state: Some("{\"n\":1}".into()),
        error: Some("not yet".into()),
        lease: Lease::Keep,
        ..step(&run, 1, Status::Running)
    };
    commit(store, stepping(1, failing)).await;
    let run = read(store, "a").await;
    commit(store, stepping(2, step(&run, 2, Status::Waiting))).await;
    let run = read(store, "a").await;
    assert_eq!((run.state.as_str(), run.error), ("{\"n\":1}", None), "the state stays, the error goes");
}

pub async fn a_stale_revision_is_fenced<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let keeping = StepCommit { lease: Lease::Keep, ..step(&run, 1, Status::Running) };
    commit(store, stepping(1, keeping.clone())).await;
    let before = subject.dump().await;
    assert_eq!(refused(store, stepping(2, keeping)).await, CommitError::Fenced);
    assert_eq!(subject.dump().await, before);
}

pub async fn a_stale_token_is_fenced<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    for token in [run.token - 1, run.token + 1] {
        let stale = StepCommit { token, ..step(&run, 1, Status::Running) };
        assert_eq!(refused(store, stepping(1, stale)).await, CommitError::Fenced);
    }
    assert_eq!(read(store, "a").await, run);
}

pub async fn a_step_of_an_unknown_run_is_fenced<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let before = subject.dump().await;
    let unknown = StepCommit { seq: run.seq + 1, ..step(&run, 1, Status::Running) };
    assert_eq!(refused(store, stepping(1, unknown)).await, CommitError::Fenced);
    assert_eq!(subject.dump().await, before);
}

pub async fn a_kept_lease_stays<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let keeping = StepCommit { lease: Lease::Keep, ..step(&run, 1, Status::Running) };
    commit(store, stepping(1, keeping)).await;
    let kept = read(store, "a").await;
    assert_eq!((kept.owner.as_deref(), kept.due_at, kept.token), (Some(OWNER), Some(lease_end()), run.token));
    commit(store, stepping(2, step(&kept, 2, Status::Waiting))).await;
    assert_eq!(read(store, "a").await.revision, 2);
}

pub async fn a_released_run_is_due_when_asked<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let timed = StepCommit { lease: Lease::Release(Some(at(20))), ..step(&run, 1, Status::Waiting) };
    commit(store, stepping(1, timed)).await;
    assert_eq!(store.claim(OWNER, at(19), lease_end(), 1).await.unwrap(), vec![]);
    let run = store.claim(OWNER, at(20), lease_end(), 1).await.unwrap().remove(0);
    commit(store, stepping(21, step(&run, 21, Status::Paused))).await;
    let run = read(store, "a").await;
    assert_eq!((run.owner, run.due_at), (None, None));
}

pub async fn a_final_run_is_never_due<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, status) in [("a", Status::Completed), ("b", Status::Failed), ("c", Status::Canceled)] {
        let run = begin(store, key).await;
        commit(store, signaling(1, [new_signal(key, "late", "1")])).await;
        let ending = StepCommit { lease: Lease::Release(Some(at(2))), ..step(&run, 1, status) };
        commit(store, stepping(1, ending)).await;
        assert_eq!(read(store, key).await.due_at, None);
    }
    let run = begin(store, "d").await;
    let keeping = StepCommit { lease: Lease::Keep, ..step(&run, 1, Status::Completed) };
    commit(store, stepping(1, keeping)).await;
    assert_eq!(store.next_due().await.unwrap(), None);

    store.release_others("daemon-b", at(1)).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.claim(OWNER, at(9_999), at(10_000), 10).await.unwrap(), vec![]);
}

pub async fn history_is_kept_in_order<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let mut run = begin(store, "a").await;
    let other = begin(store, "b").await;
    commit(store, stepping(1, step(&other, 1, Status::Waiting))).await;
    let mut expected = vec![];
    for n in 1..=3_u32 {
        let history = HistoryEntry {
            revision: i64::from(n),
            step: format!("step-{n}"),
            attempt: n,
            outcome: "@retry".into(),
            to: format!("step-{}", n + 1),
            status: Status::Running,
            detail: (n == 2).then(|| "why".into()),
            at: at(n.into()),
        };
        expected.push(history.clone());
        let next = StepCommit { lease: Lease::Keep, history, ..step(&run, n.into(), Status::Running) };
        commit(store, stepping(n.into(), next)).await;
        run = read(store, "a").await;
    }
    assert_eq!(store.history(run.seq).await.unwrap(), expected);
}
