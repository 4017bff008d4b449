//! The store on PostgreSQL, 15 or later: several daemons on one database.
//!
//! | | |
//! |---|---|
//! | `open` | which server will do, and the schema |
//! | `writer` | a transaction of the one task that writes, and what became of a COMMIT without an answer |
//! | `batch`, `sql` | the statements of a batch, see `store::group` |
//! | `herald` | news between daemons |
//! | `clock` | the database's clock, by which all daemons live |
//! | `failure`, `patience` | what an error means, and how long a server is waited for |
//!
//! Each daemon has one connection that writes, in transactions that are shared by whatever queued
//! while the last one was synced. They lock what their checks are about, see `sql`, so that those
//! of several daemons come out as if they had been made one after the other.

mod batch;
mod clock;
mod failure;
mod filter;
mod herald;
mod open;
mod patience;
mod sql;
#[cfg(test)]
mod tests;
mod writer;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{Error, Postgres, Row as _};
use tokio::sync::{broadcast, mpsc};

use super::Survey;
use super::columns;
use super::group::{self, Answer, CommitMeters, Counters, Failure, Queue, Request, Upkeep};
use super::own::{self, OwnTables};
use super::readers::Readers;
use crate::engine::store::{
    Change, Commit, CommitError, Committed, Delivery, Guard, OutboxEntry, Page, Retirement, Row, RunFilter, Standing,
    Store, StoreError, Table, Tally,
};
use crate::engine::{HistoryEntry, Pin, Run, RunId, Signal, Timestamp};
use batch::{Batch, bind, own_row};
pub use clock::DatabaseClock;
use herald::{Herald, Tasks};
use open::Server;
pub use open::{OpenError, OpenMode, Reckoning};
use patience::PATIENCE;
use sql::Statements;
use writer::Writer;

/// How many changes a slow listener may lag behind before it is told that it missed some.
const CHANGES_KEPT: usize = 256;

/// How many connections read side by side.
const READERS: usize = 4;

/// A database, open. Ends in good order with [`PostgresStore::close`]; when it is dropped
/// instead, what was asked for is still written, by a task that nobody waits for.
pub struct PostgresStore {
    queue: Queue,
    readers: Readers<Postgres>,
    tables: Arc<OwnTables<Statements>>,
    changes: broadcast::Sender<Change>,
    clock: DatabaseClock,
    herald: Herald,
    tasks: Mutex<Option<Tasks>>,
    server: Server,
    counters: Arc<Counters>,
    /// The name under which this daemon's transactions are counted; a tool has none.
    daemon: Option<String>,
}

impl PostgresStore {
    /// Opens the database at `url`. `tables` are the workflow's own tables.
    ///
    /// # Errors
    /// See [`OpenError`]; the database is then as it was.
    pub async fn open(
        url: &str,
        tables: &'static [Table],
        mode: OpenMode,
        reckoning: Reckoning,
    ) -> Result<Self, OpenError> {
        let (store, writer, requests) = Self::parts(url, tables, mode, reckoning, PATIENCE).await?;
        tokio::spawn(writer.run(requests));
        Ok(store)
    }

    /// The store, and its writer before it has begun.
    async fn parts(
        url: &str,
        tables: &'static [Table],
        mode: OpenMode,
        reckoning: Reckoning,
        patience: Duration,
    ) -> Result<(Self, Writer, mpsc::UnboundedReceiver<Request>), OpenError> {
        let server = Server::new(url, reckoning, patience)?;
        let mut db = server.open(mode, tables).await?;
        let time: i64 = sqlx::query_scalar(sql::CLOCK)
            .fetch_one(&mut db)
            .await
            .map_err(|error| server.unusable(&error.to_string()))?;
        let clock = DatabaseClock::new(Timestamp(time));
        let daemon = (mode == OpenMode::Daemon).then(|| uuid::Uuid::new_v4().to_string());
        let (queue, requests) = Queue::new();
        let changes = broadcast::Sender::new(CHANGES_KEPT);
        let herald = Herald::default();
        let tasks = Tasks::begin(herald.clone(), &server, clock.clone(), &changes);
        let store = Self {
            queue,
            readers: server.readers(READERS),
            tables: Arc::new(OwnTables::new(tables, Statements::new)),
            changes: changes.clone(),
            clock,
            herald: herald.clone(),
            tasks: Mutex::new(Some(tasks)),
            server: server.clone(),
            counters: Arc::default(),
            daemon: daemon.clone(),
        };
        let news = (changes, Arc::clone(&store.counters), herald);
        let writer = Writer::new(server, db, daemon, Arc::clone(&store.tables), news);
        Ok((store, writer, requests))
    }

