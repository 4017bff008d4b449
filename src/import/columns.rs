//! mostrod's tables: every column that they have, and how those that are read become ours.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::engine::store::Row;

/// What stands before a blob's hex digits in a raw row: text can't be mistaken for an id in bytes.
pub(super) const BLOB: &str = "x:";

/// A row as the file has it: column → value, blobs as [`BLOB`] and hex.
pub(super) type Raw = Map<String, Value>;

/// What a column must hold. All but the first three may also be NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A UUID, as 16 bytes or as text; read as hyphenated lower case.
    Id,
    /// Text that says something.
    Text,
    /// Sats, or a count: 0 to 2^53, which every reader of JSON keeps exact.
    Count,
    /// One of these words.
    Word(&'static [&'static str]),
    /// 32 bytes in hex, read as lower case: a key.
    Key,
    /// An [`Kind::Id`], or NULL.
    MaybeId,
    /// Text.
    MaybeText,
    /// A [`Kind::Count`].
    MaybeCount,
    /// A whole number.
    MaybeInt,
    /// A number.
    MaybeReal,
    /// 32 bytes in hex: a hash, a preimage or a key. Empty text counts as NULL.
    MaybeHex,
}

const ALL_STATES: &[&str] = &["requested", "locked", "released", "pending-payout", "slashed", "forfeited", "failed"];

/// A table of mostrod's: its name, the columns that are read, and the names of all the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign {
    pub(super) name: &'static str,
    pub(super) read: &'static [(&'static str, Kind)],
    pub(super) ignored: &'static [&'static str],
}

impl Foreign {
    pub(super) fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.read.iter().map(|(name, _)| *name).chain(self.ignored.iter().copied())
    }

    /// The row in our words, every column that is read.
    ///
    /// # Errors
    ///
    /// Which column can't be read. The value is not quoted: it may be a secret.
    pub(super) fn read(&self, raw: &Raw) -> Result<Row, String> {
        self.read
            .iter()
            .map(|(name, kind)| {
                let value = kind.read(raw.get(*name).unwrap_or(&Value::Null));
                value.map(|value| ((*name).to_owned(), value)).map_err(|what| format!("`{name}` is not {what}"))
            })
            .collect()
    }
}

impl Kind {
    fn read(self, value: &Value) -> Result<Value, &'static str> {
        let text = value.as_str().filter(|text| !text.starts_with(BLOB));
        let optional = |kind: Self| if value.is_null() { Ok(Value::Null) } else { kind.read(value) };
        match self {
            Self::Id => id(value).map(Value::from).ok_or("an id"),
            Self::Text => text.filter(|text| !text.is_empty()).map(Value::from).ok_or("a text"),
            Self::Count => {
                value.as_i64().filter(|count| (0..=1 << 53).contains(count)).map(Value::from).ok_or("a count of sats")
            }
            Self::Word(words) => {
                text.filter(|text| words.contains(text)).map(Value::from).ok_or("a word that is known")
            }
            Self::Key => text.and_then(hex32).map(Value::from).ok_or("32 bytes of hex"),
            Self::MaybeId => optional(Self::Id),
            Self::MaybeText if value.is_null() => Ok(Value::Null),
            Self::MaybeText => text.map(Value::from).ok_or("a text"),
            Self::MaybeCount => optional(Self::Count),
            Self::MaybeInt if value.is_null() || value.is_i64() => Ok(value.clone()),
            Self::MaybeInt => Err("a whole number"),
            Self::MaybeReal if value.is_null() || value.is_number() => Ok(value.clone()),
            Self::MaybeReal => Err("a number"),
            Self::MaybeHex if text == Some("") => Ok(Value::Null),
            Self::MaybeHex => optional(Self::Key),
        }
    }
}

/// A UUID as bytes or text.
pub(super) fn id(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let uuid = match text.strip_prefix(BLOB) {
        Some(digits) => Uuid::from_slice(&hex::decode(digits).ok()?).ok()?,
        None => Uuid::parse_str(text).ok()?,
    };
    Some(uuid.hyphenated().to_string())
}

/// 32 bytes in hex, as lower case.
pub(super) fn hex32(text: &str) -> Option<String> {
    let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    Some(hex::encode(bytes))
}

