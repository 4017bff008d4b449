CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
CREATE TABLE orders (
  id char(36) primary key not null,
  kind varchar(4) not null,
  event_id char(64) not null,
  hash char(64),
  preimage char(64),
  creator_pubkey char(64),
  cancel_initiator_pubkey char(64),
  dispute_initiator_pubkey char(64),
  buyer_pubkey char(64),
  master_buyer_pubkey char(64),
  seller_pubkey char(64),
  master_seller_pubkey char(64),
  status varchar(10) not null,
  price_from_api integer not null default 0,
  premium integer not null,
  payment_method varchar(500) not null,
  amount integer not null,
  min_amount integer default 0,
  max_amount integer default 0,
  buyer_dispute integer not null default 0,
  seller_dispute integer not null default 0,
  buyer_cooperativecancel integer not null default 0,
  seller_cooperativecancel integer not null default 0,
  fee integer not null default 0,
  routing_fee integer not null default 0,
  fiat_code varchar(5) not null,
  fiat_amount integer not null,
  buyer_invoice text,
  range_parent_id char(36),
  invoice_held_at integer default 0,
  taken_at integer default 0,
  created_at integer not null,
  buyer_sent_rate integer default 0,
  seller_sent_rate integer default 0,
  payment_attempts integer default 0,
  failed_payment integer default 0,
  expires_at integer not null,
  trade_index_seller integer default 0,
  trade_index_buyer integer default 0,
  next_trade_pubkey char(64),
  next_trade_index integer default 0
, dev_fee INTEGER DEFAULT 0, dev_fee_paid INTEGER NOT NULL DEFAULT 0, dev_fee_payment_hash CHAR(64), cashu_mint_url text, cashu_escrow_token text, cashu_escrow_locked_at integer, payout_payment_hash char(64), payout_claimed_at integer, success_at integer, dev_fee_failed_attempts INTEGER NOT NULL DEFAULT 0, dev_fee_next_attempt_at INTEGER, dev_fee_failed_hash CHAR(64), hold_settled_at integer);
CREATE TABLE disputes (
  id char(36) primary key not null,
  order_id char(36) unique not null,
  status varchar(10) not null,
  order_previous_status varchar(10) not null,
  solver_pubkey char(64),
  created_at integer not null,
  taken_at integer default 0
);
CREATE TABLE users (
  pubkey char(64) primary key not null,
  is_admin integer not null default 0,
  admin_password char(64),
  is_solver integer not null default 0,
  is_banned integer not null default 0,
  category integer not null default 0,
  last_trade_index integer not null default 0,
  total_reviews integer not null default 0,
  total_rating real not null default 0.0,
  last_rating integer not null default 0,
  max_rating integer not null default 0,
  min_rating integer not null default 0,
  created_at integer not null
, seeded_reviews integer not null default 0, seeded_rating_sum real not null default 0.0, native_rating_sum real not null default 0.0, native_created_at integer, reputation_exported_to char(64), reputation_exported_at integer);
CREATE TABLE bonds (
  id               char(36) primary key not null,
  order_id         char(36) not null,
  -- Parent bond id for Phase 6 range-order child slashes. NULL for parent /
  -- non-range bonds. Self-referential FK is intentionally not declared so
  -- that child rows can be created independently of their parent lifecycle.
  parent_bond_id   char(36),
  -- Child order id used by Phase 6 when a single maker parent bond records
  -- proportional slashes against individual children. NULL for parent /
  -- non-range bonds.
  child_order_id   char(36),
  -- Trade pubkey of the bonded party. Not the identity pubkey.
  pubkey           char(64) not null,
  -- 'maker' | 'taker'
  role             varchar(8) not null,
  -- Amount (sats) covered by this bond row. For a parent bond this is the
  -- total locked; for a child slash row this is the proportional slice.
  amount_sats      integer not null,
  -- Running total of sats already transitioned to a slashed child. Used on
  -- parent bonds in Phase 6 to decide between full-settle and
  -- settle+refund at parent close. Unused (0) for child / non-range rows.
  slashed_share_sats integer not null default 0,
  -- BondState serialization: 'requested' | 'locked' | 'released' |
  -- 'pending-payout' | 'slashed' | 'forfeited' | 'failed'
  state            varchar(16) not null,
  -- BondSlashReason: 'lost-dispute' | 'timeout'. Set on entry to
  -- 'pending-payout' and never cleared, so non-NULL while state is
  -- 'pending-payout', 'slashed', 'forfeited', or 'failed'.
  slashed_reason   varchar(16),
  -- Bond hold invoice hash (hex). NULL until the hold invoice is created.
  hash             char(64),
  -- Preimage retained by Mostro so a slash does not depend on cooperation
  -- from the bonded party. NULL for child rows that share a parent HTLC.
  preimage         char(64),
  -- bolt11 payment request shown to the bonded party.
  payment_request  text,
  -- bolt11 payout invoice from the winning counterparty (Phase 3+).
  payout_invoice   text,
  -- Routing-fee ceiling actually used for the payout attempt (sats). NULL
  -- until the scheduler tries to pay the winner.
  payout_routing_fee_sats integer,
  -- Phase 3: portion of `amount_sats` that the node retains on slash. Frozen
  -- at the moment the bond enters `pending-payout` so a later config change
  -- or daemon restart cannot re-balance the split. NULL for any bond that
  -- never reached `pending-payout`. The counterparty share is always derived
  -- as `amount_sats - node_share_sats` so they cannot drift.
  node_share_sats  integer,
  -- Phase 3: counts ONLY `send_payment` retries against an invoice the
  -- counterparty has already submitted. `payout_max_retries` is checked
  -- against this counter alone — invoice-request DMs do NOT count here
  -- (see `invoice_request_attempts` below).
  payout_attempts  integer not null default 0,
  -- Phase 3: counts how many `Action::AddInvoice` DMs the scheduler has
  -- sent asking the counterparty for a payout invoice. Bounded by the
  -- forfeit window (`payout_claim_window_days`), not by `payout_max_retries`,
  -- so a slow-responding counterparty cannot prematurely flip the bond to
  -- `failed`. Reset to 0 when the invoice is finally received.
  invoice_request_attempts integer not null default 0,
  -- Phase 3: timestamp of the last `AddInvoice` DM. Drives the
  -- `payout_invoice_window_seconds` cadence check ("don't re-DM before the
  -- window has elapsed"). Persisted so a daemon restart doesn't trigger an
  -- immediate re-DM.
  last_invoice_request_at integer,
  locked_at        integer,
  released_at      integer,
  -- Set on entry to `pending-payout` (i.e. when the slash decision is
  -- made), not on the later `slashed` transition. Anchors the
  -- `payout_claim_window_days` forfeit deadline (see Phase 3).
  slashed_at       integer,
  created_at       integer not null,
  -- Phase 1 concurrent-bonds taker context. Under the concurrent-bonds
  -- model (see `docs/ANTI_ABUSE_BOND.md`), multiple `Requested` taker
  -- bonds may coexist on a single order while the takers race to lock.
  -- Until one bond actually locks, the order's taker-flow fields are
  -- ambiguous (which racer "owns" them?), so the take handlers stash
  -- the deferred context here and `on_bond_invoice_accepted` promotes
  -- the winning bond's `taker_*` columns onto the order row.
  --
  -- Nullable so maker bonds (Phase 5+) and child slash rows (Phase 6)
  -- — neither of which carries take context — leave them at `NULL`.
  taker_identity     char(64),
  taker_trade_index  integer,
  taker_invoice      text,
  taker_fiat_amount  integer,
  taker_amount       integer,
  taker_fee          integer,
  taker_dev_fee      integer, payout_payment_hash char(64), payout_recipient char(64), payout_sent_at integer,
  FOREIGN KEY(order_id) REFERENCES orders(id)
);
CREATE INDEX idx_bonds_order_id ON bonds(order_id);
CREATE INDEX idx_bonds_state    ON bonds(state);
CREATE INDEX idx_bonds_parent   ON bonds(parent_bond_id);
CREATE UNIQUE INDEX idx_bonds_parent_child_unique
  ON bonds (parent_bond_id, child_order_id)
  WHERE parent_bond_id IS NOT NULL AND child_order_id IS NOT NULL;
CREATE UNIQUE INDEX idx_orders_cashu_escrow_token
  ON orders (cashu_escrow_token)
  WHERE cashu_escrow_token IS NOT NULL;
CREATE TABLE daemon_state (
  key        TEXT PRIMARY KEY,
  value      TEXT NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE TABLE order_payer_declarations (
  order_id        char(36)  PRIMARY KEY NOT NULL,  -- orders.id (uuid)
  payment_hash    char(64)  NOT NULL,              -- sha256 hex, lowercase
  declared_at     integer   NOT NULL,              -- unix secs of last upsert
  buyer_pubkey    char(64),                        -- orders.buyer_pubkey when declared; a later buyer never inherits the row
  history_snapshot text                            -- PaymentHistory JSON frozen at fiat-sent (§10.3); every later query returns it
);
CREATE TABLE payer_history (
  user_pubkey        char(64) NOT NULL,  -- orders.master_buyer_pubkey (reputation mode only)
  payer_key          char(64) NOT NULL,  -- payer_key(node secret, payment_hash), lowercase hex
  first_success_at   integer  NOT NULL,
  last_success_at    integer  NOT NULL,
  successful_trades  integer  NOT NULL DEFAULT 0,
  PRIMARY KEY (user_pubkey, payer_key)
);
CREATE TABLE payer_history_counterparties (
  user_pubkey        char(64) NOT NULL,
  payer_key          char(64) NOT NULL,
  counterparty_id    char(64) NOT NULL,
  first_success_at   integer  NOT NULL,
  -- Newest success with this triple: the instant §10.7 re-evaluates at.
  last_success_at    integer  NOT NULL,
  experienced        integer  NOT NULL DEFAULT 0,  -- 1 = counterparty qualified (D-7)
  -- Generation of (N, D) this row's `experienced` was evaluated under. Only
  -- rows of the current generation count toward experienced_counterparties.
  policy_gen         integer  NOT NULL,
  PRIMARY KEY (user_pubkey, payer_key, counterparty_id)
);
CREATE TABLE payer_history_policy (
  id                     integer PRIMARY KEY CHECK (id = 1),
  generation             integer NOT NULL,  -- bumped on every (N, D) change; stamped into policy_gen
  experienced_min_trades integer NOT NULL,
  experienced_min_days   integer NOT NULL,
  evaluated_at           integer NOT NULL,  -- unix secs of the last (re)evaluation
  node_key_id            text               -- node_key_id() of the secret payer_key / counterparty_id were checked under; NULL until the first recompute; a change discards the history
);
CREATE INDEX idx_orders_master_seller_pubkey ON orders(master_seller_pubkey);
CREATE TABLE reputation_imports (
  attestation_id char(64) primary key not null,
  issuer text not null,
  issuer_key char(64) not null,
  subject text not null,
  identity_pubkey char(64) not null,
  trade_pubkey char(64),
  reviews integer not null,
  rating_hundredths integer not null,
  since integer not null,
  imported_at integer not null
);
CREATE UNIQUE INDEX reputation_imports_issuer_subject
  ON reputation_imports (issuer, subject);
CREATE UNIQUE INDEX reputation_imports_issuer_identity
  ON reputation_imports (issuer, identity_pubkey);
CREATE INDEX reputation_imports_issuer_key
  ON reputation_imports (issuer_key, imported_at);
CREATE TABLE reputation_issuer_keys (
  issuer_key char(64) primary key not null,
  issuer text not null,
  first_seen_at integer not null
);
CREATE INDEX idx_orders_status ON orders(status);
CREATE INDEX idx_orders_unpaid_dev_fee ON orders(status)
  WHERE dev_fee > 0 AND dev_fee_paid = 0;
CREATE INDEX idx_orders_cashu_escrow_status
  ON orders(status, cashu_mint_url) WHERE cashu_escrow_token IS NOT NULL;
CREATE INDEX idx_orders_master_buyer_pubkey ON orders(master_buyer_pubkey);
CREATE TABLE reputation_rebinds (
  id char(64) primary key not null,
  valid_until integer not null
);

INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20221222153301, 'orders', 1, X'B544D6C3B0F6538AAC83767B912890F1D9FC5DEFB83AB033BE4A6FB5216B87F681354BAB0B6EAE83A2F66199494A27D0', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20230928145530, 'disputes', 1, X'38D3ADF990F8714F67FA56F2D40DF8FA94FFFD874991F7DD4C6E96AAA09A847A9B1FED0801E3EEE85EF622AD04587067', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20231005195154, 'users', 1, X'82324CD30C966DCB3B7A3F09E23123DFB696FBDEF44AAB0C84A0BED77C8605FE756F31A5DE04D08D691E44D05EF22862', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20251126120000, 'dev fee', 1, X'6FDD863BA2020B9ADC222DE51BE35B337E4F454F74A6F9E4897D5F4D7DBE575B624E3FAC33B5C965F6D18310D558652C', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260417145500, 'solver category backfill', 1, X'10B5DD7F8BB9C6A07BC5B25C092EC444D890FD3459DE9C54A5C33A4045C20FF9981A418D59DD984EDD68E004BD0AF039', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260423120000, 'anti abuse bond', 1, X'80E34A1C7DBC16F46EFAC6048865C465BF840CF7DA76BBD77E83E0AFDB745525F4EBC9B655CF5BF614E565986655BD70', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260518120000, 'bond payout payment hash', 1, X'B3BB4A176D5073A49548A7C3A90EF34DAA2AAEBF9AF88FA427B3208FC282BF4E284774C9F2A043976851FE0FAFB0EB84', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260530120000, 'cashu escrow fields', 1, X'639ABE5D910DA2A007877F484FB47B320F27BF3112313BCA156AA09FD2478DDD0818E042608970AABF12894A13F880A9', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260611120000, 'bond slice slash unique', 1, X'268D36F73984CD3DB8572DC4B36DF5BA73072356039502DA63A9889F9CD267DD86EEC9A68DDA702A9592C691532F09D8', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260724120000, 'cashu escrow token unique', 1, X'C255EF81B790FA5D97002BF639110A68D52B891532E2E8AA432366C292DA726DCE673AAF823FD2195E10143D3F365F8F', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260815120000, 'order payout inflight', 1, X'12F426306157EA9D172286958319E6DDAD2EDA63411126D34151B291A30B9B726001849C6072A5B44311EAF9734058D1', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260815120100, 'order payout claimed at', 1, X'16C7AB58874C643308B95DC64B274E530ADF5382F3ACDB27E6798B71925FAF1F0F17E7E471ACB6C231FD45E53ACAB7BC', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260901120000, 'daemon state', 1, X'E4B4D61470EDD7C6A09A31043D7E1408EFDCC7BCA51EC37101F8EDBE8C54C77C0BED279B2194CEDFC6E14574D73E90CB', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260913120000, 'bond payout recipient', 1, X'4E4549461213A03A3CB4CB6550648243AF0E3164E31E4A4CA6BC0221BBED552418CA92B2724AEB84C71B6394AA7486BC', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20260914120000, 'bond payout recipient repair', 1, X'3820C48CD6D43AA7CE0BFECCD83A68E64A90EA7F5AF237953407B43259DE52F57E6EA81C5F1F38EA47E7AAB5BDE28105', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261002120000, 'payer history', 1, X'B6476D72D679BBA3AA4DFF74EEB327D53265DC806D64EC29E08BC351C389484F3A55766C3FAE20E065D9CBD07B9BA83F', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261002120100, 'order success at', 1, X'4503B91859809F03FBEE5A9056404BD6F427AEE4AA0438C0C6533A880927A49E0D8B950C32F91EC5D3143522A031CF8A', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261003120000, 'users reputation columns', 1, X'0646C4731761C536AB0FACE5483EF61E8EED452AD72EE0A6F821CFD5919C697757E3EDA1A2FBCD69021AD8814E0BE7E8', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261003120100, 'reputation imports', 1, X'D193ECBBA134539B6702433BAE184C5EB8789D76136DBCBC60F72926B00B4737CA52D90792D1FE414EBC24A9C3BD0359', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261003120200, 'reputation issuer keys', 1, X'842C9FB54219B710FBD92DFF04BC4BCEC68DC19E1D6158F7E21B1F5357E2D2951521FAE3741027DF1597EF8823980884', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261015120000, 'dev fee retry backoff', 1, X'CA4AFA3403CED185A155581A0D53C3EA84A5C159BC2721E6D01D5BE67F2701871A035F48DC5C4828452D488A689BD220', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261015120100, 'bond payout sent at', 1, X'AC23E95F4BBFC3A8A653D4D21EA81A082954B4FC471495C21F93FD10AA2BAA235D06AA5AB733580C2016C4AB30C98545', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261015120300, 'order hold settled at', 1, X'638401ED247010C052F0A45C7F490B1733E90F947207699002813D0E3661793C37AF472DB46DA0DD7350B5E104242527', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261015120400, 'health query indexes', 1, X'8D0530BEE8B17FC0C8C4CA3038E1C90201C8DE8C94CF616C0F0A3F4E9D21E9ED7CB0C8CA653718AE81CC31369F84E3BF', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261020120000, 'orders master buyer pubkey index', 1, X'2FA69BEECC0CB283569272E217EA2060C2BBFA813444AFF4B7FE40A03B5043C52ED73F4BCA9192867C8DDE2313F1DBB8', 0);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (20261020130000, 'reputation rebinds', 1, X'EB7118DAE87C01DAD130B329BE7D8520AE291FA1544802F7BBFED143952A253F0BDAEEC7FC003DA572C257C6F91FA073', 0);
