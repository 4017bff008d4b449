//! What must be true for a commit, apart from what the statements of its step check by themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Found, Transaction};
use crate::engine::RunId;
use crate::engine::store::{Commit, CommitError, Guard, Row, RowWrite, Table};
use crate::store::rows::{changed, fits, has, knows, no_column, no_table};

/// The runs that a commit names by their ids, but for those that it starts.
pub(in crate::store) fn named_runs(commit: &Commit) -> impl Iterator<Item = &RunId> {
    let guarded = commit.guards.iter().filter_map(|guard| match guard {
        Guard::Revision { run, .. } | Guard::NoRun { run } => Some(run),
        Guard::Row { .. } | Guard::Absent { .. } | Guard::Fewer { .. } => None,
    });
    guarded.chain(commit.signals.iter().map(|signal| &signal.run))
}

/// The rows that commits name, by table: keys in their order.
fn named_rows<'a>(commits: impl Iterator<Item = &'a Commit>) -> BTreeMap<&'static str, BTreeSet<&'a str>> {
    let mut keys: BTreeMap<&'static str, BTreeSet<&str>> = BTreeMap::new();
    for commit in commits {
        for write in &commit.rows {
            keys.entry(write.table).or_default().insert(&write.key);
        }
        for guard in &commit.guards {
            if let Guard::Row { table, key, .. } | Guard::Absent { table, key } = guard {
                keys.entry(table).or_default().insert(key);
            }
        }
    }
    keys
}

/// Looks up what the commits name besides runs: messages, rows, and how many rows there are.
pub(super) async fn find_rest<T: Transaction>(
    db: &mut T,
    commits: &[&Commit],
    found: &mut Found,
) -> Result<(), T::Error> {
    let inbox: Vec<&str> = commits.iter().filter_map(|commit| commit.inbox.as_deref()).collect();
    if !inbox.is_empty() {
        found.inbox = db.seen(&inbox).await?;
    }
    for (name, keys) in named_rows(commits.iter().copied()) {
        let Some(table) = db.table(name) else { continue };
        let keys: Vec<&str> = keys.into_iter().collect();
        found.tables.insert(name, table);
        found.rows.insert(name, db.rows(table, &keys).await?);
    }
    let mut writes: HashMap<&'static str, u64> = HashMap::new();
    for write in commits.iter().flat_map(|commit| &commit.rows) {
        *writes.entry(write.table).or_default() += 1;
    }
    for guard in commits.iter().flat_map(|commit| &commit.guards) {
        let Guard::Fewer { table: name, matching, at_least, limit } = guard else { continue };
        let Some(table) = db.table(name) else { continue };
        found.tables.insert(name, table);
        let most = limit.saturating_add(writes.get(name).copied().unwrap_or(0));
        if countable(table, matching, *at_least).is_ok() && !found.counts.contains_key(&count_key(guard)) {
            let count = db.count(table, matching, *at_least, most).await?;
            found.counts.insert(count_key(guard), count);
        }
    }
    Ok(())
}

/// What tells a guard that counts from another.
fn count_key(guard: &Guard) -> String {
    format!("{guard:?}")
}

fn countable(table: Table, matching: &Row, at_least: Option<(&'static str, i64)>) -> Result<(), CommitError> {
    fits(table, matching)?;
    match at_least {
        Some((column, _)) if !knows(table, column) => Err(no_column(table, column)),
        _ => Ok(()),
    }
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
pub(super) fn check(commit: &Commit, found: &Found, ahead: &Ahead) -> Checked {
    if commit.inbox.as_ref().is_some_and(|id| found.inbox.contains(id)) {
        return Checked::Refused(CommitError::Seen);
    }
    for guard in &commit.guards {
        match hold(guard, found, ahead) {
            Held::Yes => {}
            Held::No(refusal) => return Checked::Refused(refusal),
            Held::Undecided => return Checked::Undecided,
        }
    }
    rows_after(&commit.rows, found).map_or_else(Checked::Refused, Checked::Holds)
}

enum Held {
    Yes,
    No(CommitError),
    Undecided,
}

fn hold(guard: &Guard, found: &Found, ahead: &Ahead) -> Held {
    let (holds, what) = match guard {
        Guard::Revision { run, revision } => {
            (found.run(run).is_some_and(|(_, now)| now == *revision), format!("run {run} at revision {revision}"))
        }
        Guard::NoRun { run } => (found.run(run).is_none(), format!("no run {run}")),
        Guard::Row { table, key, expect } => {
            if let Err(refusal) = found.table(table).and_then(|table| fits(table, expect)) {
                return Held::No(refusal);
            }
            (found.row(table, key).is_some_and(|row| has(row, expect)), format!("{table} {key}"))
        }
        Guard::Absent { table, key } => match found.table(table) {
            Ok(_) => (found.row(table, key).is_none(), format!("no {table} {key}")),
            Err(refusal) => return Held::No(refusal),
        },
        Guard::Fewer { table, matching, at_least, limit } => {
            if let Err(refusal) = found.table(table).and_then(|table| countable(table, matching, *at_least)) {
                return Held::No(refusal);
            }
            // Each row written ahead may move the count by one, either way.
            let unsure = ahead.get(table).copied().unwrap_or(0);
            let count = found.counts.get(&count_key(guard)).copied().unwrap_or(u64::MAX);
            if unsure > 0 && count.saturating_add(unsure) >= *limit && count < limit.saturating_add(unsure) {
                return Held::Undecided;
            }
            (count < *limit, format!("fewer than {limit} {table}"))
        }
    };
    if holds { Held::Yes } else { Held::No(CommitError::Conflict(what)) }
}

/// The rows after all writes, each of which sees what the earlier ones left.
fn rows_after(writes: &[RowWrite], found: &Found) -> Result<Vec<(&'static str, Row)>, CommitError> {
    let mut after: HashMap<(&'static str, &str), Row> = HashMap::with_capacity(writes.len());
    for RowWrite { table, key, change } in writes {
        let definition = found.table(table)?;
        let place = (*table, key.as_str());
        let row = changed(definition, key, after.get(&place).or_else(|| found.row(table, key)), change)?;
        after.insert(place, row);
    }
    Ok(after.into_iter().map(|((table, _), row)| (table, row)).collect())
}

impl Found {
    fn table(&self, name: &str) -> Result<Table, CommitError> {
        self.tables.get(name).copied().ok_or_else(|| no_table(name))
    }
}
