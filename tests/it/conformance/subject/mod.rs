//! The stores that are tested.

mod tables;

use bondflow::engine::Store;
use bondflow::payout::tables::TABLES;
use bondflow::sandbox::postgres::Place;
use bondflow::store::memory::{Dump, MemoryStore};
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{OpenMode, SqliteStore};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::cluster::Lent;
pub use tables::{difference, dump, dump_postgres, ranked};

/// A store with a place that outlives it.
pub trait StoreUnderTest: Sized {
    /// An empty store in a place of its own.
    async fn fresh() -> Self;
    /// What the next daemon finds when this one is gone.
    async fn reopen(self) -> Self;
    /// An empty oracle that is as much alone on its data as this store.
    fn oracle() -> MemoryStore {
        MemoryStore::new(TABLES)
    }
    /// The store.
    fn store(&self) -> &dyn Store;
    /// All tables, as they are now.
    async fn dump(&self) -> Dump;
}

/// The oracle.
pub struct Memory(pub MemoryStore);

impl StoreUnderTest for Memory {
    async fn fresh() -> Self {
        Self(MemoryStore::new(TABLES))
    }

    async fn reopen(self) -> Self {
        Self(self.0.reopen())
    }

    fn store(&self) -> &dyn Store {
        &self.0
    }

    async fn dump(&self) -> Dump {
        self.0.snapshot().dump()
    }
}

/// SQLite, on a file in a folder that is removed afterwards. It lies in memory where the machine has a file system there:
/// what is tested on it is logic. What a crash leaves is tested on a disk.
pub struct Sqlite {
    store: SqliteStore,
    reader: Mutex<SqliteConnection>,
    /// What reads all tables.
    query: String,
    folder: TempDir,
}

const FILE: &str = "test.db";

impl Sqlite {
    async fn open(folder: TempDir) -> Self {
        let file = folder.path().join(FILE);
        let store = SqliteStore::open(&file, TABLES, OpenMode::Daemon).await.unwrap();
        let mut reader = tables::reader(&file).await;
        let query = tables::query(&mut reader).await;
        Self { store, reader: Mutex::new(reader), query, folder }
    }
}

impl StoreUnderTest for Sqlite {
    async fn fresh() -> Self {
        Self::open(tempfile::tempdir_in(Place::Memory.folder()).unwrap()).await
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        Self::open(self.folder).await
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn dump(&self) -> Dump {
        tables::dump_by(&mut *self.reader.lock().await, &self.query).await
    }
}

/// PostgreSQL, on a database of the test binary's own cluster.
pub struct Postgres {
    store: PostgresStore,
    reader: Mutex<PgConnection>,
    database: Lent,
}

impl Postgres {
    async fn open(database: Lent) -> Self {
        // The tests' time is none of a machine's.
        let opened = PostgresStore::open(database.url(), TABLES, postgres::OpenMode::Daemon, Reckoning::Caller);
        let reader = Mutex::new(PgConnection::connect(database.url()).await.unwrap());
        Self { store: opened.await.unwrap(), reader, database }
    }
}

impl StoreUnderTest for Postgres {
    fn oracle() -> MemoryStore {
        MemoryStore::shared(TABLES)
    }

    async fn fresh() -> Self {
        Self::open(Lent::new().await).await
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        Self::open(self.database).await
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn dump(&self) -> Dump {
        tables::dump_on(&mut *self.reader.lock().await).await
    }
}
