//! PostgreSQL's side of the writer: a transaction, and what became of a COMMIT without an answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Error};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::batch::Batch;
use super::failure::Fault;
use super::herald::Herald;
use super::open::Server;
use super::sql::{self, Statements};
use crate::engine::RunId;
use crate::engine::store::{Change, Commit, Guard, RowChange};
use crate::store::group::{self, AskedCommit, AskedUpkeep, Backend, Counters, Done, Failure, Request, announce, serve};
use crate::store::own::OwnTables;

/// How often a batch that others stood in the way of is tried again at once.
const AGAIN: u32 = 8;

/// How often the journal is cleared of daemons that are gone.
const FORGETS: Duration = Duration::from_secs(3_600);

/// The longest that the statements of a transaction may take, or its COMMIT: a server that has
/// not answered by then does not answer any more.
const LONGEST: Duration = Duration::from_secs(60);

/// The writer's belongings.
pub(super) struct Writer {
    server: Server,
    /// Open, and in no transaction; none: to be opened again.
    db: Option<PgConnection>,
    tables: Arc<OwnTables<Statements>>,
    /// The daemon's own row of the journal, and how many transactions it counts. A tool has none:
    /// what becomes of its transaction when there is no answer, it must read for itself.
    journal: Option<(String, i64)>,
    changes: broadcast::Sender<Change>,
    counters: Arc<Counters>,
    herald: Herald,
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

/// At which point a transaction failed.
enum Stage {
    Before(Fault),
    Commit(Error, Done),
}

impl Writer {
    /// Takes the connection over.
    pub(super) fn new(
        server: Server,
        db: PgConnection,
        daemon: Option<String>,
        tables: Arc<OwnTables<Statements>>,
        (changes, counters, herald): (broadcast::Sender<Change>, Arc<Counters>, Herald),
    ) -> Self {
        Self {
            server,
            db: Some(db),
            tables,
            journal: daemon.map(|daemon| (daemon, 0)),
            changes,
            counters,
            herald,
            #[cfg(test)]
            faults: super::tests::Faults::default(),
        }
    }

    /// Works until all that could ask are gone, or it is asked to end.
    pub(super) async fn run(self, queue: mpsc::UnboundedReceiver<Request>) {
        serve(self, queue, FORGETS).await;
    }

    async fn attempt(
        &mut self,
        db: &mut PgConnection,
        commits: &[AskedCommit],
        upkeep: &[AskedUpkeep],
    ) -> Result<Done, Stage> {
        let folded = tokio::time::timeout(LONGEST, self.fold(db, commits, upkeep)).await;
        let done = folded.unwrap_or_else(|_| Err(silent().into())).map_err(Stage::Before)?;
        let daemon = self.journal.as_ref().filter(|_| done.applied.wrote).map(|(daemon, _)| daemon.as_str());
        let committed = tokio::time::timeout(LONGEST, self.commit(db, daemon)).await;
        match committed.unwrap_or_else(|_| Err(silent())) {
            Ok(()) => {
                if let Some((_, count)) = &mut self.journal {
                    *count += i64::from(done.applied.wrote);
                }
                Ok(done)
            }
            Err(error) if done.applied.wrote => Err(Stage::Commit(error, done)),
            Err(error) => Err(Stage::Before(error.into())),
        }
    }

    /// All of a transaction but its end.
    async fn fold(
        &mut self,
        db: &mut PgConnection,
        commits: &[AskedCommit],
        upkeep: &[AskedUpkeep],
    ) -> Result<Done, Fault> {
        let commits: Vec<&Commit> = commits.iter().map(|asked| &*asked.what).collect();
        let (written, counted) = self.locked_tables(&commits);
        sqlx::raw_sql(sql::begin(&written, &counted)).execute(&mut *db).await?;
        let mut batch = Batch::new(db, &self.tables, true, self.server.own_clock());
        let mut applied = group::apply(&mut batch, &commits).await?;
        let mut answers = Vec::with_capacity(upkeep.len());
        for asked in upkeep {
            answers.push(asked.what.apply(&mut batch, &mut applied).await?);
        }
        Ok(Done { applied, answers })
    }

