//! What a step costs once a million runs have finished in the same file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::bed::{Bed, Database, Ground, SQLITE};
use crate::flow::STEPS;
use crate::load;
use crate::machine::size;
use crate::report::{Report, Target};
use crate::waiting;

/// How many runs have finished.
const FINISHED: i64 = 1_000_000;

/// How many runs are driven at once to measure a step.
const RUNS: u64 = 10_000;

const TIMES: usize = 3;

/// Finished runs as the engine leaves them, with their history and their signals.
const FINISH_SQLITE: [&str; 3] = [
    "INSERT INTO runs (id, workflow, version, hash, key, status, step, attempt, state, revision, token, signals, heard,
                       created_at, updated_at)
     WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
     SELECT lower(hex(randomblob(16))), 'parcel', 1, lower(hex(randomblob(32))), lower(hex(randomblob(18))),
            'completed', 'done', 0, '{\"sender\":\"4d2c8c6d0ed6b0ec5b8a2a0a2e1f3d44\",\"recipient\":\"99aa8c6d0ed6b0ec5b8a2a0a2e1f3d44\",\"grams\":1250,\"fetched_by\":\"{}\",\"steps\":5}',
            5, 2, 1, 1, 1700000000000 + n, 1700000000000 + n
     FROM n",
    "INSERT INTO history (run, revision, step, attempt, outcome, target, status, at)
     SELECT seq, step.value, 'deliver', 0, 'delivered', 'bill', 'running', created_at
     FROM runs CROSS JOIN json_each('[1,2,3,4,5]') AS step",
    "INSERT INTO signals (run, number, name, payload, dedup, at, taken)
     SELECT seq, 1, 'fetched', '{\"by\":\"courier\"}', 'fetched', created_at, 3 FROM runs",
];

const FINISH_POSTGRES: [&str; 3] = [
    "INSERT INTO runs (id, workflow, version, hash, key, status, step, attempt, state, revision, token, signals, heard,
                       created_at, updated_at)
     SELECT md5(n::text), 'parcel', 1, md5(n::text) || md5(n::text), md5('key' || n), 'completed', 'done', 0,
            '{\"sender\":\"4d2c8c6d0ed6b0ec5b8a2a0a2e1f3d44\",\"recipient\":\"99aa8c6d0ed6b0ec5b8a2a0a2e1f3d44\",\"grams\":1250,\"fetched_by\":\"{}\",\"steps\":5}',
            5, 2, 1, 1, 1700000000000 + n, 1700000000000 + n
     FROM generate_series(1, $1::bigint) AS n",
    "INSERT INTO history (run, revision, step, attempt, outcome, target, status, at)
     SELECT seq, nth, 'deliver', 0, 'delivered', 'bill', 'running', created_at
     FROM runs CROSS JOIN generate_series(1, 5) AS nth WHERE seq <= $1",
    "INSERT INTO signals (run, number, name, payload, dedup, at, taken)
     SELECT seq, 1, 'fetched', '{\"by\":\"courier\"}', 'fetched', created_at, 3 FROM runs WHERE seq <= $1",
];

/// Compares.
pub async fn measure(ground: &Ground, report: &mut Report) -> anyhow::Result<()> {
    let store = ground.store();
    let (_empty, empty) = ground.place().await?;
    let (_full, full) = ground.place().await?;
    fill(&full).await?;
    if let Database::Sqlite(path) = &full {
        report.add("file of a million finished runs", store, size(path) as f64 / 1e6, "MB", Target::None);
    }
    let most = Target::AtMost(if store == SQLITE { 0.2 } else { 0.3 });
    let rows: [waiting::Row; 2] = [
        ("workflowctl list beside a million finished runs", &["list"], most),
        ("workflowctl stats beside a million finished runs", &["stats"], most),
    ];
    waiting::commands(&full, &rows, report).await?;
    let (mut without, mut with) = (Vec::with_capacity(TIMES), Vec::with_capacity(TIMES));
    // In turn, so that what else the machine does meets both.
    for time in 0..TIMES {
        without.push(a_step(&empty, time).await?);
        with.push(a_step(&full, time).await?);
    }
    without.sort_unstable();
    with.sort_unstable();
    let micros = |steps: &[(Duration, u64)]| steps[TIMES / 2].0.as_secs_f64() * 1e6;
    for (row, steps) in [("a step in an empty file", &without), ("a step beside a million finished runs", &with)] {
        report.add(row, store, micros(steps), "µs", Target::None);
        if store == SQLITE {
            let bytes = steps[TIMES / 2].1 as f64;
            report.add(format!("{row}: written to the disk"), store, bytes, "bytes", Target::None);
        }
    }
    let ratio = micros(&with) / micros(&without);
    report.add(
        "a step beside a million finished runs, to one in an empty file",
        store,
        ratio,
        "x",
        Target::AtMost(1.2),
    );
    Ok(())
}

/// What one step of many takes, and how much the process writes for it.
async fn a_step(database: &Database, time: usize) -> anyhow::Result<(Duration, u64)> {
    let bed = Bed::open(database).await?;
    let cost = load::run(&bed, &format!("more-{time}"), RUNS).await?;
    bed.close().await?;
    Ok((cost.elapsed / u32::try_from(RUNS * STEPS)?, cost.written / (RUNS * STEPS)))
}

async fn fill(database: &Database) -> anyhow::Result<()> {
    // The engine makes the tables.
    Bed::open(database).await?.close().await?;
    match database {
        Database::Sqlite(path) => fill_sqlite(path).await,
        Database::Postgres(url) => fill_postgres(url).await,
    }?;
    database.vacuum().await
}

async fn fill_postgres(url: &str) -> anyhow::Result<()> {
    let mut db = PgConnection::connect(url).await?;
    for statement in FINISH_POSTGRES {
        sqlx::query(statement).bind(FINISHED).execute(&mut db).await?;
    }
    db.close().await?;
    Ok(())
}

async fn fill_sqlite(path: &Path) -> anyhow::Result<()> {
    let mut db = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-1048576")
        .disable_statement_logging()
        .connect()
        .await?;
    for statement in FINISH_SQLITE {
        sqlx::query(statement).bind(FINISHED).execute(&mut db).await?;
    }
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db).await?;
    db.close().await?;
    // What the disk still owes for making the file is not to be paid by what is measured.
    std::fs::File::open(path)?.sync_all()?;
    Ok(())
}
