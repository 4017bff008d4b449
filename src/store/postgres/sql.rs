//! The statements. As on SQLite, one that writes takes a JSON list of what it is to write.
//!
//! Others write at the same time. So a transaction first locks what its checks are about, always
//! in the same order: tables by name, then runs by number, then rows by table and key. What it
//! locked stays as it was read until it ends, and two that want the same wait for each other in
//! one direction only.

use sqlx::SqlStr;

use crate::engine::store::Table;
use crate::store::columns::{open, outbox_columns, run_columns, workflows};
use crate::store::own::{columns, fixed, names};

pub(super) const OPEN: &str = open!();

pub(super) const ROLLBACK: &str = "ROLLBACK";

/// The database's clock in Unix milliseconds, where `$1` says that it counts; else null.
macro_rules! clock {
    () => {
        "clock AS (
  SELECT CASE WHEN $1 THEN floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint END AS now
)"
    };
}

/// The database's clock in Unix milliseconds.
pub(super) const CLOCK: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

macro_rules! counted {
    ($daemon:literal) => {
        concat!(
            "INSERT INTO journal (daemon, batch) VALUES (",
            $daemon,
            ", 1)
ON CONFLICT (daemon) DO UPDATE SET batch = journal.batch + 1, at = now()"
        )
    };
}

/// Counts a transaction of a daemon, and tells how many there were: it waits for whatever
/// transaction of that daemon is still open.
pub(super) const COUNT: &str = concat!(counted!("$1"), " RETURNING batch");

/// How far a daemon has come; none: it has written nothing that is here.
pub(super) const REACHED: &str = "SELECT batch FROM journal WHERE daemon = $1";

pub(super) const LAST_COMMIT: &str = "SELECT max(at) FROM (SELECT max(updated_at) AS at FROM runs
  UNION ALL (SELECT created_at FROM outbox ORDER BY seq DESC LIMIT 1)) AS times";

/// Daemons that have not written for so long are gone: each start has a name of its own.
pub(super) const FORGET: &str = "DELETE FROM journal WHERE at < now() - interval '30 days'";

/// The last words of a transaction; one that wrote something counts for its daemon. The name is
/// one of this program's own making: letters, digits and hyphens.
pub(super) fn commit(daemon: Option<&str>) -> SqlStr {
    fixed(match daemon {
        Some(daemon) => format!(concat!(counted!("'{}'"), "; COMMIT"), daemon),
        None => "COMMIT".to_owned(),
    })
}

/// Begins a transaction. Nobody else may write to the tables that are `counted` until it ends:
/// what is not there, or not more often, stays so. The tables that it will write to are named at
/// once, so that it need not ask for more than it has while somebody waits for it.
pub(super) fn begin(written: &[&str], counted: &[&str]) -> SqlStr {
    let mut tables: Vec<(&str, &str)> = written.iter().map(|table| (*table, "ROW EXCLUSIVE")).collect();
    tables.extend(counted.iter().map(|table| (*table, "SHARE ROW EXCLUSIVE")));
    tables.sort_unstable();
    let locks: Vec<_> = tables.iter().map(|(table, mode)| format!("LOCK TABLE \"{table}\" IN {mode} MODE")).collect();
    fixed(["BEGIN".to_owned()].into_iter().chain(locks).collect::<Vec<_>>().join("; "))
}

/// The runs of these numbers and of these ids, for reading only.
pub(super) const RESOLVE: &str = "
SELECT id, seq, revision FROM runs WHERE seq = ANY($1) OR id = ANY($2)";
/// The same, locked in the order of their numbers.
pub(super) const LOCK: &str = "
SELECT id, seq, revision FROM runs WHERE seq = ANY($1) OR id = ANY($2) ORDER BY seq FOR NO KEY UPDATE";

pub(super) const SEEN: &str = "SELECT id FROM inbox WHERE id = ANY($1)";

