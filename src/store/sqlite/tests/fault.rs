//! What becomes of a transaction whose COMMIT fails.

use std::collections::VecDeque;
use std::sync::{Mutex, atomic::AtomicBool};

use sqlx::SqliteConnection;

use super::super::script::{self, Bound};
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
    /// Gives the last call back that is to be made; an error when it was made, or is not to be.
    pub(in super::super) async fn on_commit<'q>(
        &self,
        db: &mut SqliteConnection,
        end: Bound<'q>,
    ) -> Result<Bound<'q>, Error> {
        let Some(fault) = self.commits.lock().unwrap().pop_front() else { return Ok(end) };
        let last_word = match fault {
            Fault::Lost => end,
            Fault::Failed => sqlx::query_with(sql::ROLLBACK, Default::default()),
        };
        script::run(last_word, db).await.unwrap();
        Err(Error::WorkerCrashed)
    }

    pub(in super::super) fn on_connect(&self) -> Result<(), Error> {
        if self.dead.load(Ordering::Relaxed) { Err(Error::WorkerCrashed) } else { Ok(()) }
    }
}

async fn faulty(path: &Path, mode: OpenMode) -> (SqliteStore, Faults) {
    let (store, writer, requests) = SqliteStore::parts(path, TABLES, mode, BUSY).await.unwrap();
    let faults = writer.faults.clone();
    tokio::spawn(writer.run(requests));
    (store, faults)
}

fn next(faults: &Faults, fault: Fault) {
    faults.commits.lock().unwrap().push_back(fault);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_and_not_applied_again() {
    let (_folder, path) = place();
    let (store, faults) = faulty(&path, OpenMode::Daemon).await;
    let run = claimed(&store, 1).await.remove(0);
    next(&faults, Fault::Lost);
    assert_eq!(store.commit(step(&run)).await, Ok(Committed { signals: 0 }));
    assert_eq!(store.run(&run.id).await.unwrap().unwrap().revision, 1);
    assert_eq!(store.history(run.seq).await.unwrap().len(), 1);
    next(&faults, Fault::Lost);
    assert_eq!(store.commit(fact("a", json!("x"))).await, Ok(Committed::default()));
    store.commit(fact("b", json!("x"))).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_was_not_written_is_reported_so() {
    let (_folder, path) = place();
    let (store, faults) = faulty(&path, OpenMode::Daemon).await;
    let run = claimed(&store, 1).await.remove(0);
    for _ in 0..2 {
        next(&faults, Fault::Failed);
        let answer = store.commit(step(&run)).await;
        assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
        assert_eq!(store.run(&run.id).await.unwrap().unwrap(), run);
    }
    store.commit(step(&run)).await.unwrap();
}

#[tokio::test]
async fn what_can_not_be_read_is_unknown() {
    for fault in [Fault::Lost, Fault::Failed] {
        let (_folder, path) = place();
        let (store, faults) = faulty(&path, OpenMode::Daemon).await;
        let run = claimed(&store, 1).await.remove(0);
        next(&faults, fault);
        faults.dead.store(true, Ordering::Relaxed);
        let answer = store.commit(step(&run)).await;
        assert!(matches!(answer, Err(CommitError::Unknown(_))), "{answer:?}");
        let answer = store.commit(step(&run)).await;
        assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
        // The database is back: a fresh reading says what became of it.
        faults.dead.store(false, Ordering::Relaxed);
        let found = store.run(&run.id).await.unwrap().unwrap();
        assert_eq!(found.revision, i64::from(matches!(fault, Fault::Lost)));
        store.commit(step(&found)).await.unwrap();
    }
}

#[tokio::test]
async fn a_tool_does_not_know_what_became_of_its_request() {
    let (_folder, path) = place();
    let daemon = daemon(&path).await;
    claimed(&daemon, 1).await;
    let (tool, faults) = faulty(&path, OpenMode::Tool).await;
    next(&faults, Fault::Lost);
    let answer = tool.commit(signal("key-0", "@pause")).await;
    assert!(matches!(answer, Err(CommitError::Unknown(_))), "{answer:?}");
    // Asking again is harmless: it is one signal.
    tool.commit(signal("key-0", "@pause")).await.unwrap();
    assert_eq!(daemon.run(&RunId::of("flow", "key-0")).await.unwrap().unwrap().signals, 1);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_answered() {
    let (_folder, path) = place();
    let (store, mut writer, requests) = SqliteStore::parts(&path, TABLES, OpenMode::Daemon, BUSY).await.unwrap();
    writer.limit_pages(80).await;
    tokio::spawn(writer.run(requests));
    let run = claimed(&store, 1).await.remove(0);
    let big = Commit { rows: fact("big", json!("x".repeat(1 << 20))).rows, ..step(&run) };
    let answer = store.commit(big).await;
    assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
    assert_eq!(store.run(&run.id).await.unwrap().unwrap(), run);
    assert_eq!(value(&store, "big").await, None);
    store.commit(step(&run)).await.unwrap();
}

impl Writer {
    /// Lets the disk have no room beyond so many pages.
    async fn limit_pages(&mut self, pages: u32) {
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(pragma).execute(self.db_mut()).await.unwrap();
    }
}
