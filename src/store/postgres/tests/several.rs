//! Several daemons on one database.

use futures_util::future::join_all;

use super::*;
use crate::engine::Clock as _;

/// Two daemons on one database.
async fn pair() -> (PostgresStore, PostgresStore) {
    let url = place().await;
    (daemon(&url).await, daemon(&url).await)
}

/// Asks both at once, again and again, and counts who was applied.
async fn both(a: &PostgresStore, b: &PostgresStore, one: Commit, other: Commit) -> [Result<Committed, CommitError>; 2] {
    let (one, other) = tokio::join!(a.commit(one), b.commit(other));
    [one, other]
}

fn applied(answers: &[Result<Committed, CommitError>]) -> usize {
    answers.iter().filter(|answer| answer.is_ok()).count()
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_and_a_deadline_do_not_both_win() {
    let (a, b) = pair().await;
    for n in 0..60 {
        let key = n.to_string();
        let run = claimed(&a, &key).await;
        let guards = vec![Guard::Revision { run: run.id.clone(), revision: run.revision }];
        let invoice = Commit { guards, ..signal(&key, "invoice") };
        let deadline =
            StepCommit { mailbox: Some(0), status: Status::Failed, lease: Lease::Release(None), ..step(&run) };
        let deadline = Commit { step: Some(deadline), ..Commit::default() };
        let answers =
            if n % 2 == 0 { both(&a, &b, deadline, invoice).await } else { both(&b, &a, invoice, deadline).await };
        assert_eq!(applied(&answers), 1, "{answers:?}");
        let found = a.run(&run.id).await.unwrap().unwrap();
        assert_eq!(found.status == Status::Failed, found.signals == 0);
    }
}

/// Each sees that there is still room, and together they would take more than there is.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_over_all_daemons() {
    let (a, b) = pair().await;
    let fewer = |limit| Guard::Fewer { table: "facts", matching: Row::new(), at_least: None, limit };
    for n in 0..40 {
        let limited = |name: &str| Commit { guards: vec![fewer(n + 1)], ..fact(&format!("{name}{n}"), json!("x")) };
        let answers = both(&a, &b, limited("a"), limited("b")).await;
        assert_eq!(applied(&answers), 1, "{answers:?}");
    }
}

