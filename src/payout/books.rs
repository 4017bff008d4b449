//! The rows of the payout's tables as types. What does not read as it must is an error, never a
//! default: the run that needs it pauses.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::store::{Row, RowChange, RowWrite, Table};
use crate::engine::{StepError, Store, StoreError};

use super::messages::OrderSummary;
use super::policy::Preimage;
use super::tables::{BONDS, DISPUTES, ORDERS, USERS};

/// A trade.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// Hyphenated UUID.
    pub id: String,
    /// Whether the maker buys or sells.
    pub kind: OrderKind,
    /// As mostro names it.
    pub status: String,
    /// The escrow's payment hash, hex.
    pub hash: Option<String>,
    /// The escrow's preimage, hex.
    pub preimage: Option<String>,
    /// The buyer's trade key.
    pub buyer_pubkey: Option<String>,
    /// The seller's trade key.
    pub seller_pubkey: Option<String>,
    /// The trade's sats.
    pub amount: u64,
    /// The node's fee from each side, sats.
    pub fee: u64,
    /// The fiat currency.
    pub fiat_code: String,
    /// The fiat amount.
    pub fiat_amount: i64,
    /// How the fiat is paid.
    pub payment_method: String,
    /// The premium in percent.
    pub premium: i64,
    /// Where the buyer wants the sats.
    pub buyer_invoice: Option<String>,
    /// Not zero: the buyer opened the dispute.
    #[serde(default)]
    pub buyer_dispute: Option<i64>,
    /// Not zero: the seller opened it.
    #[serde(default)]
    pub seller_dispute: Option<i64>,
}

/// Which side the maker is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// The maker buys sats.
    Buy,
    /// The maker sells them.
    Sell,
}

impl OrderKind {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }

    /// The role of the seller.
    pub const fn seller(self) -> Role {
        match self {
            Self::Sell => Role::Maker,
            Self::Buy => Role::Taker,
        }
    }
}

/// Who made the order, and who took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Made it.
    Maker,
    /// Took it.
    Taker,
}

impl Order {
    /// The order as a message about `amount_sats` carries it.
    pub fn summary(&self, amount_sats: u64, status: Option<&str>) -> OrderSummary {
        OrderSummary {
            id: self.id.clone(),
            kind: self.kind.as_str().to_owned(),
            status: status.map(str::to_owned),
            amount_sats,
            fiat_code: self.fiat_code.clone(),
            fiat_amount: self.fiat_amount,
            payment_method: self.payment_method.clone(),
            premium: self.premium,
        }
    }

    /// Who opened the dispute; none unless exactly one side did.
    pub fn initiator(&self) -> Option<&'static str> {
        match (self.seller_dispute.unwrap_or(0) != 0, self.buyer_dispute.unwrap_or(0) != 0) {
            (true, false) => Some("seller"),
            (false, true) => Some("buyer"),
            _ => None,
        }
    }
}

/// A dispute over a trade.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dispute {
    /// Hyphenated UUID.
    pub id: String,
    /// The trade.
    pub order_id: String,
    /// As mostro names it.
    pub status: String,
    /// The trade's status before.
    pub order_previous_status: Option<String>,
    /// The identity key of the solver who took it.
    pub solver_pubkey: Option<String>,
    /// When it was opened.
    pub created_at: Option<i64>,
}

/// What a user may do, and how the others rate him.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct User {
    /// 1: may take disputes.
    pub is_solver: Option<i64>,
    /// 2: may rule on them.
    pub category: Option<i64>,
    /// How many ratings he has.
    pub total_reviews: Option<i64>,
    /// Their mean.
    pub total_rating: Option<f64>,
    /// When he was first seen.
    pub created_at: Option<i64>,
}

/// What a bond is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondState {
    /// Asked for, not paid.
    Requested,
    /// The hold invoice is paid.
    Locked,
    /// Given back.
    Released,
    /// Claimed by the node, and part of it owed.
    PendingPayout,
    /// All is paid that was owed.
    Slashed,
    /// Nobody claimed what was owed.
    Forfeited,
    /// The payment failed, or the bond could not be claimed.
    Failed,
}

impl BondState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Requested,
        Self::Locked,
        Self::Released,
        Self::PendingPayout,
        Self::Slashed,
        Self::Forfeited,
        Self::Failed,
    ];

    /// The name in the `bonds` table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Locked => "locked",
            Self::Released => "released",
            Self::PendingPayout => "pending-payout",
            Self::Slashed => "slashed",
            Self::Forfeited => "forfeited",
            Self::Failed => "failed",
        }
    }
}

/// An anti-abuse bond.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Bond {
    /// Hyphenated UUID.
    pub id: String,
    /// The trade.
    pub order_id: String,
    /// The trade key of the bonded party.
    pub pubkey: String,
    /// Which party that is.
    pub role: Role,
    /// The bond.
    pub amount_sats: u64,
    /// What it is doing.
    pub state: BondState,
    /// The hold invoice's hash, hex.
    pub hash: Option<String>,
    /// Its preimage, hex: a secret until the bond is settled.
    pub preimage: Option<String>,
    /// Who is owed the counterparty's share.
    pub payout_recipient: Option<String>,
}

/// The most sats that a bond can be over: all that there will ever be.
const ALL_SATS: u64 = 2_100_000_000_000_000;

