//! Many commits in one transaction come out as if each had its own.

use futures_util::future::join_all;

use super::*;
use crate::engine::store::{Guard, Nudge};

/// Asks for all of these before the writer begins, so that they are in one batch; tells the
/// answers and how many transactions it took.
async fn at_once(path: &Path, commits: Vec<Commit>) -> (SqliteStore, Vec<Result<Committed, CommitError>>, u64) {
    let (store, writer, requests) = SqliteStore::parts(path, TABLES, OpenMode::Daemon, BUSY).await.unwrap();
    let asked = join_all(commits.into_iter().map(|commit| store.commit(commit)));
    let begun = async {
        tokio::task::yield_now().await;
        tokio::spawn(writer.run(requests));
    };
    let (answers, ()) = tokio::join!(asked, begun);
    let batches = store.stats().batches;
    (store, answers, batches)
}

/// A database with claimed runs, closed.
async fn prepared(path: &Path, runs: usize) -> Vec<Run> {
    let store = daemon(path).await;
    let runs = claimed(&store, runs).await;
    store.close().await;
    runs
}

fn conflict(answer: &Result<Committed, CommitError>) -> bool {
    matches!(answer, Err(CommitError::Conflict(_)))
}

#[tokio::test]
async fn steps_of_many_runs_share_one_transaction() {
    let (_folder, path) = place();
    let runs = prepared(&path, 300).await;
    let (store, answers, batches) = at_once(&path, runs.iter().map(step).collect()).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Committed { signals: 0 })), "{answers:?}");
    assert_eq!((batches, store.stats().last_batch), (1, 300));
    for run in &runs {
        assert_eq!(store.run(&run.id).await.unwrap().unwrap().revision, 1);
        assert_eq!(store.history(run.seq).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_step_spoils_no_other() {
    let (_folder, path) = place();
    let runs = prepared(&path, 4).await;
    let mut commits: Vec<_> = runs.iter().map(step).collect();
    commits[1].step.as_mut().unwrap().token += 1;
    commits[1].rows = fact("lost", json!("x")).rows;
    commits[2].step.as_mut().unwrap().mailbox = Some(1);
    commits[3].rows = fact("kept", json!("x")).rows;
    let (store, answers, batches) = at_once(&path, commits).await;
    let fine = Ok(Committed { signals: 0 });
    assert_eq!(answers, [fine.clone(), Err(CommitError::Fenced), Err(CommitError::Mail), fine]);
    assert_eq!(batches, 1);
    assert_eq!(value(&store, "lost").await, None);
    assert_eq!(value(&store, "kept").await, Some(json!("x")));
    let steps = join_all(runs.iter().map(|run| store.history(run.seq))).await;
    assert_eq!(steps.into_iter().map(|lines| lines.unwrap().len()).collect::<Vec<_>>(), [1, 0, 0, 1]);
}

#[tokio::test]
async fn the_second_of_two_that_meet_sees_what_the_first_has_written() {
    let (_folder, path) = place();
    let runs = prepared(&path, 2).await;
    let fewer = Guard::Fewer { table: "facts", matching: Row::new(), at_least: None, limit: 2 };
    let guarded = |name: &str| Commit { guards: vec![fewer.clone()], ..fact(name, json!("x")) };
    let seen = || Commit { inbox: Some("message".into()), ..Commit::default() };
    let none = |key: &str| Commit { guards: vec![Guard::NoRun { run: RunId::of("flow", key) }], ..Commit::default() };
    let revision = Guard::Revision { run: runs[1].id.clone(), revision: 0 };
    let commits = vec![
        step(&runs[0]),
        step(&runs[0]),
        fact("a", json!("x")),
        fact("a", json!("y")),
        guarded("b"),
        guarded("c"),
        seen(),
        seen(),
        starting(&["new".into()]),
        none("new"),
        step(&runs[1]),
        Commit { guards: vec![revision], ..Commit::default() },
    ];
    let (store, answers, batches) = at_once(&path, commits).await;
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), place % 2 == 0, "{place}: {answer:?}");
    }
    assert_eq!(answers[1], Err(CommitError::Fenced));
    assert!([3, 5, 9, 11].iter().all(|place| conflict(&answers[*place])), "{answers:?}");
    assert_eq!(answers[7], Err(CommitError::Seen));
    assert_eq!(value(&store, "a").await, Some(json!("x")));
    // The first `guarded` waits for the row before it, the second one for the first.
    assert_eq!(batches, 2);
}

#[tokio::test]
async fn signals_to_one_run_are_numbered_on() {
    let (_folder, path) = place();
    let runs = prepared(&path, 1).await;
    let mut own = step(&runs[0]);
    own.signals = signal("key-0", "own").signals;
    let commits =
        vec![signal("key-0", "one"), signal("later", "lost"), own, signal("key-0", "two"), starting(&["later".into()])];
    let (store, answers, _) = at_once(&path, commits).await;
    assert_eq!(answers[2], Ok(Committed { signals: 2 }));
    let names: Vec<_> =
        store.mailbox(runs[0].seq).await.unwrap().into_iter().map(|mail| (mail.number, mail.name)).collect();
    assert_eq!(names, [(1, "one".into()), (2, "own".into()), (3, "two".into())]);
    assert_eq!(store.run(&RunId::of("flow", "later")).await.unwrap().unwrap().signals, 0);
}

