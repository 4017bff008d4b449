//! The database that the daemons share: a file of one of them, or a server of many.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bondflow::engine::Store;
use bondflow::payout::tables::TABLES;
use bondflow::sandbox::postgres::{Cluster, Ending, Place};
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{self, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

pub enum Database {
    File(PathBuf),
    Server { cluster: Cluster, url: String },
}

/// The messages to one key, whatever became of them.
const DIRECT: &str = "SELECT id FROM outbox WHERE slot IS NULL";

impl Database {
    pub fn file(folder: &Path) -> Self {
        Self::File(folder.join("bondflow.db"))
    }

    /// On a disk: what the server's crash leaves is part of it.
    pub async fn server() -> Self {
        let cluster = Cluster::start(Place::Disk, "").unwrap();
        let url = cluster.database("template1").await.unwrap();
        Self::Server { cluster, url }
    }

    pub fn url(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite://{}", path.display()),
            Self::Server { url, .. } => url.clone(),
        }
    }

    /// As a daemon opens it, so that there is a schema.
    pub async fn make(&self) -> Arc<dyn Store> {
        match self {
            Self::File(path) => Arc::new(SqliteStore::open(path, TABLES, sqlite::OpenMode::Daemon).await.unwrap()),
            Self::Server { url, .. } => {
                let mode = postgres::OpenMode::Daemon;
                Arc::new(PostgresStore::open(url, TABLES, mode, Reckoning::Database).await.unwrap())
            }
        }
    }

    /// To read it beside the daemons.
    pub async fn look(&self) -> Arc<dyn Store> {
        match self {
            Self::File(path) => Arc::new(SqliteStore::open(path, TABLES, sqlite::OpenMode::Tool).await.unwrap()),
            Self::Server { url, .. } => {
                let mode = postgres::OpenMode::Tool;
                Arc::new(PostgresStore::open(url, TABLES, mode, Reckoning::Database).await.unwrap())
            }
        }
    }

    /// The ids of the messages to one key that were ever decided.
    pub async fn direct_messages(&self) -> Vec<String> {
        match self {
            Self::File(path) => {
                let mut db = SqliteConnectOptions::new().filename(path).read_only(true).connect().await.unwrap();
                sqlx::query_scalar(DIRECT).fetch_all(&mut db).await.unwrap()
            }
            Self::Server { url, .. } => {
                let mut db = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(DIRECT).fetch_all(&mut db).await.unwrap()
            }
        }
    }

    /// Ends the server, in good order or as in a crash, and starts it again. A file has none.
    pub fn restart(&self, crash: bool) {
        if let Self::Server { cluster, .. } = self {
            cluster.stop(if crash { Ending::Crash } else { Ending::Fast }).unwrap();
            cluster.again("").unwrap();
        }
    }
}