/// A run's step, its line of the history and the signals that it took. What is to be true of the
/// run is checked by the statement that writes it, once the runs are locked in the order of their numbers.
pub(super) const STEP: &str = r#"
WITH new AS (
  SELECT * FROM json_to_recordset($1::json) AS (
    seq bigint, revision bigint, token bigint, mailbox bigint, known bigint, taken bigint, status text, step text,
    attempt bigint, state text, error text, at bigint, ends boolean, keep boolean, due bigint,
    "from" text, tried bigint, outcome text, "to" text, became text, detail text, "when" bigint)
), locked AS MATERIALIZED (
  SELECT seq AS number FROM runs WHERE seq = ANY(ARRAY(SELECT seq FROM new)) ORDER BY seq FOR NO KEY UPDATE
), moved AS (
  UPDATE runs SET
    revision   = runs.revision + 1,
    status     = new.status,
    step       = new.step,
    attempt    = new.attempt,
    state      = coalesce(new.state, runs.state),
    error      = new.error,
    heard      = runs.heard + new.taken,
    owner      = CASE WHEN new.keep THEN runs.owner END,
    due_at     = CASE WHEN new.keep AND NOT new.ends THEN runs.due_at
                      WHEN runs.signals > new.known
                           AND (NOT new.ends OR EXISTS (
                             SELECT 1 FROM signals WHERE signals.run = runs.seq AND signals.number > new.known
                                                     AND starts_with(signals.name, '@')))
                      THEN new.at
                      WHEN new.ends THEN NULL
                      ELSE new.due END,
    updated_at = new.at
  FROM new, locked
  WHERE runs.seq = new.seq
    AND runs.seq = locked.number
    AND runs.revision = new.revision
    AND runs.token = new.token
    AND runs.signals = coalesce(new.mailbox, runs.signals)
  RETURNING runs.seq, runs.signals, runs.revision, runs.due_at IS NOT NULL AND (new.ends OR NOT new.keep) AS due
), past AS (
  INSERT INTO history (run, revision, step, attempt, outcome, target, status, detail, at)
  SELECT new.seq, moved.revision, new."from", new.tried, new.outcome, new."to", new.became, new.detail, new."when"
  FROM new JOIN moved USING (seq)
), took AS (
  UPDATE signals SET taken = moved.revision
  FROM json_array_elements($2::json) AS mail JOIN moved ON moved.seq = (mail ->> 0)::bigint
  WHERE signals.run = moved.seq AND signals.number = (mail ->> 1)::bigint
)
SELECT seq, signals, due FROM moved"#;

/// How the runs stand whose step was not written.
pub(super) const STANDING: &str = "SELECT seq, revision, token, signals FROM runs WHERE seq = ANY($1)";

/// Of `[id, at]`.
pub(super) const SEE: &str = "
INSERT INTO inbox (id, at) SELECT new ->> 0, (new ->> 1)::bigint FROM json_array_elements($1::json) AS new";

pub(super) const START: &str = "
INSERT INTO runs (id, workflow, version, hash, key, status, step, state, due_at, created_at, updated_at)
SELECT id, workflow, version, hash, key, 'running', step, state, due, at, at
FROM ROWS FROM (json_to_recordset($1::json) AS (
  id text, workflow text, version bigint, hash text, key text, step text, state text, due bigint, at bigint
)) WITH ORDINALITY AS new (id, workflow, version, hash, key, step, state, due, at, place)
ORDER BY place
ON CONFLICT DO NOTHING
RETURNING id";

