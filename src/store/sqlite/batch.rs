//! A batch's statements, see [`Transaction`] and [`Maintenance`].

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row as _, SqliteConnection, TypeInfo, ValueRef};

use super::script::{self, Bound, Script};
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
    db: &'a mut SqliteConnection,
    tables: &'a OwnTables<Statements>,
    /// What goes with the next statement whose answer is needed.
    script: Script,
}

impl<'a> Batch<'a> {
    /// `script` is what comes before all else.
    pub(super) fn new(db: &'a mut SqliteConnection, tables: &'a OwnTables<Statements>, script: Script) -> Self {
        Self { db, tables, script }
    }

    /// What is still to be run.
    pub(super) fn end(self) -> Script {
        self.script
    }

    /// Runs a statement; tells how many rows it wrote.
    async fn execute(&mut self, query: Bound<'_>) -> Result<u64, Error> {
        Ok(script::run(query, &mut *self.db).await?.1)
    }

    async fn fetch(&mut self, query: Bound<'_>) -> Result<Vec<SqliteRow>, Error> {
        Ok(script::run(query, &mut *self.db).await?.0)
    }

    /// Runs a statement that takes one list; tells how many rows it wrote.
    async fn write(&mut self, sql: &str, list: String) -> Result<u64, Error> {
        let query = self.script.with(sql).bind(list);
        self.execute(query).await
    }

    /// Has a statement run that takes one list, and whose answer nobody needs.
    fn put(&mut self, sql: &str, list: String) -> Result<(), Error> {
        let query = self.script.with(sql).bind(list);
        self.script.keep(query)
    }

