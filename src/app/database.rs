//! The database that the settings name, opened for a daemon.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::config::DatabaseUrl;
use crate::engine::{Clock, Store, StoreError};
use crate::payout::tables::TABLES;
use crate::store::CommitMeters;
use crate::store::postgres::{self, PostgresStore, Reckoning};
use crate::store::sqlite::{self, SqliteStore};
use crate::store::wake::socket_beside;

use super::AppError;
use super::lineage::Witness;

/// An open database with what goes with it.
pub(super) struct Database {
    pub(super) store: Arc<dyn Store>,
    /// By which its daemons live.
    pub(super) clock: Arc<dyn Clock>,
    /// What it measures of its transactions.
    pub(super) meters: CommitMeters,
    /// Where tools wake the daemon, if they don't do it through the database.
    pub(super) socket: Option<PathBuf>,
    /// Where what was seen committed is kept, if that is not in the settings.
    pub(super) witness: Option<PathBuf>,
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
            return Ok(Self {
                meters: store.meters(),
                store: Arc::new(store),
                clock,
                socket: None,
                witness: None,
                fails: Box::pin(pending()),
            });
        };
        let store = SqliteStore::open(&file, TABLES, sqlite::OpenMode::Daemon).await?;
        let fails = Box::pin(store.disk_fails());
        let (socket, witness) = (Some(socket_beside(&file)), Some(Witness::beside(&file)));
        Ok(Self { meters: store.meters(), store: Arc::new(store), clock, socket, witness, fails })
    }
}
