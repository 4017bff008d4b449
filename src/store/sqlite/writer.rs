//! The one task that writes. It folds whatever has queued while the last transaction was synced
//! into the next one, so that a lone commit never waits and many share one sync.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Error, SqliteConnection};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::batch::{self, Applied, Verdict};
use super::failure::{self, Failure};
use super::open::Opened;
use super::sql::{self, OwnTables};
use super::upkeep::{Answer, Upkeep};
use crate::engine::store::{Change, Commit, CommitError, Committed, StoreError};

/// The most requests in one transaction.
const MOST: usize = 1024;

/// How often an idle daemon looks whether a tool has left something for it.
const LOOK: Duration = Duration::from_millis(250);

/// What is asked of the writer.
pub(super) enum Request {
    Commit(Asked<Box<Commit>, Committed, CommitError>),
    Upkeep(Asked<Upkeep, Answer, StoreError>),
    /// Write what has queued, and end.
    Close(oneshot::Sender<()>),
}

/// A request and where its answer goes. Who asked may be gone when it is answered.
pub(super) struct Asked<T, A, E> {
    pub(super) what: T,
    pub(super) reply: oneshot::Sender<Result<A, E>>,
}

type AskedCommit = Asked<Box<Commit>, Committed, CommitError>;
type AskedUpkeep = Asked<Upkeep, Answer, StoreError>;

/// Counts of the writer's transactions.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) last: AtomicU64,
}

/// The writer's belongings.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    /// Open, and in no transaction; none: to be opened again.
    db: Option<SqliteConnection>,
    tables: Arc<OwnTables>,
    /// How many transactions a daemon's journal counts. A tool has no part in the count: it is
    /// alone in nothing, so that the count could not tell it what became of its own.
    journal: Option<i64>,
    /// `PRAGMA data_version`: changes when somebody else has written.
    version: i64,
    changes: broadcast::Sender<Change>,
    counters: Arc<Counters>,
    lock: Option<File>,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

/// At which point a transaction failed.
enum Stage {
    Before(Error),
    Commit(Error, Done),
}

/// What a transaction came to, if it was committed.
struct Done {
    applied: Applied,
    answers: Vec<Answer>,
}

impl Writer {
    pub(super) async fn new(
        opened: Opened,
        tables: Arc<OwnTables>,
        changes: broadcast::Sender<Change>,
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
    pub(super) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Request>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = Vec::with_capacity(MOST);
        let mut put_off: Vec<AskedCommit> = Vec::new();
        let mut closing = Vec::new();
        loop {
            let (mut commits, mut upkeep) = (std::mem::take(&mut put_off), Vec::new());
            if commits.is_empty() {
                tokio::select! {
                    count = queue.recv_many(&mut requests, MOST) => if count == 0 { break },
                    _ = look.tick() => {
                        self.look_around().await;
                        continue;
                    }
                }
            } else {
                while requests.len() + commits.len() < MOST
                    && let Ok(request) = queue.try_recv()
                {
                    requests.push(request);
                }
            }
            for request in requests.drain(..) {
                match request {
                    Request::Commit(asked) => commits.push(asked),
                    Request::Upkeep(asked) => upkeep.push(asked),
                    Request::Close(reply) => {
                        queue.close();
                        closing.push(reply);
                    }
                }
            }
            put_off = self.write(commits, upkeep).await;
            // Those just answered get to ask for more before the next batch is closed.
            tokio::task::yield_now().await;
        }
        if let Some(db) = self.db.take() {
            // All that matters is committed.
            let _ = db.close().await;
        }
        drop(self.lock.take());
        for reply in closing {
            let _ = reply.send(());
        }
    }

    /// Writes a batch and answers; gives back what is put off to the next.
    async fn write(&mut self, commits: Vec<AskedCommit>, upkeep: Vec<AskedUpkeep>) -> Vec<AskedCommit> {
        if commits.is_empty() && upkeep.is_empty() {
            return commits;
        }
        let done = self.transaction(&commits, &upkeep).await;
        if !matches!(done, Err(Failure::Refused(_))) || commits.len() + upkeep.len() == 1 {
            return answer(commits, upkeep, done);
        }
        // The database won't have something of what the batch was to write: only who asked for
        // that shall suffer, so that each has a transaction of its own.
        for one in commits {
            let done = self.transaction(std::slice::from_ref(&one), &[]).await;
            answer(vec![one], Vec::new(), done);
        }
        for one in upkeep {
            let done = self.transaction(&[], std::slice::from_ref(&one)).await;
            answer(Vec::new(), vec![one], done);
        }
        Vec::new()
    }

