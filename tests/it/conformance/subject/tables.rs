//! The tables of a database, read beside the store, and compared.

use std::collections::BTreeMap;
use std::path::Path;

use bondflow::payout::tables::TABLES;
use bondflow::store::memory::{Dump, MemoryStore};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection};

/// The tables that the oracle has too, each in the order of its primary key.
pub async fn dump(file: &Path) -> Dump {
    let mut reader = reader(file).await;
    let query = query(&mut reader).await;
    let dump = dump_by(&mut reader, &query).await;
    reader.close().await.unwrap();
    dump
}

/// A connection that reads that file.
pub async fn reader(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap()
}

/// What reads all those tables at once.
pub async fn query(reader: &mut SqliteConnection) -> String {
    let mut parts = vec![];
    for (table, _) in MemoryStore::new(TABLES).snapshot().dump() {
        let columns: Vec<(String, i64)> = sqlx::query_as("SELECT name, pk FROM pragma_table_info(?) ORDER BY pk")
            .bind(&table)
            .fetch_all(&mut *reader)
            .await
            .unwrap();
        let fields: Vec<String> = columns.iter().map(|(name, _)| format!("'{name}', \"{name}\"")).collect();
        let key: Vec<String> =
            columns.iter().filter(|(_, pk)| *pk > 0).map(|(name, _)| format!("\"{name}\"")).collect();
        let rows = format!("SELECT * FROM \"{table}\" ORDER BY {}", key.join(", "));
        parts.push(format!("'{table}', (SELECT json_group_array(json_object({})) FROM ({rows}))", fields.join(", ")));
    }
    format!("SELECT json_object({})", parts.join(", "))
}

/// What that query reads.
pub async fn dump_by(reader: &mut SqliteConnection, query: &str) -> Dump {
    let dump: String = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(reader).await.unwrap();
    serde_json::from_str(&dump).unwrap()
}

/// The same of a PostgreSQL database. What a table is sorted by there is its primary key.
pub async fn dump_postgres(url: &str) -> Dump {
    let mut reader = PgConnection::connect(url).await.unwrap();
    let dump = dump_on(&mut reader).await;
    reader.close().await.unwrap();
    dump
}

/// The same on a connection.
pub async fn dump_on(reader: &mut PgConnection) -> Dump {
    let mut parts = vec![];
    for (table, _) in MemoryStore::new(TABLES).snapshot().dump() {
        let key = match table.as_str() {
            "runs" | "outbox" => "seq",
            "history" => "run, revision",
            "signals" => "run, number",
            "inbox" => "id",
            own => TABLES.iter().find(|table| table.name == own).unwrap().key,
        };
        parts.push(format!("'{table}', (SELECT coalesce(json_agg(t ORDER BY {key}), '[]') FROM \"{table}\" AS t)"));
    }
    let query = format!("SELECT json_build_object({})::text", parts.join(", "));
    let dump: String = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(reader).await.unwrap();
    serde_json::from_str(&dump).unwrap()
}

/// The tables with ranks for the store's own numbers: only their order means anything.
pub fn ranked(mut dump: Dump) -> Dump {
    let mut rank = |table: &str| -> BTreeMap<i64, usize> {
        let rows = dump.get_mut(table).unwrap().iter_mut().enumerate();
        rows.map(|(rank, row)| (row.insert("seq".into(), json!(rank)).unwrap().as_i64().unwrap(), rank)).collect()
    };
    rank("outbox");
    let runs = rank("runs");
    for table in ["history", "signals"] {
        for row in dump.get_mut(table).unwrap() {
            let run = row["run"].as_i64().unwrap();
            row.insert("run".into(), json!(runs[&run]));
        }
    }
    dump
}

/// Which rows there are and should not be, and the other way round, one a line.
pub fn difference(found: &Dump, expected: &Dump) -> String {
    let mut text = String::new();
    for (table, rows) in expected {
        let found = &found[table];
        for row in found.iter().filter(|row| !rows.contains(row)) {
            text += &format!("{table}\n  found    {}\n", json!(row));
        }
        for row in rows.iter().filter(|row| !found.contains(row)) {
            text += &format!("{table}\n  expected {}\n", json!(row));
        }
    }
    text
}
