//! Connections for reading, side by side with whoever writes.
//!
//! sqlx's pool asks a connection for a sign of life whenever it is given back, in a task of its own. That is as long
//! a way as the reading itself, so that each reading would take twice the time.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use sqlx::{ConnectOptions, Connection, Database, Either, Error, Execute, Executor, SqlStr};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// How long a connection may take to be made.
pub(super) const CONNECTED: Duration = Duration::from_secs(10);

/// A connection that was not used for so long may be gone without anybody having said so.
const STALE: Duration = Duration::from_secs(600);

/// So many connections at most, each made when it is first needed.
pub(super) struct Readers<DB: Database> {
    options: Options<DB>,
    idle: Mutex<Vec<(DB::Connection, Instant)>>,
    places: Semaphore,
}

/// A connection that nobody else has. It is closed unless it is given back.
pub(super) struct Reader<'a, DB: Database> {
    pub(super) db: DB::Connection,
    _place: SemaphorePermit<'a>,
}

impl<DB: Database> Readers<DB> {
    pub(super) fn new(options: Options<DB>, count: usize) -> Self {
        Self { options, idle: Mutex::default(), places: Semaphore::new(count) }
    }

    /// A connection, once there is one.
    pub(super) async fn take(&self) -> Result<Reader<'_, DB>, Error> {
        let place = self.places.acquire().await.map_err(|_| Error::PoolClosed)?;
        let idle = self.idle().pop().filter(|(_, since)| since.elapsed() < STALE);
        let db = match idle {
            Some((db, _)) => db,
            None => timeout(CONNECTED, self.options.connect()).await.map_err(|_| Error::PoolTimedOut)??,
        };
        Ok(Reader { db, _place: place })
    }

    /// Takes a connection back on which all went well.
    pub(super) fn give_back(&self, reader: Reader<'_, DB>) {
        let mut idle = self.idle();
        if !self.places.is_closed() {
            idle.push((reader.db, Instant::now()));
        }
    }

    /// Closes the connections. Later readings fail.
    pub(super) async fn close(&self) {
        self.places.close();
        let idle = std::mem::take(&mut *self.idle());
        for (db, _) in idle {
            // Nothing was to be written.
            let _ = db.close().await;
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(DB::Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Database> fmt::Debug for Readers<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl<'c, DB: Database> Executor<'c> for &'c Readers<DB>
where
    for<'a> &'a mut DB::Connection: Executor<'a, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<DB::QueryResult, DB::Row>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let all = async move {
            let mut reader = self.take().await?;
            let all: Vec<_> = reader.db.fetch_many(query).try_collect().await?;
            self.give_back(reader);
            Ok(stream::iter(all.into_iter().map(Ok)))
        };
        all.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let one = async move {
            let mut reader = self.take().await?;
            let row = reader.db.fetch_optional(query).await?;
            self.give_back(reader);
            Ok(row)
        };
        one.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>>
    where
        'c: 'e,
    {
        let prepared = async move {
            let mut reader = self.take().await?;
            let statement = reader.db.prepare_with(sql, parameters).await?;
            self.give_back(reader);
            Ok(statement)
        };
        prepared.boxed()
    }
}
