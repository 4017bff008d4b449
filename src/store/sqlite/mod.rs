//! The store on SQLite: one file, one daemon.
//!
//! | | |
//! |---|---|
//! | `open` | who may open which file, and its schema |
//! | `writer` | a transaction of the one task that writes, and what became of a COMMIT without an answer |
//! | `survey`, `backup` | a look at a file, and a copy of it, beside whoever works on it |
//! | `batch`, `sql`, `values`, `filter`, `script` | the statements, see `store::group`; how several go in one call |
//!
//! The log is synced at each commit (WAL, `synchronous = FULL`): what was answered survives a
//! power cut. Readers have connections of their own and never wait for the writer.

mod backup;
mod batch;
mod failure;
mod filter;
mod open;
mod script;
mod sql;
mod survey;
#[cfg(test)]
mod tests;
mod values;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row as _, Sqlite};
use tokio::sync::{broadcast, mpsc, watch};

use super::columns;
use super::group::{self, Answer, CommitMeters, Counters, Queue, Request, Upkeep, json};
use super::own::{self, OwnTables};
use super::readers::Readers;
use crate::engine::store::{
    Change, Commit, CommitError, Committed, Delivery, Guard, OutboxEntry, Page, Retirement, Row, RunFilter, Standing,
    Store, StoreError, Table, Tally,
};
use crate::engine::{HistoryEntry, Pin, Run, RunId, Signal, Timestamp};
pub use backup::{BackupError, Copy, backup};
use batch::{Batch, bind, own_row};
pub use open::{OpenError, OpenMode, daemon_lives};
use script::Script;
use sql::Statements;
pub use survey::{inspect, survey};
use writer::Writer;

/// How many changes a slow listener may lag behind before it is told that it missed some.
const CHANGES_KEPT: usize = 256;

/// How many connections read side by side.
const READERS: usize = 4;

/// A database file, open. Ends in good order with [`SqliteStore::close`]; when it is dropped
/// instead, what was asked for is still written, by a task that nobody waits for.
pub struct SqliteStore {
    queue: Queue,
    readers: Readers<Sqlite>,
    tables: Arc<OwnTables<Statements>>,
    changes: broadcast::Sender<Change>,
    disk: watch::Receiver<Option<String>>,
    counters: Arc<Counters>,
}

/// Counts since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that wrote something: each one is one sync of the disk.
    pub batches: u64,
    /// Requests (commits, claims, renewals, …) that were in them.
    pub requests: u64,
    /// Requests in the last of them.
    pub last_batch: u64,
}

impl SqliteStore {
    /// Opens the database at `path`. `tables` are the workflow's own tables.
    ///
    /// # Errors
    /// See [`OpenError`]; the file is then as it was.
    pub async fn open(path: &Path, tables: &'static [Table], mode: OpenMode) -> Result<Self, OpenError> {
        Self::open_within(path, tables, mode, open::BUSY).await
    }

    async fn open_within(
        path: &Path,
        tables: &'static [Table],
        mode: OpenMode,
        busy: Duration,
    ) -> Result<Self, OpenError> {
        let (store, writer, requests) = Self::parts(path, tables, mode, busy).await?;
        tokio::spawn(writer.run(requests));
        Ok(store)
    }

    /// The store, and its writer before it has begun.
    async fn parts(
        path: &Path,
        tables: &'static [Table],
        mode: OpenMode,
        busy: Duration,
    ) -> Result<(Self, Writer, mpsc::UnboundedReceiver<Request>), OpenError> {
        let opened = open::open(path, mode, busy).await?;
        let readers = Readers::new(open::read_only(&opened.options), READERS);
        let (queue, requests) = Queue::new();
        let (broken, disk) = watch::channel(None);
        let store = Self {
            queue,
            readers,
            tables: Arc::new(OwnTables::new(tables, Statements::new)),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            disk,
            counters: Arc::default(),
        };
        let (tables, counters) = (Arc::clone(&store.tables), Arc::clone(&store.counters));
        let writer = Writer::new(opened, tables, store.changes.clone(), broken, counters).await;
        let writer = writer.map_err(|error| open::refused(path, &error))?;
        Ok((store, writer, requests))
    }

    /// Writes what was asked for, closes the file and lets go of the lock. Later calls fail.
    pub async fn close(&self) {
        self.queue.close().await;
        self.readers.close().await;
    }

