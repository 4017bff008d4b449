//! The PostgreSQL cluster of this test binary, and databases on it.
//!
//! It lies in memory where the machine has a file system there: what is tested on it is logic.
//! What a crash of the server leaves is tested on a disk, on clusters of their own.

use std::sync::LazyLock;

use bondflow::payout::tables::TABLES;
use bondflow::sandbox::postgres::{Cluster, Place};
use bondflow::store::postgres::{OpenMode, PostgresStore, Reckoning};
use tokio::sync::OnceCell;

static CLUSTER: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::start(Place::Memory, "-c max_connections=400 -c shared_buffers=64MB").unwrap());

/// The name of a database with the schema and nothing in it.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A database of one's own, removed when it is dropped.
pub struct Lent {
    url: String,
    /// Whether it lies on the cluster of all.
    shared: bool,
}

impl Lent {
    /// One with the schema and nothing in it.
    pub async fn new() -> Self {
        let template = TEMPLATE.get_or_init(template).await;
        Self { url: CLUSTER.database(template).await.unwrap(), shared: true }
    }

    /// One on another cluster, which goes with it.
    pub fn elsewhere(url: String) -> Self {
        Self { url, shared: false }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.shared {
            // What is left goes with the cluster.
            let _ = CLUSTER.forget(&self.url);
        }
    }
}

async fn template() -> String {
    let url = CLUSTER.database("template1").await.unwrap();
    PostgresStore::open(&url, TABLES, OpenMode::Daemon, Reckoning::Caller).await.unwrap().close().await;
    url.rsplit_once('/').unwrap().1.to_owned()
}
