//! The sats that the node has claimed and still owes to others.

use serde_json::json;

use crate::engine::{Store, StoreError};

use super::books::columns;
use super::tables::{BONDS, ORDERS};

/// What is owed and not paid, sats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtRisk {
    /// The counterparties' shares of claimed bonds.
    pub bonds_sats: i64,
    /// The sats of trades whose escrow is settled and whose buyer is not paid.
    pub trades_sats: i64,
}

impl AtRisk {
    /// All of it.
    pub const fn total(&self) -> i64 {
        self.bonds_sats.saturating_add(self.trades_sats)
    }
}

/// Adds it up from the tables: a bond whose HTLC could not be claimed is no debt.
///
/// # Errors
/// When the database can't be read.
pub async fn at_risk(store: &dyn Store) -> Result<AtRisk, StoreError> {
    let less = async |table: &'static str, all: &'static str, part: &'static str, matching: serde_json::Value| {
        let matching = columns(matching);
        let (all, part) = (store.sum(table, all, &matching).await?, store.sum(table, part, &matching).await?);
        Ok::<i64, StoreError>(all.saturating_sub(part))
    };
    let mut bonds_sats = 0_i64;
    for state in ["pending-payout", "failed"] {
        let owed = json!({ "state": state, "failed_reason": null });
        bonds_sats = bonds_sats.saturating_add(less(BONDS.name, "amount_sats", "node_share_sats", owed).await?);
    }
    let trades_sats = less(ORDERS.name, "amount", "fee", json!({ "status": "settled-hold-invoice" })).await?;
    Ok(AtRisk { bonds_sats, trades_sats })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Commit, Timestamp};
    use crate::payout::books::insert;
    use crate::payout::tables::TABLES;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn only_what_is_claimed_and_unpaid_is_at_risk() {
        let store = MemoryStore::new(TABLES);
        let bond = |id: &str, state: &str, reason: Option<&str>| {
            insert(
                BONDS,
                id,
                json!({ "order_id": "o", "pubkey": "p", "role": "maker", "amount_sats": 1_000, "state": state,
                "node_share_sats": 300, "failed_reason": reason }),
            )
        };
        let order = |id: &str, status: &str| {
            insert(ORDERS, id, json!({ "kind": "sell", "status": status, "amount": 50_000, "fee": 300 }))
        };
        let rows = vec![
            bond("a", "pending-payout", None),
            bond("b", "failed", None),
            bond("c", "failed", Some("htlc-canceled")),
            bond("d", "locked", None),
            bond("e", "slashed", None),
            bond("f", "forfeited", None),
            order("x", "settled-hold-invoice"),
            order("y", "settled-by-admin"),
        ];
        store.commit(Commit { at: Timestamp(0), rows, ..Commit::default() }).await.unwrap();
        let at_risk = at_risk(&store).await.unwrap();
        assert_eq!(at_risk, AtRisk { bonds_sats: 1_400, trades_sats: 49_700 });
        assert_eq!(at_risk.total(), 51_100);
    }
}
