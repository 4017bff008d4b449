//! What is read, and what is told.

use bondflow::engine::store::{Change, RunFilter, StepCommit};
use bondflow::engine::{Pin, Status, Store};
use serde_json::json;
use tokio::sync::broadcast::Receiver;

use super::StoreUnderTest;
use super::sample::*;

async fn found(store: &dyn Store, filter: RunFilter) -> Vec<String> {
    store.runs(&filter).await.unwrap().into_iter().map(|run| run.key).collect()
}

pub async fn runs_are_filtered<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    rest(store, "waiting", Status::Waiting).await;
    rest(store, "paused", Status::Paused).await;
    rest(store, "ended", Status::Completed).await;
    let mut other = new_run("waiting", 0);
    other.pin = Pin { workflow: "other".into(), ..pin() };
    commit(store, starting(70, [other, new_run("new", 0)])).await;

    let any = RunFilter::default;
    assert_eq!(found(store, any()).await, ["new", "waiting", "ended", "paused", "waiting"]);
    assert_eq!(found(store, RunFilter { open: true, ..any() }).await, ["new", "waiting", "paused", "waiting"]);
    assert_eq!(found(store, RunFilter { status: Some(Status::Waiting), ..any() }).await, ["waiting"]);
    assert_eq!(found(store, RunFilter { status: Some(Status::Running), ..any() }).await, ["new", "waiting"]);
    assert_eq!(found(store, RunFilter { step: Some("wait".into()), ..any() }).await, ["ended", "paused", "waiting"]);
    assert_eq!(found(store, RunFilter { workflow: Some("other".into()), ..any() }).await, ["waiting"]);
    let keyed = |keys: &[&str]| RunFilter { keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()), ..any() };
    assert_eq!(found(store, keyed(&["waiting", "new"])).await, ["new", "waiting", "waiting"]);
    assert_eq!(found(store, RunFilter { limit: Some(1), ..keyed(&["waiting", "none"]) }).await, ["waiting"]);
    assert_eq!(found(store, RunFilter { open: true, ..keyed(&["ended"]) }).await, [""; 0]);
    for none in [&["wait"][..], &[]] {
        assert_eq!(found(store, keyed(none)).await, [""; 0]);
    }
    assert_eq!(found(store, RunFilter { since: Some(at(70)), ..any() }).await, ["new", "waiting"]);
    assert_eq!(found(store, RunFilter { since: Some(at(71)), ..any() }).await, [""; 0]);
    let short = id("ended").0[..8].to_owned();
    assert_eq!(found(store, RunFilter { prefix: Some(short), ..any() }).await, ["ended"]);
    assert_eq!(found(store, RunFilter { prefix: Some("pau".into()), ..any() }).await, ["paused"]);
    let several = RunFilter { open: true, workflow: Some("flow".into()), step: Some("first".into()), ..any() };
    assert_eq!(found(store, several).await, ["new"]);
    let contrary = RunFilter { open: true, status: Some(Status::Completed), ..any() };
    assert_eq!(found(store, contrary).await, [""; 0]);
}

pub async fn runs_come_newest_first<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (n, key) in ["b", "a", "c"].iter().enumerate() {
        commit(store, starting(-(n as i64), [new_run(key, 0)])).await;
    }
    let limited = |limit| RunFilter { limit: Some(limit), ..RunFilter::default() };
    assert_eq!(found(store, limited(2)).await, ["c", "a"]);
    assert_eq!(found(store, limited(0)).await, [""; 0]);
    let first = &store.runs(&limited(1)).await.unwrap()[0];
    assert_eq!(*first, read(store, "c").await);
}

pub async fn a_prefix_is_no_pattern<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, ["x_y", "xzy", "x%", "X_Y"].map(|key| new_run(key, 0)))).await;
    let prefixed = |prefix: &str| RunFilter { prefix: Some(prefix.into()), ..RunFilter::default() };
    assert_eq!(found(store, prefixed("x_")).await, ["x_y"]);
    assert_eq!(found(store, prefixed("x%")).await, ["x%"]);
    assert_eq!(found(store, prefixed("%")).await, [""; 0]);
    assert_eq!(found(store, prefixed("x")).await, ["x%", "xzy", "x_y"], "keys differ by case");
    assert_eq!(found(store, prefixed("")).await.len(), 4);
}

pub async fn stuck_runs_are_found<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    rest(store, "fine", Status::Waiting).await;
    rest(store, "paused", Status::Paused).await;
    rest(store, "doubt", Status::InDoubt).await;
    for (key, status) in [("erring", Status::BackingOff), ("asking", Status::InDoubt), ("canceled", Status::Canceled)] {
        let run = begin(store, key).await;
        commit(store, stepping(0, StepCommit { error: Some("no".into()), ..step(&run, 0, status) })).await;
    }
    let run = begin(store, "leased").await;
    let kept = bondflow::engine::store::Lease::Keep;
    commit(store, stepping(0, StepCommit { lease: kept, ..step(&run, 0, Status::Running) })).await;
    commit(store, starting(0, [new_run("overdue", 5), new_run("due", 60)])).await;
    let stuck = |late| RunFilter { stuck: Some(at(late)), ..RunFilter::default() };
    assert_eq!(found(store, stuck(60)).await, ["overdue", "asking", "erring", "paused"]);
    assert_eq!(found(store, stuck(5)).await, ["asking", "erring", "paused"]);
    assert_eq!(found(store, RunFilter { limit: Some(2), ..stuck(60) }).await, ["overdue", "asking"]);
    assert_eq!(found(store, RunFilter { status: Some(Status::Paused), ..stuck(60) }).await, ["paused"]);
    assert_eq!(
        found(store, RunFilter { status: Some(Status::InDoubt), ..RunFilter::default() }).await,
        ["asking", "doubt"]
    );
    let paused = RunFilter { status: Some(Status::Paused), step: Some("wait".into()), ..RunFilter::default() };
    assert_eq!(found(store, paused).await, ["paused"]);
}

