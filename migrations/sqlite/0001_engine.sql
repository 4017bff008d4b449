-- The engine's own tables. Times are Unix milliseconds.

-- 'bond': tells a database of this program from any other.
PRAGMA application_id = 0x626f6e64;

CREATE TABLE runs (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT    NOT NULL UNIQUE,
  workflow   TEXT    NOT NULL,
  version    INTEGER NOT NULL,
  hash       TEXT    NOT NULL,
  key        TEXT    NOT NULL,
  status     TEXT    NOT NULL,
  step       TEXT    NOT NULL,
  attempt    INTEGER NOT NULL DEFAULT 0,
  state      TEXT    NOT NULL,
  revision   INTEGER NOT NULL DEFAULT 0,
  token      INTEGER NOT NULL DEFAULT 0,
  owner      TEXT,
  due_at     INTEGER,
  signals    INTEGER NOT NULL DEFAULT 0,
  heard      INTEGER NOT NULL DEFAULT 0,
  error      TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (workflow, key)
);

-- Every step pays for each index in which its run moves: none of these has the step, but the one
-- over waiting runs. What a query says of status and owner must be written just so for an index to
-- serve it.

-- Drives timers, signals, recovery and leases alike.
CREATE INDEX runs_due ON runs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX runs_owner ON runs (owner) WHERE owner IS NOT NULL;
CREATE INDEX runs_open ON runs (workflow, version, hash) WHERE status <> 'completed' AND status <> 'failed' AND status <> 'canceled';
CREATE INDEX runs_waiting ON runs (workflow, step, due_at) WHERE status = 'waiting' AND owner IS NULL;

CREATE TABLE history (
  run      INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
  revision INTEGER NOT NULL,
  step     TEXT    NOT NULL,
  attempt  INTEGER NOT NULL,
  outcome  TEXT    NOT NULL,
  target   TEXT    NOT NULL,
  status   TEXT    NOT NULL,
  detail   TEXT,
  at       INTEGER NOT NULL,
  PRIMARY KEY (run, revision)
) WITHOUT ROWID;

CREATE TABLE signals (
  run      INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
  number   INTEGER NOT NULL,
  name     TEXT    NOT NULL,
  payload  TEXT    NOT NULL,
  dedup    TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  -- The revision of the run's commit that consumed it.
  taken    INTEGER,
  PRIMARY KEY (run, number),
  UNIQUE (run, dedup)
) WITHOUT ROWID;

CREATE TABLE outbox (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT    NOT NULL UNIQUE,
  lane       TEXT    NOT NULL,
  topic      TEXT    NOT NULL,
  slot       TEXT,
  body       TEXT    NOT NULL,
  expires_at INTEGER,
  state      TEXT    NOT NULL,
  attempts   INTEGER NOT NULL DEFAULT 0,
  due_at     INTEGER NOT NULL,
  created_at INTEGER NOT NULL
);

CREATE INDEX outbox_due ON outbox (due_at) WHERE state = 'pending';
CREATE INDEX outbox_slot ON outbox (slot) WHERE state = 'pending' AND slot IS NOT NULL;

CREATE INDEX outbox_topic ON outbox (topic, seq);

CREATE TABLE inbox (
  id TEXT PRIMARY KEY NOT NULL,
  at INTEGER NOT NULL
) WITHOUT ROWID;

-- Counts a daemon's transactions: tells whether one whose COMMIT gave no answer was written.
CREATE TABLE journal (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  batch    INTEGER NOT NULL,
  timeline TEXT    NOT NULL
);

INSERT INTO journal (one, batch, timeline) VALUES (1, 0, lower(hex(randomblob(16))));
