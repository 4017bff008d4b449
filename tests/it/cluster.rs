//! The PostgreSQL cluster of this test binary, and databases on it.
//!
//! It lies in memory where the machine has a file system there: what is tested on it is logic.
//! What a crash of the server leaves is tested on a disk, on clusters of their own.

use std::sync::{LazyLock, Mutex};

use bondflow::payout::tables::TABLES;
use bondflow::sandbox::postgres::{Cluster, Place};
use bondflow::store::postgres::{OpenMode, PostgresStore, Reckoning};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

static CLUSTER: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::start(Place::Memory, "-c max_connections=400 -c shared_buffers=64MB").unwrap());

/// The name of a database with the schema and nothing in it.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Databases that were used and are free again.
static FREE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// An empty database, free for others when it is dropped.
pub struct Lent {
    url: String,
}

impl Lent {
    /// One that nobody else uses.
    pub async fn new() -> Self {
        let free = FREE.lock().unwrap().pop();
        let url = match free {
            Some(url) => {
                empty(&url).await;
                url
            }
            None => {
                let template = TEMPLATE.get_or_init(template).await;
                CLUSTER.database(template).await.unwrap()
            }
        };
        Self { url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        FREE.lock().unwrap().push(std::mem::take(&mut self.url));
    }
}

/// A database without even a schema.
pub async fn bare() -> String {
    CLUSTER.database("template1").await.unwrap()
}

async fn template() -> String {
    let url = bare().await;
    PostgresStore::open(&url, TABLES, OpenMode::Daemon, Reckoning::Caller).await.unwrap().close().await;
    url.rsplit_once('/').unwrap().1.to_owned()
}

async fn empty(url: &str) {
    let mut db = PgConnection::connect(url).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(tablename) FROM pg_tables
         WHERE schemaname = current_schema() AND tablename <> '_sqlx_migrations'",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    let all = format!("TRUNCATE {} RESTART IDENTITY CASCADE", tables.join(", "));
    sqlx::raw_sql(AssertSqlSafe(all)).execute(&mut db).await.unwrap();
}
