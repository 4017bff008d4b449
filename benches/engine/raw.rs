//! What the store alone can do on this machine, by the same driver and with the same care.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use crate::bed;
use crate::machine::Stopwatch;
use crate::report::{Report, Target};

/// How long each of the limits is measured.
const LONG: Duration = Duration::from_secs(2);

/// Rows of one small text in a table without any other index; one transaction a statement.
pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (_folder, path) = bed::place()?;
    let mut db = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::query("CREATE TABLE raw (seq INTEGER PRIMARY KEY, text TEXT NOT NULL)").execute(&mut db).await?;
    for rows in [1_usize, 16, 256] {
        let list = serde_json::to_string(&vec!["x".repeat(100); rows])?;
        let (mut transactions, watch) = (0_u64, Stopwatch::start());
        while watch.elapsed() < LONG {
            sqlx::query("INSERT INTO raw (text) SELECT value FROM json_each(?1)").bind(&list).execute(&mut db).await?;
            transactions += 1;
        }
        let each = transactions as f64 / watch.elapsed().as_secs_f64();
        if rows == 1 {
            report.add("raw store, transactions of one row", "sqlite", each, "1/s", Target::None);
        } else {
            let row = format!("raw store, rows by {rows} in a transaction");
            report.add(row, "sqlite", each * rows as f64, "1/s", Target::None);
        }
    }
    db.close().await?;
    Ok(())
}
