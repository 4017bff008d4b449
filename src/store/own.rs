//! The workflow's own tables and the statements for them that are the same on both databases,
//! which is why parameters are `$1` here: both take that. Nothing but the names that the program
//! itself gives gets into a statement; all values are bound.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::engine::store::{Page, Row, StoreError, Table};
use crate::store::rows::knows;

/// The tables by name, each with what a database has to say of it.
pub(super) struct OwnTables<T>(HashMap<&'static str, Own<T>>);

/// A table, and a database's own statements for it.
pub(super) struct Own<T> {
    pub(super) table: Table,
    pub(super) statements: T,
}

impl<T> OwnTables<T> {
    /// `statements` makes those of one table.
    pub(super) fn new(tables: &'static [Table], statements: impl Fn(Table) -> T) -> Self {
        let own = |table: &Table| (table.name, Own { table: *table, statements: statements(*table) });
        Self(tables.iter().map(own).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Own<T>> {
        self.0.get(name)
    }

    /// The table to be read, of which these columns are asked for.
    pub(super) fn readable(&self, name: &str, columns: &[&str]) -> Result<&Own<T>, StoreError> {
        let own = self.get(name).ok_or_else(|| StoreError(format!("no table {name}")))?;
        match columns.iter().find(|column| !knows(own.table, column)) {
            None => Ok(own),
            Some(column) => Err(StoreError(format!("{name} has no column {column}"))),
        }
    }
}

/// The rows in which one column has a value, by key.
pub(super) fn having(table: Table, column: &str, value: &Value) -> SqlStr {
    let (name, key, list) = (table.name, table.key, columns(table));
    let is = if value.is_null() { "IS NULL" } else { "= $1" };
    fixed(format!("SELECT {list} FROM \"{name}\" WHERE \"{column}\" {is} ORDER BY \"{key}\""))
}

/// The row with the greatest value in a column.
pub(super) fn newest(table: Table, column: &str) -> SqlStr {
    let (name, list) = (table.name, columns(table));
    fixed(format!("SELECT {list} FROM \"{name}\" WHERE \"{column}\" IS NOT NULL ORDER BY \"{column}\" DESC LIMIT 1"))
}

/// A text that is greater than all that begin with `prefix`: no text has a greater character.
pub(super) fn beyond(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

/// Rows by key: from the first text (which they reach), before the second, at most so many, and
/// beyond the fourth if the page goes on after a key.
pub(super) fn page(table: Table, page: &Page) -> SqlStr {
    let (name, key, list) = (table.name, table.key, columns(table));
    let (beyond, order) = if page.descending { ("<", "DESC") } else { (">", "ASC") };
    let after = if page.after.is_some() { format!(" AND \"{key}\" {beyond} $4") } else { String::new() };
    fixed(format!(
        "SELECT {list} FROM \"{name}\" WHERE \"{key}\" >= $1 AND \"{key}\" < $2{after} \
         ORDER BY \"{key}\" {order} LIMIT $3"
    ))
}

/// The sum of a column over the rows with these values, of which those that are not null are bound
/// in their order.
pub(super) fn sum(table: Table, column: &str, matching: &Row) -> SqlStr {
    let mut sql = format!("SELECT CAST(coalesce(sum(\"{column}\"), 0) AS BIGINT) FROM \"{}\" WHERE true", table.name);
    matched(&mut sql, matching);
    fixed(sql)
}

/// How many rows have these values, counted up to a limit that is bound last; the values that
/// are not null are bound in their order, then `at_least`'s.
pub(super) fn count(table: Table, matching: &Row, at_least: Option<&str>) -> SqlStr {
    let mut sql = format!("SELECT count(*) FROM (SELECT 1 FROM \"{}\" WHERE true", table.name);
    let mut bound = matched(&mut sql, matching);
    // Writing to a string can't fail.
    if let Some(column) = at_least {
        bound += 1;
        let _ = write!(sql, " AND \"{column}\" >= ${bound}");
    }
    let _ = write!(sql, " LIMIT ${}) AS counted", bound + 1);
    fixed(sql)
}

/// The conditions that a row has these values; tells how many of them are to be bound.
fn matched(sql: &mut String, matching: &Row) -> usize {
    let mut bound = 0;
    // Writing to a string can't fail.
    for (column, value) in matching {
        if value.is_null() {
            let _ = write!(sql, " AND \"{column}\" IS NULL");
        } else {
            bound += 1;
            let _ = write!(sql, " AND \"{column}\" = ${bound}");
        }
    }
    bound
}

/// The key column and then all others.
pub(super) fn names(table: Table) -> impl Iterator<Item = &'static str> {
    std::iter::once(table.key).chain(table.columns.iter().copied())
}

/// All columns as a statement lists them.
pub(super) fn columns(table: Table) -> String {
    let quoted: Vec<_> = names(table).map(|column| format!("\"{column}\"")).collect();
    quoted.join(", ")
}

/// Of names that are in the program only.
pub(super) fn fixed(sql: String) -> SqlStr {
    AssertSqlSafe(std::sync::Arc::<str>::from(sql)).into_sql_str()
}
