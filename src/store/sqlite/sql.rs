//! The statements. A statement that writes takes all that it is to write at once, since a call
//! costs more than a row: as bound values where every step pays for it ([`super::values`]), else as
//! one JSON list, so that its text is constant.
//! Lists of objects are read by `jsonb_each`, which does not make text of each object again
//! wherever one of its fields is read (SQLite 3.51; the one that sqlx brings along is).

use std::sync::LazyLock;

use sqlx::SqlStr;

use super::values::Values;
use crate::engine::store::Table;
use crate::store::columns::{open, outbox_columns, run_columns, workflows};
use crate::store::own::{columns, fixed, names};

pub(super) const OPEN: &str = open!();

pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";

/// Counts a transaction; alone it also tells how many there were.
pub(super) const COUNT: &str = "UPDATE journal SET batch = batch + 1 RETURNING batch";
pub(super) const COUNT_ONE: &str = "UPDATE journal SET batch = batch + 1";
pub(super) const COUNTED: &str = "SELECT batch FROM journal";
pub(super) const JOURNAL: &str = "SELECT timeline, batch FROM journal";
pub(super) const REACHED: &str = "SELECT batch FROM journal WHERE timeline = ?1";
pub(super) const BEGIN_TIMELINE: &str = "UPDATE journal SET timeline = lower(hex(randomblob(16)))";
pub(super) const LAST_COMMIT: &str = "SELECT max(at) FROM (SELECT max(updated_at) AS at FROM runs
  UNION ALL SELECT created_at FROM (SELECT created_at FROM outbox ORDER BY seq DESC LIMIT 1))";
pub(super) const DATA_VERSION: &str = "PRAGMA data_version";

/// A run's step. What is to be true of the run is checked by the statement that writes it. `more`
/// are columns that `lease`, the part of the statement that lets the run go, has besides.
fn step(more: &[&str], lease: &str) -> Values {
    let columns = ["seq", "revision", "token", "mailbox", "taken", "status", "step", "attempt", "state", "error", "at"];
    let columns = [&columns[..], more].concat();
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let after = format!(
        ")
UPDATE runs SET
  revision   = runs.revision + 1,
  status     = new.status,
  step       = new.step,
  attempt    = new.attempt,
  state      = coalesce(new.state, runs.state),
  error      = new.error,
  heard      = runs.heard + new.taken,{lease}
  updated_at = new.at
FROM new
WHERE runs.seq = new.seq
  AND runs.revision = new.revision
  AND runs.token = new.token
  AND runs.signals = coalesce(new.mailbox, runs.signals)
RETURNING seq, signals, due_at"
    );
    Values::new(&format!("WITH new ({}) AS (VALUES ", columns.join(", ")), &row, &after)
}

/// Steps of runs that go on under their leases: the indexes have nothing to do with them.
pub(super) static STEP_ON: LazyLock<Values> = LazyLock::new(|| step(&[], ""));
/// Steps of runs that are let go or end.
pub(super) static STEP_OFF: LazyLock<Values> = LazyLock::new(|| {
    step(
        &["keep", "known", "ends", "due"],
        "
  owner      = CASE WHEN new.keep THEN runs.owner END,
  due_at     = CASE WHEN runs.signals > new.known
                         AND (NOT new.ends OR EXISTS (
                           SELECT 1 FROM signals WHERE run = runs.seq AND number > new.known
                                                   AND substr(name, 1, 1) = '@'))
                    THEN new.at
                    WHEN new.ends THEN NULL
                    ELSE new.due END,",
    )
});

pub(super) static HISTORY: LazyLock<Values> = LazyLock::new(|| {
    let columns = "run, revision, step, attempt, outcome, target, status, detail, at";
    let before = format!("INSERT INTO history ({columns}) SELECT * FROM (VALUES ");
    Values::new(&before, "(?, ?, ?, ?, ?, ?, ?, ?, ?)", ") WHERE column1 IS NOT NULL")
});

/// Of `[run, number, revision]`.
pub(super) const TAKE: &str = "
UPDATE signals SET taken = new.value ->> 2
FROM jsonb_each(?) AS new
WHERE signals.run = new.value ->> 0 AND signals.number = new.value ->> 1";