    /// Resolves when the disk is full or fails: nothing can be decided any more, and who goes on
    /// trying only hides it.
    pub fn disk_fails(&self) -> impl Future<Output = StoreError> + Send + use<> {
        let mut disk = self.disk.clone();
        async move {
            let told = disk.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
            match told {
                Some(told) => StoreError(told),
                // The store was closed in good order.
                None => std::future::pending().await,
            }
        }
    }

    /// What the writer has done so far.
    pub fn stats(&self) -> Stats {
        Stats {
            batches: self.counters.batches.load(Ordering::Relaxed),
            requests: self.counters.requests.load(Ordering::Relaxed),
            last_batch: self.counters.last.load(Ordering::Relaxed),
        }
    }

    /// What the writer measures of its transactions.
    pub fn meters(&self) -> CommitMeters {
        self.counters.meters.clone()
    }

    async fn upkeep(&self, what: Upkeep) -> Result<Answer, StoreError> {
        Ok(self.queue.upkeep(what).await?)
    }
}

fn unread(error: Error) -> StoreError {
    StoreError(error.to_string())
}

fn each<T>(rows: Vec<SqliteRow>, read: impl Fn(&SqliteRow) -> Result<T, Error>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(read).collect::<Result<_, _>>().map_err(unread)
}

fn at_most_one<T>(
    row: Option<SqliteRow>,
    read: impl Fn(&SqliteRow) -> Result<T, Error>,
) -> Result<Option<T>, StoreError> {
    row.as_ref().map(read).transpose().map_err(unread)
}

#[async_trait]
impl Store for SqliteStore {
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

    /// Another daemon on the file is refused when it is opened.
    fn alone(&self) -> bool {
        true
    }

