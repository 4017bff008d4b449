//! What is taken over, for those who start the runs that settle it.

use serde_json::Value;

use crate::engine::store::Row;

/// A bond that is taken over with its order: `locked` while the order is in dispute, or with a
/// debt that mostrod may or may not have paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBond {
    /// Hyphenated UUID.
    pub id: String,
    /// The order.
    pub order_id: String,
    /// The trade key of the bonded party, hex.
    pub pubkey: String,
    /// `locked`, `pending-payout` or `failed`, as mostrod has it.
    pub state: String,
    /// The whole bond.
    pub amount_sats: u64,
    /// The node's part of it, if mostrod wrote one; not checked against the amount.
    pub node_share_sats: Option<i64>,
    /// `lost-dispute` or `timeout`.
    pub slashed_reason: Option<String>,
    /// When mostrod decided the slash, Unix seconds.
    pub slashed_at: Option<i64>,
    /// Who is owed the counterparty's share, hex.
    pub recipient: Option<String>,
    /// The invoice that mostrod has from the recipient.
    pub payout_invoice: Option<String>,
    /// The hash under which mostrod paid or meant to pay, hex. It writes the hash before it sends.
    pub payout_payment_hash: Option<String>,
    /// When mostrod last sent, Unix seconds.
    pub payout_sent_at: Option<i64>,
    /// How many of mostrod's sends failed.
    pub payout_attempts: u64,
}

/// A trade whose escrow is settled and whose buyer is unpaid, as far as mostrod knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpaidTrade {
    /// The order, hyphenated UUID.
    pub order_id: String,
    /// The buyer's trade key, hex.
    pub buyer_pubkey: Option<String>,
    /// The trade's sats.
    pub amount_sats: u64,
    /// The node's fee from the buyer, sats.
    pub fee_sats: u64,
    /// Where the buyer wants the sats: an invoice or an address.
    pub buyer_invoice: Option<String>,
    /// The hash under which mostrod claimed the payment, hex. None does not mean that it never
    /// sent: it forgets the hash of a payment that it takes for failed.
    pub payout_payment_hash: Option<String>,
    /// When mostrod claimed it, Unix seconds.
    pub payout_claimed_at: Option<i64>,
}

impl TakenBond {
    pub(super) fn of(bond: &Row) -> Self {
        Self {
            id: text(bond, "id").unwrap_or_default(),
            order_id: text(bond, "order_id").unwrap_or_default(),
            pubkey: text(bond, "pubkey").unwrap_or_default(),
            state: text(bond, "state").unwrap_or_default(),
            amount_sats: count(bond, "amount_sats"),
            node_share_sats: bond["node_share_sats"].as_i64(),
            slashed_reason: text(bond, "slashed_reason"),
            slashed_at: bond["slashed_at"].as_i64(),
            recipient: text(bond, "payout_recipient"),
            payout_invoice: text(bond, "payout_invoice"),
            payout_payment_hash: text(bond, "payout_payment_hash"),
            payout_sent_at: bond["payout_sent_at"].as_i64(),
            payout_attempts: count(bond, "payout_attempts"),
        }
    }
}

impl UnpaidTrade {
    pub(super) fn of(order: &Row) -> Self {
        Self {
            order_id: text(order, "id").unwrap_or_default(),
            buyer_pubkey: text(order, "buyer_pubkey"),
            amount_sats: count(order, "amount"),
            fee_sats: count(order, "fee"),
            buyer_invoice: text(order, "buyer_invoice"),
            payout_payment_hash: text(order, "payout_payment_hash"),
            payout_claimed_at: order["payout_claimed_at"].as_i64(),
        }
    }
}

/// The text of a column that was read; none for NULL.
pub(super) fn text(row: &Row, column: &str) -> Option<String> {
    row.get(column)?.as_str().map(str::to_owned)
}

/// The number of a column that was read; 0 for NULL.
pub(super) fn count(row: &Row, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or(0)
}
