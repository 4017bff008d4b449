//! What holds when several ask at once: their commits may meet in one transaction.

use std::collections::BTreeSet;

use bondflow::engine::store::{Committed, Guard, RowChange, RunFilter, StepCommit};
use bondflow::engine::{Commit, CommitError, Status, Store};
use futures_util::future::join_all;
use serde_json::json;

use super::StoreUnderTest;
use super::sample::*;

const MANY: usize = 12;

async fn at_once(store: &dyn Store, commits: impl IntoIterator<Item = Commit>) -> Vec<Result<Committed, CommitError>> {
    join_all(commits.into_iter().map(|commit| store.commit(commit))).await
}

/// That exactly `winners` were applied and each other got an answer that fits.
fn won(answers: &[Result<Committed, CommitError>], winners: usize, lost: impl Fn(&CommitError) -> bool) {
    let applied = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(applied, winners, "{answers:?}");
    assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(lost), "{answers:?}");
}

fn conflict(error: &CommitError) -> bool {
    matches!(error, CommitError::Conflict(_))
}

pub async fn one_revision_is_stepped_once<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let run = begin(store, "a").await;
    let commits = (0..MANY).map(|n| {
        let rows = [insert("facts", &n.to_string(), [("value", json!("by the winner"))])];
        Commit { step: Some(step(&run, 1, Status::Waiting)), ..writing(1, rows) }
    });
    won(&at_once(store, commits).await, 1, |error| *error == CommitError::Fenced);
    assert_eq!(read(store, "a").await.revision, 1);
    assert_eq!(store.history(run.seq).await.unwrap().len(), 1);
    assert_eq!(store.rows("facts", "value", &json!("by the winner")).await.unwrap().len(), 1);
}

pub async fn one_key_is_inserted_once<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let commits = (0..MANY).map(|n| {
        let rows = [insert("facts", "one", [("value", json!(n.to_string()))])];
        Commit { starts: vec![new_run(&n.to_string(), 0)], ..writing(0, rows) }
    });
    let answers = at_once(store, commits).await;
    won(&answers, 1, conflict);
    let winner = answers.iter().position(Result::is_ok).unwrap().to_string();
    assert_eq!(store.row("facts", "one").await.unwrap().unwrap()["value"], json!(winner));
    assert_eq!(keys(&store.runs(&RunFilter::default()).await.unwrap()), [winner.as_str()]);

    // The same for what a row is expected to be.
    let expect = row([("value", json!(winner))]);
    let commits = (0..MANY).map(|_| {
        let set = row([("value", json!("next"))]);
        writing(0, [write("facts", "one", RowChange::Update { set, expect: expect.clone() })])
    });
    won(&at_once(store, commits).await, 1, conflict);
}

pub async fn one_message_is_taken_once<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let commits = (0..MANY).map(|n| {
        let starts = vec![new_run(&n.to_string(), 0)];
        Commit { inbox: Some("message".into()), starts, ..empty(0) }
    });
    won(&at_once(store, commits).await, 1, |error| *error == CommitError::Seen);
    assert_eq!(store.runs(&RunFilter::default()).await.unwrap().len(), 1);
}

pub async fn one_run_is_claimed_once<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, starting(0, (0..MANY).map(|n| new_run(&n.to_string(), 0)))).await;
    let owners: Vec<String> = (0..MANY).map(|n| format!("daemon-{n}")).collect();
    let claimed = join_all(owners.iter().map(|owner| store.claim(owner, at(0), lease_end(), 2))).await;
    let claimed: Vec<_> = claimed.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(claimed.len(), MANY);
    assert_eq!(claimed.iter().map(|run| run.seq).collect::<BTreeSet<_>>().len(), MANY);
    assert!(claimed.iter().all(|run| run.token == 1));
}

pub async fn a_limit_holds<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let matching = row([("read_until", json!(1))]);
    let commits = (0..MANY).map(|n| {
        let guard = Guard::Fewer { table: "cursors", matching: matching.clone(), at_least: None, limit: 3 };
        let rows = [insert("cursors", &n.to_string(), [("read_until", json!(1))])];
        Commit { guards: vec![guard], ..writing(0, rows) }
    });
    won(&at_once(store, commits).await, 3, conflict);
    assert_eq!(store.rows("cursors", "read_until", &json!(1)).await.unwrap().len(), 3);
}

pub async fn a_signal_and_a_deadline_do_not_both_win<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for n in 0..MANY {
        let key = n.to_string();
        let run = begin(store, &key).await;
        let accepting = Commit {
            guards: vec![Guard::Revision { run: id(&key), revision: run.revision }],
            ..signaling(1, [new_signal(&key, "invoice", "x")])
        };
        let forfeiting = StepCommit { mailbox: Some(0), ..step(&run, 1, Status::Failed) };
        let mut both = vec![accepting, stepping(1, forfeiting)];
        if n % 2 == 1 {
            both.reverse();
        }
        let answers = at_once(store, both).await;
        won(&answers, 1, |error| *error == CommitError::Mail || conflict(error));
        let run = read(store, &key).await;
        assert_eq!(run.status == Status::Failed, run.signals == 0);
        // Out of the way of the next one.
        store.claim(OWNER, at(1), at(9_000), 1).await.unwrap();
    }
}

pub async fn one_bad_commit_spoils_no_other<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, writing(0, [insert("facts", "there", [("value", json!("first"))])])).await;
    let commits = (0..MANY).map(|n| {
        let name = if n % 3 == 0 { "there".to_owned() } else { n.to_string() };
        let rows = [insert("facts", &name, [("value", json!("mine"))])];
        let outbox = vec![message(&format!("m{n}"), None)];
        Commit { starts: vec![new_run(&n.to_string(), 0)], outbox, ..writing(0, rows) }
    });
    let answers = at_once(store, commits).await;
    for (n, answer) in answers.iter().enumerate() {
        let good = n % 3 != 0;
        assert_eq!(answer.is_ok(), good, "{n}: {answer:?}");
        assert_eq!(store.run(&id(&n.to_string())).await.unwrap().is_some(), good);
        assert_eq!(store.outbox(&format!("m{n}")).await.unwrap().is_some(), good);
    }
    assert_eq!(store.rows("facts", "value", &json!("mine")).await.unwrap().len(), MANY - MANY.div_ceil(3));
}

pub async fn starts_and_signals_of_many_are_all_kept<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    // Each starts the run if it is the first, and tells it something; some say the same.
    let commits = (0..MANY).map(|n| {
        let signals = [new_signal("a", "mine", &n.to_string()), new_signal("a", "same", "same")];
        Commit { starts: vec![new_run("a", 0)], ..signaling(0, signals) }
    });
    won(&at_once(store, commits).await, MANY, |_| false);
    let run = read(store, "a").await;
    let mail = store.mailbox(run.seq).await.unwrap();
    let numbers: Vec<i64> = mail.iter().map(|signal| signal.number).collect();
    assert_eq!(numbers, (1..=MANY as i64 + 1).collect::<Vec<_>>());
    assert_eq!(run.signals, MANY as i64 + 1);
    assert_eq!(mail.iter().filter(|signal| signal.name == "same").count(), 1);
}