    async fn hold(&self, _: &str, _: &str, _: Timestamp, _: Timestamp) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = sqlx::query_scalar(sql::NEXT_DUE).fetch_one(&self.readers).await.map_err(unread)?;
        Ok(next.map(Timestamp))
    }

    async fn wake(&self, run: i64, at: Timestamp) -> Result<(), StoreError> {
        self.upkeep(Upkeep::Wake { run, at }).await.map(drop)
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError> {
        let row = sqlx::query(sql::RUN).bind(&id.0).fetch_optional(&self.readers).await.map_err(unread)?;
        at_most_one(row, columns::run)
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let mut query = filter::runs(filter);
        each(query.build().fetch_all(&self.readers).await.map_err(unread)?, columns::run)
    }

    async fn ended(&self, before: Timestamp, after: i64, limit: u32) -> Result<Vec<Run>, StoreError> {
        let query = sqlx::query(sql::ENDED).bind(before.millis()).bind(after).bind(limit);
        each(query.fetch_all(&self.readers).await.map_err(unread)?, columns::run)
    }

    async fn retire(&self, runs: Vec<Retirement>, at: Timestamp) -> Result<u64, StoreError> {
        match self.upkeep(Upkeep::Retire { runs, at }).await? {
            Answer::Count(count) => Ok(count),
            Answer::Claimed(_) => Ok(0),
        }
    }

    async fn tally(&self, open: bool) -> Result<Vec<Tally>, StoreError> {
        let query = sqlx::query(if open { sql::TALLY_OPEN } else { sql::TALLY });
        each(query.fetch_all(&self.readers).await.map_err(unread)?, columns::tally)
    }

    async fn pins(&self) -> Result<Vec<(Pin, u64)>, StoreError> {
        each(sqlx::query(sql::PINS).fetch_all(&self.readers).await.map_err(unread)?, columns::pin)
    }

    async fn mailbox(&self, run: i64) -> Result<Vec<Signal>, StoreError> {
        Ok(self.mailboxes(&[run]).await?.into_iter().map(|(_, signal)| signal).collect())
    }

    async fn mailboxes(&self, runs: &[i64]) -> Result<Vec<(i64, Signal)>, StoreError> {
        let query = sqlx::query(sql::MAILBOXES).bind(json(runs));
        each(query.fetch_all(&self.readers).await.map_err(unread)?, |row| {
            Ok((columns::Columns::number(row, 4)?, columns::signal(row)?))
        })
    }

    async fn history(&self, run: i64) -> Result<Vec<HistoryEntry>, StoreError> {
        each(sqlx::query(sql::HISTORY_OF).bind(run).fetch_all(&self.readers).await.map_err(unread)?, columns::history)
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, StoreError> {
        let own = self.tables.readable(table, &[])?;
        let query = sqlx::query(own.statements.read.clone()).bind(json(&[key]));
        let row = query.fetch_optional(&self.readers).await.map_err(unread)?;
        at_most_one(row, |row| own_row(own.table, row))
    }

    async fn rows(&self, table: &'static str, column: &'static str, value: &Value) -> Result<Vec<Row>, StoreError> {
        let own = self.tables.readable(table, &[column])?;
        let mut query = sqlx::query(own::having(own.table, column, value));
        if !value.is_null() {
            query = bind(query, value);
        }
        each(query.fetch_all(&self.readers).await.map_err(unread)?, |row| own_row(own.table, row))
    }

    async fn page(&self, table: &'static str, page: &Page) -> Result<Vec<Row>, StoreError> {
        let own = self.tables.readable(table, &[])?;
        let query = sqlx::query(own::page(own.table, page)).bind(&page.prefix).bind(own::beyond(&page.prefix));
        let query = query.bind(page.limit);
        let query = match &page.after {
            Some(after) => query.bind(after),
            None => query,
        };
        each(query.fetch_all(&self.readers).await.map_err(unread)?, |row| own_row(own.table, row))
    }

    async fn sum(&self, table: &'static str, column: &'static str, matching: &Row) -> Result<i64, StoreError> {
        let columns: Vec<&str> = matching.keys().map(String::as_str).chain([column]).collect();
        let own = self.tables.readable(table, &columns)?;
        let mut query = sqlx::query(own::sum(own.table, column, matching));
        for value in matching.values().filter(|value| !value.is_null()) {
            query = bind(query, value);
        }
        query.fetch_one(&self.readers).await.and_then(|row| row.try_get(0)).map_err(unread)
    }

    async fn newest(&self, table: &'static str, column: &'static str) -> Result<Option<Row>, StoreError> {
        let own = self.tables.readable(table, &[column])?;
        let row = sqlx::query(own::newest(own.table, column)).fetch_optional(&self.readers).await.map_err(unread)?;
        at_most_one(row, |row| own_row(own.table, row))
    }

    async fn holds(&self, guard: &Guard) -> Result<bool, StoreError> {
        let mut reader = self.readers.take().await.map_err(unread)?;
        let mut batch = Batch::new(&mut reader.db, &self.tables, Script::default());
        let holds = group::holds(&mut batch, guard).await.map_err(unread)?;
        self.readers.give_back(reader);
        Ok(holds)
    }

    async fn seen(&self, inbox: &str) -> Result<bool, StoreError> {
        sqlx::query_scalar(sql::WAS_SEEN).bind(inbox).fetch_one(&self.readers).await.map_err(unread)
    }

    async fn outbox_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        let query = sqlx::query(sql::OUTBOX_DUE).bind(now.millis()).bind(limit);
        each(query.fetch_all(&self.readers).await.map_err(unread)?, columns::outbox)
    }

    async fn outbox_next(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = sqlx::query_scalar(sql::OUTBOX_NEXT).fetch_one(&self.readers).await.map_err(unread)?;
        Ok(next.map(Timestamp))
    }

    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        let row = sqlx::query(sql::OUTBOX_DEPTH).fetch_one(&self.readers).await.map_err(unread)?;
        columns::depth(&row).map_err(unread)
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
        let row = sqlx::query(sql::OUTBOX_TOPIC).bind(topic).fetch_optional(&self.readers).await.map_err(unread)?;
        at_most_one(row, columns::outbox)
    }

    async fn outbox(&self, id: &str) -> Result<Option<OutboxEntry>, StoreError> {
        let row = sqlx::query(sql::OUTBOX).bind(id).fetch_optional(&self.readers).await.map_err(unread)?;
        at_most_one(row, columns::outbox)
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        let (timeline, count) = sqlx::query_as(sql::JOURNAL).fetch_one(&self.readers).await.map_err(unread)?;
        Ok(Standing { timeline, count })
    }

    async fn reached(&self, timeline: &str) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar(sql::REACHED).bind(timeline).fetch_optional(&self.readers).await.map_err(unread)
    }

    async fn begin_timeline(&self) -> Result<(), StoreError> {
        self.upkeep(Upkeep::BeginTimeline).await.map(drop)
    }

    async fn last_commit(&self) -> Result<Option<Timestamp>, StoreError> {
        let last: Option<i64> = sqlx::query_scalar(sql::LAST_COMMIT).fetch_one(&self.readers).await.map_err(unread)?;
        Ok(last.map(Timestamp))
    }

    fn announce(&self) {
        // Nobody listening is no failure.
        let _ = self.changes.send(Change::Runs);
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}
