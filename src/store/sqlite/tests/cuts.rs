//! The files of a daemon under load, copied at any moment and cut at any byte: what a power cut
//! leaves. The next daemon finds the commits up to some moment, each of them whole.
//!
//! **How a copy is made soundly.** The log is emptied by a checkpoint, and from then on a
//! connection holds a read transaction. A checkpoint puts no page into the main file that a reader
//! does not see yet, and never begins the log anew under a reader; so the main file stays as it is,
//! and the log only grows at its end. Whatever part of its beginning is copied is then what a disk
//! may hold after a power cut: the log is synced at each commit and before each checkpoint, and
//! each of its frames is good only after all that come before it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::*;
use crate::engine::store::OutboxMessage;

/// How many write side by side.
const WRITERS: usize = 6;
/// What the log begins with, and what stands before each page in it.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// A commit that writes to every table: all of it is there, or nothing.
fn whole(run: &Run, name: &str) -> Commit {
    let n = run.revision + 1;
    let id = format!("{name} {n}");
    let message = OutboxMessage {
        id: id.clone(),
        lane: name.to_owned(),
        topic: id.clone(),
        slot: None,
        body: "x".repeat(300),
        expires_at: None,
    };
    Commit {
        inbox: Some(id.clone()),
        rows: fact(&id, json!(n.to_string())).rows,
        starts: vec![start(&id)],
        outbox: vec![message],
        ..step(run)
    }
}

/// A store under load, and what its writers were told.
struct Load {
    _folder: TempDir,
    path: PathBuf,
    store: Arc<SqliteStore>,
    runs: Vec<Run>,
    /// How many commits of each writer were acknowledged.
    told: Arc<[Mutex<i64>; WRITERS]>,
    stop: Arc<AtomicBool>,
    writers: tokio::task::JoinSet<()>,
}

impl Load {
    /// A store with nothing in its log, and its writers, who begin at a word.
    async fn prepare() -> Self {
        let (folder, path) = place();
        let store = Arc::new(daemon(&path).await);
        let runs = claimed(&store, WRITERS).await;
        let mut db = options_of(&path).connect().await.unwrap();
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        assert_eq!(fs::read(log_of(&path)).unwrap(), b"");
        let (told, stop) = Default::default();
        Self { _folder: folder, path, store, runs, told, stop, writers: tokio::task::JoinSet::new() }
    }

    fn begin(&mut self) {
        for (which, mut run) in self.runs.drain(..).enumerate() {
            let (store, told, stop) = (Arc::clone(&self.store), Arc::clone(&self.told), Arc::clone(&self.stop));
            self.writers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let name = run.key.clone();
                    store.commit(whole(&run, &name)).await.unwrap();
                    run.revision += 1;
                    *told[which].lock().unwrap() = run.revision;
                }
            });
        }
    }

    /// Waits for the next commits.
    async fn goes_on(&self, commits: i64) {
        let until = self.acknowledged().iter().sum::<i64>() + commits;
        while self.acknowledged().iter().sum::<i64>() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn acknowledged(&self) -> Vec<i64> {
        self.told.iter().map(|told| *told.lock().unwrap()).collect()
    }

    /// What was acknowledged before the copy began, and the copy: the main file, then the log.
    fn copy(&self) -> (Vec<i64>, Vec<u8>, Vec<u8>) {
        let before = self.acknowledged();
        let main = fs::read(&self.path).unwrap();
        (before, main, fs::read(log_of(&self.path)).unwrap())
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
        self.store.close().await;
    }
}

fn log_of(path: &Path) -> PathBuf {
    format!("{}-wal", path.display()).into()
}

/// Keeps every checkpoint from the main file for as long as it lives.
async fn pin(path: &Path) -> SqliteConnection {
    let mut db = options_of(path).connect().await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM runs").execute(&mut db).await.unwrap();
    db
}

fn options_of(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path)
}

