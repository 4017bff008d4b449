//! From rows of the database to what the port speaks of.

use serde_json::Value;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Error, Row as _, Sqlite, TypeInfo, ValueRef};

use super::sql;
use crate::engine::store::{OutboxEntry, OutboxMessage, OutboxState, Row, Table, Tally};
use crate::engine::{HistoryEntry, Pin, Run, RunId, Signal, Status, Timestamp};

/// In the order of `run_columns`.
pub(super) fn run(row: &SqliteRow) -> Result<Run, Error> {
    Ok(Run {
        seq: row.try_get(0)?,
        id: RunId(row.try_get(1)?),
        pin: Pin { workflow: row.try_get(2)?, version: row.try_get(3)?, hash: row.try_get(4)? },
        key: row.try_get(5)?,
        status: status(row, 6)?,
        step: row.try_get(7)?,
        attempt: row.try_get(8)?,
        state: row.try_get(9)?,
        revision: row.try_get(10)?,
        token: row.try_get(11)?,
        owner: row.try_get(12)?,
        due_at: time_if_any(row, 13)?,
        signals: row.try_get(14)?,
        heard: row.try_get(15)?,
        error: row.try_get(16)?,
        created_at: time(row, 17)?,
        updated_at: time(row, 18)?,
    })
}

pub(super) fn signal(row: &SqliteRow) -> Result<Signal, Error> {
    Ok(Signal { number: row.try_get(0)?, name: row.try_get(1)?, payload: row.try_get(2)?, at: time(row, 3)? })
}

pub(super) fn history(row: &SqliteRow) -> Result<HistoryEntry, Error> {
    Ok(HistoryEntry {
        revision: row.try_get(0)?,
        step: row.try_get(1)?,
        attempt: row.try_get(2)?,
        outcome: row.try_get(3)?,
        to: row.try_get(4)?,
        status: status(row, 5)?,
        detail: row.try_get(6)?,
        at: time(row, 7)?,
    })
}

/// In the order of `outbox_columns`.
pub(super) fn outbox(row: &SqliteRow) -> Result<OutboxEntry, Error> {
    let state: &str = row.try_get(7)?;
    Ok(OutboxEntry {
        seq: row.try_get(0)?,
        message: OutboxMessage {
            id: row.try_get(1)?,
            lane: row.try_get(2)?,
            topic: row.try_get(3)?,
            slot: row.try_get(4)?,
            body: row.try_get(5)?,
            expires_at: time_if_any(row, 6)?,
        },
        state: OutboxState::from_name(state).ok_or_else(|| senseless("state of a message", state))?,
        attempts: row.try_get(8)?,
        due_at: time(row, 9)?,
        created_at: time(row, 10)?,
    })
}

pub(super) fn pin(row: &SqliteRow) -> Result<(Pin, u64), Error> {
    let pin = Pin { workflow: row.try_get(0)?, version: row.try_get(1)?, hash: row.try_get(2)? };
    Ok((pin, row.try_get(3)?))
}

pub(super) fn tally(row: &SqliteRow) -> Result<Tally, Error> {
    Ok(Tally {
        workflow: row.try_get(0)?,
        status: status(row, 1)?,
        step: row.try_get(2)?,
        runs: row.try_get(3)?,
        oldest: time(row, 4)?,
    })
}

/// A row of one of the workflow's own tables, each value as it is kept.
pub(super) fn own(table: Table, row: &SqliteRow) -> Result<Row, Error> {
    let mut own = Row::new();
    for (place, column) in sql::names(table).enumerate() {
        let raw = row.try_get_raw(place)?;
        let value = if raw.is_null() {
            Value::Null
        } else {
            match raw.type_info().name() {
                "INTEGER" => Value::from(row.try_get_unchecked::<i64, _>(place)?),
                "REAL" => Value::from(row.try_get_unchecked::<f64, _>(place)?),
                "TEXT" => Value::from(row.try_get_unchecked::<String, _>(place)?),
                other => return Err(senseless("type of a value", other)),
            }
        };
        own.insert(column.to_owned(), value);
    }
    Ok(own)
}

/// Binds a value that is not null as what it is.
pub(super) fn bind<'q>(query: Query<'q, Sqlite, SqliteArguments>, value: &Value) -> Query<'q, Sqlite, SqliteArguments> {
    match value {
        Value::String(text) => query.bind(text.clone()),
        Value::Number(number) => match number.as_i64() {
            Some(number) => query.bind(number),
            None => query.bind(number.as_f64()),
        },
        Value::Bool(yes) => query.bind(i64::from(*yes)),
        other => query.bind(other.to_string()),
    }
}

fn status(row: &SqliteRow, place: usize) -> Result<Status, Error> {
    let name: &str = row.try_get(place)?;
    Status::from_name(name).ok_or_else(|| senseless("status", name))
}

fn time(row: &SqliteRow, place: usize) -> Result<Timestamp, Error> {
    row.try_get(place).map(Timestamp)
}

fn time_if_any(row: &SqliteRow, place: usize) -> Result<Option<Timestamp>, Error> {
    Ok(row.try_get::<Option<i64>, _>(place)?.map(Timestamp))
}

fn senseless(what: &str, found: &str) -> Error {
    Error::Decode(format!("unknown {what}: {found}").into())
}