pub async fn runs_are_counted<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    assert_eq!(store.tally(false).await.unwrap(), vec![]);
    rest(store, "a", Status::Waiting).await;
    rest(store, "b", Status::Completed).await;
    let mut other = new_run("a", 0);
    other.pin = Pin { workflow: "other".into(), ..pin() };
    commit(store, starting(9, [other, new_run("c", 0)])).await;
    commit(store, starting(7, [new_run("d", 0)])).await;
    let tally = |workflow: &str, status, step: &str, runs, oldest| bondflow::engine::store::Tally {
        workflow: workflow.into(),
        status,
        step: step.into(),
        runs,
        oldest: at(oldest),
    };
    let mut expected = vec![
        tally("flow", Status::Completed, "wait", 1, 0),
        // Started first, by a clock that was set back since.
        tally("flow", Status::Running, "first", 2, 9),
        tally("flow", Status::Waiting, "wait", 1, 0),
        tally("other", Status::Running, "first", 1, 9),
    ];
    assert_eq!(store.tally(false).await.unwrap(), expected);
    expected.remove(0);
    assert_eq!(store.tally(true).await.unwrap(), expected);
}

pub async fn pins_of_open_runs_are_counted<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    rest(store, "ended", Status::Failed).await;
    rest(store, "paused", Status::Paused).await;
    let newer = Pin { version: 2, ..pin() };
    let changed = Pin { hash: "cd".repeat(32), ..pin() };
    for (key, pin) in [("a", pin()), ("b", newer.clone()), ("c", changed.clone())] {
        let mut start = new_run(key, 0);
        start.pin = pin;
        commit(store, starting(0, [start])).await;
    }
    let mut pins = store.pins().await.unwrap();
    pins.sort();
    assert_eq!(pins, [(pin(), 2), (changed, 1), (newer, 1)]);
}

pub async fn nothing_is_found_in_an_empty_store<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    assert_eq!(store.run(&id("a")).await.unwrap(), None);
    assert_eq!(store.runs(&RunFilter::default()).await.unwrap(), vec![]);
    assert_eq!(store.pins().await.unwrap(), vec![]);
    assert_eq!(store.mailbox(1).await.unwrap(), vec![]);
    assert_eq!(store.history(1).await.unwrap(), vec![]);
    assert_eq!(store.row("facts", "a").await.unwrap(), None);
    assert_eq!(store.rows("facts", "value", &json!("x")).await.unwrap(), Vec::new());
    assert_eq!(store.outbox_due(at(0), 10).await.unwrap(), vec![]);
    assert_eq!(store.outbox_next().await.unwrap(), None);
    assert_eq!(store.outbox("a").await.unwrap(), None);
    assert_eq!(store.claim(OWNER, at(0), at(1), 10).await.unwrap(), vec![]);
    store.renew(OWNER, at(0), at(1)).await.unwrap();
    assert_eq!(store.release_others(OWNER, at(0)).await.unwrap(), 0);
    store.wake(1, at(0)).await.unwrap();
}

/// Whether that change was told since the last look.
fn told(changes: &mut Receiver<Change>, wanted: Change) -> bool {
    let mut told = false;
    while let Ok(change) = changes.try_recv() {
        told |= change == wanted;
    }
    told
}

pub async fn changes_are_told<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let mut changes = store.changes();
    commit(store, starting(0, [new_run("a", 0)])).await;
    assert!(told(&mut changes, Change::Runs), "a run is due");

    commit(store, sending(0, [message("m", None)])).await;
    assert!(told(&mut changes, Change::Outbox), "a message is to be sent");

    let run = store.claim(OWNER, at(0), lease_end(), 1).await.unwrap().remove(0);
    told(&mut changes, Change::Runs);
    commit(store, stepping(1, step(&run, 1, Status::Waiting))).await;
    told(&mut changes, Change::Runs);
    commit(store, signaling(2, [new_signal("a", "one", "x")])).await;
    assert!(told(&mut changes, Change::Runs), "a run is due for a signal");

    let run = store.claim(OWNER, at(2), lease_end(), 1).await.unwrap().remove(0);
    let timed = StepCommit {
        lease: bondflow::engine::store::Lease::Release(Some(at(50))),
        known_signals: 1,
        ..step(&run, 3, Status::Waiting)
    };
    told(&mut changes, Change::Runs);
    commit(store, stepping(3, timed)).await;
    assert!(told(&mut changes, Change::Runs), "a run has a timer");
    store.wake(run.seq, at(40)).await.unwrap();
    assert!(told(&mut changes, Change::Runs), "a run was woken");
    commit(store, nudging(30, [nudge(1)])).await;
    assert!(told(&mut changes, Change::Runs), "a run was nudged");
    store.claim("daemon-b", at(50), at(90), 1).await.unwrap();
    told(&mut changes, Change::Runs);
    store.release_others(OWNER, at(51)).await.unwrap();
    assert!(told(&mut changes, Change::Runs), "a lease was ended");
}

pub async fn a_change_of_somebody_else_is_announced<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    store.announce();
    let (mut one, mut other) = (store.changes(), store.changes());
    assert!(!told(&mut one, Change::Runs));
    store.announce();
    assert!(told(&mut one, Change::Runs));
    assert!(told(&mut other, Change::Runs));
}
