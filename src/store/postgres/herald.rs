//! News between the daemons on one database, and of the time.
//!
//! A notification is sent after the transaction that it tells of and not in it: the server lets
//! transactions that notify commit one after the other only. One that is lost on the way, because
//! its sender died or the connection broke, is made up for by looking now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener};
use sqlx::{Connection, Error};
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;

use super::clock::DatabaseClock;
use super::open::Server;
use super::patience::Patience;
use super::sql;
use crate::engine::Timestamp;
use crate::engine::store::Change;
use crate::store::group::announce;

const CHANNEL: &str = "bondflow";

/// How often a daemon looks whether a notification was lost.
const LOOK: Duration = Duration::from_millis(500);

/// How often the database is asked for the time.
const CLOCK: Duration = Duration::from_secs(5);

/// How long the server may take to pass a notification on.
const SAID: Duration = Duration::from_secs(2);

/// How long the others are told nothing after they were told something: each notification wakes them all, and the
/// server for each of them.
const REST: Duration = Duration::from_millis(10);

const RUNS: u8 = 1;
const OUTBOX: u8 = 2;

/// Tells the others what was written here.
#[derive(Clone, Default)]
pub(super) struct Herald(Arc<Untold>);

#[derive(Default)]
struct Untold {
    news: AtomicU8,
    some: Notify,
}

impl Herald {
    /// Has the others know; returns at once.
    pub(super) fn tell(&self, runs: bool, outbox: bool) {
        let news = if runs { RUNS } else { 0 } | if outbox { OUTBOX } else { 0 };
        if news > 0 {
            self.0.news.fetch_or(news, Ordering::AcqRel);
            self.0.some.notify_one();
        }
    }
}

/// The tasks that tell and hear. They end with it.
pub(super) struct Tasks {
    telling: JoinHandle<()>,
    hearing: JoinHandle<()>,
    close: Option<oneshot::Sender<()>>,
}

impl Tasks {
    /// Begins to tell what `herald` is told, and to hear the others.
    pub(super) fn begin(
        herald: Herald,
        server: &Server,
        clock: DatabaseClock,
        changes: &broadcast::Sender<Change>,
    ) -> Self {
        let me = uuid::Uuid::new_v4().simple().to_string();
        let (close, closed) = oneshot::channel();
        Self {
            telling: tokio::spawn(tell(herald, server.clone(), clock, me.clone(), changes.clone(), closed)),
            hearing: tokio::spawn(hear(server.clone(), me, changes.clone())),
            close: Some(close),
        }
    }

    /// Tells what is still to be told, and ends.
    pub(super) async fn end(mut self) {
        if let Some(close) = self.close.take() {
            let _ = close.send(());
        }
        // However it ends, nothing is left to tell.
        let _ = (&mut self.telling).await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.telling.abort();
        self.hearing.abort();
    }
}

/// Tells the others, looks for what was not told, and asks for the time, on one connection.
async fn tell(
    herald: Herald,
    server: Server,
    clock: DatabaseClock,
    me: String,
    changes: broadcast::Sender<Change>,
    mut closed: oneshot::Receiver<()>,
) {
    let mut db: Option<PgConnection> = None;
    let mut looked = Instant::now();
    let mut asked_time = Instant::now();
    let mut told = looked - REST;
    loop {
        let some = async {
            herald.0.some.notified().await;
            tokio::time::sleep_until(told + REST).await;
        };
        let ending = tokio::select! {
            () = some => false,
            () = tokio::time::sleep_until(looked + LOOK) => {
                looked = Instant::now();
                announce(&changes, true, true);
                false
            }
            _ = &mut closed => true,
        };
        let news = herald.0.news.swap(0, Ordering::AcqRel);
        let time = asked_time.elapsed() >= CLOCK;
        if news > 0 || time {
            told = Instant::now();
            let said = tokio::time::timeout(SAID, say(&mut db, &server, &clock, &me, news, time)).await;
            match said.unwrap_or(Err(Error::PoolTimedOut)) {
                Ok(()) if time => asked_time = Instant::now(),
                Ok(()) => {}
                Err(error) => {
                    debug!("the other daemons were not told: {error}");
                    db = None;
                }
            }
        }
        if ending {
            if let Some(db) = db {
                let _ = db.close().await;
            }
            return;
        }
    }
}

async fn say(
    db: &mut Option<PgConnection>,
    server: &Server,
    clock: &DatabaseClock,
    me: &str,
    news: u8,
    time: bool,
) -> Result<(), Error> {
    let connection = match db {
        Some(connection) => connection,
        None => db.insert(server.herald().await?),
    };
    if news > 0 {
        let query = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(format!("{me} {news}"));
        query.execute(&mut *connection).await?;
    }
    if time {
        let asked = Instant::now();
        let now: i64 = sqlx::query_scalar(sql::CLOCK).fetch_one(connection).await?;
        clock.hear(Timestamp(now), asked);
    }
    Ok(())
}

/// Hears the others for as long as it is let.
async fn hear(server: Server, me: String, changes: broadcast::Sender<Change>) {
    let mut patience = Patience::endless();
    loop {
        let error = match listen(&server).await {
            Ok(mut listener) => {
                patience = Patience::endless();
                // Something may have happened while nobody listened.
                announce(&changes, true, true);
                loop {
                    match listener.try_recv().await {
                        Ok(Some(notification)) => {
                            if let Some((from, news)) = notification.payload().split_once(' ')
                                && from != me
                            {
                                let news: u8 = news.parse().unwrap_or(RUNS | OUTBOX);
                                announce(&changes, news & RUNS > 0, news & OUTBOX > 0);
                            }
                        }
                        Ok(None) => break Error::WorkerCrashed,
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        debug!("the other daemons are not heard: {error}");
        patience.wait().await;
    }
}

async fn listen(server: &Server) -> Result<PgListener, Error> {
    let mut listener = PgListener::connect_with(&server.listeners()).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
