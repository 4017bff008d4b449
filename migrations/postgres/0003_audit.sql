-- What operators asked of runs, and what came of it: see src/engine/operator/audit.rs. Times are Unix
-- milliseconds. Ids begin with the time, so that their order is that of the asking.

CREATE TABLE audit (
  id         TEXT COLLATE "C" PRIMARY KEY,
  ticket     TEXT,
  run        TEXT NOT NULL,
  workflow   TEXT NOT NULL,
  key        TEXT NOT NULL,
  request    TEXT NOT NULL,
  arguments  TEXT,
  forced     BIGINT,
  asked_by   TEXT NOT NULL,
  reason     TEXT,
  asked_at   BIGINT NOT NULL,
  applied_at BIGINT NOT NULL,
  outcome    TEXT NOT NULL,
  detail     TEXT,
  step       TEXT,
  status     TEXT,
  revision   BIGINT
);

CREATE INDEX audit_run ON audit (run);

-- The few open runs that somebody may want to look at: found without a look at all the others. What a
-- query says must be written just so for this index to serve it.
CREATE INDEX runs_troubled ON runs (status)
WHERE status <> 'completed' AND status <> 'failed' AND status <> 'canceled' AND (error IS NOT NULL OR status IN ('paused', 'in-doubt'));