pub(super) const ORDERS: Foreign = Foreign {
    name: "orders",
    read: &[
        ("id", Kind::Id),
        ("kind", Kind::Word(&["buy", "sell"])),
        ("status", Kind::Text),
        ("event_id", Kind::MaybeText),
        ("hash", Kind::MaybeHex),
        ("preimage", Kind::MaybeHex),
        ("creator_pubkey", Kind::MaybeHex),
        ("buyer_pubkey", Kind::MaybeHex),
        ("master_buyer_pubkey", Kind::MaybeHex),
        ("seller_pubkey", Kind::MaybeHex),
        ("master_seller_pubkey", Kind::MaybeHex),
        ("premium", Kind::MaybeInt),
        ("payment_method", Kind::MaybeText),
        ("amount", Kind::Count),
        ("min_amount", Kind::MaybeInt),
        ("max_amount", Kind::MaybeInt),
        ("buyer_dispute", Kind::MaybeInt),
        ("seller_dispute", Kind::MaybeInt),
        ("fee", Kind::Count),
        ("routing_fee", Kind::MaybeInt),
        ("fiat_code", Kind::MaybeText),
        ("fiat_amount", Kind::MaybeInt),
        ("buyer_invoice", Kind::MaybeText),
        ("invoice_held_at", Kind::MaybeInt),
        ("taken_at", Kind::MaybeInt),
        ("created_at", Kind::MaybeInt),
        ("expires_at", Kind::MaybeInt),
        ("payout_payment_hash", Kind::MaybeHex),
        ("payout_claimed_at", Kind::MaybeInt),
        ("hold_settled_at", Kind::MaybeInt),
        ("success_at", Kind::MaybeInt),
        ("cashu_escrow_token", Kind::MaybeText),
        ("dev_fee_payment_hash", Kind::MaybeText),
        ("dev_fee_failed_hash", Kind::MaybeText),
    ],
    ignored: &[
        "cancel_initiator_pubkey",
        "dispute_initiator_pubkey",
        "price_from_api",
        "buyer_cooperativecancel",
        "seller_cooperativecancel",
        "range_parent_id",
        "buyer_sent_rate",
        "seller_sent_rate",
        "payment_attempts",
        "failed_payment",
        "trade_index_seller",
        "trade_index_buyer",
        "next_trade_pubkey",
        "next_trade_index",
        "dev_fee",
        "dev_fee_paid",
        "cashu_mint_url",
        "cashu_escrow_locked_at",
        "dev_fee_failed_attempts",
        "dev_fee_next_attempt_at",
    ],
};

pub(super) const DISPUTES: Foreign = Foreign {
    name: "disputes",
    read: &[
        ("id", Kind::Id),
        ("order_id", Kind::Id),
        ("status", Kind::Text),
        ("order_previous_status", Kind::MaybeText),
        ("solver_pubkey", Kind::MaybeHex),
        ("created_at", Kind::MaybeInt),
        ("taken_at", Kind::MaybeInt),
    ],
    ignored: &[],
};

pub(super) const USERS: Foreign = Foreign {
    name: "users",
    read: &[
        ("pubkey", Kind::Key),
        ("is_solver", Kind::MaybeInt),
        ("category", Kind::MaybeInt),
        ("total_reviews", Kind::MaybeInt),
        ("total_rating", Kind::MaybeReal),
        ("created_at", Kind::MaybeInt),
    ],
    ignored: &[
        "is_admin",
        "admin_password",
        "is_banned",
        "last_trade_index",
        "last_rating",
        "max_rating",
        "min_rating",
        "seeded_reviews",
        "seeded_rating_sum",
        "native_rating_sum",
        "native_created_at",
        "reputation_exported_to",
        "reputation_exported_at",
    ],
};

/// `payout_routing_fee_sats` is not read: there it holds the fee limit, here the fee paid.
pub(super) const BONDS: Foreign = Foreign {
    name: "bonds",
    read: &[
        ("id", Kind::Id),
        ("order_id", Kind::Id),
        ("parent_bond_id", Kind::MaybeId),
        ("child_order_id", Kind::MaybeId),
        ("slashed_share_sats", Kind::MaybeInt),
        ("pubkey", Kind::Key),
        ("role", Kind::Word(&["maker", "taker"])),
        ("amount_sats", Kind::Count),
        ("state", Kind::Word(ALL_STATES)),
        ("slashed_reason", Kind::MaybeText),
        ("hash", Kind::MaybeHex),
        ("preimage", Kind::MaybeHex),
        ("payment_request", Kind::MaybeText),
        ("payout_invoice", Kind::MaybeText),
        ("payout_payment_hash", Kind::MaybeHex),
        ("payout_recipient", Kind::MaybeHex),
        ("payout_sent_at", Kind::MaybeInt),
        ("node_share_sats", Kind::MaybeInt),
        ("payout_attempts", Kind::MaybeCount),
        ("invoice_request_attempts", Kind::MaybeCount),
        ("last_invoice_request_at", Kind::MaybeInt),
        ("locked_at", Kind::MaybeInt),
        ("released_at", Kind::MaybeInt),
        ("slashed_at", Kind::MaybeInt),
        ("created_at", Kind::MaybeInt),
    ],
    ignored: &[
        "payout_routing_fee_sats",
        "taker_identity",
        "taker_trade_index",
        "taker_invoice",
        "taker_fiat_amount",
        "taker_amount",
        "taker_fee",
        "taker_dev_fee",
    ],
};

pub(super) const DAEMON_STATE: Foreign = Foreign {
    name: "daemon_state",
    read: &[("key", Kind::Text), ("value", Kind::MaybeText)],
    ignored: &["updated_at"],
};

/// All that are read.
pub(super) const TABLES: [Foreign; 5] = [ORDERS, DISPUTES, USERS, BONDS, DAEMON_STATE];
