//! The databases on which the commands are tried.

use std::sync::Arc;

use bondflow::engine::Store;
use bondflow::payout::tables::TABLES;
use bondflow::store::sqlite::{OpenMode, SqliteStore};

use super::Place;

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
    };
}

pub(super) use on_every_home;
