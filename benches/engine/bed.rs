//! A database with an engine at work on it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use bondflow::engine::store::RunFilter;
use bondflow::engine::{
    Alarms, Bound, Clock, Draft, Effects, Engine, Options, Parts, Registry, RunId, Sealed, Sealer, Store, StoreError,
    SystemClock, Timestamp,
};
use bondflow::sandbox::postgres::{Cluster, Place};
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{self, SqliteStore};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::flow::{self, Acted};

/// A database, and how it is named to another process.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// An address.
    Postgres(String),
}

impl Database {
    /// The store's name in the table.
    pub fn store(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => SQLITE,
            Self::Postgres(_) => POSTGRES,
        }
    }

    /// Has a server do at once what it does by itself within a minute or two: clear away old rows, count anew, and write all out.
    pub async fn vacuum(&self) -> anyhow::Result<()> {
        if let Self::Postgres(url) = self {
            let mut db = PgConnection::connect(url).await?;
            for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
                sqlx::raw_sql(statement).execute(&mut db).await?;
            }
            db.close().await?;
        }
        Ok(())
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => f.write_str(url),
        }
    }
}

impl FromStr for Database {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text.strip_prefix("sqlite://") {
            Some(path) => Self::Sqlite(path.into()),
            None => Self::Postgres(text.to_owned()),
        })
    }
}

pub const SQLITE: &str = "sqlite";
pub const POSTGRES: &str = "postgres";

/// A kind of store, with what it needs to make databases.
pub enum Ground {
    /// Files of their own.
    Sqlite,
    /// A cluster with its syncs as the server has them unless it is told otherwise.
    Postgres(Cluster),
}

/// What is there for as long as a new database is used.
pub type Kept = Option<TempDir>;

impl Ground {
    /// The kinds that are there, of those that are wanted.
    pub async fn all(wanted: &[&str]) -> anyhow::Result<Vec<Self>> {
        let mut grounds = Vec::new();
        if wanted.contains(&SQLITE) {
            grounds.push(Self::Sqlite);
        }
        if wanted.contains(&POSTGRES) {
            match Cluster::start(Place::Disk, "") {
                Ok(cluster) => {
                    let mut db = PgConnection::connect(&cluster.url("postgres")).await?;
                    for setting in ["fsync", "synchronous_commit"] {
                        let set: String =
                            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut db).await?;
                        ensure!(set == "on", "{setting} is {set}");
                    }
                    db.close().await?;
                    grounds.push(Self::Postgres(cluster));
                }
                Err(error) => eprintln!("without PostgreSQL: {error}"),
            }
        }
        Ok(grounds)
    }

    /// The store's name in the table.
    pub fn store(&self) -> &'static str {
        match self {
            Self::Sqlite => SQLITE,
            Self::Postgres(_) => POSTGRES,
        }
    }

    /// A new database. A file lies on the disk that the project lies on, since the folder for
    /// temporary files may be in memory.
    pub async fn place(&self) -> anyhow::Result<(Kept, Database)> {
        match self {
            Self::Sqlite => {
                let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
                std::fs::create_dir_all(folder)?;
                let folder = TempDir::new_in(folder)?;
                let path = folder.path().join("bench.db");
                Ok((Some(folder), Database::Sqlite(path)))
            }
            Self::Postgres(cluster) => Ok((None, Database::Postgres(cluster.database("template0").await?))),
        }
    }
}

enum Opened {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

/// An engine at work.
pub struct Bed {
    pub engine: Engine,
    pub store: Arc<dyn Store>,
    pub bound: Arc<Bound>,
    pub acted: Arc<Acted>,
    clock: Arc<dyn Clock>,
    opened: Opened,
    stop: watch::Sender<bool>,
    working: JoinHandle<Result<(), StoreError>>,
}

impl Bed {
    /// Opens the database and starts an engine on it, with the engine's own numbers.
    pub async fn open(database: &Database) -> anyhow::Result<Self> {
        let (opened, store, clock): (_, Arc<dyn Store>, Arc<dyn Clock>) = match database {
            Database::Sqlite(path) => {
                let store = Arc::new(SqliteStore::open(path, &[], sqlite::OpenMode::Daemon).await?);
                (Opened::Sqlite(Arc::clone(&store)), store, Arc::new(SystemClock))
            }
            Database::Postgres(url) => {
                let mode = postgres::OpenMode::Daemon;
                let store = Arc::new(PostgresStore::open(url, &[], mode, Reckoning::Database).await?);
                let clock = Arc::new(store.clock());
                (Opened::Postgres(Arc::clone(&store)), store, clock)
            }
        };
        let acted = Arc::new(Acted::default());
        let bound = flow::bound(&acted)?;
        let mut registry = Registry::default();
        registry.add(Arc::clone(&bound));
        registry.check(store.as_ref()).await?;
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            registry,
            sealer: Arc::new(Silent),
            alarms: Alarms::default(),
            owner: uuid::Uuid::new_v4().to_string(),
            options: Options::default(),
        });
        let stop = watch::Sender::new(false);
        let working = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.subscribe());
            async move {
                let ended = engine.run(stop).await;
                if let Err(error) = &ended {
                    eprintln!("the engine has ended: {error}");
                }
                ended
            }
        });
        Ok(Self { engine, store, bound, acted, clock, opened, stop, working })
    }

    /// Transactions that the store has written, if it counts them.
    pub fn batches(&self) -> Option<u64> {
        match &self.opened {
            Opened::Sqlite(store) => Some(store.stats().batches),
            Opened::Postgres(_) => None,
        }
    }

    /// Starts a run.
    pub async fn start(&self, key: &str) -> anyhow::Result<()> {
        self.submit(flow::starting(&self.bound, key, self.clock.now())?).await
    }

    /// Gives a run the word that it waits for.
    pub async fn signal(&self, key: &str) -> anyhow::Result<()> {
        self.submit(flow::fetched(self.bound.id(key))).await
    }

    async fn submit(&self, effects: Effects) -> anyhow::Result<()> {
        self.engine.submit(effects, None).await?;
        Ok(())
    }

    /// The run's id.
    pub fn id(&self, key: &str) -> RunId {
        self.bound.id(key)
    }

    /// Whether the store has a run that the filter lets through.
    pub async fn any(&self, filter: RunFilter) -> anyhow::Result<bool> {
        Ok(!self.store.runs(&RunFilter { limit: Some(1), ..filter }).await?.is_empty())
    }

    /// Stops in good order.
    pub async fn close(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.working.await.context("the engine has a defect")??;
        match self.opened {
            Opened::Sqlite(store) => store.close().await,
            Opened::Postgres(store) => store.close().await,
        }
        Ok(())
    }
}

/// Nothing is said in the workflow that is measured.
struct Silent;

#[async_trait]
impl Sealer for Silent {
    async fn seal(&self, _: &Draft, _: Timestamp, _: &dyn Store) -> Result<Sealed, String> {
        Err("nothing is said here".into())
    }
}
