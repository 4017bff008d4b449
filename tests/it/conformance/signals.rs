//! A signal is kept for its run, delivered once, in order.

use bondflow::engine::store::{Lease, Nudge, StepCommit};
use bondflow::engine::{Commit, CommitError, Pin, Signal, Status};

use super::StoreUnderTest;
use super::sample::*;

pub async fn signals_are_numbered_in_order<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = rest(store, "a", Status::Waiting).await;
    commit(store, signaling(1, [new_signal("a", "one", "x"), new_signal("a", "two", "y")])).await;
    commit(store, signaling(2, [new_signal("a", "one", "z")])).await;
    let signal = |number, name: &str, dedup: &str, n| Signal {
        number,
        name: name.into(),
        payload: format!("{{\"from\":\"{dedup}\"}}"),
        at: at(n),
    };
    let expected = vec![signal(1, "one", "x", 1), signal(2, "two", "y", 1), signal(3, "one", "z", 2)];
    assert_eq!(store.mailbox(run.seq).await.unwrap(), expected);
    let run = read(store, "a").await;
    assert_eq!((run.signals, run.heard, run.revision), (3, 0, 1));
}

pub async fn mailboxes_are_read_together<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, ["a", "b", "c", "d"].map(|key| new_run(key, 0)))).await;
    let signals =
        [("c", "one"), ("a", "two"), ("d", "three"), ("a", "four")].map(|(key, name)| new_signal(key, name, name));
    commit(store, signaling(1, signals)).await;
    let mut keys = Vec::new();
    for key in ["a", "b", "c"] {
        keys.push(read(store, key).await.seq);
    }
    let mail = store.mailboxes(&keys).await.unwrap();
    let mail: Vec<_> = mail.into_iter().map(|(run, signal)| (run, signal.number, signal.name)).collect();
    let expected = [(keys[0], 1, "two"), (keys[0], 2, "four"), (keys[2], 1, "one")];
    assert_eq!(mail, expected.map(|(run, number, name)| (run, number, name.to_owned())));
    assert_eq!(store.mailboxes(&[]).await.unwrap(), []);
}

pub async fn one_dedup_key_is_one_signal<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, ["a", "b"].map(|key| new_run(key, 0)))).await;
    commit(store, signaling(1, [new_signal("a", "one", "x"), new_signal("a", "two", "x")])).await;
    let known = [new_signal("a", "three", "x"), new_signal("b", "one", "x"), new_signal("a", "four", "y")];
    commit(store, signaling(2, known)).await;
    let run = read(store, "a").await;
    let names: Vec<_> = store.mailbox(run.seq).await.unwrap().into_iter().map(|signal| signal.name).collect();
    assert_eq!((names, run.signals), (vec!["one".to_owned(), "four".to_owned()], 2));
    assert_eq!(read(store, "b").await.signals, 1, "another run's mailbox is another");

    // Also after it was consumed.
    let run = store.claim(OWNER, at(2), lease_end(), 1).await.unwrap().remove(0);
    let hearing = StepCommit { consumed: vec![1], ..step(&run, 3, Status::Waiting) };
    commit(store, stepping(3, hearing)).await;
    commit(store, signaling(4, [new_signal("a", "five", "x")])).await;
    let run = read(store, "a").await;
    assert_eq!((run.signals, run.due_at), (2, None), "and it wakes nobody");
}

pub async fn nobody_hears_a_signal_to_no_run<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let before = subject.dump().await;
    commit(store, signaling(1, [new_signal("none", "one", "x")])).await;
    assert_eq!(subject.dump().await, before);
    commit(store, starting(2, [new_run("none", 2)])).await;
    assert_eq!(read(store, "none").await.signals, 0);
}

pub async fn a_final_run_hears_an_operator_only<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, status) in [("a", Status::Completed), ("b", Status::Failed), ("c", Status::Canceled)] {
        rest(store, key, status).await;
        let before = subject.dump().await;
        commit(store, signaling(1, [new_signal(key, "one", "x")])).await;
        assert_eq!(subject.dump().await, before);
        commit(store, signaling(2, [new_signal(key, "@resume", "y")])).await;
        let run = read(store, key).await;
        assert_eq!((run.signals, run.due_at, run.status), (1, Some(at(2)), status));
        // Whoever is asked and dies leaves it to the next one.
        store.claim("daemon-b", at(2), lease_end(), 1).await.unwrap();
        store.release_others(OWNER, at(3)).await.unwrap();
        let run = store.claim(OWNER, at(3), lease_end(), 1).await.unwrap().remove(0);
        let answering = StepCommit { consumed: vec![1], ..step(&run, 4, status) };
        commit(store, stepping(4, answering)).await;
        assert_eq!(read(store, key).await.due_at, None);
    }
    // A signal that is not heard does not take its key from the next one.
    rest(store, "e", Status::Completed).await;
    let twins = [("one", "x"), ("@pause", "y"), ("@resume", "x"), ("@retry", "x")];
    commit(store, signaling(1, twins.map(|(name, dedup)| new_signal("e", name, dedup)))).await;
    let run = read(store, "e").await;
    let names: Vec<_> = store.mailbox(run.seq).await.unwrap().into_iter().map(|signal| signal.name).collect();
    assert_eq!((names, run.signals), (vec!["@pause".to_owned(), "@resume".to_owned()], 2));
    // The step of a commit comes before its signals.
    let run = begin(store, "d").await;
    let ending = stepping(1, step(&run, 1, Status::Completed));
    commit(store, Commit { signals: vec![new_signal("d", "one", "x")], ..ending }).await;
    assert_eq!(read(store, "d").await.signals, 0);
}