/// Stores the signals that a run can still have and has not had, numbered on from its last one.
pub(super) const SIGNAL: &str = concat!(
    "
INSERT INTO signals (run, number, name, payload, dedup, at)
SELECT runs.seq, runs.signals + row_number() OVER (PARTITION BY runs.seq ORDER BY new.place),
       new.name, new.payload, new.dedup, new.at
FROM ROWS FROM (json_to_recordset($1::json) AS (
  run text, name text, payload text, dedup text, at bigint
)) WITH ORDINALITY AS new (run, name, payload, dedup, at, place)
JOIN runs ON runs.id = new.run
WHERE (runs.",
    open!(),
    " OR starts_with(new.name, '@'))
  AND NOT EXISTS (SELECT 1 FROM signals WHERE signals.run = runs.seq AND signals.dedup = new.dedup)
RETURNING run, name, at"
);

/// Of `[run, how many, whether one is an operator's, at]`.
pub(super) const TOLD: &str = "
UPDATE runs SET
  signals = runs.signals + (new ->> 1)::bigint,
  due_at  = CASE WHEN runs.owner IS NULL AND (runs.status = 'waiting' OR (new ->> 2)::boolean)
                 THEN (new ->> 3)::bigint ELSE runs.due_at END
FROM json_array_elements($1::json) AS new
WHERE runs.seq = (new ->> 0)::bigint";

/// The soonest due first, then those without a time.
pub(super) const NUDGE: &str = concat!(
    "
UPDATE runs SET due_at = $1 WHERE seq = ANY(ARRAY(
  SELECT seq FROM runs
  WHERE workflow = $2 AND step = $3 AND status = 'waiting' AND owner IS NULL
    AND (due_at IS NULL OR due_at > $1) AND ",
    open!(),
    "
  ORDER BY due_at, seq LIMIT $4 FOR NO KEY UPDATE))"
);

pub(super) const QUEUE: &str = "
INSERT INTO outbox (id, lane, topic, slot, body, expires_at, state, due_at, created_at)
SELECT id, lane, topic, slot, body, expires, 'pending', at, at
FROM ROWS FROM (json_to_recordset($1::json) AS (
  id text, lane text, topic text, slot text, body text, expires bigint, at bigint
)) WITH ORDINALITY AS new (id, lane, topic, slot, body, expires, at, place)
ORDER BY place
ON CONFLICT DO NOTHING";

/// In each of these slots only the newest message stays to be published.
pub(super) const SUPERSEDE: &str = "
UPDATE outbox SET state = 'superseded'
WHERE state = 'pending' AND slot = ANY($1)
  AND seq < (SELECT max(newer.seq) FROM outbox AS newer WHERE newer.slot = outbox.slot AND newer.state = 'pending')";

/// What another is just taking is passed over. `$3` is the caller's time and `$4` the end that it
/// wants: where the database's clock counts, nothing is due that is not due by it, and the lease
/// is as long by it as the caller has asked for.
pub(super) const CLAIM: &str = concat!(
    "
WITH ",
    clock!(),
    ", due AS MATERIALIZED (
  SELECT seq AS number, due_at AS since FROM runs
  WHERE due_at <= least($3, (SELECT now FROM clock))
  ORDER BY due_at, seq LIMIT $5
  FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE runs SET owner = $2, token = token + 1, due_at = coalesce((SELECT now FROM clock) + ($4 - $3), $4)
WHERE seq = ANY(ARRAY(SELECT number FROM due))
RETURNING ",
    run_columns!(),
    ", (SELECT since FROM due WHERE number = seq) AS since"
);

pub(super) const RENEW: &str = concat!(
    "
WITH ",
    clock!(),
    "
UPDATE runs SET due_at = coalesce((SELECT now FROM clock) + ($4 - $3), $4) WHERE seq IN (
  SELECT seq FROM runs WHERE owner = $2 AND due_at > coalesce((SELECT now FROM clock), $3)
  ORDER BY seq FOR NO KEY UPDATE)"
);

/// Whether somebody plays a part now: a daemon that is at work does, or waits for one that does.
pub(super) const ATTENDED: &str = "SELECT EXISTS (SELECT 1 FROM owners
WHERE until > floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)";
/// A part that another has, and whose lease has not run out, stays as it is.
pub(super) const HOLD: &str = concat!(
    "
WITH ",
    clock!(),
    "
INSERT INTO owners (part, owner, until) SELECT $5, $2, coalesce(now + ($4 - $3), $4) FROM clock
ON CONFLICT (part) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE owners.owner = excluded.owner OR owners.until <= coalesce((SELECT now FROM clock), $3)"
);