/// Each relies on the other's row not being there.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_does_not_come_in_between() {
    let (a, b) = pair().await;
    for n in 0..40 {
        let (one, other) = (format!("a{n}"), format!("b{n}"));
        let without = |mine: &str, others: &str| {
            let guards = vec![Guard::Absent { table: "facts", key: others.into() }];
            Commit { guards, ..fact(mine, json!("x")) }
        };
        let answers = both(&a, &b, without(&one, &other), without(&other, &one)).await;
        assert_eq!(applied(&answers), 1, "{answers:?}");

        // The same of a run that the winner starts.
        let key = format!("run{n}");
        let first = |name: &str| {
            let guards = vec![Guard::NoRun { run: id(&key) }];
            Commit { guards, rows: fact(&format!("{name}{n}"), json!("x")).rows, ..starting(&[&key]) }
        };
        let answers = both(&a, &b, first("c"), first("d")).await;
        assert_eq!(applied(&answers), 1, "{answers:?}");
        assert_eq!(a.rows("facts", "value", &json!("x")).await.unwrap().len(), 2 * (n + 1));
    }
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incoming_message_has_one_effect_whoever_sees_it_first() {
    let (a, b) = pair().await;
    for n in 0..40 {
        let key = n.to_string();
        let seen = || Commit { inbox: Some(key.clone()), ..starting(&[&key]) };
        let answers = both(&a, &b, seen(), seen()).await;
        assert_eq!(applied(&answers), 1, "{answers:?}");
        assert!(answers.contains(&Err(CommitError::Seen)), "{answers:?}");
    }
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_both_write_keeps_what_each_has_written() {
    let (a, b) = pair().await;
    let upsert = |column: &str, n: i64| {
        let change = RowChange::Upsert(Row::from_iter([(column.to_owned(), json!(n))]));
        let rows = vec![RowWrite { table: "cursors", key: format!("relay-{n}"), change }];
        Commit { rows, ..Commit::default() }
    };
    for n in 0..40 {
        let answers = both(&a, &b, upsert("read_until", n), upsert("complete_at", n)).await;
        assert_eq!(applied(&answers), 2, "{answers:?}");
        let row = a.row("cursors", &format!("relay-{n}")).await.unwrap().unwrap();
        assert_eq!((&row["read_until"], &row["complete_at"]), (&json!(n), &json!(n)));
    }
}

/// They name the same runs and rows in opposite orders.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_want_the_same_wait_and_are_all_applied() {
    let (a, b) = pair().await;
    let keys: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    a.commit(starting(&keys.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    for round in 0..20 {
        let commits = |from: &'static str, reverse: bool| {
            let mut order: Vec<&String> = keys.iter().collect();
            if reverse {
                order.reverse();
            }
            let signals = order.iter().flat_map(|key| signal(key, &format!("{from}{round}")).signals).collect();
            let write = |key: &&String| RowWrite {
                table: "facts",
                key: (*key).clone(),
                change: RowChange::Upsert(Row::from_iter([("value".to_owned(), json!(from))])),
            };
            Commit { signals, rows: order.iter().map(write).collect(), ..Commit::default() }
        };
        let answers = both(&a, &b, commits("a", false), commits("b", true)).await;
        assert_eq!(applied(&answers), 2, "{answers:?}");
    }
    for key in &keys {
        let run = a.run(&id(key)).await.unwrap().unwrap();
        assert_eq!((run.signals, a.mailbox(run.seq).await.unwrap().len()), (40, 40));
    }
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_claimed_by_one() {
    let (a, b) = pair().await;
    let keys: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    a.commit(starting(&keys.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    let claims = (0..40).map(|n| {
        let store = if n % 2 == 0 { &a } else { &b };
        async move { store.claim(if n % 2 == 0 { "a" } else { "b" }, at(1), at(99), 10).await.unwrap() }
    });
    let claimed: Vec<Run> = join_all(claims).await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 200);
    assert!(claimed.iter().all(|run| run.token == 1));
}

/// A transaction that stands still, as its daemon does, is passed over by claims and ended by the
/// server.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stands_still_holds_up_no_other() {
    let url = place().await;
    let (a, writer, _requests) =
        PostgresStore::parts(&url, TABLES, OpenMode::Daemon, Reckoning::Caller, WAIT).await.unwrap();
    let b = daemon(&url).await;
    b.commit(starting(&["held", "free"])).await.unwrap();
    let mut frozen = writer.connect().await.ok().unwrap();
    sqlx::raw_sql("BEGIN; UPDATE runs SET token = token + 1 WHERE key = 'held'").execute(&mut frozen).await.unwrap();
    let claimed = b.claim("b", at(1), at(99), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|run| run.key.as_str()).collect::<Vec<_>>(), ["free"]);
    // What needs that very run waits until the server has ended the frozen transaction.
    b.commit(signal("held", "one")).await.unwrap();
    assert_eq!(b.claim("b", at(1), at(99), 10).await.unwrap()[0].token, 1);
    assert!(sqlx::raw_sql("COMMIT").execute(&mut frozen).await.is_err());
    drop(a);
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_writes_the_others_hear_at_once() {
    let (a, b) = pair().await;
    let mut took = vec![];
    for n in 0..12 {
        let mut changes = b.changes();
        let begun = tokio::time::Instant::now();
        a.commit(starting(&[&n.to_string()])).await.unwrap();
        while changes.recv().await.unwrap() != Change::Runs {}
        took.push(begun.elapsed());
    }
    took.sort();
    // By looking now and then it would be a quarter of a second.
    assert!(took[took.len() / 2] < Duration::from_millis(150), "{took:?}");
}

async fn on_own_clock(url: &str) -> PostgresStore {
    PostgresStore::open(url, TABLES, OpenMode::Daemon, Reckoning::Database).await.unwrap()
}

/// What the daemons take for the present is hours apart, and wrong in both.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_go_by_the_databases_clock_only() {
    const HOURS: i64 = 3 * 3_600_000;
    let url = place().await;
    let (early, late) = (on_own_clock(&url).await, on_own_clock(&url).await);
    let now = early.clock().now();
    early.commit(starting(&["a"])).await.unwrap();
    let ahead = at(now.millis() + HOURS);
    let run = late.claim("late", ahead, at(ahead.millis() + 3_000), 1).await.unwrap().remove(0);
    let ends = run.due_at.unwrap();
    assert!((1_000..10_000).contains(&(ends.millis() - now.millis())), "{ends} is as far away as asked for");

    assert_eq!(early.claim("early", ahead, at(ahead.millis() + 9_000), 1).await.unwrap(), vec![]);
    // Nobody takes it before its end, however late it is for him; nor does who is behind let it lapse.
    let behind = at(now.millis() - HOURS);
    late.renew("late", behind, at(behind.millis() + 3_000)).await.unwrap();
    let renewed = late.run(&run.id).await.unwrap().unwrap().due_at.unwrap();
    assert!((ends..ends.after(Duration::from_secs(10))).contains(&renewed), "{ends} {renewed}");
    early.clock().sleep_until(renewed.after(Duration::from_millis(50))).await;
    let taken = early.claim("early", ahead, at(ahead.millis() + 3_000), 1).await.unwrap();
    assert_eq!(taken[0].token, run.token + 1);
    assert_eq!(late.commit(stepping(&run)).await, Err(CommitError::Fenced));
    late.renew("late", behind, at(behind.millis() + 60_000)).await.unwrap();
    assert_eq!(early.run(&run.id).await.unwrap().unwrap().due_at, taken[0].due_at);
}
