use serde_json::json;

use super::*;
use crate::engine::store::{NewRun, Table};

const TABLES: &[Table] = &[Table { name: "facts", key: "name", columns: &["value"] }];

fn starting(key: &str) -> Commit {
    let pin = Pin { workflow: "flow".into(), version: 1, hash: "hash".into() };
    let (step, state) = ("first".into(), "{}".into());
    Commit {
        starts: vec![NewRun { pin, key: key.into(), step, state, due_at: Timestamp(0) }],
        inbox: Some(key.into()),
        ..Commit::default()
    }
}

async fn has(store: &MemoryStore, key: &str) -> bool {
    store.run(&RunId::of("flow", key)).await.unwrap().is_some()
}

/// Lets the next commit go wrong.
fn once(store: &MemoryStore, fault: Fault) {
    let mut fault = Some(fault);
    store.on_call(move |call| if matches!(call, Call::Commit(_)) { fault.take() } else { None });
}

#[tokio::test]
async fn an_unavailable_store_writes_nothing_and_recovers() {
    let store = MemoryStore::new(TABLES);
    once(&store, Fault::Unavailable);
    assert!(matches!(store.commit(starting("a")).await, Err(CommitError::Unavailable(_))));
    assert!(!has(&store, "a").await);
    store.commit(starting("a")).await.unwrap();
    assert!(has(&store, "a").await);
}

#[tokio::test]
async fn a_lost_answer_says_nothing_of_the_write() {
    for applied in [false, true] {
        let store = MemoryStore::new(TABLES);
        once(&store, Fault::Unknown { applied });
        assert!(matches!(store.commit(starting("a")).await, Err(CommitError::Unknown(_))));
        assert_eq!(has(&store, "a").await, applied);
    }
}

#[tokio::test]
async fn a_failed_check_is_answered_although_the_answer_should_be_lost() {
    let store = MemoryStore::new(TABLES);
    store.commit(starting("a")).await.unwrap();
    once(&store, Fault::Unknown { applied: true });
    assert_eq!(store.commit(starting("a")).await, Err(CommitError::Seen));
}

#[tokio::test]
async fn after_a_crash_everything_fails_until_the_store_is_opened_again() {
    for applied in [false, true] {
        let store = MemoryStore::new(TABLES);
        once(&store, Fault::Crash { applied });
        assert!(store.commit(starting("a")).await.is_err());
        store.crashed().await;
        let found = store.snapshot();
        assert!(store.run(&RunId::of("flow", "a")).await.is_err());
        assert!(store.claim("owner", Timestamp(0), Timestamp(9), 1).await.is_err());
        assert!(store.commit(starting("b")).await.is_err());
        assert_eq!(store.snapshot(), found);

        let next = store.reopen();
        assert_eq!(has(&next, "a").await, applied);
        assert!(!has(&next, "b").await);
        next.commit(starting("b")).await.unwrap();
        assert!(store.commit(starting("c")).await.is_err(), "the dead stay dead");
    }
}

#[tokio::test]
async fn any_call_can_fail() {
    let store = MemoryStore::new(TABLES);
    store.commit(starting("a")).await.unwrap();
    store.on_call(|call| matches!(call, Call::Claim(..)).then_some(Fault::Unknown { applied: true }));
    assert!(store.claim("owner", Timestamp(0), Timestamp(9), 1).await.is_err());
    assert_eq!(store.runs(&RunFilter::default()).await.unwrap()[0].owner.as_deref(), Some("owner"));
    store.on_call(|call| (call == Call::Read).then_some(Fault::Unavailable));
    assert!(store.next_due().await.is_err());
    assert!(store.row("facts", "a").await.is_err());
    store.on_call(|_| None);
    assert_eq!(store.next_due().await.unwrap(), Some(Timestamp(9)));
}

#[tokio::test]
async fn an_old_backup_is_restored() {
    let store = MemoryStore::new(TABLES);
    store.commit(starting("a")).await.unwrap();
    let backup = store.snapshot();
    store.commit(starting("b")).await.unwrap();
    assert_ne!(store.snapshot().dump(), backup.dump());
    store.restore(&backup);
    assert_eq!(store.snapshot().dump(), backup.dump());
    assert!(has(&store, "a").await);
    assert!(!has(&store, "b").await);
}

#[tokio::test]
async fn a_hook_sees_the_tables_before_the_call() {
    let store = MemoryStore::new(TABLES);
    let (data, mut counts) = (store.reopen(), vec![]);
    let (tell, told) = std::sync::mpsc::channel();
    store.on_call(move |_| {
        counts.push(data.snapshot().dump()["runs"].len());
        tell.send(counts.clone()).unwrap();
        None
    });
    store.commit(starting("a")).await.unwrap();
    store.commit(starting("b")).await.unwrap();
    assert_eq!(told.iter().take(2).last().unwrap(), [0, 1]);
}

#[tokio::test]
async fn daemons_on_the_same_data_hear_of_each_other() {
    let store = MemoryStore::new(TABLES);
    let other = store.reopen();
    let mut changes = other.changes();
    store.commit(starting("a")).await.unwrap();
    assert_eq!(changes.try_recv(), Ok(Change::Runs));
    assert!(has(&other, "a").await);
}

#[tokio::test]
async fn a_dump_names_columns_as_the_migrations_do() {
    let store = MemoryStore::new(TABLES);
    store.commit(starting("a")).await.unwrap();
    let dump = store.snapshot().dump();
    let names: Vec<&str> = dump.keys().map(String::as_str).collect();
    assert_eq!(names, ["facts", "history", "inbox", "outbox", "runs", "signals"]);
    assert_eq!(json!(dump["inbox"]), json!([{ "id": "a", "at": 0 }]));
    assert_eq!(dump["runs"][0]["workflow"], "flow");
}