    /// One transaction, from its beginning to the certainty of what became of it.
    async fn transaction(&mut self, commits: &[AskedCommit], upkeep: &[AskedUpkeep]) -> Result<Done, Failure> {
        let mut db = match self.db.take() {
            Some(db) => db,
            None => self.connect().await.map_err(|error| Failure::Unavailable(error.to_string()))?,
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
                return Err(Failure::before_commit(&error));
            }
            Err(Stage::Commit(error, done)) => {
                // Whatever a transaction left open ends with its connection.
                let _ = db.close().await;
                self.settle(&error).await?;
                done
            }
        };
        if done.applied.wrote {
            self.counters.batches.fetch_add(1, Ordering::Relaxed);
            let requests = (commits.len() + upkeep.len()) as u64;
            self.counters.requests.fetch_add(requests, Ordering::Relaxed);
            self.counters.last.store(requests, Ordering::Relaxed);
        }
        self.tell(done.applied.runs, done.applied.outbox);
        Ok(done)
    }

    async fn attempt(
        &mut self,
        db: &mut SqliteConnection,
        commits: &[AskedCommit],
        upkeep: &[AskedUpkeep],
    ) -> Result<Done, Stage> {
        let done = self.fold(db, commits, upkeep).await.map_err(Stage::Before)?;
        match self.commit(db).await {
            Ok(()) => {
                self.journal = self.journal.map(|count| count + i64::from(done.applied.wrote));
                Ok(done)
            }
            Err(error) if done.applied.wrote => Err(Stage::Commit(error, done)),
            Err(error) => Err(Stage::Before(error)),
        }
    }

    /// All of a transaction but its end.
    async fn fold(
        &mut self,
        db: &mut SqliteConnection,
        commits: &[AskedCommit],
        upkeep: &[AskedUpkeep],
    ) -> Result<Done, Error> {
        execute(db, sql::BEGIN).await?;
        let commits: Vec<&Commit> = commits.iter().map(|asked| &*asked.what).collect();
        let mut applied = batch::apply(db, &self.tables, &commits).await?;
        let mut answers = Vec::with_capacity(upkeep.len());
        for asked in upkeep {
            answers.push(asked.what.apply(db, &mut applied).await?);
        }
        if applied.wrote && self.journal.is_some() {
            sqlx::query(sql::COUNT).execute(db).await?;
        }
        Ok(Done { applied, answers })
    }

    #[cfg(test)]
    pub(super) fn db_mut(&mut self) -> &mut SqliteConnection {
        self.db.as_mut().expect("a writer that has not begun is connected")
    }

    async fn commit(&self, db: &mut SqliteConnection) -> Result<(), Error> {
        #[cfg(test)]
        if let Some(outcome) = self.faults.on_commit(db).await {
            return outcome;
        }
        execute(db, sql::COMMIT).await
    }

    /// Finds out whether the transaction that failed in its COMMIT was written: `Ok` when it was.
    ///
    /// A sync that failed may leave the transaction whole in the log without this process seeing
    /// it, so that it comes to life when the log is recovered. So the count is read by writing it:
    /// that takes the place in the log of whatever was not committed, for good.
    async fn settle(&mut self, error: &Error) -> Result<(), Failure> {
        // The record of the COMMIT is the last that is put into the log: it found no room.
        if failure::code(error) == Some(failure::FULL) {
            return Err(Failure::Unavailable(error.to_string()));
        }
        let unknown = || Failure::Unknown(error.to_string());
        let before = self.journal.ok_or_else(unknown)?;
        let mut db = self.connect().await.map_err(|_| unknown())?;
        let count: i64 = sqlx::query_scalar(sql::COUNT).fetch_one(&mut db).await.map_err(|_| unknown())?;
        self.journal = Some(count);
        self.db = Some(db);
        match count - before {
            1 => Err(Failure::Unavailable(error.to_string())),
            2 => Ok(()),
            _ => Err(unknown()),
        }
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

    /// Tells of what somebody else has written.
    async fn look_around(&mut self) {
        let Some(db) = &mut self.db else { return };
        // What can't be read now is looked at again.
        let Ok(version) = sqlx::query_scalar(sql::DATA_VERSION).fetch_one(db).await else { return };
        if version != self.version {
            self.version = version;
            self.tell(true, true);
        }
    }

    fn tell(&self, runs: bool, outbox: bool) {
        for change in [runs.then_some(Change::Runs), outbox.then_some(Change::Outbox)].into_iter().flatten() {
            // Nobody listening is no failure.
            let _ = self.changes.send(change);
        }
    }
}

/// Answers all that were asked, and gives back what is put off.
fn answer(commits: Vec<AskedCommit>, upkeep: Vec<AskedUpkeep>, done: Result<Done, Failure>) -> Vec<AskedCommit> {
    let mut put_off = Vec::new();
    match done {
        Ok(done) => {
            for (asked, verdict) in commits.into_iter().zip(done.applied.verdicts) {
                match verdict {
                    Verdict::Now(outcome) => drop(asked.reply.send(outcome)),
                    Verdict::Later => put_off.push(asked),
                }
            }
            for (asked, answer) in upkeep.into_iter().zip(done.answers) {
                let _ = asked.reply.send(Ok(answer));
            }
        }
        Err(failure) => {
            for asked in commits {
                let _ = asked.reply.send(Err(failure.clone().into()));
            }
            for asked in upkeep {
                let _ = asked.reply.send(Err(failure.clone().into()));
            }
        }
    }
    put_off
}

async fn execute(db: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(db).await.map(drop)
}