/// How the runs stand whose step was not written.
pub(super) const STANDING: &str = "
SELECT seq, revision, token, signals FROM runs WHERE seq IN (SELECT value FROM json_each(?))";

pub(super) const RESOLVE: &str = "
SELECT id, seq, revision FROM runs WHERE id IN (SELECT value FROM json_each(?))";

pub(super) const SEEN: &str = "SELECT id FROM inbox WHERE id IN (SELECT value FROM json_each(?))";

/// Of `[id, at]`.
pub(super) const SEE: &str = "INSERT INTO inbox (id, at) SELECT value ->> 0, value ->> 1 FROM jsonb_each(?)";

pub(super) static START: LazyLock<Values> = LazyLock::new(|| {
    let columns = "id, workflow, version, hash, key, status, step, state, due_at, created_at, updated_at";
    let before = format!("INSERT INTO runs ({columns}) SELECT * FROM (VALUES ");
    let row = "(?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?)";
    Values::new(&before, row, ") WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING")
});

/// Stores the signals that a run can still have and has not had, numbered on from its last one.
pub(super) const SIGNAL: &str = concat!(
    "
INSERT INTO signals (run, number, name, payload, dedup, at)
SELECT runs.seq, runs.signals + row_number() OVER (PARTITION BY runs.seq ORDER BY new.key),
       new.value ->> '$.name', new.value ->> '$.payload', new.value ->> '$.dedup', new.value ->> '$.at'
FROM jsonb_each(?) AS new CROSS JOIN runs ON runs.id = new.value ->> '$.run'
WHERE (runs.",
    open!(),
    " OR substr(new.value ->> '$.name', 1, 1) = '@')
  AND NOT EXISTS (SELECT 1 FROM signals WHERE run = runs.seq AND dedup = new.value ->> '$.dedup')
RETURNING run, name, at"
);

/// Of `[run, how many, whether one is an operator's, at]`.
pub(super) const TOLD: &str = "
UPDATE runs SET
  signals = runs.signals + new.value ->> 1,
  due_at  = CASE WHEN runs.owner IS NULL AND (runs.status = 'waiting' OR new.value ->> 2)
                 THEN new.value ->> 3 ELSE runs.due_at END
FROM jsonb_each(?) AS new
WHERE runs.seq = new.value ->> 0";

/// The soonest due first, then those without a time.
pub(super) const NUDGE: &str = concat!(
    "
UPDATE runs SET due_at = ? WHERE seq IN (
  SELECT seq FROM runs INDEXED BY runs_resting
  WHERE workflow = ? AND step = ? AND status = 'waiting' AND owner IS NULL AND (due_at IS NULL OR due_at > ?) AND ",
    open!(),
    "
  ORDER BY due_at NULLS LAST, seq LIMIT ?)"
);

pub(super) const QUEUE: &str = "
INSERT INTO outbox (id, lane, topic, slot, body, expires_at, state, due_at, created_at)
SELECT value ->> '$.id', value ->> '$.lane', value ->> '$.topic', value ->> '$.slot', value ->> '$.body',
       value ->> '$.expires', 'pending', value ->> '$.at', value ->> '$.at'
FROM jsonb_each(?) WHERE true ORDER BY jsonb_each.key
ON CONFLICT DO NOTHING";

/// In each of these slots only the newest message stays to be published.
pub(super) const SUPERSEDE: &str = "
UPDATE outbox SET state = 'superseded'
WHERE state = 'pending' AND slot IN (SELECT value FROM json_each(?))
  AND seq < (SELECT max(newer.seq) FROM outbox AS newer WHERE newer.slot = outbox.slot AND newer.state = 'pending')";

pub(super) const DUE: &str =
    concat!("SELECT ", run_columns!(), " FROM runs INDEXED BY runs_due WHERE due_at <= ? ORDER BY due_at, seq LIMIT ?");
pub(super) const LEASE: &str = "
UPDATE runs SET owner = ?, token = token + 1, due_at = ? WHERE seq IN (SELECT value FROM json_each(?))";
pub(super) const RENEW: &str = "
UPDATE runs INDEXED BY runs_owner SET due_at = ? WHERE owner = ? AND due_at > ?";
pub(super) const RELEASE: &str = concat!(
    "
UPDATE runs SET owner = NULL, due_at = CASE WHEN ",
    open!(),
    " OR EXISTS (SELECT 1 FROM signals WHERE run = runs.seq AND taken IS NULL AND substr(name, 1, 1) = '@')
  THEN ? END
WHERE seq IN (SELECT seq FROM runs INDEXED BY runs_owner WHERE owner IS NOT NULL AND owner <> ?)"
);
pub(super) const WAKE: &str = concat!(
    "
UPDATE runs SET due_at = ? WHERE seq = ? AND owner IS NULL AND (due_at IS NULL OR due_at > ?) AND ",
    open!()
);
/// Of `[seq, revision, keeps]`.
pub(super) const RETIRE: &str = concat!(
    "
UPDATE runs SET state = new.value ->> 2, retired_at = ?, token = token + 1
FROM jsonb_each(?) AS new
WHERE runs.seq = new.value ->> 0 AND runs.revision = new.value ->> 1
  AND runs.retired_at IS NULL AND runs.owner IS NULL AND runs.due_at IS NULL AND NOT (runs.",
    open!(),
    ")
RETURNING seq"
);
/// What retired runs leave, of a list of them.
pub(super) const GIVE_UP: [&str; 2] = [
    "DELETE FROM history WHERE run IN (SELECT value FROM json_each(?))",
    "DELETE FROM signals WHERE run IN (SELECT value FROM json_each(?))",
];
/// Of `[seq, state, how often offered, due_at]`; what was closed meanwhile stays so.
pub(super) const DELIVER: &str = "
UPDATE outbox SET state = new.value ->> 1, attempts = outbox.attempts + new.value ->> 2, due_at = new.value ->> 3
FROM jsonb_each(?) AS new
WHERE outbox.seq = new.value ->> 0 AND outbox.state = 'pending'";

/// The newest message of a topic stays. What is younger is not looked through.
pub(super) const FORGET: &str = "
DELETE FROM outbox WHERE seq IN (
  SELECT seq FROM outbox AS old
  WHERE seq < coalesce((SELECT seq FROM outbox WHERE created_at >= ? ORDER BY seq LIMIT 1), 9223372036854775807)
    AND state <> 'pending'
    AND EXISTS (SELECT 1 FROM outbox AS newer WHERE newer.topic = old.topic AND newer.seq > old.seq)
  ORDER BY seq LIMIT ?)";

pub(super) const NEXT_DUE: &str = "SELECT min(due_at) FROM runs INDEXED BY runs_due WHERE due_at IS NOT NULL";
pub(super) const RUN: &str = concat!("SELECT ", run_columns!(), " FROM runs WHERE id = ?1");
pub(super) const RUNS: &str = concat!("SELECT ", run_columns!(), " FROM runs");
/// The runs whose ids, or keys, lie between two texts.
pub(super) const BEGIN_SO: [&str; 4] = [
    concat!(workflows!(), "SELECT seq FROM runs WHERE id >= "),
    " AND id < ",
    " UNION SELECT runs.seq FROM workflows CROSS JOIN runs ON runs.workflow = workflows.name AND runs.key >= ",
    " AND runs.key < ",
];
/// Of a list of keys.
pub(super) const OF_KEYS: &str = concat!(
    workflows!(),
    "SELECT runs.seq FROM workflows CROSS JOIN runs ON runs.workflow = workflows.name AND runs.key IN (SELECT value FROM \
     json_each("
);
/// The open runs that an index of their own holds; what a query says must be written just so.
pub(super) const TROUBLED: &str = concat!(open!(), " AND (error IS NOT NULL OR status IN ('paused', 'in-doubt'))");

pub(super) const ENDED: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs WHERE seq > ?2 AND updated_at < ?1 AND retired_at IS NULL AND NOT (",
    open!(),
    ") ORDER BY seq LIMIT ?3"
);
/// Runs that are alike; when the first of them was started is read from its own row.
macro_rules! tally {
    ($($groups:expr),+) => {
        concat!(
            "SELECT alike.workflow, alike.status, alike.step, alike.runs, runs.created_at FROM (",
            $($groups),+,
            ") AS alike CROSS JOIN runs ON runs.seq = alike.first ORDER BY 1, 2, 3"
        )
    };
}
pub(super) const TALLY: &str = tally!(
    "SELECT workflow, status, step, count(*) AS runs, min(seq) AS first FROM runs WHERE retired_at IS NULL GROUP BY workflow, status, step"
);
/// From two indices that have nothing but open runs: the rows themselves are not read, but for those that are
/// being worked on.
pub(super) const TALLY_OPEN: &str = tally!(
    "SELECT workflow, status, step, sum(runs) AS runs, min(first) AS first FROM (
       SELECT workflow, status, step, count(*) AS runs, min(seq) AS first FROM runs INDEXED BY runs_resting
       WHERE owner IS NULL AND ",
    open!(),
    " GROUP BY workflow, step, status
       UNION ALL
       SELECT workflow, status, step, count(*), min(seq) FROM runs INDEXED BY runs_owner
       WHERE owner IS NOT NULL AND ",
    open!(),
    " GROUP BY workflow, step, status)
     GROUP BY workflow, status, step"
);
pub(super) const PINS: &str = concat!(
    "SELECT workflow, version, hash, count(*) FROM runs INDEXED BY runs_open WHERE ",
    open!(),
    " GROUP BY workflow, version, hash ORDER BY workflow, version, hash"
);
pub(super) const MAILBOXES: &str = "
SELECT number, name, payload, at, run FROM signals
WHERE run IN (SELECT value FROM json_each(?1)) AND taken IS NULL ORDER BY run, number";
pub(super) const HISTORY_OF: &str = "
SELECT revision, step, attempt, outcome, target, status, detail, at FROM history WHERE run = ?1 ORDER BY revision";
pub(super) const WAS_SEEN: &str = "SELECT EXISTS (SELECT 1 FROM inbox WHERE id = ?1)";
pub(super) const OUTBOX_DUE: &str = concat!(
    "SELECT ",
    outbox_columns!(),
    " FROM outbox INDEXED BY outbox_due WHERE state = 'pending' AND due_at <= ?1 ORDER BY seq LIMIT ?2"
);
pub(super) const OUTBOX_NEXT: &str = "SELECT min(due_at) FROM outbox INDEXED BY outbox_due WHERE state = 'pending'";
pub(super) const OUTBOX_DEPTH: &str =
    "SELECT count(*), min(created_at) FROM outbox INDEXED BY outbox_due WHERE state = 'pending'";
pub(super) const OUTBOX: &str = concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE id = ?1");
pub(super) const OUTBOX_TOPIC: &str =
    concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE topic = ?1 ORDER BY seq DESC LIMIT 1");

/// The statements for one of the workflow's own tables, made when the store is opened.
pub(super) struct Statements {
    /// The rows whose keys are in a list.
    pub(super) read: SqlStr,
    /// Writes whole rows, over those that are there.
    pub(super) write: SqlStr,
}

impl Statements {
    pub(super) fn new(table: Table) -> Self {
        let Table { name, key, .. } = table;
        let list = columns(table);
        let values: Vec<_> = names(table).map(|column| format!("value ->> '$.\"{column}\"'")).collect();
        let replaced: Vec<_> =
            table.columns.iter().map(|column| format!("\"{column}\" = excluded.\"{column}\"")).collect();
        let then = if replaced.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", replaced.join(", ")) };
        Self {
            read: fixed(format!("SELECT {list} FROM \"{name}\" WHERE \"{key}\" IN (SELECT value FROM json_each(?))")),
            write: fixed(format!(
                "INSERT INTO \"{name}\" ({list}) SELECT {} FROM jsonb_each(?) WHERE true \
                 ON CONFLICT (\"{key}\") DO {then}",
                values.join(", ")
            )),
        }
    }
}
