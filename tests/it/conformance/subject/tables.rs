//! Reads the tables of a SQLite file beside the store.

use std::path::Path;

use bondflow::engine::store::Row;
use bondflow::payout::tables::TABLES;
use bondflow::store::memory::{Dump, MemoryStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};

/// The tables that the oracle has too, each in the order of its primary key.
pub async fn dump(file: &Path) -> Dump {
    let mut reader = SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap();
    let mut transaction = reader.begin().await.unwrap();
    let mut dump = Dump::new();
    for (table, _) in MemoryStore::new(TABLES).snapshot().dump() {
        let rows = rows(&mut transaction, &table).await;
        dump.insert(table, rows);
    }
    dump
}

async fn rows(reader: &mut SqliteConnection, table: &str) -> Vec<Row> {
    let columns: Vec<(String, i64)> = sqlx::query_as("SELECT name, pk FROM pragma_table_info(?) ORDER BY pk")
        .bind(table)
        .fetch_all(&mut *reader)
        .await
        .unwrap();
    let fields: Vec<String> = columns.iter().map(|(name, _)| format!("'{name}', \"{name}\"")).collect();
    let key: Vec<String> = columns.iter().filter(|(_, pk)| *pk > 0).map(|(name, _)| format!("\"{name}\"")).collect();
    let query = format!("SELECT json_object({}) FROM \"{table}\" ORDER BY {}", fields.join(", "), key.join(", "));
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(reader).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}
