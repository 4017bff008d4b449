//! What must be true for a commit, apart from what the statements of its step check by themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{Error, Row as _, SqliteConnection};

use super::batch::{Found, json};
use super::sql::OwnTables;
use super::{read, sql};
use crate::engine::RunId;
use crate::engine::store::{Commit, CommitError, Guard, Row, RowWrite, Table};
use crate::store::rows::{changed, fits, has, knows, no_column, no_table};

/// Looks up the runs that commits name by their ids.
pub(super) async fn find_runs(db: &mut SqliteConnection, commits: &[&Commit]) -> Result<Found, Error> {
    let mut found = Found::default();
    let ids: Vec<&RunId> = commits.iter().flat_map(|commit| run_ids(commit)).collect();
    if !ids.is_empty() {
        for row in sqlx::query(sql::RESOLVE).bind(json(&ids)).fetch_all(db).await? {
            found.runs.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(found)
}

fn run_ids(commit: &Commit) -> impl Iterator<Item = &RunId> {
    let guarded = commit.guards.iter().filter_map(|guard| match guard {
        Guard::Revision { run, .. } | Guard::NoRun { run } => Some(run),
        Guard::Row { .. } | Guard::Absent { .. } | Guard::Fewer { .. } => None,
    });
    guarded.chain(commit.signals.iter().map(|signal| &signal.run))
}

/// Looks up the messages and rows that the commits of this batch name.
pub(super) async fn find_rest(
    db: &mut SqliteConnection,
    tables: &OwnTables,
    commits: &[&Commit],
    admitted: &[bool],
    found: &mut Found,
) -> Result<(), Error> {
    let commits = || commits.iter().zip(admitted).filter(|(_, admitted)| **admitted).map(|(commit, _)| commit);
    let inbox: Vec<_> = commits().filter_map(|commit| commit.inbox.as_ref()).collect();
    if !inbox.is_empty() {
        for row in sqlx::query(sql::SEEN).bind(json(&inbox)).fetch_all(&mut *db).await? {
            found.inbox.insert(row.try_get(0)?);
        }
    }
    let mut keys: BTreeMap<&'static str, BTreeSet<&str>> = BTreeMap::new();
    for commit in commits() {
        for write in &commit.rows {
            keys.entry(write.table).or_default().insert(&write.key);
        }
        for guard in &commit.guards {
            if let Guard::Row { table, key, .. } | Guard::Absent { table, key } = guard {
                keys.entry(table).or_default().insert(key);
            }
        }
    }
    for (name, keys) in keys {
        let Some(own) = tables.get(name) else { continue };
        let list = json(&keys.into_iter().collect::<Vec<_>>());
        let rows = found.rows.entry(name).or_default();
        for row in sqlx::query(own.read.clone()).bind(list).fetch_all(&mut *db).await? {
            rows.insert(row.try_get(0)?, read::own(own.table, &row)?);
        }
    }
    Ok(())
}

/// What the checks say of a commit.
pub(super) enum Checked {
    /// They hold; the rows as the commit wants them.
    Holds(Vec<(&'static str, Row)>),
    /// They don't.
    Refused(CommitError),
    /// That depends on what the commits ahead of it write: it is to be asked again after them.
    Undecided,
}

/// How many rows of each table the commits ahead in the same batch write.
pub(super) type Ahead = HashMap<&'static str, u64>;

/// Checks all but the step.
pub(super) async fn check(
    db: &mut SqliteConnection,
    tables: &OwnTables,
    commit: &Commit,
    found: &Found,
    ahead: &Ahead,
) -> Result<Checked, Error> {
    if commit.inbox.as_ref().is_some_and(|id| found.inbox.contains(id)) {
        return Ok(Checked::Refused(CommitError::Seen));
    }
    for guard in &commit.guards {
        match hold(db, tables, guard, found, ahead).await? {
            Held::Yes => {}
            Held::No(refusal) => return Ok(Checked::Refused(refusal)),
            Held::Undecided => return Ok(Checked::Undecided),
        }
    }
    Ok(rows_after(tables, &commit.rows, found).map_or_else(Checked::Refused, Checked::Holds))
}

enum Held {
    Yes,
    No(CommitError),
    Undecided,
}

async fn hold(
    db: &mut SqliteConnection,
    tables: &OwnTables,
    guard: &Guard,
    found: &Found,
    ahead: &Ahead,
) -> Result<Held, Error> {
    let (holds, what) = match guard {
        Guard::Revision { run, revision } => {
            (found.run(run).is_some_and(|(_, now)| now == *revision), format!("run {run} at revision {revision}"))
        }
        Guard::NoRun { run } => (found.run(run).is_none(), format!("no run {run}")),
        Guard::Row { table, key, expect } => {
            if let Err(refusal) = known(tables, table).and_then(|table| fits(table, expect)) {
                return Ok(Held::No(refusal));
            }
            (found.row(table, key).is_some_and(|row| has(row, expect)), format!("{table} {key}"))
        }
        Guard::Absent { table, key } => match known(tables, table) {
            Ok(_) => (found.row(table, key).is_none(), format!("no {table} {key}")),
            Err(refusal) => return Ok(Held::No(refusal)),
        },
        Guard::Fewer { table, matching, at_least, limit } => {
            // Each row written ahead may move the count by one, either way.
            let unsure = ahead.get(table).copied().unwrap_or(0);
            let most = limit.saturating_add(unsure);
            match count(db, tables, table, matching, *at_least, most).await? {
                Ok(count) if count.saturating_add(unsure) >= *limit && count < most && unsure > 0 => {
                    return Ok(Held::Undecided);
                }
                Ok(count) => (count < *limit, format!("fewer than {limit} {table}")),
                Err(refusal) => return Ok(Held::No(refusal)),
            }
        }
    };
    Ok(if holds { Held::Yes } else { Held::No(CommitError::Conflict(what)) })
}

fn known(tables: &OwnTables, name: &str) -> Result<Table, CommitError> {
    Ok(tables.get(name).ok_or_else(|| no_table(name))?.table)
}

/// Counts rows up to `limit`.
async fn count(
    db: &mut SqliteConnection,
    tables: &OwnTables,
    name: &str,
    matching: &Row,
    at_least: Option<(&'static str, i64)>,
    limit: u64,
) -> Result<Result<u64, CommitError>, Error> {
    let Some(own) = tables.get(name) else { return Ok(Err(no_table(name))) };
    if let Err(refusal) = fits(own.table, matching) {
        return Ok(Err(refusal));
    }
    if let Some((column, _)) = at_least
        && !knows(own.table, column)
    {
        return Ok(Err(no_column(own.table, column)));
    }
    let mut query = sqlx::query(own.count(matching, at_least.map(|(column, _)| column)));
    for value in matching.values().filter(|value| !value.is_null()) {
        query = read::bind(query, value);
    }
    if let Some((_, least)) = at_least {
        query = query.bind(least);
    }
    let row = query.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_one(db).await?;
    Ok(Ok(row.try_get(0)?))
}

/// The rows after all writes, each of which sees what the earlier ones left.
fn rows_after(tables: &OwnTables, writes: &[RowWrite], found: &Found) -> Result<Vec<(&'static str, Row)>, CommitError> {
    let mut after: HashMap<(&'static str, &str), Row> = HashMap::with_capacity(writes.len());
    for RowWrite { table, key, change } in writes {
        let definition = known(tables, table)?;
        let place = (*table, key.as_str());
        let row = changed(definition, key, after.get(&place).or_else(|| found.row(table, key)), change)?;
        after.insert(place, row);
    }
    Ok(after.into_iter().map(|((table, _), row)| (table, row)).collect())
}
