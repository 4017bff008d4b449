-- The engine's own tables. Times are Unix milliseconds. Text sorts by its bytes.

CREATE TABLE runs (
  seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         TEXT COLLATE "C" NOT NULL UNIQUE,
  workflow   TEXT COLLATE "C" NOT NULL,
  version    BIGINT NOT NULL,
  hash       TEXT COLLATE "C" NOT NULL,
  key        TEXT COLLATE "C" NOT NULL,
  status     TEXT COLLATE "C" NOT NULL,
  step       TEXT COLLATE "C" NOT NULL,
  attempt    BIGINT NOT NULL DEFAULT 0,
  state      TEXT   NOT NULL,
  revision   BIGINT NOT NULL DEFAULT 0,
  token      BIGINT NOT NULL DEFAULT 0,
  owner      TEXT,
  due_at     BIGINT,
  signals    BIGINT NOT NULL DEFAULT 0,
  heard      BIGINT NOT NULL DEFAULT 0,
  error      TEXT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (workflow, key)
);

-- One index drives timers, signals, recovery and leases alike.
CREATE INDEX runs_due ON runs (due_at, seq) WHERE due_at IS NOT NULL;
-- What a query says of the statuses must be written just so for this index to serve it.
CREATE INDEX runs_open ON runs (workflow, step, due_at) WHERE status <> 'completed' AND status <> 'failed' AND status <> 'canceled';
CREATE INDEX runs_owner ON runs (owner) WHERE owner IS NOT NULL;

CREATE TABLE history (
  run      BIGINT NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
  revision BIGINT NOT NULL,
  step     TEXT   NOT NULL,
  attempt  BIGINT NOT NULL,
  outcome  TEXT   NOT NULL,
  target   TEXT   NOT NULL,
  status   TEXT   NOT NULL,
  detail   TEXT,
  at       BIGINT NOT NULL,
  PRIMARY KEY (run, revision)
);

CREATE TABLE signals (
  run      BIGINT NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
  number   BIGINT NOT NULL,
  name     TEXT   NOT NULL,
  payload  TEXT   NOT NULL,
  dedup    TEXT COLLATE "C" NOT NULL,
  at       BIGINT NOT NULL,
  -- The revision of the run's commit that consumed it.
  taken    BIGINT,
  PRIMARY KEY (run, number),
  UNIQUE (run, dedup)
);

CREATE TABLE outbox (
  seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         TEXT COLLATE "C" NOT NULL UNIQUE,
  lane       TEXT   NOT NULL,
  topic      TEXT COLLATE "C" NOT NULL,
  slot       TEXT COLLATE "C",
  body       TEXT   NOT NULL,
  expires_at BIGINT,
  state      TEXT   NOT NULL,
  attempts   BIGINT NOT NULL DEFAULT 0,
  due_at     BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE INDEX outbox_due ON outbox (due_at) WHERE state = 'pending';
CREATE INDEX outbox_slot ON outbox (slot) WHERE state = 'pending' AND slot IS NOT NULL;

CREATE INDEX outbox_topic ON outbox (topic, seq);

CREATE TABLE inbox (
  id TEXT COLLATE "C" PRIMARY KEY,
  at BIGINT NOT NULL
);

-- Who plays a part that one daemon plays at a time, and until when.
CREATE TABLE owners (
  part  TEXT   PRIMARY KEY,
  owner TEXT   NOT NULL,
  until BIGINT NOT NULL
);

-- Counts each daemon's transactions: tells whether one whose COMMIT gave no answer was written.
CREATE TABLE journal (
  daemon TEXT PRIMARY KEY,
  batch  BIGINT NOT NULL,
  at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
