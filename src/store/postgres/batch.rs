//! A batch's statements, see [`Transaction`] and [`Maintenance`].

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Error, PgConnection, Postgres, Row as _, SqlSafeStr, TypeInfo, ValueRef};

use super::failure::Fault;
use super::sql::{self, Statements};
use crate::engine::store::{Commit, Guard, Nudge, Retirement, Row, Table};
use crate::engine::{Run, Timestamp};
use crate::store::columns::{self, columns_of, senseless};
use crate::store::group::{
    Found, Maintenance, MessageRow, Offers, SignalRow, StartRow, StepRow, Transaction, json, named_runs, retirements,
    taken,
};
use crate::store::own::{self, OwnTables};

columns_of!(PgRow);

/// A transaction that is open on a connection, or a look at the tables outside of any.
pub(super) struct Batch<'a> {
    pub(super) db: &'a mut PgConnection,
    pub(super) tables: &'a OwnTables<Statements>,
    /// What was looked up is to stay so: it is locked.
    pub(super) locks: bool,
    /// Leases and timers go by the database's clock, not by the caller's.
    pub(super) own_clock: bool,
    /// Runs that were not there when the checks were made, and must be started by this batch.
    absent: HashSet<String>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        db: &'a mut PgConnection,
        tables: &'a OwnTables<Statements>,
        locks: bool,
        own_clock: bool,
    ) -> Self {
        Self { db, tables, locks, own_clock, absent: HashSet::new() }
    }

    /// Runs a statement that takes one list; tells how many rows it wrote.
    async fn write(&mut self, sql: impl SqlSafeStr, list: String) -> Result<u64, Fault> {
        Ok(sqlx::query(sql).bind(list).execute(&mut *self.db).await?.rows_affected())
    }

    async fn read(&mut self, sql: impl SqlSafeStr, list: String) -> Result<Vec<PgRow>, Fault> {
        Ok(sqlx::query(sql).bind(list).fetch_all(&mut *self.db).await?)
    }
}

