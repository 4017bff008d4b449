//! What the store alone can do on this machine, by the same driver and with the same care.

use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::bed::{Database, Ground, POSTGRES, SQLITE};
use crate::machine::{Stopwatch, percentile};
use crate::report::{Report, Target};

/// How long each of the limits is measured.
const LONG: Duration = Duration::from_secs(2);

/// The rows that others are compared with.
pub const ALONE: &str = "raw store, transactions of one row";
pub const MANY: &str = "raw store, rows by 256 in a transaction";
pub const PAUSED: &str = "raw store, a lone transaction after a pause";

/// How many lone transactions are measured, and what lies between two of them: a disk that was idle for a moment
/// answers later than one that is kept busy.
const LONE: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(2);

/// Rows of one small text in a table without any other index; one transaction a statement.
pub async fn measure(ground: &Ground, report: &mut Report) -> anyhow::Result<()> {
    let (_kept, database) = ground.place().await?;
    match database {
        Database::Sqlite(path) => sqlite(&path, report).await,
        Database::Postgres(url) => postgres(&url, report).await,
    }
}

async fn sqlite(path: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut db = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::query("CREATE TABLE raw (seq INTEGER PRIMARY KEY, text TEXT NOT NULL)").execute(&mut db).await?;
    for (rows, row) in [(1_usize, ALONE), (16, "raw store, rows by 16 in a transaction"), (256, MANY)] {
        let list = serde_json::to_string(&vec!["x".repeat(100); rows])?;
        let (mut transactions, watch) = (0_u64, Stopwatch::start());
        while watch.elapsed() < LONG {
            sqlx::query("INSERT INTO raw (text) SELECT value FROM json_each(?1)").bind(&list).execute(&mut db).await?;
            transactions += 1;
        }
        let each = transactions as f64 * rows as f64 / watch.elapsed().as_secs_f64();
        report.add(row, SQLITE, each, "1/s", Target::None);
    }
    let mut took = Vec::with_capacity(LONE);
    for _ in 0..LONE {
        tokio::time::sleep(PAUSE).await;
        let watch = Stopwatch::start();
        sqlx::query("INSERT INTO raw (text) VALUES (?1)").bind("x").execute(&mut db).await?;
        took.push(watch.elapsed());
    }
    tell_paused(report, SQLITE, took);
    db.close().await?;
    Ok(())
}

async fn postgres(url: &str, report: &mut Report) -> anyhow::Result<()> {
    let mut db = PgConnection::connect(url).await?;
    let table = "CREATE TABLE raw (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text TEXT NOT NULL)";
    sqlx::query(table).execute(&mut db).await?;
    db.close().await?;
    for (connections, rows, row) in
        [(1, 1, ALONE), (16, 1, "raw store, transactions of one row, 16 connections"), (1, 256, MANY)]
    {
        let watch = Stopwatch::start();
        let each = (0..connections).map(|_| postgres_alone(url, rows, watch));
        let transactions: u64 = try_join_all(each).await?.into_iter().sum();
        let each = transactions as f64 * rows as f64 / watch.elapsed().as_secs_f64();
        report.add(row, POSTGRES, each, "1/s", Target::None);
    }
    let mut db = PgConnection::connect(url).await?;
    let mut took = Vec::with_capacity(LONE);
    for _ in 0..LONE {
        tokio::time::sleep(PAUSE).await;
        let watch = Stopwatch::start();
        sqlx::query("INSERT INTO raw (text) VALUES ($1)").bind("x").execute(&mut db).await?;
        took.push(watch.elapsed());
    }
    tell_paused(report, POSTGRES, took);
    db.close().await?;
    Ok(())
}

fn tell_paused(report: &mut Report, store: &'static str, mut took: Vec<Duration>) {
    took.sort_unstable();
    for percent in [50, 99] {
        let value = percentile(&took, percent).as_secs_f64() * 1_000.0;
        report.add(format!("{PAUSED}, p{percent}"), store, value, "ms", Target::None);
    }
}

/// One connection's transactions until the time is over.
async fn postgres_alone(url: &str, rows: usize, watch: Stopwatch) -> anyhow::Result<u64> {
    let mut db = PgConnection::connect(url).await?;
    let list = vec!["x".repeat(100); rows];
    let mut transactions = 0;
    while watch.elapsed() < LONG {
        sqlx::query("INSERT INTO raw (text) SELECT unnest($1::text[])").bind(&list).execute(&mut db).await?;
        transactions += 1;
    }
    db.close().await?;
    Ok(transactions)
}
