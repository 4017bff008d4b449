//! What both databases' rows of the engine's tables have in common: their columns, and from rows
//! to what the port speaks of.

use sqlx::Error;

use crate::engine::store::{OutboxEntry, OutboxMessage, OutboxState, Tally};
use crate::engine::{HistoryEntry, Pin, Run, RunId, Signal, Status, Timestamp};

/// The condition that a run has not ended. `runs_open` is an index over just these runs, which a
/// database uses where a query has this very condition. It is no list, since SQLite looks through
/// it twice for each step, and a list would double what the step costs it.
macro_rules! open {
    () => {
        "status <> 'completed' AND status <> 'failed' AND status <> 'canceled'"
    };
}

macro_rules! run_columns {
    () => {
        "seq, id, workflow, version, hash, key, status, step, attempt, state, revision, token, owner, due_at, \
         signals, heard, error, created_at, updated_at, retired_at"
    };
}

macro_rules! outbox_columns {
    () => {
        "seq, id, lane, topic, slot, body, expires_at, state, attempts, due_at, created_at"
    };
}

/// The names of the workflows: there are few, each found by one step through an index from the one before.
macro_rules! workflows {
    () => {
        "WITH RECURSIVE workflows (name) AS (
  SELECT min(workflow) FROM runs
  UNION ALL SELECT (SELECT min(workflow) FROM runs WHERE workflow > workflows.name) FROM workflows WHERE name IS NOT NULL)
"
    };
}

pub(super) use {open, outbox_columns, run_columns, workflows};

/// A row of which the columns are read by their places.
pub(super) trait Columns {
    fn text(&self, place: usize) -> Result<String, Error>;
    fn text_if_any(&self, place: usize) -> Result<Option<String>, Error>;
    fn number(&self, place: usize) -> Result<i64, Error>;
    fn number_if_any(&self, place: usize) -> Result<Option<i64>, Error>;

    /// A count that is small.
    fn small(&self, place: usize) -> Result<u32, Error> {
        let number = self.number(place)?;
        u32::try_from(number).map_err(|_| senseless("count", &number.to_string()))
    }

    fn status(&self, place: usize) -> Result<Status, Error> {
        let name = self.text(place)?;
        Status::from_name(&name).ok_or_else(|| senseless("status", &name))
    }

    fn time(&self, place: usize) -> Result<Timestamp, Error> {
        self.number(place).map(Timestamp)
    }
}

/// Makes a row of a database one of [`Columns`].
macro_rules! columns_of {
    ($row:ty) => {
        impl $crate::store::columns::Columns for $row {
            fn text(&self, place: usize) -> Result<String, sqlx::Error> {
                sqlx::Row::try_get(self, place)
            }
            fn text_if_any(&self, place: usize) -> Result<Option<String>, sqlx::Error> {
                sqlx::Row::try_get(self, place)
            }
            fn number(&self, place: usize) -> Result<i64, sqlx::Error> {
                sqlx::Row::try_get(self, place)
            }
            fn number_if_any(&self, place: usize) -> Result<Option<i64>, sqlx::Error> {
                sqlx::Row::try_get(self, place)
            }
        }
    };
}
pub(super) use columns_of;

/// In the order of `run_columns`.
pub(super) fn run(row: &impl Columns) -> Result<Run, Error> {
    Ok(Run {
        seq: row.number(0)?,
        id: RunId(row.text(1)?),
        pin: Pin { workflow: row.text(2)?, version: row.small(3)?, hash: row.text(4)? },
        key: row.text(5)?,
        status: row.status(6)?,
        step: row.text(7)?,
        attempt: row.small(8)?,
        state: row.text(9)?,
        revision: row.number(10)?,
        token: row.number(11)?,
        owner: row.text_if_any(12)?,
        due_at: row.number_if_any(13)?.map(Timestamp),
        signals: row.number(14)?,
        heard: row.number(15)?,
        error: row.text_if_any(16)?,
        created_at: row.time(17)?,
        updated_at: row.time(18)?,
        retired_at: row.number_if_any(19)?.map(Timestamp),
    })
}

/// Of number, name, payload, at.
pub(super) fn signal(row: &impl Columns) -> Result<Signal, Error> {
    Ok(Signal { number: row.number(0)?, name: row.text(1)?, payload: row.text(2)?, at: row.time(3)? })
}

/// Of revision, step, attempt, outcome, target, status, detail, at.
pub(super) fn history(row: &impl Columns) -> Result<HistoryEntry, Error> {
    Ok(HistoryEntry {
        revision: row.number(0)?,
        step: row.text(1)?,
        attempt: row.small(2)?,
        outcome: row.text(3)?,
        to: row.text(4)?,
        status: row.status(5)?,
        detail: row.text_if_any(6)?,
        at: row.time(7)?,
    })
}

/// In the order of `outbox_columns`.
pub(super) fn outbox(row: &impl Columns) -> Result<OutboxEntry, Error> {
    let state = row.text(7)?;
    Ok(OutboxEntry {
        seq: row.number(0)?,
        message: OutboxMessage {
            id: row.text(1)?,
            lane: row.text(2)?,
            topic: row.text(3)?,
            slot: row.text_if_any(4)?,
            body: row.text(5)?,
            expires_at: row.number_if_any(6)?.map(Timestamp),
        },
        state: OutboxState::from_name(&state).ok_or_else(|| senseless("state", &state))?,
        attempts: row.small(8)?,
        due_at: row.time(9)?,
        created_at: row.time(10)?,
    })
}

/// Of how many messages, when the first was stored.
pub(super) fn depth(row: &impl Columns) -> Result<(u64, Option<Timestamp>), Error> {
    Ok((u64::try_from(row.number(0)?).unwrap_or(0), row.number_if_any(1)?.map(Timestamp)))
}

/// Of workflow, version, hash, how many runs.
pub(super) fn pin(row: &impl Columns) -> Result<(Pin, u64), Error> {
    let pin = Pin { workflow: row.text(0)?, version: row.small(1)?, hash: row.text(2)? };
    Ok((pin, u64::try_from(row.number(3)?).unwrap_or(0)))
}

/// Of workflow, status, step, how many runs, when the first was started.
pub(super) fn tally(row: &impl Columns) -> Result<Tally, Error> {
    Ok(Tally {
        workflow: row.text(0)?,
        status: row.status(1)?,
        step: row.text(2)?,
        runs: u64::try_from(row.number(3)?).unwrap_or(0),
        oldest: row.time(4)?,
    })
}

/// What a column holds that makes no sense there.
pub(super) fn senseless(what: &str, found: &str) -> Error {
    Error::Decode(format!("unknown {what}: {found}").into())
}