#[tokio::test]
async fn what_goes_to_the_database_in_one_call_has_its_own_values() {
    let (_folder, path) = place();
    prepared(&path, 2).await;
    let store = daemon(&path).await;
    store.commit(signal("key-0", "taken")).await.unwrap();
    let runs = [
        store.run(&RunId::of("flow", "key-0")).await.unwrap().unwrap(),
        store.run(&RunId::of("flow", "key-1")).await.unwrap().unwrap(),
    ];
    store.close().await;
    let mut takes = step(&runs[0]);
    takes.step.as_mut().unwrap().consumed = vec![1];
    takes.rows = fact("a", json!("x")).rows;
    takes.inbox = Some("message".into());
    let fewer = Guard::Fewer { table: "facts", matching: Row::new(), at_least: None, limit: 9 };
    let guarded = Commit { guards: vec![fewer], ..Commit::default() };
    let commits = vec![takes, signal("key-1", "left"), starting(&["new".into()]), guarded];
    let (store, answers, batches) = at_once(&path, commits).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(batches, 1);
    assert_eq!(store.mailbox(runs[0].seq).await.unwrap(), []);
    let left = store.mailbox(runs[1].seq).await.unwrap();
    assert_eq!(left.iter().map(|mail| mail.name.as_str()).collect::<Vec<_>>(), ["left"]);
    assert_eq!(store.run(&runs[1].id).await.unwrap().unwrap().signals, 1);
    assert_eq!(value(&store, "a").await, Some(json!("x")));
    assert!(store.seen("message").await.unwrap());
    assert!(store.run(&RunId::of("flow", "new")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_nudge_does_not_see_what_comes_after_it() {
    let (_folder, path) = place();
    let runs = prepared(&path, 2).await;
    let waits = |run: &Run| {
        let mut commit = step(run);
        let step = commit.step.as_mut().unwrap();
        (step.status, step.lease) = (Status::Waiting, Lease::Release(None));
        commit
    };
    let nudge = Nudge { workflow: "flow".into(), step: "next".into(), limit: 9 };
    let nudging = Commit { nudges: vec![nudge], at: Timestamp(7), ..Commit::default() };
    let (store, _, _) = at_once(&path, vec![waits(&runs[0]), nudging, waits(&runs[1])]).await;
    assert_eq!(store.run(&runs[0].id).await.unwrap().unwrap().due_at, Some(Timestamp(7)));
    assert_eq!(store.run(&runs[1].id).await.unwrap().unwrap().due_at, None);
}

#[tokio::test]
async fn nudges_share_a_transaction_and_wake_one_run_each() {
    let (_folder, path) = place();
    let runs = prepared(&path, 4).await;
    let mut commits: Vec<_> = runs.iter().map(step).collect();
    for commit in &mut commits {
        let step = commit.step.as_mut().unwrap();
        (step.status, step.lease) = (Status::Waiting, Lease::Release(None));
    }
    let nudge = || Nudge { workflow: "flow".into(), step: "next".into(), limit: 1 };
    commits.extend((0..3).map(|_| Commit { nudges: vec![nudge()], at: Timestamp(7), ..Commit::default() }));
    let (store, _, batches) = at_once(&path, commits).await;
    assert_eq!(batches, 1);
    let mut due = 0;
    for run in &runs {
        due += usize::from(store.run(&run.id).await.unwrap().unwrap().due_at == Some(Timestamp(7)));
    }
    assert_eq!(due, 3);
}

#[tokio::test]
async fn those_that_count_rows_share_a_transaction_up_to_the_limit() {
    let (_folder, path) = place();
    let at_most = |limit| {
        (0..10).map(move |n| Commit {
            guards: vec![Guard::Fewer { table: "facts", matching: Row::new(), at_least: None, limit }],
            ..fact(&format!("{limit}-{n}"), json!("x"))
        })
    };
    let (store, answers, batches) = at_once(&path, at_most(20).chain(at_most(13)).collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 13, "{answers:?}");
    assert!(answers[..13].iter().all(Result::is_ok) && answers[13..].iter().all(conflict), "{answers:?}");
    assert_eq!(batches, 1, "what is refused later writes nothing");
    assert_eq!(store.rows("facts", "value", &json!("x")).await.unwrap().len(), 13);
}

#[tokio::test]
async fn only_who_asks_for_the_impossible_is_refused() {
    let (_folder, path) = place();
    let runs = prepared(&path, 2).await;
    // The schema wants a value, which no check of the port knows.
    let commits = vec![step(&runs[0]), fact("bad", Value::Null), step(&runs[1])];
    let (store, answers, _) = at_once(&path, commits).await;
    assert!(answers[0].is_ok() && conflict(&answers[1]) && answers[2].is_ok(), "{answers:?}");
    assert_eq!(store.run(&runs[1].id).await.unwrap().unwrap().revision, 1);
    assert_eq!(value(&store, "bad").await, None);
}

#[tokio::test]
async fn what_writes_nothing_costs_no_transaction() {
    let (_folder, path) = place();
    let store = daemon(&path).await;
    let before = store.stats();
    assert_eq!(store.claim("me", Timestamp(0), LONG, 9).await.unwrap(), vec![]);
    store.renew("me", Timestamp(0), LONG).await.unwrap();
    store.commit(Commit::default()).await.unwrap();
    assert_eq!(store.stats(), before);
}