    async fn read(&mut self, sql: &str, list: String) -> Result<Vec<SqliteRow>, Error> {
        let query = self.script.with(sql).bind(list);
        self.fetch(query).await
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
        let rows = self.read(own.statements.read.as_str(), json(keys)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, own_row(table, row)?))).collect()
    }

    async fn count(
        &mut self,
        table: Table,
        matching: &Row,
        at_least: Option<(&'static str, i64)>,
        most: u64,
    ) -> Result<u64, Error> {
        // Its parameters are numbered, see `own`: it goes alone.
        if !self.script.is("") {
            let waiting = self.script.all();
            self.execute(waiting).await?;
        }
        let mut query = sqlx::query(own::count(table, matching, at_least.map(|(column, _)| column)));
        for value in matching.values().filter(|value| !value.is_null()) {
            query = bind(query, value);
        }
        if let Some((_, least)) = at_least {
            query = query.bind(least);
        }
        let rows = self.fetch(query.bind(i64::try_from(most).unwrap_or(i64::MAX))).await?;
        let count: i64 = rows.first().ok_or(Error::RowNotFound)?.try_get(0)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn step(&mut self, steps: &[StepRow<'_>]) -> Result<HashMap<i64, (i64, bool)>, Error> {
        let (on, off): (Vec<_>, Vec<_>) = steps.iter().partition(|row| row.keep && !row.ends);
        let mut moved = HashMap::with_capacity(steps.len());
        for (statement, rows) in sql::STEP_ON.split(&on) {
            let query = rows.iter().fold(self.script.with(statement), |query, row| bind_step(query, row));
            for row in self.fetch(query).await? {
                moved.insert(row.try_get(0)?, (row.try_get(1)?, false));
            }
        }
        for (statement, rows) in sql::STEP_OFF.split(&off) {
            let begun = self.script.with(statement);
            let query = rows.iter().fold(begun, |query, row| bind_release(bind_step(query, row), row));
            for row in self.fetch(query).await? {
                let due: Option<i64> = row.try_get(2)?;
                moved.insert(row.try_get(0)?, (row.try_get(1)?, due.is_some()));
            }
        }
        let written = || steps.iter().filter(|step| moved.contains_key(&step.seq));
        for (statement, rows) in sql::HISTORY.split(&written().collect::<Vec<_>>()) {
            let query = rows.iter().fold(self.script.with(statement), |query, row| bind_history(query, row));
            match rows.len() {
                1 => self.script.keep(query)?,
                // One text for each number of rows, and not one for whatever comes with it.
                _ => drop(self.execute(query).await?),
            }
        }
        let taken = taken(written());
        if !taken.is_empty() {
            self.put(sql::TAKE, json(&taken))?;
        }
        Ok(moved)
    }

    async fn standing(&mut self, runs: &[i64]) -> Result<HashMap<i64, (i64, i64, i64)>, Error> {
        let rows = self.read(sql::STANDING, json(runs)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))).collect()
    }

    async fn see(&mut self, inbox: &[(&str, i64)]) -> Result<(), Error> {
        self.put(sql::SEE, json(inbox))
    }

    async fn write_rows(&mut self, table: Table, rows: &[&Row], _found: &Found) -> Result<(), Error> {
        let Some(own) = self.tables.get(table.name) else { return Ok(()) };
        self.put(own.statements.write.as_str(), json(rows))
    }

    async fn start(&mut self, starts: &[StartRow<'_>]) -> Result<u64, Error> {
        let mut started = 0;
        for (statement, rows) in sql::START.split(starts) {
            let query = rows.iter().fold(self.script.with(statement), bind_start);
            started += self.execute(query).await?;
        }
        Ok(started)
    }

    async fn signal(&mut self, signals: &[SignalRow<'_>]) -> Result<Vec<(i64, String, i64)>, Error> {
        let rows = self.read(sql::SIGNAL, json(signals)).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
    }

    async fn tell(&mut self, told: &[(i64, i64, bool, i64)]) -> Result<(), Error> {
        self.put(sql::TOLD, json(told))
    }

    async fn nudge(&mut self, nudge: &Nudge, at: Timestamp) -> Result<u64, Error> {
        let query = self.script.with(sql::NUDGE).bind(at.millis()).bind(&nudge.workflow).bind(&nudge.step);
        self.execute(query.bind(at.millis()).bind(nudge.limit)).await
    }

    async fn queue(&mut self, messages: &[MessageRow<'_>]) -> Result<u64, Error> {
        let queued = self.write(sql::QUEUE, json(messages)).await?;
        let slots: Vec<_> = messages.iter().filter_map(|message| message.slot).collect();
        if queued > 0 && !slots.is_empty() {
            self.put(sql::SUPERSEDE, json(&slots))?;
        }
        Ok(queued)
    }
}

impl Maintenance for Batch<'_> {
    async fn claim(&mut self, owner: &str, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Run>, Error> {
        let query = self.script.with(sql::DUE).bind(now.millis()).bind(limit);
        let rows = self.fetch(query).await?;
        let mut runs: Vec<Run> = rows.iter().map(columns::run).collect::<Result<_, _>>()?;
        if !runs.is_empty() {
            let list = json(&runs.iter().map(|run| run.seq).collect::<Vec<_>>());
            let query = self.script.with(sql::LEASE).bind(owner).bind(until.millis()).bind(list);
            self.script.keep(query)?;
        }
        for run in &mut runs {
            run.owner = Some(owner.to_owned());
            run.token += 1;
            run.due_at = Some(until);
        }
        Ok(runs)
    }

    async fn renew(&mut self, owner: &str, now: Timestamp, until: Timestamp) -> Result<u64, Error> {
        let query = self.script.with(sql::RENEW).bind(until.millis()).bind(owner).bind(now.millis());
        self.execute(query).await
    }

    async fn release_others(&mut self, owner: &str, now: Timestamp) -> Result<u64, Error> {
        let query = self.script.with(sql::RELEASE).bind(now.millis()).bind(owner);
        self.execute(query).await
    }

    /// There is no other daemon.
    async fn hold(&mut self, _: &str, _: &str, _: Timestamp, _: Timestamp) -> Result<u64, Error> {
        Ok(1)
    }

    async fn wake(&mut self, run: i64, at: Timestamp) -> Result<u64, Error> {
        let query = self.script.with(sql::WAKE).bind(at.millis()).bind(run).bind(at.millis());
        self.execute(query).await
    }

    async fn retire(&mut self, runs: &[Retirement], at: Timestamp) -> Result<u64, Error> {
        let query = self.script.with(sql::RETIRE).bind(at.millis()).bind(retirements(runs));
        let retired = self.fetch(query).await?;
        let retired: Vec<i64> = retired.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        for statement in sql::GIVE_UP {
            self.put(statement, json(&retired))?;
        }
        Ok(retired.len() as u64)
    }

    async fn forget_messages(&mut self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let query = self.script.with(sql::FORGET).bind(before.millis()).bind(limit);
        self.execute(query).await
    }

    async fn begin_timeline(&mut self) -> Result<u64, Error> {
        let query = self.script.with(sql::BEGIN_TIMELINE);
        self.execute(query).await
    }

    async fn deliver(&mut self, offers: &[Offers]) -> Result<u64, Error> {
        self.write(sql::DELIVER, json(offers)).await
    }
}

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
