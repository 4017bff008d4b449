//! SQLite's side of the writer: a transaction, and what became of a COMMIT without an answer.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Error, SqliteConnection};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::batch::Batch;
use super::failure;
use super::open::Opened;
use super::script::{self, Bound, Script};
use super::sql::{self, Statements};
use crate::engine::store::{Change, Commit};
use crate::store::group::{self, AskedCommit, AskedUpkeep, Backend, Counters, Done, Failure, Request, announce, serve};
use crate::store::own::OwnTables;

/// How often an idle daemon looks whether a tool has left something for it.
const LOOK: Duration = Duration::from_millis(250);

/// The writer's belongings.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    /// Open, and in no transaction; none: to be opened again.
    db: Option<SqliteConnection>,
    tables: Arc<OwnTables<Statements>>,
    /// How many transactions a daemon's journal counts. A tool has no part in the count: it is
    /// alone in nothing, so that the count could not tell it what became of its own.
    journal: Option<i64>,
    /// `PRAGMA data_version`: changes when somebody else has written.
    version: i64,
    changes: broadcast::Sender<Change>,
    /// What is wrong with the disk.
    disk: watch::Sender<Option<String>>,
    counters: Arc<Counters>,
    lock: Option<File>,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

/// At which point a transaction failed.
enum Stage {
    Before(Error),
    /// In its last call.
    Commit(Error, Done),
}

impl Writer {
    pub(super) async fn new(
        opened: Opened,
        tables: Arc<OwnTables<Statements>>,
        changes: broadcast::Sender<Change>,
        disk: watch::Sender<Option<String>>,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let Opened { options, mut db, lock } = opened;
        let mut writer = Self {
            options,
            db: None,
            tables,
            journal: lock.is_some().then_some(0),
            version: 0,
            changes,
            disk,
            counters,
            lock,
            #[cfg(test)]
            faults: super::tests::Faults::default(),
        };
        writer.orient(&mut db).await?;
        writer.db = Some(db);
        Ok(writer)
    }

    /// Works until all that could ask are gone, or it is asked to end.
    pub(super) async fn run(self, queue: mpsc::UnboundedReceiver<Request>) {
        serve(self, queue, LOOK).await;
    }

    async fn attempt(
        &mut self,
        db: &mut SqliteConnection,
        commits: &[AskedCommit],
        upkeep: &[AskedUpkeep],
    ) -> Result<Done, Stage> {
        let (done, mut rest) = self.fold(db, commits, upkeep).await.map_err(Stage::Before)?;
        if rest.is(sql::BEGIN) && !done.applied.wrote {
            return Ok(done);
        }
        if done.applied.wrote && self.journal.is_some() {
            // The count tells what became of the transaction, wherever in its last call it fails.
            let count = rest.with(sql::COUNT_ONE);
            rest.keep(count).map_err(Stage::Before)?;
        } else if !rest.is("") {
            script::run(rest.all(), &mut *db).await.map_err(Stage::Before)?;
        }
        match self.end_transaction(db, rest.with(sql::COMMIT)).await {
            Ok(()) => {
                self.journal = self.journal.map(|count| count + i64::from(done.applied.wrote));
                Ok(done)
            }
            Err(error) if done.applied.wrote => Err(Stage::Commit(error, done)),
            Err(error) => Err(Stage::Before(error)),
        }
    }

    /// All of a transaction but its end, and what is still to be run before that.
    async fn fold(
        &mut self,
        db: &mut SqliteConnection,
        commits: &[AskedCommit],
        upkeep: &[AskedUpkeep],
    ) -> Result<(Done, Script), Error> {
        let commits: Vec<&Commit> = commits.iter().map(|asked| &*asked.what).collect();
        let mut batch = Batch::new(db, &self.tables, Script::of(sql::BEGIN));
        let mut applied = group::apply(&mut batch, &commits).await?;
        let mut answers = Vec::with_capacity(upkeep.len());
        for asked in upkeep {
            answers.push(asked.what.apply(&mut batch, &mut applied).await?);
        }
        Ok((Done { applied, answers }, batch.end()))
    }

    #[cfg(test)]
    pub(super) fn db_mut(&mut self) -> &mut SqliteConnection {
        self.db.as_mut().expect("a writer that has not begun is connected")
    }

