-- The payout's own tables. Times are Unix seconds, amounts sats; see src/payout/tables.rs. A column
-- that was not written is null: whole rows are written, so that no default would ever apply.

CREATE TABLE orders (
  id                       TEXT COLLATE "C" PRIMARY KEY,
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
  premium                  BIGINT,
  payment_method           TEXT,
  amount                   BIGINT,
  min_amount               BIGINT,
  max_amount               BIGINT,
  buyer_dispute            BIGINT,
  seller_dispute           BIGINT,
  fee                      BIGINT,
  routing_fee              BIGINT,
  fiat_code                TEXT,
  fiat_amount              BIGINT,
  buyer_invoice            TEXT,
  invoice_held_at          BIGINT,
  taken_at                 BIGINT,
  created_at               BIGINT,
  expires_at               BIGINT,
  payout_payment_hash      TEXT
);

CREATE TABLE disputes (
  id                       TEXT COLLATE "C" PRIMARY KEY,
  order_id                 TEXT NOT NULL,
  status                   TEXT NOT NULL,
  order_previous_status    TEXT,
  solver_pubkey            TEXT,
  created_at               BIGINT,
  taken_at                 BIGINT
);

CREATE TABLE users (
  pubkey                   TEXT COLLATE "C" PRIMARY KEY,
  is_solver                BIGINT,
  category                 BIGINT,
  total_reviews            BIGINT,
  total_rating             DOUBLE PRECISION,
  created_at               BIGINT
);

CREATE TABLE bonds (
  id                       TEXT COLLATE "C" PRIMARY KEY,
  order_id                 TEXT NOT NULL,
  pubkey                   TEXT NOT NULL,
  role                     TEXT NOT NULL,
  amount_sats              BIGINT NOT NULL,
  state                    TEXT NOT NULL,
  slashed_reason           TEXT,
  hash                     TEXT,
  preimage                 TEXT,
  payment_request          TEXT,
  payout_invoice           TEXT,
  payout_payment_hash      TEXT,
  payout_routing_fee_sats  BIGINT,
  node_share_sats          BIGINT,
  payout_attempts          BIGINT,
  invoice_request_attempts BIGINT,
  last_invoice_request_at  BIGINT,
  locked_at                BIGINT,
  released_at              BIGINT,
  slashed_at               BIGINT,
  created_at               BIGINT,
  payout_recipient         TEXT,
  payout_preimage          TEXT,
  failed_reason            TEXT
);

CREATE TABLE payments (
  hash                     TEXT COLLATE "C" PRIMARY KEY,
  run                      TEXT NOT NULL,
  destination              TEXT NOT NULL,
  amount_sats              BIGINT NOT NULL,
  fee_limit_sats           BIGINT,
  sends                    BIGINT,
  last_send_at             BIGINT,
  valid_until              BIGINT,
  judged_index             BIGINT,
  verdict                  TEXT
);

CREATE TABLE hashes (
  hash                     TEXT COLLATE "C" PRIMARY KEY,
  used_by                  TEXT NOT NULL,
  created_at               BIGINT
);

CREATE TABLE replaceables (
  address                  TEXT COLLATE "C" PRIMARY KEY,
  created_at               BIGINT NOT NULL,
  event_id                 TEXT
);

CREATE TABLE cursors (
  relay                    TEXT COLLATE "C" PRIMARY KEY,
  read_until               BIGINT,
  complete_at              BIGINT
);

CREATE TABLE facts (
  name                     TEXT COLLATE "C" PRIMARY KEY,
  value                    TEXT NOT NULL
);

CREATE INDEX bonds_order ON bonds (order_id);
CREATE INDEX bonds_state ON bonds (state);
CREATE UNIQUE INDEX disputes_order ON disputes (order_id);
CREATE INDEX payments_undecided ON payments (destination) WHERE verdict IS NULL;
CREATE INDEX payments_judged ON payments (judged_index);
