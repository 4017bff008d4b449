//! A finished run leaves a tombstone: its key is never free again.

use bondflow::engine::store::{CommitError, Guard, Lease, Retirement, StepCommit};
use bondflow::engine::{Run, RunFilter, Status, Store};

use super::StoreUnderTest;
use super::sample::*;

/// Starts a run and has it end at `n`.
async fn end(store: &dyn Store, key: &str, n: i64) -> Run {
    let run = begin(store, key).await;
    commit(store, stepping(n, step(&run, n, Status::Completed))).await;
    read(store, key).await
}

fn retirement(run: &Run) -> Retirement {
    Retirement { seq: run.seq, revision: run.revision, keeps: "{\"kept\":\"it's\"}".into() }
}

async fn retire(store: &dyn Store, run: &Run, n: i64) -> u64 {
    store.retire(vec![retirement(run)], at(n)).await.unwrap()
}

pub async fn ended_runs_are_found_in_their_order<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, status) in
        [("a", Status::Completed), ("b", Status::Waiting), ("c", Status::Failed), ("d", Status::Canceled)]
    {
        rest(store, key, status).await;
    }
    end(store, "late", 50).await;
    let found = async |before, after, limit| store.ended(at(before), after, limit).await.unwrap();
    let first = found(50, 0, 10).await;
    assert_eq!(keys(&first), ["a", "c", "d"]);
    assert_eq!(first[1], read(store, "c").await);
    assert_eq!(keys(&found(51, first[0].seq, 2).await), ["c", "d"]);
    assert_eq!(keys(&found(51, first[2].seq, 2).await), ["late"]);
    assert_eq!(keys(&found(0, 0, 10).await), [""; 0]);
    retire(store, &first[0], 60).await;
    assert_eq!(keys(&found(51, 0, 10).await), ["c", "d", "late"]);
}

pub async fn a_retired_run_leaves_its_name_and_its_end<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    commit(store, signaling(1, [new_signal("a", "one", "x"), new_signal("a", "two", "y")])).await;
    let taking =
        StepCommit { consumed: vec![1], known_signals: 2, error: Some("why".into()), ..step(&run, 2, Status::Failed) };
    commit(store, stepping(2, taking)).await;
    let (ended, other) = (read(store, "a").await, end(store, "b", 2).await);
    assert_eq!(retire(store, &ended, 9).await, 1);

    let left = read(store, "a").await;
    let kept = retirement(&ended).keeps;
    assert_eq!(left, Run { state: kept, retired_at: Some(at(9)), token: ended.token + 1, ..ended.clone() });
    assert_eq!(store.history(ended.seq).await.unwrap(), vec![]);
    assert_eq!(store.mailbox(ended.seq).await.unwrap(), vec![]);
    assert_eq!(store.history(other.seq).await.unwrap().len(), 1);
    assert_eq!(read(store, "b").await, other);
    let dump = subject.dump().await;
    assert_eq!((dump["runs"].len(), dump["history"].len(), dump["signals"].len()), (2, 1, 0));
}

pub async fn the_key_of_a_retired_run_stays_taken<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = end(store, "a", 1).await;
    retire(store, &run, 9).await;
    let before = subject.dump().await;
    commit(store, starting(10, [new_run("a", 10)])).await;
    commit(store, signaling(10, [new_signal("a", "one", "x")])).await;
    store.wake(run.seq, at(0)).await.unwrap();
    assert_eq!(store.claim(OWNER, at(99), lease_end(), 9).await.unwrap(), vec![]);
    assert_eq!(subject.dump().await, before);
    let late = stepping(10, step(&run, 10, Status::Running));
    assert_eq!(refused(store, late).await, CommitError::Fenced);
    assert_eq!(subject.dump().await, before);
    let mut guarded = empty(11);
    guarded.guards.push(Guard::NoRun { run: id("a") });
    refused(store, guarded).await;

    // Also after the daemon was started again.
    let subject = subject.reopen().await;
    commit(subject.store(), starting(12, [new_run("a", 12)])).await;
    assert_eq!(subject.dump().await, before);
}

pub async fn a_retired_run_is_found_by_its_name_alone<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = end(store, "gone", 1).await;
    end(store, "kept", 1).await;
    retire(store, &run, 9).await;
    let found = async |filter: RunFilter| keys(&store.runs(&filter).await.unwrap()).join(" ");
    assert_eq!(found(RunFilter::default()).await, "kept");
    assert_eq!(found(RunFilter { status: Some(Status::Completed), ..RunFilter::default() }).await, "kept");
    assert_eq!(found(RunFilter { prefix: Some(String::new()), ..RunFilter::default() }).await, "kept");
    assert_eq!(found(RunFilter { prefix: Some("go".into()), ..RunFilter::default() }).await, "gone");
    assert_eq!(found(RunFilter { prefix: Some(run.id.0.clone()), ..RunFilter::default() }).await, "gone");
    let both = vec!["kept".to_owned(), "gone".to_owned()];
    assert_eq!(found(RunFilter { keys: Some(both), ..RunFilter::default() }).await, "kept gone");
    let tally = store.tally(false).await.unwrap();
    assert_eq!(tally.iter().map(|group| group.runs).sum::<u64>(), 1);
}

pub async fn what_is_not_over_is_not_retired<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, status) in [("a", Status::Waiting), ("b", Status::Paused), ("c", Status::InDoubt)] {
        let open = rest(store, key, status).await;
        assert_eq!(retire(store, &open, 9).await, 0, "{status}");
    }
    let moved = end(store, "d", 1).await;
    assert_eq!(retire(store, &Run { revision: moved.revision - 1, ..moved.clone() }, 9).await, 0);
    assert_eq!(retire(store, &Run { seq: moved.seq + 100, ..moved.clone() }, 9).await, 0);
    // Somebody has asked something of it, and somebody is answering.
    commit(store, signaling(2, [new_signal("d", "@resume", "x")])).await;
    assert_eq!(retire(store, &moved, 9).await, 0);
    let asked = store.claim(OWNER, at(2), lease_end(), 9).await.unwrap().remove(0);
    assert_eq!(retire(store, &asked, 9).await, 0);
    let answer = StepCommit { consumed: vec![1], lease: Lease::Release(None), ..step(&asked, 3, Status::Completed) };
    commit(store, stepping(3, answer)).await;

    let answered = read(store, "d").await;
    assert_eq!(store.retire(vec![retirement(&answered), retirement(&moved)], at(9)).await.unwrap(), 1);
    let before = subject.dump().await;
    assert_eq!(retire(store, &answered, 10).await, 0, "twice");
    assert_eq!(store.retire(vec![], at(10)).await.unwrap(), 0);
    assert_eq!(subject.dump().await, before);
}

/// Whoever asks something of it gets an answer.
pub async fn a_retired_run_hears_an_operator<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = end(store, "a", 1).await;
    retire(store, &run, 9).await;
    commit(store, signaling(10, [new_signal("a", "@resume", "x")])).await;
    let asked = store.claim(OWNER, at(10), lease_end(), 9).await.unwrap().remove(0);
    assert_eq!((asked.retired_at, asked.signals), (Some(at(9)), 1));
    let answer = StepCommit { consumed: vec![1], known_signals: 1, ..step(&asked, 11, Status::Completed) };
    commit(store, stepping(11, answer)).await;
    let left = read(store, "a").await;
    assert_eq!((left.retired_at, left.due_at, left.owner), (Some(at(9)), None, None));
    assert_eq!(store.ended(at(99), 0, 9).await.unwrap(), vec![]);
}
