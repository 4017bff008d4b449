//! A batch's statements, see [`Transaction`] and [`Maintenance`].

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Error, Row as _, SqlSafeStr, Sqlite, SqliteConnection, TypeInfo, ValueRef};

use super::sql::{self, Statements};
use crate::engine::store::{Commit, Nudge, Retirement, Row, Table};
use crate::engine::{Run, Timestamp};
use crate::store::columns::{self, columns_of, senseless};
use crate::store::group::{
    Found, Maintenance, MessageRow, Offers, SignalRow, StartRow, StepRow, Transaction, json, named_runs, retirements,
    taken,
};
use crate::store::own::{self, OwnTables};

columns_of!(SqliteRow);

/// A transaction that is open on a connection: nobody else writes until it ends.
pub(super) struct Batch<'a> {
    pub(super) db: &'a mut SqliteConnection,
    pub(super) tables: &'a OwnTables<Statements>,
}

impl Batch<'_> {
    /// Runs a statement that takes one list; tells how many rows it wrote.
    async fn write(&mut self, sql: impl SqlSafeStr, list: String) -> Result<u64, Error> {
        Ok(sqlx::query(sql).bind(list).execute(&mut *self.db).await?.rows_affected())
    }

    async fn read(&mut self, sql: impl SqlSafeStr, list: String) -> Result<Vec<SqliteRow>, Error> {
        sqlx::query(sql).bind(list).fetch_all(&mut *self.db).await
    }
}

