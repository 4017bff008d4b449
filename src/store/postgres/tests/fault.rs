//! What becomes of a transaction whose COMMIT gives no answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::PgConnection;

use super::*;

/// Faults that a test puts into the writer's way.
#[derive(Clone, Default)]
pub(in super::super) struct Faults {
    commits: Arc<Mutex<VecDeque<Fault>>>,
    dead: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Fault {
    /// It is written, and the answer is lost.
    Lost,
    /// It is not written.
    Failed,
}

impl Faults {
    pub(in super::super) async fn on_commit(
        &self,
        db: &mut PgConnection,
        daemon: Option<&str>,
    ) -> Option<Result<(), Error>> {
        let fault = self.commits.lock().unwrap().pop_front()?;
        let last_word = match fault {
            Fault::Lost => sql::commit(daemon),
            Fault::Failed => sqlx::SqlStr::from_static(sql::ROLLBACK),
        };
        sqlx::raw_sql(last_word).execute(db).await.unwrap();
        Some(Err(Error::WorkerCrashed))
    }

    pub(in super::super) fn on_connect(&self) -> Result<(), Failure> {
        if self.dead.load(Ordering::Relaxed) { Err(Failure::Unavailable("dead".into())) } else { Ok(()) }
    }
}

async fn faulty(url: &str, mode: OpenMode) -> (PostgresStore, Faults) {
    let (store, writer, requests) = PostgresStore::parts(url, TABLES, mode, Reckoning::Caller, WAIT).await.unwrap();
    let faults = writer.faults.clone();
    tokio::spawn(writer.run(requests));
    (store, faults)
}

fn next(faults: &Faults, fault: Fault) {
    faults.commits.lock().unwrap().push_back(fault);
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_and_not_applied_again() {
    let (store, faults) = faulty(&place().await, OpenMode::Daemon).await;
    let run = claimed(&store, "a").await;
    next(&faults, Fault::Lost);
    assert_eq!(store.commit(stepping(&run)).await, Ok(Committed { signals: 0 }));
    assert_eq!(store.run(&run.id).await.unwrap().unwrap().revision, 1);
    assert_eq!(store.history(run.seq).await.unwrap().len(), 1);
    next(&faults, Fault::Lost);
    assert_eq!(store.commit(fact("a", json!("x"))).await, Ok(Committed::default()));
    store.commit(fact("b", json!("x"))).await.unwrap();
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_commit_that_was_not_written_is_reported_so() {
    let (store, faults) = faulty(&place().await, OpenMode::Daemon).await;
    let run = claimed(&store, "a").await;
    for _ in 0..2 {
        next(&faults, Fault::Failed);
        let answer = store.commit(stepping(&run)).await;
        assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
        assert_eq!(store.run(&run.id).await.unwrap().unwrap(), run);
    }
    store.commit(stepping(&run)).await.unwrap();
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn what_can_not_be_read_is_unknown() {
    for fault in [Fault::Lost, Fault::Failed] {
        let (store, faults) = faulty(&place().await, OpenMode::Daemon).await;
        let run = claimed(&store, "a").await;
        next(&faults, fault);
        faults.dead.store(true, Ordering::Relaxed);
        let answer = store.commit(stepping(&run)).await;
        assert!(matches!(answer, Err(CommitError::Unknown(_))), "{answer:?}");
        let answer = store.commit(stepping(&run)).await;
        assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
        // The database is back: a fresh reading says what became of it.
        faults.dead.store(false, Ordering::Relaxed);
        let found = store.run(&run.id).await.unwrap().unwrap();
        assert_eq!(found.revision, i64::from(matches!(fault, Fault::Lost)));
        store.commit(stepping(&found)).await.unwrap();
    }
}

/// The server may take its time with a COMMIT of a connection that is gone. Whoever asks what
/// became of it waits for its end.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_commit_that_is_still_under_way_is_waited_for() {
    let url = place().await;
    let (store, writer, requests) =
        PostgresStore::parts(&url, TABLES, OpenMode::Daemon, Reckoning::Caller, WAIT * 20).await.unwrap();
    let daemon = writer.daemon();
    let faults = writer.faults.clone();
    // Another connection is at that very transaction, as the server sees it.
    let mut other = writer.connect().await.ok().unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut other).await.unwrap();
    sqlx::query(sql::COUNT).bind(&daemon).execute(&mut other).await.unwrap();
    next(&faults, Fault::Failed);
    tokio::spawn(writer.run(requests));
    let asked = tokio::spawn(async move { store.commit(fact("a", json!("x"))).await });
    tokio::time::sleep(WAIT).await;
    assert!(!asked.is_finished());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    // It is counted, so that it was written.
    assert_eq!(asked.await.unwrap(), Ok(Committed::default()));
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_tool_does_not_know_what_became_of_its_request() {
    let url = place().await;
    let daemon = daemon(&url).await;
    claimed(&daemon, "key-0").await;
    let (tool, faults) = faulty(&url, OpenMode::Tool).await;
    next(&faults, Fault::Lost);
    let answer = tool.commit(signal("key-0", "@pause")).await;
    assert!(matches!(answer, Err(CommitError::Unknown(_))), "{answer:?}");
    // Asking again is harmless: it is one signal.
    tool.commit(signal("key-0", "@pause")).await.unwrap();
    assert_eq!(daemon.run(&id("key-0")).await.unwrap().unwrap().signals, 1);
}
