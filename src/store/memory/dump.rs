//! The tables as plain rows, named and ordered as the migrations define them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::tables::Tables;
use crate::engine::store::Row;

/// Rows by table, each table's in the order of its primary key.
pub type Dump = BTreeMap<String, Vec<Row>>;

impl Tables {
    /// The content as rows.
    pub(super) fn dump(&self) -> Dump {
        let mut dump = Dump::new();
        dump.insert("runs".into(), self.runs.values().map(as_row).collect());
        dump.insert(
            "history".into(),
            self.history
                .iter()
                .map(|((run, _), entry)| {
                    let mut row = as_row(entry);
                    let target = row.remove("to").unwrap_or_default();
                    with(row, [("run", json!(run)), ("target", target)])
                })
                .collect(),
        );
        dump.insert(
            "signals".into(),
            self.signals
                .iter()
                .map(|((run, _), stored)| {
                    let more = [("run", json!(run)), ("dedup", json!(stored.dedup)), ("taken", json!(stored.taken))];
                    with(as_row(&stored.signal), more)
                })
                .collect(),
        );
        dump.insert("outbox".into(), self.outbox.values().map(as_row).collect());
        dump.insert(
            "inbox".into(),
            self.inbox.iter().map(|(id, at)| with(Row::new(), [("id", json!(id)), ("at", json!(at))])).collect(),
        );
        for (table, rows) in self.own.values() {
            dump.insert(table.name.into(), rows.values().cloned().collect());
        }
        dump
    }
}

/// A record as a row. Their fields are named like the columns.
fn as_row(record: &impl Serialize) -> Row {
    match serde_json::to_value(record) {
        Ok(Value::Object(row)) => row,
        other => unreachable!("a record is an object: {other:?}"),
    }
}

fn with<const N: usize>(mut row: Row, more: [(&str, Value); N]) -> Row {
    row.extend(more.map(|(column, value)| (column.to_owned(), value)));
    row
}
