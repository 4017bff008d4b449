//! Moving an installation from a file to a server.

use bondflow::engine::store::{Delivery, NewSignal, OutboxMessage, OutboxState, Row, RowChange, RowWrite, RunFilter};
use bondflow::engine::{Commit, Store, Timestamp};
use bondflow::payout::tables::TABLES;
use bondflow::store::memory::Dump;
use bondflow::store::postgres::{OpenMode, PostgresStore, Reckoning};
use serde_json::{Value, json};

use super::{Place, release};
use crate::cluster::Lent;
use crate::conformance::subject::{dump, dump_postgres};

/// An installation with something in each of its tables.
async fn lived_in() -> Place {
    let place = Place::with_runs(&["a", "b", "c"]).await;
    // What mostrod leaves fills the payout's own tables.
    std::fs::copy("tests/data/mostrod-0.20.2.db", place.file("mostro.db")).unwrap();
    assert_eq!(place.ctl(&["import", "mostro.db"]).code, Some(0));
    let store = place.daemon().await;
    let at = Timestamp(1_795_426_000_000);
    let claimed = store.claim("somebody", at, Timestamp(at.0 + 1), 1).await.unwrap();
    let message = |id: &str| OutboxMessage {
        id: id.into(),
        lane: "lane".into(),
        topic: "topic".into(),
        slot: None,
        body: "{\"text\":\"it's \\u0000 \u{1F600}\"}".into(),
        expires_at: None,
    };
    let signal =
        NewSignal { run: claimed[0].id.clone(), name: "@resume".into(), payload: "{}".into(), dedup: "one".into() };
    let cursor = Row::from_iter([("read_until".to_owned(), json!(i64::MAX)), ("complete_at".to_owned(), Value::Null)]);
    let rows = vec![RowWrite { table: "cursors", key: "ws://relay".into(), change: RowChange::Insert(cursor) }];
    let outbox = vec![message("m1"), message("m2")];
    let all = Commit { at, inbox: Some("event".into()), signals: vec![signal], rows, outbox, ..Commit::default() };
    store.commit(all).await.unwrap();
    let seq = store.outbox("m1").await.unwrap().unwrap().seq;
    store.delivered(vec![Delivery { seq, state: OutboxState::Acknowledged, due_at: at }]).await.unwrap();
    store.close().await;
    place
}

/// Without the mark that the file is given, and with whole ratings as whole numbers.
fn plain(mut dump: Dump) -> Dump {
    dump.get_mut("facts").unwrap().retain(|row| row["name"] != "moved-to");
    for user in dump.get_mut("users").unwrap() {
        user["total_rating"] = user["total_rating"].as_f64().map_or(Value::Null, Value::from);
    }
    dump
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_is_moved_whole_and_once() {
    let (place, server) = (lived_in().await, Lent::new().await);
    let file = place.file("bondflow.db");
    let before = plain(dump(&file).await);
    for table in ["runs", "signals", "outbox", "inbox", "bonds", "orders", "cursors"] {
        assert!(!before[table].is_empty(), "{table}");
    }
    let moving = ["migrate-store", "sqlite://bondflow.db", server.url(), "-o", "json"];
    let moved = place.ctl(&moving);
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert!(moved.told.contains("read back and compared"), "{moved:?}");
    assert_eq!(plain(dump_postgres(server.url()).await), before);
    assert_eq!(plain(dump(&file).await), before);

    let again = place.ctl(&moving);
    assert_eq!((again.code, &again.data), (Some(0), &moved.data), "{again:?}");
    assert!(again.told.contains("nothing was changed"), "{again:?}");
    assert_eq!(plain(dump_postgres(server.url()).await), before);

    // Numbers go on where they were.
    let store = PostgresStore::open(server.url(), TABLES, OpenMode::Daemon, Reckoning::Database).await.unwrap();
    let last = store.runs(&RunFilter::default()).await.unwrap()[0].seq;
    let run = store.run(&release("a")).await.unwrap().unwrap();
    let start = bondflow::engine::store::NewRun {
        pin: run.pin,
        key: "new".into(),
        step: run.step,
        state: "{}".into(),
        due_at: Timestamp(0),
    };
    store.commit(Commit { starts: vec![start], ..Commit::default() }).await.unwrap();
    assert_eq!(store.run(&release("new")).await.unwrap().unwrap().seq, last + 1);
    store.close().await;

    // By now it is another: it is not written over.
    let refused = place.ctl(&moving);
    assert_eq!((refused.code, refused.data.as_str()), (Some(1), ""));
    assert!(refused.told.contains("not empty"), "{refused:?}");
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_moved_while_a_daemon_runs_or_into_what_is_there() {
    let (place, server) = (Place::with_runs(&["a"]).await, Lent::new().await);
    let moving = ["migrate-store", "sqlite://bondflow.db", server.url()];
    let daemon = place.daemon().await;
    let refused = place.ctl(&moving);
    assert!(refused.code == Some(1) && refused.told.contains("another daemon"), "{refused:?}");
    daemon.close().await;
    drop(daemon);

    let store = PostgresStore::open(server.url(), TABLES, OpenMode::Daemon, Reckoning::Database).await.unwrap();
    store.commit(Commit { inbox: Some("other".into()), ..Commit::default() }).await.unwrap();
    store.close().await;
    let before = dump_postgres(server.url()).await;
    let refused = place.ctl(&moving);
    assert!(refused.code == Some(1) && refused.told.contains("1 rows in inbox"), "{refused:?}");
    assert_eq!(dump_postgres(server.url()).await, before);
    assert!(dump(&place.file("bondflow.db")).await["facts"].is_empty(), "it is not marked either");

    let backwards = place.ctl(&["migrate-store", server.url(), "sqlite://bondflow.db"]);
    assert_eq!(backwards.code, Some(2), "{backwards:?}");
    let nothing = place.ctl(&["migrate-store", "sqlite://none.db", server.url()]);
    assert_eq!(nothing.code, Some(4), "{nothing:?}");
    assert!(!place.file("none.db").exists());
}

/// The same commands on a server's database.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_on_a_server_is_worked_with_in_the_same_way() {
    let (place, server) = (Place::with_runs(&["key-a", "key-b"]).await, Lent::new().await);
    let on_file = place.ctl(&["list", "-o", "ids"]);
    assert_eq!(place.ctl(&["migrate-store", "sqlite://bondflow.db", server.url()]).code, Some(0));
    let daemon = PostgresStore::open(server.url(), TABLES, OpenMode::Daemon, Reckoning::Database).await.unwrap();
    let on = |args: &[&str]| place.ctl(&[&["--database", server.url()], args].concat());
    let listed = on(&["list", "-o", "ids"]);
    assert_eq!((listed.code, &listed.data), (Some(0), &on_file.data), "{listed:?}");

    let checked = on(&["check-upgrade", "-o", "json"]);
    let said: Value = serde_json::from_str(&checked.data).unwrap();
    assert_eq!((checked.code, &said["ok"], &said["open_runs"]), (Some(0), &true.into(), &2.into()));

    let mut changes = daemon.changes();
    let asked = on(&["pause", "key-a", "--reason", "a test", "--no-wait"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(!asked.told.contains("is not up"), "{asked:?}");
    changes.recv().await.unwrap();
    let run = daemon.run(&release("key-a")).await.unwrap().unwrap();
    assert_eq!((run.signals, daemon.mailbox(run.seq).await.unwrap()[0].name.as_str()), (1, "@pause"));
    let missing = on(&["show", "nothing"]);
    assert_eq!(missing.code, Some(4), "{missing:?}");
}
