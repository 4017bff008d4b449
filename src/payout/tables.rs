//! The payout's own tables, as the store is told of them. Times are Unix seconds, amounts sats,
//! hashes, keys and preimages hex, ids hyphenated UUIDs.

use crate::engine::operator::AUDIT;
use crate::engine::store::Table;

/// Trades, as mostrod keeps them: what a ruling and its notices need.
pub const ORDERS: Table = Table {
    name: "orders",
    key: "id",
    columns: &[
        "kind",
        "event_id",
        "hash",
        "preimage",
        "creator_pubkey",
        "buyer_pubkey",
        "master_buyer_pubkey",
        "seller_pubkey",
        "master_seller_pubkey",
        "status",
        "premium",
        "payment_method",
        "amount",
        "min_amount",
        "max_amount",
        "buyer_dispute",
        "seller_dispute",
        "fee",
        "routing_fee",
        "fiat_code",
        "fiat_amount",
        "buyer_invoice",
        "invoice_held_at",
        "taken_at",
        "created_at",
        "expires_at",
        "payout_payment_hash",
    ],
};

/// Disputes over trades, one for an order at most.
pub const DISPUTES: Table = Table {
    name: "disputes",
    key: "id",
    columns: &["order_id", "status", "order_previous_status", "solver_pubkey", "created_at", "taken_at"],
};

/// Users: here for who is a solver, and with what rights.
pub const USERS: Table = Table {
    name: "users",
    key: "pubkey",
    columns: &["is_solver", "category", "total_reviews", "total_rating", "created_at"],
};

/// Anti-abuse bonds.
pub const BONDS: Table = Table {
    name: "bonds",
    key: "id",
    columns: &[
        "order_id",
        "pubkey",
        "role",
        "amount_sats",
        "state",
        "slashed_reason",
        "hash",
        "preimage",
        "payment_request",
        "payout_invoice",
        "payout_payment_hash",
        "payout_routing_fee_sats",
        "node_share_sats",
        "payout_attempts",
        "invoice_request_attempts",
        "last_invoice_request_at",
        "locked_at",
        "released_at",
        "slashed_at",
        "created_at",
        "payout_recipient",
        "payout_preimage",
        "failed_reason",
    ],
};

/// Payments that were intended: written before the first send, one row for each payment hash.
pub const PAYMENTS: Table = Table {
    name: "payments",
    key: "hash",
    columns: &[
        "run",
        "destination",
        "amount_sats",
        "fee_limit_sats",
        "sends",
        "last_send_at",
        "valid_until",
        "judged_index",
        "verdict",
    ],
};

/// Every payment hash that was ever seen, so that none is used twice. Rows are never removed.
pub const HASHES: Table = Table { name: "hashes", key: "hash", columns: &["used_by", "created_at"] };

/// When the newest replaceable event of an address (`kind:d`) was made.
pub const REPLACEABLES: Table = Table { name: "replaceables", key: "address", columns: &["created_at", "event_id"] };

/// How far each relay's stored messages have been read.
pub const CURSORS: Table = Table { name: "cursors", key: "relay", columns: &["read_until", "complete_at"] };

/// Facts about this installation: which node holds the bonds, what was imported, and the like.
pub const FACTS: Table = Table { name: "facts", key: "name", columns: &["value"] };

/// All of them, with the engine's journal of operators' requests.
pub const TABLES: &[Table] = &[ORDERS, DISPUTES, USERS, BONDS, PAYMENTS, HASHES, REPLACEABLES, CURSORS, FACTS, AUDIT];