    /// Looks at the database at `url` before it is opened; writes nothing.
    ///
    /// # Errors
    /// When it can't be reached, is not this program's, or a later build's.
    pub async fn survey(url: &str) -> Result<Survey, OpenError> {
        Server::new(url, Reckoning::Database, PATIENCE)?.survey().await
    }

    /// Host, port and database, without user and password.
    pub fn name(&self) -> String {
        self.server.name()
    }

    /// The database's clock: what all daemons on it go by.
    pub fn clock(&self) -> DatabaseClock {
        self.clock.clone()
    }

    /// Whether a daemon is at work on the database, by the database's clock. One that has died counts until the
    /// end of its lease.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn attended(&self) -> Result<bool, StoreError> {
        self.patiently(|| sqlx::query_scalar(sql::ATTENDED).fetch_one(&self.readers)).await
    }

    /// Writes what was asked for, tells the others, and closes the connections. Later calls fail.
    pub async fn close(&self) {
        self.queue.close().await;
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tasks) = tasks {
            tasks.end().await;
        }
        self.readers.close().await;
    }

    /// What the writer measures of its transactions.
    pub fn meters(&self) -> CommitMeters {
        self.counters.meters.clone()
    }

    /// Reads, and waits for a server that is away.
    async fn patiently<T, F>(&self, read: impl Fn() -> F + Send) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let mut patience = self.server.patience();
        loop {
            match read().await {
                Ok(read) => return Ok(read),
                Err(error) if failure::may_pass(&error) && patience.wait().await => {}
                Err(error) => return Err(StoreError(error.to_string())),
            }
        }
    }

    /// Asks for a write that may be asked for again as long as nothing was written.
    async fn upkeep(&self, what: Upkeep) -> Result<Answer, StoreError> {
        let mut patience = self.server.patience();
        loop {
            match self.queue.upkeep(what.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Unavailable(_)) if patience.wait().await => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}

fn each<T>(rows: &[PgRow], read: impl Fn(&PgRow) -> Result<T, Error>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| StoreError(error.to_string()))
}