/// Opens such files as the next daemon does, and says how many commits of each writer it finds.
async fn recovered(main: &[u8], log: &[u8]) -> Vec<i64> {
    let (_folder, path) = place();
    fs::write(&path, main).unwrap();
    fs::write(log_of(&path), log).unwrap();
    let store = daemon(&path).await;
    let mut db = options_of(&path).connect().await.unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut db).await.unwrap();
    assert_eq!(sound, "ok");
    let foreign = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut db).await.unwrap();
    assert!(foreign.is_empty());
    let mut found = Vec::new();
    for which in 0..WRITERS {
        let name = format!("key-{which}");
        let run = store.run(&RunId::of("flow", &name)).await.unwrap().unwrap();
        let all: Vec<i64> = (1..=run.revision).collect();
        for (column, table) in [("name", "facts"), ("id", "inbox"), ("id", "outbox"), ("key", "runs")] {
            let numbers = numbered(&mut db, column, table, &name).await;
            assert_eq!(numbers, all, "{table} of {name} at revision {}", run.revision);
        }
        let history = store.history(run.seq).await.unwrap();
        assert_eq!(history.iter().map(|line| line.revision).collect::<Vec<_>>(), all);
        found.push(run.revision);
    }
    db.close().await.unwrap();
    // And it goes on from there.
    let (now, until) = (LONG, Timestamp(LONG.millis() + 1));
    let runs = store.claim("the next", now, until, 10_000).await.unwrap();
    let run = runs.iter().find(|run| run.key == "key-0").unwrap();
    store.commit(whole(run, "key-0")).await.unwrap();
    store.close().await;
    found
}

/// The numbers of a writer's rows in a table.
async fn numbered(db: &mut SqliteConnection, column: &str, table: &str, name: &str) -> Vec<i64> {
    let number = format!("CAST(substr({column}, length('{name}') + 2) AS INTEGER)");
    let sql = format!("SELECT {number} FROM {table} WHERE {column} LIKE '{name} %' ORDER BY 1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(db).await.unwrap()
}

/// Where each frame of a log ends.
fn frames(log: &[u8]) -> Vec<usize> {
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    (HEADER..=log.len()).step_by(FRAME_HEADER + page).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_cut_anywhere_leaves_whole_commits_and_an_uncut_one_all_that_was_answered() {
    let mut load = Load::prepare().await;
    let pinned = pin(&load.path).await;
    load.begin();
    let mut copies = Vec::new();
    for _ in 0..3 {
        load.goes_on(4).await;
        copies.push(load.copy());
    }
    let mut db = options_of(&load.path).connect().await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    copies.push(load.copy());
    assert!(copies.iter().all(|(_, main, _)| *main == copies[0].1), "the main file was written to under a reader");
    drop(pinned);
    load.end().await;

    for (before, main, log) in &copies {
        let found = recovered(main, log).await;
        assert!(found.iter().zip(before).all(|(found, before)| found >= before), "{found:?} of {before:?} are left");
    }
    let (_, main, log) = copies.pop().unwrap();
    let ends = frames(&log);
    assert!(ends.len() > 50, "only {} frames", ends.len());
    println!("a log of {} frames", ends.len() - 1);
    // Every frame's end, and a byte within each frame that no other cut shares.
    let within = ends.windows(2).enumerate().map(|(which, pair)| pair[0] + 1 + which * 997 % (pair[1] - pair[0] - 1));
    let mut cuts: Vec<usize> = ends.iter().copied().chain(within).chain([0, 1, HEADER - 1]).collect();
    cuts.sort_unstable();
    let mut before = vec![0; WRITERS];
    for cut in cuts {
        let found = recovered(&main, &log[..cut]).await;
        assert!(
            found.iter().zip(&before).all(|(found, before)| found >= before),
            "cut at {cut}: {found:?} < {before:?}"
        );
        before = found;
    }
}

/// A copy that is made while checkpoints go on: a reader that began just before it is enough, since
/// a page that a checkpoint was writing meanwhile is in the log as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_a_reader_has_all_that_was_answered_whatever_checkpoints_do() {
    let mut load = Load::prepare().await;
    load.begin();
    let path = load.path.clone();
    let stop = Arc::clone(&load.stop);
    let checkpoints = tokio::spawn(async move {
        let mut db = options_of(&path).connect().await.unwrap();
        while !stop.load(Ordering::Relaxed) {
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut db).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut copies = Vec::new();
    for _ in 0..8 {
        load.goes_on(20).await;
        let pinned = pin(&load.path).await;
        copies.push(load.copy());
        drop(pinned);
    }
    load.end().await;
    checkpoints.await.unwrap();
    for (before, main, log) in copies {
        let found = recovered(&main, &log).await;
        assert!(found.iter().zip(&before).all(|(found, before)| found >= before), "{found:?} of {before:?} are left");
    }
}