impl Bond {
    /// Whether a ruling may slash it: locked, with all that settling and splitting it needs.
    pub fn is_slashable(&self) -> bool {
        self.state == BondState::Locked && self.secret().is_some() && (1..=ALL_SATS).contains(&self.amount_sats)
    }

    /// The preimage, if it is one and its hash is the bond's.
    pub fn secret(&self) -> Option<[u8; 32]> {
        let preimage = secret32(self.preimage.as_deref()?)?;
        let hash = secret32(self.hash.as_deref()?)?;
        Preimage(preimage).proves(&hash).then_some(preimage)
    }
}

/// Reads 32 bytes of hex.
pub fn secret32(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// Why a row was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// The database can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row is there and makes no sense.
    #[error("the row {key} of `{table}` can't be read: {problem}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

impl From<BookError> for StepError {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Store(error) => Self::retry(error.to_string()),
            BookError::Row { .. } => Self::pause("books", error.to_string()),
        }
    }
}

fn typed<T: DeserializeOwned>(table: Table, row: Row) -> Result<T, BookError> {
    let key = row.get(table.key).and_then(Value::as_str).unwrap_or("?").to_owned();
    // serde's messages may quote a value, and a value may be a secret: only the kind is kept.
    serde_json::from_value(Value::Object(row)).map_err(|error| BookError::Row {
        table: table.name,
        key,
        problem: format!("{:?} error", error.classify()),
    })
}

async fn one<T: DeserializeOwned>(store: &dyn Store, table: Table, key: &str) -> Result<Option<T>, BookError> {
    store.row(table.name, key).await?.map(|row| typed(table, row)).transpose()
}

/// The order of that id.
pub async fn order(store: &dyn Store, id: &str) -> Result<Option<Order>, BookError> {
    one(store, ORDERS, id).await
}

/// The bond of that id.
pub async fn bond(store: &dyn Store, id: &str) -> Result<Option<Bond>, BookError> {
    one(store, BONDS, id).await
}

/// The user of that identity key.
pub async fn user(store: &dyn Store, key: &str) -> Result<Option<User>, BookError> {
    one(store, USERS, key).await
}

/// The dispute of that id.
pub async fn dispute(store: &dyn Store, id: &str) -> Result<Option<Dispute>, BookError> {
    one(store, DISPUTES, id).await
}

/// An order's bonds.
pub async fn bonds_of(store: &dyn Store, order: &str) -> Result<Vec<Bond>, BookError> {
    let rows = store.rows(BONDS.name, "order_id", &Value::from(order)).await?;
    rows.into_iter().map(|row| typed(BONDS, row)).collect()
}

/// An order's dispute.
pub async fn dispute_of(store: &dyn Store, order: &str) -> Result<Option<Dispute>, BookError> {
    let rows = store.rows(DISPUTES.name, "order_id", &Value::from(order)).await?;
    rows.into_iter().next().map(|row| typed(DISPUTES, row)).transpose()
}

/// The object of a `json!` literal: columns and their values.
pub fn columns(value: Value) -> Row {
    match value {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

/// An update of a row's columns, if the row's others are as expected.
pub fn update(table: Table, key: &str, set: Value, expect: Value) -> RowWrite {
    let change = RowChange::Update { set: columns(set), expect: columns(expect) };
    RowWrite { table: table.name, key: key.to_owned(), change }
}

/// A new row.
pub fn insert(table: Table, key: &str, row: Value) -> RowWrite {
    RowWrite { table: table.name, key: key.to_owned(), change: RowChange::Insert(columns(row)) }
}

/// A row that may be there.
pub fn upsert(table: Table, key: &str, row: Value) -> RowWrite {
    RowWrite { table: table.name, key: key.to_owned(), change: RowChange::Upsert(columns(row)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_row_that_makes_no_sense_is_an_error_without_its_values() {
        let row = columns(json!({ "id": "b1", "order_id": "o", "pubkey": "p", "role": "maker",
            "amount_sats": -5, "state": "locked", "hash": null, "preimage": "5ec2e7" }));
        let error = typed::<Bond>(BONDS, row).err().map(|error| error.to_string()).unwrap();
        assert!(error.contains("b1") && !error.contains("5ec2e7"), "{error}");
    }

    #[test]
    fn only_a_locked_bond_with_its_secret_and_a_sane_amount_is_slashable() {
        let good = columns(json!({ "id": "b1", "order_id": "o", "pubkey": "p", "role": "maker", "amount_sats": 1000,
            "state": "locked", "hash": hex::encode(Sha256::digest([0x22; 32])), "preimage": "22".repeat(32) }));
        let slashable = |change: Value| {
            let mut row = good.clone();
            row.extend(columns(change));
            typed::<Bond>(BONDS, row).is_ok_and(|bond| bond.is_slashable())
        };
        assert!(slashable(json!({})));
        for bad in [
            json!({ "state": "requested" }),
            json!({ "preimage": null }),
            json!({ "preimage": "22" }),
            json!({ "hash": null }),
            json!({ "hash": "11".repeat(32) }),
            json!({ "amount_sats": 0 }),
            json!({ "amount_sats": 2_100_000_000_000_001_i64 }),
            json!({ "amount_sats": -1 }),
        ] {
            assert!(!slashable(bad.clone()), "{bad}");
        }
    }
}