fn at_most_one<T>(row: Option<PgRow>, read: impl Fn(&PgRow) -> Result<T, Error>) -> Result<Option<T>, StoreError> {
    row.as_ref().map(read).transpose().map_err(|error| StoreError(error.to_string()))
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.queue.commit(commit).await
    }

    async fn claim(&self, owner: &str, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Run>, StoreError> {
        match self.upkeep(Upkeep::Claim { owner: owner.to_owned(), now, until, limit }).await? {
            Answer::Claimed(runs) => Ok(runs),
            Answer::Count(_) => Ok(Vec::new()),
        }
    }

    async fn renew(&self, owner: &str, now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        self.upkeep(Upkeep::Renew { owner: owner.to_owned(), now, until }).await.map(drop)
    }

    async fn release_others(&self, owner: &str, now: Timestamp) -> Result<u64, StoreError> {
        match self.upkeep(Upkeep::ReleaseOthers { owner: owner.to_owned(), now }).await? {
            Answer::Count(count) => Ok(count),
            Answer::Claimed(_) => Ok(0),
        }
    }

    fn alone(&self) -> bool {
        false
    }

    async fn hold(&self, part: &str, owner: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        match self.upkeep(Upkeep::Hold { part: part.to_owned(), owner: owner.to_owned(), now, until }).await? {
            Answer::Count(held) => Ok(held > 0),
            Answer::Claimed(_) => Ok(false),
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = self.patiently(|| sqlx::query_scalar(sql::NEXT_DUE).fetch_one(&self.readers)).await?;
        Ok(next.map(Timestamp))
    }

    async fn wake(&self, run: i64, at: Timestamp) -> Result<(), StoreError> {
        self.upkeep(Upkeep::Wake { run, at }).await.map(drop)
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError> {
        let row = self.patiently(|| sqlx::query(sql::RUN).bind(&id.0).fetch_optional(&self.readers)).await?;
        at_most_one(row, columns::run)
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let read = || async {
            let mut query = filter::runs(filter);
            query.build().fetch_all(&self.readers).await
        };
        each(&self.patiently(read).await?, columns::run)
    }

    async fn ended(&self, before: Timestamp, after: i64, limit: u32) -> Result<Vec<Run>, StoreError> {
        let (before, limit) = (before.millis(), i64::from(limit));
        let read = || sqlx::query(sql::ENDED).bind(before).bind(after).bind(limit).fetch_all(&self.readers);
        each(&self.patiently(read).await?, columns::run)
    }

    async fn retire(&self, runs: Vec<Retirement>, at: Timestamp) -> Result<u64, StoreError> {
        match self.upkeep(Upkeep::Retire { runs, at }).await? {
            Answer::Count(count) => Ok(count),
            Answer::Claimed(_) => Ok(0),
        }
    }

    async fn tally(&self, open: bool) -> Result<Vec<Tally>, StoreError> {
        let statement = if open { sql::TALLY_OPEN } else { sql::TALLY };
        each(&self.patiently(|| sqlx::query(statement).fetch_all(&self.readers)).await?, columns::tally)
    }

    async fn pins(&self) -> Result<Vec<(Pin, u64)>, StoreError> {
        each(&self.patiently(|| sqlx::query(sql::PINS).fetch_all(&self.readers)).await?, columns::pin)
    }

    async fn mailbox(&self, run: i64) -> Result<Vec<Signal>, StoreError> {
        Ok(self.mailboxes(&[run]).await?.into_iter().map(|(_, signal)| signal).collect())
    }

    async fn mailboxes(&self, runs: &[i64]) -> Result<Vec<(i64, Signal)>, StoreError> {
        let rows = self.patiently(|| sqlx::query(sql::MAILBOXES).bind(runs).fetch_all(&self.readers)).await?;
        each(&rows, |row| Ok((columns::Columns::number(row, 4)?, columns::signal(row)?)))
    }

    async fn history(&self, run: i64) -> Result<Vec<HistoryEntry>, StoreError> {
        let rows = self.patiently(|| sqlx::query(sql::HISTORY_OF).bind(run).fetch_all(&self.readers)).await?;
        each(&rows, columns::history)
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, StoreError> {
        let own = self.tables.readable(table, &[])?;
        let keys = [key];
        let read = || sqlx::query(own.statements.read.clone()).bind(&keys[..]).fetch_optional(&self.readers);
        at_most_one(self.patiently(read).await?, |row| own_row(own.table, row))
    }

    async fn rows(&self, table: &'static str, column: &'static str, value: &Value) -> Result<Vec<Row>, StoreError> {
        let own = self.tables.readable(table, &[column])?;
        let read = || {
            let query = sqlx::query(own::having(own.table, column, value));
            let query = if value.is_null() { query } else { bind(query, value) };
            query.fetch_all(&self.readers)
        };
        each(&self.patiently(read).await?, |row| own_row(own.table, row))
    }

    async fn page(&self, table: &'static str, page: &Page) -> Result<Vec<Row>, StoreError> {
        let own = self.tables.readable(table, &[])?;
        let read = || {
            let query = sqlx::query(own::page(own.table, page)).bind(&page.prefix).bind(own::beyond(&page.prefix));
            let query = query.bind(i64::from(page.limit));
            let query = match &page.after {
                Some(after) => query.bind(after),
                None => query,
            };
            query.fetch_all(&self.readers)
        };
        each(&self.patiently(read).await?, |row| own_row(own.table, row))
    }

    async fn sum(&self, table: &'static str, column: &'static str, matching: &Row) -> Result<i64, StoreError> {
        let columns: Vec<&str> = matching.keys().map(String::as_str).chain([column]).collect();
        let own = self.tables.readable(table, &columns)?;
        let read = || {
            let mut query = sqlx::query(own::sum(own.table, column, matching));
            for value in matching.values().filter(|value| !value.is_null()) {
                query = bind(query, value);
            }
            query.fetch_one(&self.readers)
        };
        self.patiently(read).await?.try_get(0).map_err(|error| StoreError(error.to_string()))
    }

    async fn newest(&self, table: &'static str, column: &'static str) -> Result<Option<Row>, StoreError> {
        let own = self.tables.readable(table, &[column])?;
        let read = || sqlx::query(own::newest(own.table, column)).fetch_optional(&self.readers);
        at_most_one(self.patiently(read).await?, |row| own_row(own.table, row))
    }

    async fn holds(&self, guard: &Guard) -> Result<bool, StoreError> {
        let read = || async {
            let mut reader = self.readers.take().await?;
            let mut look = Batch::new(&mut reader.db, &self.tables, false, self.server.own_clock());
            let holds = group::holds(&mut look, guard).await.map_err(failure::Fault::into_error)?;
            self.readers.give_back(reader);
            Ok(holds)
        };
        self.patiently(read).await
    }

    async fn seen(&self, inbox: &str) -> Result<bool, StoreError> {
        self.patiently(|| sqlx::query_scalar(sql::WAS_SEEN).bind(inbox).fetch_one(&self.readers)).await
    }

    async fn outbox_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        let read = || sqlx::query(sql::OUTBOX_DUE).bind(now.millis()).bind(i64::from(limit)).fetch_all(&self.readers);
        each(&self.patiently(read).await?, columns::outbox)
    }

    async fn outbox_next(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> =
            self.patiently(|| sqlx::query_scalar(sql::OUTBOX_NEXT).fetch_one(&self.readers)).await?;
        Ok(next.map(Timestamp))
    }

    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        let row = self.patiently(|| sqlx::query(sql::OUTBOX_DEPTH).fetch_one(&self.readers)).await?;
        columns::depth(&row).map_err(|error| StoreError(error.to_string()))
    }

    async fn delivered(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        self.upkeep(Upkeep::Deliver(deliveries)).await.map(drop)
    }

    async fn forget_messages(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        match self.upkeep(Upkeep::ForgetMessages { before, limit }).await? {
            Answer::Count(count) => Ok(count),
            Answer::Claimed(_) => Ok(0),
        }
    }

    async fn outbox_topic(&self, topic: &str) -> Result<Option<OutboxEntry>, StoreError> {
        let row = self.patiently(|| sqlx::query(sql::OUTBOX_TOPIC).bind(topic).fetch_optional(&self.readers)).await?;
        at_most_one(row, columns::outbox)
    }

    async fn outbox(&self, id: &str) -> Result<Option<OutboxEntry>, StoreError> {
        let row = self.patiently(|| sqlx::query(sql::OUTBOX).bind(id).fetch_optional(&self.readers)).await?;
        at_most_one(row, columns::outbox)
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        let timeline = self.daemon.clone().ok_or_else(|| StoreError("a tool has no history of its own".into()))?;
        Ok(Standing { count: self.reached(&timeline).await?.unwrap_or(0), timeline })
    }

    async fn reached(&self, timeline: &str) -> Result<Option<i64>, StoreError> {
        self.patiently(|| sqlx::query_scalar(sql::REACHED).bind(timeline).fetch_optional(&self.readers)).await
    }

    async fn begin_timeline(&self) -> Result<(), StoreError> {
        self.upkeep(Upkeep::BeginTimeline).await.map(drop)
    }

    async fn last_commit(&self) -> Result<Option<Timestamp>, StoreError> {
        let last: Option<i64> =
            self.patiently(|| sqlx::query_scalar(sql::LAST_COMMIT).fetch_one(&self.readers)).await?;
        Ok(last.map(Timestamp))
    }

    fn announce(&self) {
        group::announce(&self.changes, true, false);
        self.herald.tell(true, false);
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}
