//! Opening the database that the settings or the command line name.

use std::path::PathBuf;
use std::sync::Arc;

use bondflow::config::{DatabaseUrl, Settings, variables};
use bondflow::engine::Store;
use bondflow::payout::tables::TABLES;
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{OpenMode, SqliteStore};

use crate::Shared;
use crate::desk::DaemonPlace;
use crate::failure::Failure;

/// How the database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Beside a daemon: to read, and to put requests into mailboxes.
    Beside,
    /// In the daemon's place: refused while one runs.
    Exclusive,
}

/// An open database, and what the settings say of it.
pub struct Opened {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Its name without secrets.
    pub name: String,
    /// Where its daemon is to be found.
    pub daemon: Option<DaemonPlace>,
    /// The claim window in days, where the settings were read.
    pub window_days: Option<u32>,
}

/// Opens it.
pub async fn open(shared: &Shared, access: Access) -> Result<Opened, Failure> {
    let (url, window_days) = located(shared)?;
    let name = format!("{url:?}");
    let Some(file) = url.file() else {
        let mode = match access {
            Access::Beside => postgres::OpenMode::Tool,
            Access::Exclusive => postgres::OpenMode::Daemon,
        };
        let store = PostgresStore::open(url.expose(), TABLES, mode, Reckoning::Database).await;
        let store = Arc::new(store.map_err(|error| Failure::Error(error.to_string()))?);
        let daemon = Some(DaemonPlace::OnServer(Arc::clone(&store)));
        return Ok(Opened { store, name, daemon, window_days });
    };
    let mode = match access {
        Access::Beside => OpenMode::Tool,
        Access::Exclusive => OpenMode::Daemon,
    };
    let store = SqliteStore::open(&file, TABLES, mode).await.map_err(|error| Failure::Error(error.to_string()))?;
    Ok(Opened { store: Arc::new(store), name, daemon: Some(DaemonPlace::Beside(file)), window_days })
}

/// The address of the database that the settings or the command line name.
pub fn address(shared: &Shared) -> Result<DatabaseUrl, Failure> {
    Ok(located(shared)?.0)
}

/// The file of the database that the settings or the command line name.
pub fn file(shared: &Shared) -> Result<PathBuf, Failure> {
    file_of(&located(shared)?.0)
}

fn file_of(url: &DatabaseUrl) -> Result<PathBuf, Failure> {
    url.file().ok_or_else(|| {
        Failure::Error(format!("{url:?}: this command is for a SQLite file, the server has its own means (pg_dump): give --database sqlite://FILE"))
    })
}

/// The database's address. With `--database` the settings are only asked for what they add.
fn located(shared: &Shared) -> Result<(DatabaseUrl, Option<u32>), Failure> {
    let settings = Settings::load(&shared.config, variables());
    match (&shared.database, settings) {
        (Some(url), settings) => {
            Ok((url.clone(), settings.ok().map(|settings| settings.anti_abuse_bond.payout_claim_window_days)))
        }
        (None, Ok(settings)) => Ok((settings.database.url, Some(settings.anti_abuse_bond.payout_claim_window_days))),
        (None, Err(error)) => Err(Failure::Error(format!("{error}: give --config FILE, or --database sqlite://FILE"))),
    }
}
