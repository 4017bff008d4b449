-- The payout's own tables. Times are Unix seconds, amounts sats; see src/payout/tables.rs. A column
-- that was not written is null: whole rows are written, so that no default would ever apply.

CREATE TABLE orders (
  id                       TEXT PRIMARY KEY NOT NULL,
  kind                     TEXT NOT NULL,
  event_id                 TEXT,
  hash                     TEXT,
  preimage                 TEXT,
  creator_pubkey           TEXT,
  buyer_pubkey             TEXT,
  master_buyer_pubkey      TEXT,
  seller_pubkey            TEXT,
  master_seller_pubkey     TEXT,
  status                   TEXT NOT NULL,
  premium                  INTEGER,
  payment_method           TEXT,
  amount                   INTEGER,
  min_amount               INTEGER,
  max_amount               INTEGER,
  buyer_dispute            INTEGER,
  seller_dispute           INTEGER,
  fee                      INTEGER,
  routing_fee              INTEGER,
  fiat_code                TEXT,
  fiat_amount              INTEGER,
  buyer_invoice            TEXT,
  invoice_held_at          INTEGER,
  taken_at                 INTEGER,
  created_at               INTEGER,
  expires_at               INTEGER,
  payout_payment_hash      TEXT
);

CREATE TABLE disputes (
  id                       TEXT PRIMARY KEY NOT NULL,
  order_id                 TEXT NOT NULL,
  status                   TEXT NOT NULL,
  order_previous_status    TEXT,
  solver_pubkey            TEXT,
  created_at               INTEGER,
  taken_at                 INTEGER
);

CREATE TABLE users (
  pubkey                   TEXT PRIMARY KEY NOT NULL,
  is_solver                INTEGER,
  category                 INTEGER,
  total_reviews            INTEGER,
  total_rating             REAL,
  created_at               INTEGER
);

CREATE TABLE bonds (
  id                       TEXT PRIMARY KEY NOT NULL,
  order_id                 TEXT NOT NULL,
  pubkey                   TEXT NOT NULL,
  role                     TEXT NOT NULL,
  amount_sats              INTEGER NOT NULL,
  state                    TEXT NOT NULL,
  slashed_reason           TEXT,
  hash                     TEXT,
  preimage                 TEXT,
  payment_request          TEXT,
  payout_invoice           TEXT,
  payout_payment_hash      TEXT,
  payout_routing_fee_sats  INTEGER,
  node_share_sats          INTEGER,
  payout_attempts          INTEGER,
  invoice_request_attempts INTEGER,
  last_invoice_request_at  INTEGER,
  locked_at                INTEGER,
  released_at              INTEGER,
  slashed_at               INTEGER,
  created_at               INTEGER,
  payout_recipient         TEXT,
  payout_preimage          TEXT,
  failed_reason            TEXT
);

CREATE TABLE payments (
  hash                     TEXT PRIMARY KEY NOT NULL,
  run                      TEXT NOT NULL,
  destination              TEXT NOT NULL,
  amount_sats              INTEGER NOT NULL,
  fee_limit_sats           INTEGER,
  sends                    INTEGER,
  last_send_at             INTEGER,
  valid_until              INTEGER,
  judged_index             INTEGER,
  verdict                  TEXT
);

CREATE TABLE hashes (
  hash                     TEXT PRIMARY KEY NOT NULL,
  used_by                  TEXT NOT NULL,
  created_at               INTEGER
);

CREATE TABLE replaceables (
  address                  TEXT PRIMARY KEY NOT NULL,
  created_at               INTEGER NOT NULL,
  event_id                 TEXT
);

CREATE TABLE cursors (
  relay                    TEXT PRIMARY KEY NOT NULL,
  read_until               INTEGER,
  complete_at              INTEGER
);

CREATE TABLE facts (
  name                     TEXT PRIMARY KEY NOT NULL,
  value                    TEXT NOT NULL
);

CREATE INDEX bonds_order ON bonds (order_id);
CREATE INDEX bonds_state ON bonds (state);
CREATE UNIQUE INDEX disputes_order ON disputes (order_id);
CREATE INDEX payments_undecided ON payments (destination) WHERE verdict IS NULL;
CREATE INDEX payments_judged ON payments (judged_index);