pub async fn a_run_that_ends_is_due_for_an_operator_who_asked_meanwhile<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, name, due) in [("a", "one", None), ("b", "@resume", Some(at(9)))] {
        let run = begin(store, key).await;
        commit(store, signaling(1, [new_signal(key, name, "x")])).await;
        commit(store, stepping(9, step(&run, 9, Status::Completed))).await;
        assert_eq!(read(store, key).await.due_at, due, "{name}");
        store.claim(OWNER, at(9), at(5_000), 1).await.unwrap();
    }
    let run = begin(store, "c").await;
    commit(store, signaling(1, [new_signal("c", "@resume", "x")])).await;
    let knowing = StepCommit { known_signals: 1, ..step(&run, 9, Status::Completed) };
    commit(store, stepping(9, knowing)).await;
    assert_eq!(read(store, "c").await.due_at, None, "nobody asked since");
}

pub async fn a_waiting_run_is_due_for_a_signal<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    rest(store, "a", Status::Waiting).await;
    commit(store, signaling(3, [new_signal("a", "one", "x")])).await;
    assert_eq!(read(store, "a").await.due_at, Some(at(3)));

    let run = begin(store, "b").await;
    let timed = StepCommit { lease: Lease::Release(Some(at(500))), ..step(&run, 3, Status::Waiting) };
    commit(store, stepping(3, timed)).await;
    commit(store, signaling(4, [new_signal("b", "one", "x")])).await;
    assert_eq!(read(store, "b").await.due_at, Some(at(4)), "sooner than its timer");
}

pub async fn a_backing_off_run_is_due_for_an_operator_only<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, status) in [("a", Status::BackingOff), ("b", Status::InDoubt), ("c", Status::Paused)] {
        let run = rest(store, key, status).await;
        commit(store, signaling(1, [new_signal(key, "one", "x")])).await;
        assert_eq!(read(store, key).await.due_at, None, "{status}");
        commit(store, signaling(2, [new_signal(key, "@resume", "y")])).await;
        assert_eq!(read(store, key).await.due_at, Some(at(2)), "{status}");
        assert_eq!(store.mailbox(run.seq).await.unwrap().len(), 2);
        // Out of the way of the next one.
        store.claim(OWNER, at(2), at(5_000), 1).await.unwrap();
    }
}

pub async fn a_leased_run_keeps_its_lease<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let keeping = StepCommit { lease: Lease::Keep, ..step(&run, 1, Status::Waiting) };
    commit(store, stepping(1, keeping)).await;
    commit(store, signaling(2, [new_signal("a", "one", "x"), new_signal("a", "@pause", "y")])).await;
    let run = read(store, "a").await;
    assert_eq!((run.owner.as_deref(), run.due_at), (Some(OWNER), Some(lease_end())));
}

pub async fn a_release_without_knowing_all_signals_is_due_at_once<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, known, due) in [("a", 0, Some(at(9))), ("b", 1, Some(at(500)))] {
        let run = begin(store, key).await;
        commit(store, signaling(1, [new_signal(key, "one", "x")])).await;
        let letting_go = StepCommit {
            known_signals: known,
            lease: Lease::Release(Some(at(500))),
            ..step(&run, 9, Status::BackingOff)
        };
        commit(store, stepping(9, letting_go)).await;
        assert_eq!(read(store, key).await.due_at, due);
    }
    let run = begin(store, "c").await;
    commit(store, signaling(1, [new_signal("c", "one", "x")])).await;
    commit(store, stepping(9, step(&run, 9, Status::Waiting))).await;
    assert_eq!(read(store, "c").await.due_at, Some(at(9)), "also without a timer");
}