impl Transaction for Batch<'_> {
    type Error = Fault;

    fn table(&self, name: &str) -> Option<Table> {
        self.tables.get(name).map(|own| own.table)
    }

    async fn runs(&mut self, commits: &[&Commit]) -> Result<HashMap<String, (i64, i64)>, Fault> {
        let steps: Vec<i64> = commits.iter().filter_map(|commit| Some(commit.step.as_ref()?.seq)).collect();
        let ids: Vec<&str> = commits.iter().flat_map(|commit| named_runs(commit)).map(|id| id.0.as_str()).collect();
        // The statement that writes steps locks their runs as well: soon enough where nothing else is locked before.
        let alone = || commits.iter().all(|commit| commit.rows.is_empty() && commit.guards.is_empty());
        if ids.is_empty() && (steps.is_empty() || alone()) {
            return Ok(HashMap::new());
        }
        let query = sqlx::query(if self.locks { sql::LOCK } else { sql::RESOLVE }).bind(steps).bind(&ids);
        let mut found = HashMap::new();
        for row in query.fetch_all(&mut *self.db).await? {
            found.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
        }
        for guard in commits.iter().flat_map(|commit| &commit.guards) {
            if let Guard::NoRun { run } = guard
                && !found.contains_key(&run.0)
            {
                self.absent.insert(run.0.clone());
            }
        }
        Ok(found)
    }

    async fn seen(&mut self, inbox: &[&str]) -> Result<HashSet<String>, Fault> {
        let rows = sqlx::query(sql::SEEN).bind(inbox).fetch_all(&mut *self.db).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>()?)
    }

    async fn rows(&mut self, table: Table, keys: &[&str]) -> Result<HashMap<String, Row>, Fault> {
        let Some(own) = self.tables.get(table.name) else { return Ok(HashMap::new()) };
        let statement = if self.locks { &own.statements.lock } else { &own.statements.read };
        let rows = sqlx::query(statement.clone()).bind(keys).fetch_all(&mut *self.db).await?;
        Ok(rows.iter().map(|row| Ok((row.try_get(0)?, own_row(table, row)?))).collect::<Result<_, Error>>()?)
    }

    async fn count(
        &mut self,
        table: Table,
        matching: &Row,
        at_least: Option<(&'static str, i64)>,
        most: u64,
    ) -> Result<u64, Fault> {
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

    async fn step(&mut self, steps: &[StepRow<'_>]) -> Result<HashMap<i64, (i64, bool)>, Fault> {
        let query = sqlx::query(sql::STEP).bind(json(steps)).bind(json(&taken(steps.iter())));
        let rows = query.fetch_all(&mut *self.db).await?;
        let moved = rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?))));
        Ok(moved.collect::<Result<_, Error>>()?)
    }

    async fn standing(&mut self, runs: &[i64]) -> Result<HashMap<i64, (i64, i64, i64)>, Fault> {
        let rows = sqlx::query(sql::STANDING).bind(runs).fetch_all(&mut *self.db).await?;
        let standing =
            rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))));
        Ok(standing.collect::<Result<_, Error>>()?)
    }

    async fn see(&mut self, inbox: &[(&str, i64)]) -> Result<(), Fault> {
        self.write(sql::SEE, json(inbox)).await.map(drop)
    }

    /// Whoever has made a row since the checks makes its insertion fail, so that the batch is
    /// checked again.
    async fn write_rows(&mut self, table: Table, rows: &[&Row], found: &Found) -> Result<(), Fault> {
        let Some(own) = self.tables.get(table.name) else { return Ok(()) };
        let there = |row: &&&Row| {
            row.get(table.key).and_then(Value::as_str).is_some_and(|key| found.row(table.name, key).is_some())
        };
        let (old, new): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(there);
        for (statement, rows) in [(&own.statements.update, old), (&own.statements.insert, new)] {
            if !rows.is_empty() {
                self.write(statement.clone(), json(&rows)).await?;
            }
        }
        Ok(())
    }

    async fn start(&mut self, starts: &[StartRow<'_>]) -> Result<u64, Fault> {
        let rows = self.read(sql::START, json(starts)).await?;
        let started: HashSet<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>()?;
        if starts.iter().any(|start| self.absent.contains(&start.id.0) && !started.contains(&start.id.0)) {
            return Err(Fault::Raced);
        }
        Ok(started.len() as u64)
    }

    async fn signal(&mut self, signals: &[SignalRow<'_>]) -> Result<Vec<(i64, String, i64)>, Fault> {
        let rows = self.read(sql::SIGNAL, json(signals)).await?;
        let stored = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        Ok(stored.collect::<Result<_, Error>>()?)
    }

    async fn tell(&mut self, told: &[(i64, i64, bool, i64)]) -> Result<(), Fault> {
        self.write(sql::TOLD, json(told)).await.map(drop)
    }

    async fn nudge(&mut self, nudge: &Nudge, at: Timestamp) -> Result<u64, Fault> {
        let query = sqlx::query(sql::NUDGE).bind(at.millis()).bind(&nudge.workflow).bind(&nudge.step);
        Ok(query.bind(i64::from(nudge.limit)).execute(&mut *self.db).await?.rows_affected())
    }

    async fn queue(&mut self, messages: &[MessageRow<'_>]) -> Result<u64, Fault> {
        let queued = self.write(sql::QUEUE, json(messages)).await?;
        let slots: Vec<&str> = messages.iter().filter_map(|message| message.slot).collect();
        if queued > 0 && !slots.is_empty() {
            sqlx::query(sql::SUPERSEDE).bind(&slots).execute(&mut *self.db).await?;
        }
        Ok(queued)
    }
}

impl Maintenance for Batch<'_> {
    async fn claim(&mut self, owner: &str, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Run>, Fault> {
        let query = sqlx::query(sql::CLAIM).bind(self.own_clock).bind(owner).bind(now.millis()).bind(until.millis());
        let rows = query.bind(i64::from(limit)).fetch_all(&mut *self.db).await?;
        let mut claimed: Vec<(i64, Run)> =
            rows.iter().map(|row| Ok((row.try_get("since")?, columns::run(row)?))).collect::<Result<_, Error>>()?;
        claimed.sort_by_key(|(since, run)| (*since, run.seq));
        Ok(claimed.into_iter().map(|(_, run)| run).collect())
    }

    async fn renew(&mut self, owner: &str, now: Timestamp, until: Timestamp) -> Result<u64, Fault> {
        let query = sqlx::query(sql::RENEW).bind(self.own_clock).bind(owner).bind(now.millis()).bind(until.millis());
        Ok(query.execute(&mut *self.db).await?.rows_affected())
    }

    async fn release_others(&mut self, owner: &str, now: Timestamp) -> Result<u64, Fault> {
        let query = sqlx::query(sql::RELEASE).bind(owner).bind(now.millis());
        Ok(query.execute(&mut *self.db).await?.rows_affected())
    }

    async fn hold(&mut self, part: &str, owner: &str, now: Timestamp, until: Timestamp) -> Result<u64, Fault> {
        let query = sqlx::query(sql::HOLD).bind(self.own_clock).bind(owner).bind(now.millis()).bind(until.millis());
        Ok(query.bind(part).execute(&mut *self.db).await?.rows_affected())
    }

    async fn wake(&mut self, run: i64, at: Timestamp) -> Result<u64, Fault> {
        Ok(sqlx::query(sql::WAKE).bind(run).bind(at.millis()).execute(&mut *self.db).await?.rows_affected())
    }

    /// Each daemon has a name of its own at each start.
    async fn retire(&mut self, runs: &[Retirement], at: Timestamp) -> Result<u64, Fault> {
        let query = sqlx::query_scalar(sql::RETIRE).bind(retirements(runs)).bind(at.millis());
        let retired: i64 = query.fetch_one(&mut *self.db).await?;
        Ok(u64::try_from(retired).unwrap_or(0))
    }

    async fn forget_messages(&mut self, before: Timestamp, limit: u32) -> Result<u64, Fault> {
        let query = sqlx::query(sql::FORGET_MESSAGES).bind(before.millis()).bind(i64::from(limit));
        Ok(query.execute(&mut *self.db).await?.rows_affected())
    }

    async fn begin_timeline(&mut self) -> Result<u64, Fault> {
        Ok(0)
    }

    async fn deliver(&mut self, offers: &[Offers]) -> Result<u64, Fault> {
        self.write(sql::DELIVER, json(offers)).await
    }
}

/// A row of one of the workflow's own tables, each value as it is kept.
pub(super) fn own_row(table: Table, row: &PgRow) -> Result<Row, Error> {
    let mut own = Row::new();
    for (place, column) in own::names(table).enumerate() {
        let raw = row.try_get_raw(place)?;
        let value = if raw.is_null() {
            Value::Null
        } else {
            match raw.type_info().name() {
                "INT8" => Value::from(row.try_get::<i64, _>(place)?),
                "FLOAT8" => Value::from(row.try_get::<f64, _>(place)?),
                "TEXT" => Value::from(row.try_get::<String, _>(place)?),
                other => return Err(senseless("type of a value", other)),
            }
        };
        own.insert(column.to_owned(), value);
    }
    Ok(own)
}

/// Binds a value that is not null as what it is.
pub(super) fn bind<'q>(query: Query<'q, Postgres, PgArguments>, value: &Value) -> Query<'q, Postgres, PgArguments> {
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