pub(super) const RELEASE: &str = concat!(
    "
UPDATE runs SET owner = NULL, due_at = CASE WHEN ",
    open!(),
    " OR EXISTS (
  SELECT 1 FROM signals WHERE signals.run = runs.seq AND taken IS NULL AND starts_with(name, '@')
) THEN $2 END
WHERE seq IN (SELECT seq FROM runs WHERE owner IS NOT NULL AND owner <> $1 ORDER BY seq FOR NO KEY UPDATE)"
);

pub(super) const WAKE: &str = concat!(
    "
UPDATE runs SET due_at = $2 WHERE seq = $1 AND owner IS NULL AND (due_at IS NULL OR due_at > $2) AND ",
    open!()
);

/// Of `[seq, revision, keeps]`. Who has come in between is seen once the runs are locked.
pub(super) const RETIRE: &str = concat!(
    "
WITH locked AS MATERIALIZED (
  SELECT seq AS number FROM runs
  WHERE seq = ANY(ARRAY(SELECT (new ->> 0)::bigint FROM json_array_elements($1::json) AS new))
  ORDER BY seq FOR NO KEY UPDATE
), retired AS (
  UPDATE runs SET state = new ->> 2, retired_at = $2, token = token + 1
  FROM json_array_elements($1::json) AS new, locked
  WHERE runs.seq = (new ->> 0)::bigint AND runs.seq = locked.number AND runs.revision = (new ->> 1)::bigint
    AND runs.retired_at IS NULL AND runs.owner IS NULL AND runs.due_at IS NULL AND NOT (runs.",
    open!(),
    ")
  RETURNING runs.seq
), past AS (
  DELETE FROM history USING retired WHERE history.run = retired.seq
), mail AS (
  DELETE FROM signals USING retired WHERE signals.run = retired.seq
)
SELECT count(*) FROM retired"
);

/// Of `[seq, state, how often offered, due_at]`; what was closed meanwhile stays so.
pub(super) const DELIVER: &str = "
UPDATE outbox SET state = new ->> 1, attempts = outbox.attempts + (new ->> 2)::bigint, due_at = (new ->> 3)::bigint
FROM json_array_elements($1::json) AS new
WHERE outbox.seq = (new ->> 0)::bigint AND outbox.state = 'pending'";

/// The newest message of a topic stays. What is younger is not looked through.
pub(super) const FORGET_MESSAGES: &str = "
DELETE FROM outbox WHERE seq = ANY(ARRAY(
  SELECT seq FROM outbox AS old
  WHERE seq < coalesce((SELECT seq FROM outbox WHERE created_at >= $1 ORDER BY seq LIMIT 1), 9223372036854775807)
    AND state <> 'pending'
    AND EXISTS (SELECT 1 FROM outbox AS newer WHERE newer.topic = old.topic AND newer.seq > old.seq)
  ORDER BY seq LIMIT $2 FOR NO KEY UPDATE))";

pub(super) const NEXT_DUE: &str = "SELECT min(due_at) FROM runs WHERE due_at IS NOT NULL";
pub(super) const RUN: &str = concat!("SELECT ", run_columns!(), " FROM runs WHERE id = $1");
pub(super) const RUNS: &str = concat!("SELECT ", run_columns!(), " FROM runs");
/// The runs whose ids, or keys, lie between two texts.
pub(super) const BEGIN_SO: [&str; 4] = [
    concat!(workflows!(), "SELECT seq FROM runs WHERE id >= "),
    " AND id < ",
    " UNION SELECT runs.seq FROM workflows JOIN runs ON runs.workflow = workflows.name AND runs.key >= ",
    " AND runs.key < ",
];
/// Of a list of keys.
pub(super) const OF_KEYS: &str = concat!(
    workflows!(),
    "SELECT runs.seq FROM workflows JOIN runs ON runs.workflow = workflows.name AND runs.key = ANY("
);

pub(super) const ENDED: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs WHERE seq > $2 AND updated_at < $1 AND retired_at IS NULL AND NOT (",
    open!(),
    ") ORDER BY seq LIMIT $3"
);
/// Runs that are alike; when the first of them was started is read from its own row.
macro_rules! tally {
    ($condition:expr) => {
        concat!(
            "SELECT alike.workflow, alike.status, alike.step, alike.runs, runs.created_at FROM (
               SELECT workflow, status, step, count(*) AS runs, min(seq) AS first FROM runs WHERE ",
            $condition,
            " GROUP BY workflow, status, step
             ) AS alike JOIN runs ON runs.seq = alike.first ORDER BY 1, 2, 3"
        )
    };
}
pub(super) const TALLY: &str = tally!("retired_at IS NULL");
pub(super) const TALLY_OPEN: &str = tally!(open!());
pub(super) const PINS: &str = concat!(
    "SELECT workflow, version, hash, count(*) FROM runs WHERE ",
    open!(),
    " GROUP BY workflow, version, hash ORDER BY workflow, version, hash"
);
pub(super) const MAILBOXES: &str = "
SELECT number, name, payload, at, run FROM signals WHERE run = ANY($1) AND taken IS NULL ORDER BY run, number";
pub(super) const HISTORY_OF: &str = "
SELECT revision, step, attempt, outcome, target, status, detail, at FROM history WHERE run = $1 ORDER BY revision";
pub(super) const WAS_SEEN: &str = "SELECT EXISTS (SELECT 1 FROM inbox WHERE id = $1)";
pub(super) const OUTBOX_DUE: &str = concat!(
    "SELECT ",
    outbox_columns!(),
    " FROM outbox WHERE state = 'pending' AND due_at <= $1 ORDER BY seq LIMIT $2"
);
pub(super) const OUTBOX_NEXT: &str = "SELECT min(due_at) FROM outbox WHERE state = 'pending'";
pub(super) const OUTBOX_DEPTH: &str = "SELECT count(*), min(created_at) FROM outbox WHERE state = 'pending'";
pub(super) const OUTBOX: &str = concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE id = $1");
pub(super) const OUTBOX_TOPIC: &str =
    concat!("SELECT ", outbox_columns!(), " FROM outbox WHERE topic = $1 ORDER BY seq DESC LIMIT 1");