pub async fn a_decision_on_the_mailbox_needs_all_mail<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let deciding = |read| StepCommit { mailbox: Some(read), ..step(&run, 2, Status::Waiting) };
    commit(store, signaling(1, [new_signal("a", "one", "x")])).await;
    assert_eq!(refused(store, stepping(2, deciding(0))).await, CommitError::Mail);
    assert_eq!(read(store, "a").await.revision, 0);
    commit(store, stepping(2, deciding(1))).await;
    let stale = refused(store, stepping(2, deciding(0))).await;
    assert_eq!(stale, CommitError::Fenced, "who lost the run is not told of its mail");
}

pub async fn a_step_tells_how_many_signals_there_are<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    commit(store, signaling(1, [new_signal("a", "one", "x"), new_signal("a", "one", "y")])).await;
    let hearing = StepCommit { consumed: vec![1], lease: Lease::Keep, ..step(&run, 2, Status::Running) };
    let own = Commit { signals: vec![new_signal("a", "self", "z")], ..stepping(2, hearing) };
    assert_eq!(commit(store, own).await.signals, 3);
}

pub async fn consumed_signals_are_gone<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    commit(store, signaling(1, ["w", "x", "y", "z"].map(|dedup| new_signal("a", "one", dedup)))).await;
    let hearing = StepCommit {
        consumed: vec![2, 4],
        mailbox: Some(4),
        known_signals: 4,
        lease: Lease::Keep,
        ..step(&run, 2, Status::Running)
    };
    commit(store, stepping(2, hearing)).await;
    let numbers = |mail: Vec<Signal>| mail.iter().map(|signal| signal.number).collect::<Vec<_>>();
    assert_eq!(numbers(store.mailbox(run.seq).await.unwrap()), [1, 3]);
    let run = read(store, "a").await;
    assert_eq!((run.signals, run.heard), (4, 2));

    let hearing = StepCommit { consumed: vec![1, 3], ..step(&run, 3, Status::Waiting) };
    commit(store, stepping(3, hearing)).await;
    assert_eq!(store.mailbox(run.seq).await.unwrap(), vec![]);
    let run = read(store, "a").await;
    assert_eq!((run.signals, run.heard, run.due_at), (4, 4, None));
}

pub async fn a_nudge_takes_the_oldest_that_wait<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, due) in [("a", None), ("b", Some(at(800))), ("c", Some(at(700))), ("d", None), ("e", Some(at(700)))] {
        let run = begin(store, key).await;
        let waiting = StepCommit { lease: Lease::Release(due), ..step(&run, 1, Status::Waiting) };
        commit(store, stepping(1, waiting)).await;
    }
    for (n, limit, expected) in [(10, 0, vec![]), (11, 2, vec!["c", "e"]), (12, 2, vec!["b", "a"])] {
        commit(store, nudging(n, [nudge(limit)])).await;
        let claimed = store.claim(OWNER, at(n), at(9_000), 10).await.unwrap();
        let mut claimed = keys(&claimed);
        let mut expected = expected;
        claimed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(claimed, expected);
    }
    assert_eq!(read(store, "d").await.due_at, None);
    // Whom one nudge has woken is not woken by the next, claimed or not.
    let run = begin(store, "f").await;
    commit(store, stepping(13, StepCommit { lease: Lease::Release(None), ..step(&run, 1, Status::Waiting) })).await;
    for n in [14, 15] {
        commit(store, nudging(n, [nudge(1)])).await;
    }
    let claimed = store.claim(OWNER, at(15), at(9_000), 10).await.unwrap();
    let mut claimed = keys(&claimed);
    claimed.sort_unstable();
    assert_eq!(claimed, ["d", "f"]);
}

pub async fn a_nudge_takes_only_what_it_names<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    rest(store, "waiting", Status::Waiting).await;
    rest(store, "paused", Status::Paused).await;
    rest(store, "ended", Status::Completed).await;
    let run = begin(store, "leased").await;
    let keeping = StepCommit { lease: Lease::Keep, ..step(&run, 1, Status::Waiting) };
    commit(store, stepping(1, keeping)).await;
    let run = begin(store, "elsewhere").await;
    let elsewhere = StepCommit { step: "other".into(), ..step(&run, 1, Status::Waiting) };
    commit(store, stepping(1, elsewhere)).await;
    let mut foreign = new_run("foreign", 0);
    foreign.pin = Pin { workflow: "other".into(), ..pin() };
    commit(store, starting(0, [foreign])).await;
    let run = store.claim(OWNER, at(0), lease_end(), 1).await.unwrap().remove(0);
    commit(store, stepping(1, step(&run, 1, Status::Waiting))).await;

    commit(store, nudging(5, [nudge(100)])).await;
    assert_eq!(keys(&store.claim(OWNER, at(5), at(9_000), 100).await.unwrap()), ["waiting"]);

    let none = Nudge { step: "nowhere".into(), ..nudge(100) };
    commit(store, nudging(6, [none])).await;
    assert_eq!(store.next_due().await.unwrap(), Some(lease_end()));
}
