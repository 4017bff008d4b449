//! What a write to a row of the workflow's own tables means, whichever database keeps the row:
//! the checks are made on the row as it was read, and what is written is the whole row.

use serde_json::Value;

use crate::engine::CommitError;
use crate::engine::store::{Row, RowChange, Table};

/// A value as a database keeps it: there are no booleans in it, they are 0 and 1.
pub(super) fn stored(value: &Value) -> Value {
    match value {
        Value::Bool(yes) => Value::from(i64::from(*yes)),
        other => other.clone(),
    }
}

/// Whether a row has these values.
pub(super) fn has(row: &Row, expect: &Row) -> bool {
    expect.iter().all(|(column, value)| row.get(column) == Some(&stored(value)))
}

/// Whether the table has that column.
pub(super) fn knows(table: Table, column: &str) -> bool {
    column == table.key || table.columns.contains(&column)
}

/// The values name columns of the table only.
pub(super) fn fits(table: Table, values: &Row) -> Result<(), CommitError> {
    match values.keys().find(|column| !knows(table, column)) {
        None => Ok(()),
        Some(column) => Err(no_column(table, column)),
    }
}

/// The refusal of a column that the table does not have.
pub(super) fn no_column(table: Table, column: &str) -> CommitError {
    CommitError::Conflict(format!("{} has no column {column}", table.name))
}

/// The refusal of a table that the store was not told of.
pub(super) fn no_table(name: &str) -> CommitError {
    CommitError::Conflict(format!("no table {name}"))
}

/// The row after `change`, given how it was; a column that was never written is null.
pub(super) fn changed(table: Table, key: &str, before: Option<&Row>, change: &RowChange) -> Result<Row, CommitError> {
    let name = table.name;
    let (mut row, values) = match (change, before) {
        (RowChange::Insert(_), Some(_)) => return Err(CommitError::Conflict(format!("no {name} {key}"))),
        (RowChange::Insert(values) | RowChange::Upsert(values), None) => (bare(table, key), values),
        (RowChange::Upsert(values), Some(row)) => (row.clone(), values),
        (RowChange::Update { set, expect }, row) => {
            fits(table, expect)?;
            let row = row.filter(|row| has(row, expect));
            (row.cloned().ok_or_else(|| CommitError::Conflict(format!("{name} {key}")))?, set)
        }
    };
    fits(table, values)?;
    if values.get(table.key).is_some_and(|other| other != key) {
        return Err(CommitError::Conflict(format!("{name} {key} can't get another key")));
    }
    row.extend(values.iter().map(|(column, value)| (column.clone(), stored(value))));
    Ok(row)
}

/// A row with nothing but its key.
fn bare(table: Table, key: &str) -> Row {
    let mut row: Row = table.columns.iter().map(|column| ((*column).to_owned(), Value::Null)).collect();
    row.insert(table.key.to_owned(), Value::from(key));
    row
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: Table = Table { name: "facts", key: "name", columns: &["value", "more"] };

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_change_gives_the_whole_row() {
        let made = changed(TABLE, "k", None, &RowChange::Insert(row(json!({ "value": true })))).unwrap();
        assert_eq!(made, row(json!({ "name": "k", "value": 1, "more": null })));
        let upserted = changed(TABLE, "k", Some(&made), &RowChange::Upsert(row(json!({ "more": "x" })))).unwrap();
        assert_eq!(upserted, row(json!({ "name": "k", "value": 1, "more": "x" })));
        let update = RowChange::Update { set: row(json!({ "value": 2 })), expect: row(json!({ "value": true })) };
        let updated = changed(TABLE, "k", Some(&upserted), &update).unwrap();
        assert_eq!(updated, row(json!({ "name": "k", "value": 2, "more": "x" })));
        assert!(changed(TABLE, "k", Some(&updated), &update).is_err());
    }

    #[test]
    fn what_does_not_fit_the_table_is_refused() {
        for values in [json!({ "other": 1 }), json!({ "name": "another" })] {
            for change in [RowChange::Insert(row(values.clone())), RowChange::Upsert(row(values.clone()))] {
                assert!(changed(TABLE, "k", None, &change).is_err(), "{change:?}");
            }
        }
        let update = RowChange::Update { set: Row::new(), expect: row(json!({ "other": null })) };
        assert!(changed(TABLE, "k", Some(&bare(TABLE, "k")), &update).is_err());
    }
}
