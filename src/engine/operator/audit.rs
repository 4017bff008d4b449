//! The journal of operators' requests.

use serde_json::{Map, Value, json};

use crate::engine::clock::Timestamp;
use crate::engine::run::{Run, Signal};
use crate::engine::store::{RowChange, RowWrite, Table};

use super::Asked;

/// The table, one of those that a store is told of: one row for each request that was applied or
/// refused. Times are Unix milliseconds; the key begins with the time of the asking.
pub const AUDIT: Table = Table {
    name: "audit",
    key: "id",
    columns: &[
        "ticket",
        "run",
        "workflow",
        "key",
        "request",
        "arguments",
        "forced",
        "asked_by",
        "reason",
        "asked_at",
        "applied_at",
        "outcome",
        "detail",
        "step",
        "status",
        "revision",
    ],
};

/// The row of a request: `ended` is what it led to (step, status and a sentence), or why it was refused.
pub(super) fn row(
    run: &Run,
    signal: &Signal,
    asked: Option<&Asked>,
    ended: Result<(&str, &str, &str), &str>,
    now: Timestamp,
) -> RowWrite {
    let (step, status, detail) = ended.unwrap_or_else(|why| (&run.step, run.status.as_str(), why));
    let row = json!({
        "ticket": asked.map(|asked| &asked.ticket),
        "run": run.id,
        "workflow": run.pin.workflow,
        "key": run.key,
        "request": signal.name.trim_start_matches('@'),
        "arguments": asked.and_then(|asked| asked.request.arguments()).map(|said| said.to_string()),
        "forced": asked.is_some_and(|asked| asked.force),
        "asked_by": asked.map_or("somebody", |asked| &asked.by),
        "reason": asked.and_then(|asked| asked.reason.as_ref()),
        "asked_at": signal.at.millis(),
        "applied_at": now.millis(),
        "outcome": if ended.is_ok() { "applied" } else { "refused" },
        "detail": detail,
        "step": step,
        "status": status,
        "revision": run.revision + 1,
    });
    let values = match row {
        Value::Object(values) => values,
        _ => Map::new(),
    };
    // A run's signals are numbered once for all, so that no two requests have one key.
    let key = format!("{:013}-{}-{}", signal.at.millis(), run.id, signal.number);
    RowWrite { table: AUDIT.name, key, change: RowChange::Insert(values) }
}
