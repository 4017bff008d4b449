//! A run is worked on by one owner at a time, for a time.

use bondflow::engine::store::{Lease, StepCommit};
use bondflow::engine::{CommitError, Run, Status};

use super::StoreUnderTest;
use super::sample::*;

const OTHER: &str = "daemon-b";

pub async fn due_runs_are_claimed_the_longest_due_first<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let starts = [("a", 30), ("b", 10), ("c", 20), ("d", 10), ("later", 31)].map(|(key, due)| new_run(key, due));
    commit(store, starting(0, starts)).await;
    let b = read(store, "b").await;

    let claimed = store.claim(OWNER, at(30), at(90), 10).await.unwrap();
    assert_eq!(keys(&claimed), ["b", "d", "c", "a"]);
    let expected = Run { owner: Some(OWNER.into()), token: b.token + 1, due_at: Some(at(90)), ..b };
    assert_eq!(claimed[0], expected);
    assert_eq!(read(store, "b").await, expected);
    assert_eq!(store.claim(OTHER, at(30), at(90), 10).await.unwrap(), vec![]);
}

pub async fn a_claim_takes_no_more_than_its_limit<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, ["a", "b", "c"].map(|key| new_run(key, 0)))).await;
    assert_eq!(store.claim(OWNER, at(0), at(90), 0).await.unwrap(), vec![]);
    assert_eq!(keys(&store.claim(OWNER, at(0), at(90), 2).await.unwrap()), ["a", "b"]);
    assert_eq!(keys(&store.claim(OWNER, at(0), at(90), 2).await.unwrap()), ["c"]);
}

pub async fn a_lease_ends_and_its_holder_is_fenced<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let before_end = at(lease_end().0 - at(0).0 - 1);
    assert_eq!(store.claim(OTHER, before_end, at(9_000), 1).await.unwrap(), vec![]);
    let taken = store.claim(OTHER, lease_end(), at(9_000), 1).await.unwrap().remove(0);
    assert_eq!((taken.owner.as_deref(), taken.token), (Some(OTHER), run.token + 1));

    assert_eq!(refused(store, stepping(1, step(&run, 1, Status::Waiting))).await, CommitError::Fenced);
    commit(store, stepping(2, step(&taken, 2, Status::Waiting))).await;
}

pub async fn a_lease_that_ended_is_good_until_somebody_takes_the_run<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    commit(store, stepping(5_000, step(&run, 5_000, Status::Waiting))).await;
    assert_eq!(read(store, "a").await.revision, 1);
}

pub async fn only_own_live_leases_are_renewed<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, ["own", "ended", "other", "free"].map(|key| new_run(key, 0)))).await;
    store.claim(OWNER, at(0), at(200), 1).await.unwrap();
    store.claim(OWNER, at(0), at(100), 1).await.unwrap();
    store.claim(OTHER, at(0), at(200), 1).await.unwrap();

    store.renew(OWNER, at(100), at(300)).await.unwrap();
    let mut due = vec![];
    for key in ["own", "ended", "other", "free"] {
        due.push(read(store, key).await.due_at.unwrap());
    }
    assert_eq!(due, [at(300), at(100), at(200), at(0)]);
    assert_eq!(read(store, "own").await.token, 1, "the same lease goes on");
}

pub async fn the_leases_of_the_dead_end<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, ["dead", "own", "free"].map(|key| new_run(key, 0)))).await;
    store.claim(OTHER, at(0), at(500), 1).await.unwrap();
    store.claim(OWNER, at(0), at(500), 1).await.unwrap();

    assert_eq!(store.release_others(OWNER, at(7)).await.unwrap(), 1);
    let (dead, own, free) = (read(store, "dead").await, read(store, "own").await, read(store, "free").await);
    assert_eq!((dead.owner, dead.due_at, dead.token), (None, Some(at(7)), 1));
    assert_eq!((own.owner.as_deref(), own.due_at), (Some(OWNER), Some(at(500))));
    assert_eq!((free.owner, free.due_at), (None, Some(at(0))));
    assert_eq!(store.release_others(OWNER, at(8)).await.unwrap(), 0);
}

pub async fn a_part_is_held_by_one_of_several_daemons<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let hold = async |part, owner, now, until| store.hold(part, owner, at(now), at(until)).await.unwrap();
    assert!(hold("outbox", OWNER, 0, 10).await);
    if store.alone() {
        assert!(hold("outbox", OTHER, 1, 10).await, "whoever else had it is dead");
        return;
    }
    assert!(!hold("outbox", OTHER, 9, 20).await);
    assert!(hold("other", OTHER, 9, 20).await);
    assert!(hold("outbox", OWNER, 9, 30).await, "it is prolonged");
    assert!(!hold("outbox", OTHER, 29, 40).await);
    assert!(hold("outbox", OTHER, 30, 40).await);
    assert!(!hold("outbox", OWNER, 31, 90).await, "who has lost it has to wait as well");
    assert!(hold("outbox", OTHER, 35, 35).await);
    assert!(hold("outbox", OWNER, 35, 90).await, "a lease of no length is none");
}

pub async fn a_run_is_woken_but_not_put_off<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = rest(store, "a", Status::Waiting).await;
    for (wake, due) in [(50, 50), (60, 50), (40, 40)] {
        store.wake(run.seq, at(wake)).await.unwrap();
        assert_eq!(read(store, "a").await.due_at, Some(at(due)));
    }
    assert_eq!(read(store, "a").await, Run { due_at: Some(at(40)), ..run });
    store.wake(run.seq + 1, at(0)).await.unwrap();
}

pub async fn a_leased_or_final_run_is_not_woken<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let ended = rest(store, "ended", Status::Failed).await;
    let leased = begin(store, "leased").await;
    store.wake(ended.seq, at(1)).await.unwrap();
    store.wake(leased.seq, at(1)).await.unwrap();
    assert_eq!(read(store, "ended").await, ended);
    assert_eq!(read(store, "leased").await, leased);
}

pub async fn next_due_is_the_soonest_of_timers_and_leases<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    assert_eq!(store.next_due().await.unwrap(), None);
    let run = begin(store, "a").await;
    assert_eq!(store.next_due().await.unwrap(), Some(lease_end()));
    commit(store, starting(0, [new_run("b", 600)])).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(600)));
    let timed = StepCommit { lease: Lease::Release(Some(at(-5))), ..step(&run, 1, Status::Waiting) };
    commit(store, stepping(1, timed)).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(-5)));
}
