//! The workflow's own rows, and the conditions on them and on runs.

use serde_json::Value;

use super::tables::Tables;
use crate::engine::store::{CommitError, Guard, Page, Row, RowChange, RowWrite, StoreError, Table};

/// A database has no booleans: they are 0 and 1.
fn stored(value: &Value) -> Value {
    match value {
        Value::Bool(yes) => Value::from(i64::from(*yes)),
        other => other.clone(),
    }
}

/// Whether a row has these values.
fn has(row: &Row, expect: &Row) -> bool {
    expect.iter().all(|(column, value)| row.get(column) == Some(&stored(value)))
}

fn replace(row: &mut Row, values: &Row) {
    for (column, value) in values {
        row.insert(column.clone(), stored(value));
    }
}

/// A row with nothing but its key.
fn bare(table: Table, key: &str) -> Row {
    let mut row: Row = table.columns.iter().map(|column| ((*column).to_owned(), Value::Null)).collect();
    row.insert(table.key.to_owned(), Value::from(key));
    row
}

fn knows(table: Table, column: &str) -> bool {
    column == table.key || table.columns.contains(&column)
}

/// The values name columns of the table only, and don't change the key.
fn fits(table: Table, key: Option<&str>, values: &Row) -> Result<(), CommitError> {
    for (column, value) in values {
        if !knows(table, column) {
            return Err(conflict(format!("{} has no column {column}", table.name)));
        }
        if let (Some(key), true) = (key, column == table.key)
            && value != key
        {
            return Err(conflict(format!("{} {key} can't get another key", table.name)));
        }
    }
    Ok(())
}

fn conflict(what: String) -> CommitError {
    CommitError::Conflict(what)
}

impl Tables {
    /// Whether a condition holds now.
    pub(super) fn check(&self, guard: &Guard) -> Result<(), CommitError> {
        let (holds, what) = match guard {
            Guard::Revision { run, revision } => {
                let found = self.run(run).map(|run| run.revision);
                (found == Some(*revision), format!("run {run} at revision {revision}"))
            }
            Guard::NoRun { run } => (self.run(run).is_none(), format!("no run {run}")),
            Guard::Row { table, key, expect } => {
                let (definition, rows) = self.own_table(table)?;
                fits(definition, None, expect)?;
                (rows.get(key).is_some_and(|row| has(row, expect)), format!("{table} {key}"))
            }
            Guard::Absent { table, key } => (!self.own_table(table)?.1.contains_key(key), format!("no {table} {key}")),
            Guard::Fewer { table, matching, at_least, limit } => {
                let (definition, rows) = self.own_table(table)?;
                fits(definition, None, matching)?;
                if let Some((column, _)) = at_least
                    && !knows(definition, column)
                {
                    return Err(conflict(format!("{table} has no column {column}")));
                }
                let counted = |row: &&Row| {
                    has(row, matching)
                        && at_least.is_none_or(|(column, least)| {
                            row.get(column).and_then(Value::as_i64).is_some_and(|value| value >= least)
                        })
                };
                (
                    (rows.values().filter(counted).take(usize::try_from(*limit).unwrap_or(usize::MAX)).count() as u64)
                        < *limit,
                    format!("fewer than {limit} {table}"),
                )
            }
        };
        if holds { Ok(()) } else { Err(conflict(what)) }
    }

    /// Writes one row; sees what earlier writes of the same commit left.
    pub(super) fn write_row(&mut self, write: &RowWrite) -> Result<(), CommitError> {
        let RowWrite { table, key, change } = write;
        let (definition, rows) = self.own_table_mut(table)?;
        match change {
            RowChange::Insert(values) => {
                fits(definition, Some(key), values)?;
                if rows.contains_key(key) {
                    return Err(conflict(format!("no {table} {key}")));
                }
                let mut row = bare(definition, key);
                replace(&mut row, values);
                rows.insert(key.clone(), row);
            }
            RowChange::Upsert(values) => {
                fits(definition, Some(key), values)?;
                if !rows.contains_key(key) {
                    rows.insert(key.clone(), bare(definition, key));
                }
                if let Some(row) = rows.get_mut(key) {
                    replace(row, values);
                }
            }
            RowChange::Update { set, expect } => {
                fits(definition, Some(key), set)?;
                fits(definition, None, expect)?;
                let holds = rows.get(key).is_some_and(|row| has(row, expect));
                let row = rows.get_mut(key).filter(|_| holds);
                replace(row.ok_or_else(|| conflict(format!("{table} {key}")))?, set);
            }
        }
        Ok(())
    }

    /// The row of that key.
    pub(super) fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, StoreError> {
        let (_, rows) = self.own_table(table).map_err(unreadable)?;
        Ok(rows.get(key).cloned())
    }

    /// Rows by key.
    pub(super) fn page(&self, table: &'static str, page: &Page) -> Result<Vec<Row>, StoreError> {
        let (_, rows) = self.own_table(table).map_err(unreadable)?;
        let mut found: Vec<(&String, &Row)> = rows.iter().filter(|(key, _)| key.starts_with(&page.prefix)).collect();
        if page.descending {
            found.reverse();
        }
        let beyond = |key: &String| {
            page.after.as_ref().is_none_or(|after| if page.descending { key < after } else { key > after })
        };
        let found = found.into_iter().filter(|(key, _)| beyond(key)).take(page.limit as usize);
        Ok(found.map(|(_, row)| row.clone()).collect())
    }

    /// The sum of a column.
    pub(super) fn sum(&self, table: &'static str, column: &str, matching: &Row) -> Result<i64, StoreError> {
        let (definition, rows) = self.own_table(table).map_err(unreadable)?;
        fits(definition, None, matching).map_err(unreadable)?;
        if !knows(definition, column) {
            return Err(StoreError(format!("{table} has no column {column}")));
        }
        let matching = rows.values().filter(|row| has(row, matching));
        Ok(matching.filter_map(|row| row.get(column).and_then(Value::as_i64)).sum())
    }

    /// The row with the greatest value of a column.
    pub(super) fn newest(&self, table: &'static str, column: &str) -> Result<Option<Row>, StoreError> {
        let (definition, rows) = self.own_table(table).map_err(|error| StoreError(error.to_string()))?;
        if !knows(definition, column) {
            return Err(StoreError(format!("{table} has no column {column}")));
        }
        let valued = rows.values().filter_map(|row| Some((row.get(column)?.as_i64()?, row)));
        Ok(valued.max_by_key(|(value, _)| *value).map(|(_, row)| row.clone()))
    }

    /// The rows with that value, by key.
    pub(super) fn rows(&self, table: &'static str, column: &str, value: &Value) -> Result<Vec<Row>, StoreError> {
        let (definition, rows) = self.own_table(table).map_err(unreadable)?;
        if !knows(definition, column) {
            return Err(StoreError(format!("{table} has no column {column}")));
        }
        let wanted = stored(value);
        Ok(rows.values().filter(|row| row.get(column) == Some(&wanted)).cloned().collect())
    }
}

fn unreadable(error: CommitError) -> StoreError {
    StoreError(error.to_string())
}