    async fn end_transaction(&self, db: &mut SqliteConnection, end: Bound<'_>) -> Result<(), Error> {
        #[cfg(test)]
        let end = match self.faults.on_commit(db, end).await {
            Ok(end) => end,
            Err(lost) => return Err(lost),
        };
        script::run(end, db).await.map(drop)
    }

    /// Finds out whether the transaction that failed in its COMMIT was written: `Ok` when it was.
    ///
    /// A sync that failed may leave the transaction whole in the log without this process seeing
    /// it, so that it comes to life when the log is recovered. So the count is read by writing it:
    /// that takes the place in the log of whatever was not committed, for good.
    async fn settle(&mut self, error: &Error) -> Result<(), Failure> {
        // The record of the COMMIT is the last that is put into the log: it found no room.
        let told = self.told(error);
        if failure::code(error) == Some(failure::FULL) {
            return Err(Failure::Unavailable(told));
        }
        let unknown = || Failure::Unknown(told.clone());
        let before = self.journal.ok_or_else(unknown)?;
        let mut db = self.connect().await.map_err(|_| unknown())?;
        let count: i64 = sqlx::query_scalar(sql::COUNT).fetch_one(&mut db).await.map_err(|_| unknown())?;
        self.journal = Some(count);
        self.db = Some(db);
        match count - before {
            1 => Err(failure::before_commit(error, told)),
            2 => Ok(()),
            _ => Err(unknown()),
        }
    }

    /// An error in words. One of the disk's is told to the whole daemon, which must not go on.
    fn told(&self, error: &Error) -> String {
        let Some(told) = failure::of_the_disk(self.options.get_filename(), error) else { return error.to_string() };
        self.disk.send_replace(Some(told.clone()));
        told
    }

    async fn connect(&mut self) -> Result<SqliteConnection, Error> {
        #[cfg(test)]
        self.faults.on_connect()?;
        let mut db = self.options.connect().await?;
        self.orient(&mut db).await?;
        Ok(db)
    }

    /// Reads where the database stands.
    async fn orient(&mut self, db: &mut SqliteConnection) -> Result<(), Error> {
        if self.journal.is_some() {
            self.journal = Some(sqlx::query_scalar(sql::COUNTED).fetch_one(&mut *db).await?);
        }
        self.version = sqlx::query_scalar(sql::DATA_VERSION).fetch_one(db).await?;
        Ok(())
    }
}

impl Backend for Writer {
    async fn transaction(&mut self, commits: &[AskedCommit], upkeep: &[AskedUpkeep]) -> Result<Done, Failure> {
        let begun = Instant::now();
        let mut db = match self.db.take() {
            Some(db) => db,
            None => self.connect().await.map_err(|error| Failure::Unavailable(self.told(&error)))?,
        };
        let done = match self.attempt(&mut db, commits, upkeep).await {
            Ok(done) => {
                self.db = Some(db);
                done
            }
            Err(Stage::Before(error)) => {
                // A connection that can't roll back is closed, which comes to the same.
                if execute(&mut db, sql::ROLLBACK).await.is_ok() {
                    self.db = Some(db);
                }
                return Err(failure::before_commit(&error, self.told(&error)));
            }
            Err(Stage::Commit(error, done)) => {
                // Whatever a transaction left open ends with its connection.
                let _ = db.close().await;
                self.settle(&error).await?;
                done
            }
        };
        if done.applied.wrote {
            self.counters.count(commits.len() + upkeep.len(), begun);
        }
        announce(&self.changes, done.applied.runs, done.applied.outbox);
        Ok(done)
    }

    /// Tells of what somebody else has written.
    async fn look_around(&mut self) {
        let Some(db) = &mut self.db else { return };
        // What can't be read now is looked at again.
        let Ok(version) = sqlx::query_scalar(sql::DATA_VERSION).fetch_one(db).await else { return };
        if version != self.version {
            self.version = version;
            announce(&self.changes, true, true);
        }
    }

    async fn end(mut self) {
        if let Some(db) = self.db.take() {
            // All that matters is committed.
            let _ = db.close().await;
        }
        drop(self.lock.take());
    }
}

async fn execute(db: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(db).await.map(drop)
}
