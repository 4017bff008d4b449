//! The databases on which the commands are tried.

use std::sync::Arc;

use bondflow::engine::Store;
use bondflow::payout::tables::TABLES;
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{OpenMode, SqliteStore};

use super::Place;
use crate::cluster::Lent;

/// A database, and a folder to work in.
pub trait Home: Sized {
    /// An empty one.
    async fn fresh() -> Self;
    /// The folder, and where the database is.
    fn place(&self) -> &Place;
    /// The database, as one who looks at it and leaves requests opens it.
    async fn store(&self) -> Arc<dyn Store>;
}

/// On a file of SQLite's.
pub struct SqliteHome(Place);

impl Home for SqliteHome {
    async fn fresh() -> Self {
        let place = Place::new();
        place.daemon().await.close().await;
        Self(place)
    }

    fn place(&self) -> &Place {
        &self.0
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.0.file("bondflow.db"), TABLES, OpenMode::Tool).await.unwrap())
    }
}

/// On a server of PostgreSQL's.
pub struct PostgresHome {
    place: Place,
    database: Lent,
}

impl Home for PostgresHome {
    async fn fresh() -> Self {
        let database = Lent::new().await;
        let place = Place { url: database.url().to_owned(), ..Place::new() };
        Self { place, database }
    }

    fn place(&self) -> &Place {
        &self.place
    }

    async fn store(&self) -> Arc<dyn Store> {
        // The runs are as old as the test says.
        let opened = PostgresStore::open(self.database.url(), TABLES, postgres::OpenMode::Daemon, Reckoning::Caller);
        Arc::new(opened.await.unwrap())
    }
}

/// Makes a test of each function for each database.
macro_rules! on_every_home {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test::<super::super::home::SqliteHome>().await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test::<super::super::home::PostgresHome>().await;
                }
            )+
        }
    };
}

pub(super) use on_every_home;
