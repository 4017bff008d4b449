//! The database that the settings name, opened for a daemon.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::config::DatabaseUrl;
use crate::engine::{Clock, Store, StoreError};
use crate::payout::tables::TABLES;
use crate::store::postgres::{self, PostgresStore, Reckoning};
use crate::store::sqlite::{self, SqliteStore};
use crate::store::wake::socket_beside;

use super::AppError;

/// An open database with what goes with it.
pub(super) struct Database {
    pub(super) store: Arc<dyn Store>,
    /// By which its daemons live.
    pub(super) clock: Arc<dyn Clock>,
    /// Where tools wake the daemon, if they don't do it through the database.
    pub(super) socket: Option<PathBuf>,
    /// Resolves when the database is lost for this daemon, and why.
    pub(super) fails: BoxFuture<'static, StoreError>,
}

impl Database {
    /// Opens it. `clock` is the time where the database has none, or `reckoning` is by the caller's.
    pub(super) async fn open(url: &DatabaseUrl, clock: Arc<dyn Clock>, reckoning: Reckoning) -> Result<Self, AppError> {
        let Some(file) = url.file() else {
            let store = PostgresStore::open(url.expose(), TABLES, postgres::OpenMode::Daemon, reckoning).await?;
            let clock: Arc<dyn Clock> = match reckoning {
                Reckoning::Database => Arc::new(store.clock()),
                Reckoning::Caller => clock,
            };
            // A server's disk is the server's business: it says no, and comes back.
            return Ok(Self { store: Arc::new(store), clock, socket: None, fails: Box::pin(pending()) });
        };
        let store = SqliteStore::open(&file, TABLES, sqlite::OpenMode::Daemon).await?;
        let fails = Box::pin(store.disk_fails());
        Ok(Self { store: Arc::new(store), clock, socket: Some(socket_beside(&file)), fails })
    }
}