impl Transaction for Batch<'_> {
    type Error = Error;

    fn table(&self, name: &str) -> Option<Table> {
        self.tables.get(name).map(|own| own.table)
    }

    async fn runs(&mut self, commits: &[&Commit]) -> Result<HashMap<String, (i64, i64)>, Error> {
        let ids: Vec<_> = commits.iter().flat_map(|commit| named_runs(commit)).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.read(sql::RESOLVE, json(&ids)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect()
    }

    async fn seen(&mut self, inbox: &[&str]) -> Result<HashSet<String>, Error> {
        self.read(sql::SEEN, json(inbox)).await?.iter().map(|row| row.try_get(0)).collect()
    }

    async fn rows(&mut self, table: Table, keys: &[&str]) -> Result<HashMap<String, Row>, Error> {
        let Some(own) = self.tables.get(table.name) else { return Ok(HashMap::new()) };
        let rows = self.read(own.statements.read.clone(), json(keys)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, own_row(table, row)?))).collect()
    }

    async fn count(
        &mut self,
        table: Table,
        matching: &Row,
        at_least: Option<(&'static str, i64)>,
        most: u64,
    ) -> Result<u64, Error> {
        let mut query = sqlx::query(own::count(table, matching, at_least.map(|(column, _)| column)));
        for value in matching.values().filter(|value| !value.is_null()) {
            query = bind(query, value);
        }
        if let Some((_, least)) = at_least {
            query = query.bind(least);
        }
        let row = query.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_one(&mut *self.db).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }

    async fn step(&mut self, steps: &[StepRow<'_>]) -> Result<HashMap<i64, (i64, bool)>, Error> {
        let (on, off): (Vec<_>, Vec<_>) = steps.iter().partition(|row| row.keep && !row.ends);
        let mut moved = HashMap::with_capacity(steps.len());
        for (statement, rows) in sql::STEP_ON.split(&on) {
            let query = rows.iter().fold(sqlx::query(statement), |query, row| bind_step(query, row));
            for row in query.fetch_all(&mut *self.db).await? {
                moved.insert(row.try_get(0)?, (row.try_get(1)?, false));
            }
        }
        for (statement, rows) in sql::STEP_OFF.split(&off) {
            let query = rows.iter().fold(sqlx::query(statement), |query, row| bind_release(bind_step(query, row), row));
            for row in query.fetch_all(&mut *self.db).await? {
                let due: Option<i64> = row.try_get(2)?;
                moved.insert(row.try_get(0)?, (row.try_get(1)?, due.is_some()));
            }
        }
        let written = || steps.iter().filter(|step| moved.contains_key(&step.seq));
        for (statement, rows) in sql::HISTORY.split(&written().collect::<Vec<_>>()) {
            let query = rows.iter().fold(sqlx::query(statement), |query, row| bind_history(query, row));
            query.execute(&mut *self.db).await?;
        }
        let taken = taken(written());
        if !taken.is_empty() {
            self.write(sql::TAKE, json(&taken)).await?;
        }
        Ok(moved)
    }

    async fn standing(&mut self, runs: &[i64]) -> Result<HashMap<i64, (i64, i64, i64)>, Error> {
        let rows = self.read(sql::STANDING, json(runs)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))).collect()
    }

    async fn see(&mut self, inbox: &[(&str, i64)]) -> Result<(), Error> {
        self.write(sql::SEE, json(inbox)).await.map(drop)
    }

    async fn write_rows(&mut self, table: Table, rows: &[&Row], _found: &Found) -> Result<(), Error> {
        let Some(own) = self.tables.get(table.name) else { return Ok(()) };
        self.write(own.statements.write.clone(), json(rows)).await.map(drop)
    }

    async fn start(&mut self, starts: &[StartRow<'_>]) -> Result<u64, Error> {
        let mut started = 0;
        for (statement, rows) in sql::START.split(starts) {
            let query = rows.iter().fold(sqlx::query(statement), bind_start);
            started += query.execute(&mut *self.db).await?.rows_affected();
        }
        Ok(started)
    }

    async fn signal(&mut self, signals: &[SignalRow<'_>]) -> Result<Vec<(i64, String, i64)>, Error> {
        let rows = self.read(sql::SIGNAL, json(signals)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
    }

    async fn tell(&mut self, told: &[(i64, i64, bool, i64)]) -> Result<(), Error> {
        self.write(sql::TOLD, json(told)).await.map(drop)
    }

    async fn nudge(&mut self, nudge: &Nudge, at: Timestamp) -> Result<u64, Error> {
        let query = sqlx::query(sql::NUDGE).bind(at.millis()).bind(&nudge.workflow).bind(&nudge.step);
        Ok(query.bind(nudge.limit).execute(&mut *self.db).await?.rows_affected())
    }

    async fn queue(&mut self, messages: &[MessageRow<'_>]) -> Result<u64, Error> {
        let queued = self.write(sql::QUEUE, json(messages)).await?;
        let slots: Vec<_> = messages.iter().filter_map(|message| message.slot).collect();
        if queued > 0 && !slots.is_empty() {
            self.write(sql::SUPERSEDE, json(&slots)).await?;
        }
        Ok(queued)
    }
}

impl Maintenance for Batch<'_> {
    async fn claim(&mut self, owner: &str, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Run>, Error> {
        let rows = sqlx::query(sql::DUE).bind(now.millis()).bind(limit).fetch_all(&mut *self.db).await?;
        let mut runs: Vec<Run> = rows.iter().map(columns::run).collect::<Result<_, _>>()?;
        if !runs.is_empty() {
            let list = json(&runs.iter().map(|run| run.seq).collect::<Vec<_>>());
            sqlx::query(sql::LEASE).bind(owner).bind(until.millis()).bind(list).execute(&mut *self.db).await?;
        }
        for run in &mut runs {
            run.owner = Some(owner.to_owned());
            run.token += 1;
            run.due_at = Some(until);
        }
        Ok(runs)
    }

    async fn renew(&mut self, owner: &str, now: Timestamp, until: Timestamp) -> Result<u64, Error> {
        let query = sqlx::query(sql::RENEW).bind(owner).bind(now.millis()).bind(until.millis());
        Ok(query.execute(&mut *self.db).await?.rows_affected())
    }

    async fn release_others(&mut self, owner: &str, now: Timestamp) -> Result<u64, Error> {
        let query = sqlx::query(sql::RELEASE).bind(owner).bind(now.millis());
        Ok(query.execute(&mut *self.db).await?.rows_affected())
    }

    /// There is no other daemon.
    async fn hold(&mut self, _: &str, _: &str, _: Timestamp, _: Timestamp) -> Result<u64, Error> {
        Ok(1)
    }

    async fn wake(&mut self, run: i64, at: Timestamp) -> Result<u64, Error> {
        Ok(sqlx::query(sql::WAKE).bind(run).bind(at.millis()).execute(&mut *self.db).await?.rows_affected())
    }

    async fn retire(&mut self, runs: &[Retirement], at: Timestamp) -> Result<u64, Error> {
        let query = sqlx::query(sql::RETIRE).bind(retirements(runs)).bind(at.millis());
        let retired = query.fetch_all(&mut *self.db).await?;
        let retired: Vec<i64> = retired.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        for statement in sql::GIVE_UP {
            self.write(statement, json(&retired)).await?;
        }
        Ok(retired.len() as u64)
    }

    async fn forget_messages(&mut self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let query = sqlx::query(sql::FORGET).bind(before.millis()).bind(limit);
        Ok(query.execute(&mut *self.db).await?.rows_affected())
    }

    async fn begin_timeline(&mut self) -> Result<u64, Error> {
        Ok(sqlx::query(sql::BEGIN_TIMELINE).execute(&mut *self.db).await?.rows_affected())
    }

    async fn deliver(&mut self, offers: &[Offers]) -> Result<u64, Error> {
        self.write(sql::DELIVER, json(offers)).await
    }
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// What [`sql::STEP_ON`] and [`sql::STEP_OFF`] read of a step.
fn bind_step<'q>(query: Bound<'q>, row: &StepRow<'q>) -> Bound<'q> {
    let taken = i64::try_from(row.taken).unwrap_or(i64::MAX);
    let query = query.bind(row.seq).bind(row.revision).bind(row.token).bind(row.mailbox).bind(taken);
    query.bind(row.status).bind(row.step).bind(row.attempt).bind(row.state).bind(row.error).bind(row.at)
}

/// What [`sql::STEP_OFF`] reads besides.
fn bind_release<'q>(query: Bound<'q>, row: &StepRow<'q>) -> Bound<'q> {
    query.bind(row.keep).bind(row.known).bind(row.ends).bind(row.due)
}

/// What [`sql::HISTORY`] reads of a step.
fn bind_history<'q>(query: Bound<'q>, row: &StepRow<'q>) -> Bound<'q> {
    let query = query.bind(row.seq).bind(row.revision + 1).bind(row.from).bind(row.tried);
    query.bind(row.outcome).bind(row.to).bind(row.became).bind(row.detail).bind(row.when)
}

/// What [`sql::START`] reads of a run.
fn bind_start<'q>(query: Bound<'q>, row: &StartRow<'q>) -> Bound<'q> {
    let query = query.bind(row.id.0.as_str()).bind(row.workflow).bind(row.version).bind(row.hash).bind(row.key);
    query.bind(row.step).bind(row.state).bind(row.due).bind(row.at).bind(row.at)
}

/// A row of one of the workflow's own tables, each value as it is kept.
pub(super) fn own_row(table: Table, row: &SqliteRow) -> Result<Row, Error> {
    let mut own = Row::new();
    for (place, column) in own::names(table).enumerate() {
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
pub(super) fn bind<'q>(query: Bound<'q>, value: &Value) -> Bound<'q> {
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