    /// The tables that a batch writes to, and those in which it relies on what is not there:
    /// nobody else may add to them meanwhile, unless the batch itself makes the row in question.
    fn locked_tables(&self, commits: &[&Commit]) -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut written, mut counted) = (BTreeSet::new(), BTreeSet::new());
        for commit in commits {
            written.insert("runs");
            written.extend(commit.rows.iter().map(|row| row.table));
            for guard in &commit.guards {
                match guard {
                    Guard::Fewer { table, .. } => drop(counted.insert(*table)),
                    Guard::Absent { table, key } => {
                        let makes = commit.rows.iter().any(|row| {
                            row.table == *table && row.key == *key && !matches!(row.change, RowChange::Update { .. })
                        });
                        if !makes {
                            counted.insert(*table);
                        }
                    }
                    Guard::NoRun { run } => {
                        let makes =
                            commit.starts.iter().any(|start| RunId::of(&start.pin.workflow, &start.key) == *run);
                        if !makes {
                            counted.insert("runs");
                        }
                    }
                    Guard::Revision { .. } | Guard::Row { .. } => {}
                }
            }
        }
        let known = |table: &&'static str| *table == "runs" || self.tables.get(table).is_some();
        (written.into_iter().filter(known).collect(), counted.into_iter().filter(known).collect())
    }

    #[cfg(test)]
    pub(super) fn daemon(&self) -> String {
        self.journal.as_ref().map(|(daemon, _)| daemon.clone()).unwrap_or_default()
    }

    async fn commit(&self, db: &mut PgConnection, daemon: Option<&str>) -> Result<(), Error> {
        #[cfg(test)]
        if let Some(outcome) = self.faults.on_commit(db, daemon).await {
            return outcome;
        }
        sqlx::raw_sql(sql::commit(daemon)).execute(db).await.map(drop)
    }

    /// Finds out whether the transaction that failed in its COMMIT was written: `Ok` when it was.
    ///
    /// The server may still be at it. So the count is read by writing it, which waits for whatever
    /// transaction has written it before to end one way or the other.
    async fn settle(&mut self, error: &Error) -> Result<(), Failure> {
        let unknown = || Failure::Unknown(error.to_string());
        let (daemon, before) = self.journal.clone().ok_or_else(unknown)?;
        let mut patience = self.server.patience();
        let (db, count) = loop {
            match self.count(&daemon).await {
                Ok(counted) => break counted,
                Err(_) if patience.wait().await => {}
                Err(_) => return Err(unknown()),
            }
        };
        self.journal = Some((daemon, count));
        self.db = Some(db);
        match count - before {
            1 => Err(Failure::Unavailable(error.to_string())),
            2 => Ok(()),
            _ => Err(unknown()),
        }
    }

    async fn count(&self, daemon: &str) -> Result<(PgConnection, i64), Failure> {
        let mut db = self.connect().await?;
        let count = sqlx::query_scalar(sql::COUNT).bind(daemon).fetch_one(&mut db).await;
        Ok((db, count.map_err(|error| Failure::Unavailable(error.to_string()))?))
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, Failure> {
        #[cfg(test)]
        self.faults.on_connect()?;
        self.server.writer().await.map_err(|error| Failure::Unavailable(error.to_string()))
    }

    /// One attempt, from its beginning to the certainty of what became of it; `None` when others
    /// were in the way.
    async fn once(
        &mut self,
        commits: &[AskedCommit],
        upkeep: &[AskedUpkeep],
        last: bool,
    ) -> Result<Option<Done>, Failure> {
        let mut db = match self.db.take() {
            Some(db) => db,
            None => self.connect().await?,
        };
        match self.attempt(&mut db, commits, upkeep).await {
            Ok(done) => {
                self.db = Some(db);
                Ok(Some(done))
            }
            Err(Stage::Before(fault)) => {
                // One that does not answer is closed, which comes to the same.
                if fault.was_answered() && sqlx::raw_sql(sql::ROLLBACK).execute(&mut db).await.is_ok() {
                    self.db = Some(db);
                }
                if fault.passes() && !last { Ok(None) } else { Err(fault.before_commit()) }
            }
            Err(Stage::Commit(error, done)) => {
                // Whatever a transaction left open ends with its connection.
                drop(db);
                self.settle(&error).await?;
                Ok(Some(done))
            }
        }
    }
}

impl Backend for Writer {
    async fn transaction(&mut self, commits: &[AskedCommit], upkeep: &[AskedUpkeep]) -> Result<Done, Failure> {
        let begun = Instant::now();
        let mut attempts = 1;
        let done = loop {
            match self.once(commits, upkeep, attempts == AGAIN).await? {
                Some(done) => break done,
                None => attempts += 1,
            }
        };
        if done.applied.wrote {
            self.counters.count(commits.len() + upkeep.len(), begun);
        }
        announce(&self.changes, done.applied.runs, done.applied.outbox);
        self.herald.tell(done.applied.runs, done.applied.outbox);
        Ok(done)
    }

    /// Forgets the daemons of long ago. What others write is told by the herald.
    async fn look_around(&mut self) {
        if let (Some(_), Some(db)) = (&self.journal, &mut self.db) {
            // What can't be removed now is removed later.
            let _ = sqlx::query(sql::FORGET).execute(db).await;
        }
    }

    async fn end(mut self) {
        if let Some(db) = self.db.take() {
            // All that matters is committed.
            let _ = db.close().await;
        }
    }
}

fn silent() -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer"))
}
