//! A database with an engine at work on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bondflow::engine::store::RunFilter;
use bondflow::engine::{
    Alarms, Bound, Clock, Draft, Effects, Engine, Options, Parts, Registry, RunId, Sealed, Sealer, Store, StoreError,
    SystemClock, Timestamp,
};
use bondflow::store::sqlite::{OpenMode, SqliteStore};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::flow::{self, Acted};

/// Where databases of the bench lie: on the disk that the project lies on, since the folder for
/// temporary files may be in memory.
pub fn place() -> anyhow::Result<(TempDir, PathBuf)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder)?;
    let folder = TempDir::new_in(folder)?;
    let path = folder.path().join("bench.db");
    Ok((folder, path))
}

/// An engine at work.
pub struct Bed {
    pub engine: Engine,
    pub store: Arc<SqliteStore>,
    pub bound: Arc<Bound>,
    pub acted: Arc<Acted>,
    stop: watch::Sender<bool>,
    working: JoinHandle<Result<(), StoreError>>,
}

impl Bed {
    /// Opens the database and starts an engine on it, with the engine's own numbers.
    pub async fn open(path: &Path) -> anyhow::Result<Self> {
        let store = Arc::new(SqliteStore::open(path, &[], OpenMode::Daemon).await?);
        let acted = Arc::new(Acted::default());
        let bound = flow::bound(&acted)?;
        let mut registry = Registry::default();
        registry.add(Arc::clone(&bound));
        registry.check(store.as_ref()).await?;
        let engine = Engine::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::new(SystemClock),
            registry,
            sealer: Arc::new(Silent),
            alarms: Alarms::default(),
            owner: uuid::Uuid::new_v4().to_string(),
            options: Options::default(),
        });
        let stop = watch::Sender::new(false);
        let working = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.subscribe());
            async move { engine.run(stop).await }
        });
        Ok(Self { engine, store, bound, acted, stop, working })
    }

    /// Starts a run.
    pub async fn start(&self, key: &str) -> anyhow::Result<()> {
        self.submit(flow::starting(&self.bound, key, SystemClock.now())?).await
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
        self.store.close().await;
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