/// The statements for one of the workflow's own tables, made when the store is opened.
pub(super) struct Statements {
    /// The rows of these keys.
    pub(super) read: SqlStr,
    /// The same, locked in the order of their keys.
    pub(super) lock: SqlStr,
    /// Writes whole rows that are not there.
    pub(super) insert: SqlStr,
    /// Writes whole rows over those that are there.
    pub(super) update: SqlStr,
}

impl Statements {
    pub(super) fn new(table: Table) -> Self {
        let Table { name, key, .. } = table;
        let list = columns(table);
        let read = format!("SELECT {list} FROM \"{name}\" WHERE \"{key}\" = ANY($1)");
        let rows = format!("json_populate_recordset(NULL::\"{name}\", $1::json) AS new");
        let set: Vec<_> = names(table).map(|column| format!("\"{column}\" = new.\"{column}\"")).collect();
        Self {
            lock: fixed(format!("{read} ORDER BY \"{key}\" FOR NO KEY UPDATE")),
            read: fixed(read),
            insert: fixed(format!("INSERT INTO \"{name}\" ({list}) SELECT {list} FROM {rows}")),
            update: fixed(format!(
                "UPDATE \"{name}\" SET {} FROM {rows} WHERE \"{name}\".\"{key}\" = new.\"{key}\"",
                set.join(", ")
            )),
        }
    }
}
