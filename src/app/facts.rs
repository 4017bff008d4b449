//! What this installation remembers of itself: whose database it is, and which lnd holds its bonds.

use serde_json::{Value, json};

use crate::engine::store::Store;
use crate::engine::{Commit, CommitError, StoreError, Timestamp};
use crate::payout::books::upsert;
use crate::payout::tables::FACTS;

use super::terms::KnownNode;

/// The node's Nostr key, hex: a database belongs to one.
pub const NODE_KEY: &str = "node-key";
/// lnd's identity key and network.
pub const LND: &str = "lnd";
/// When this installation was started first, Unix seconds: nothing older is looked for at relays.
pub const BEGUN: &str = "begun";

/// Reads a fact.
pub async fn read(store: &dyn Store, name: &str) -> Result<Option<String>, StoreError> {
    let row = store.row(FACTS.name, name).await?;
    Ok(row.and_then(|row| row.get("value").and_then(Value::as_str).map(str::to_owned)))
}

/// Writes a fact.
pub async fn write(store: &dyn Store, at: Timestamp, name: &str, value: &str) -> Result<(), CommitError> {
    let rows = vec![upsert(FACTS, name, json!({ "value": value }))];
    store.commit(Commit { at, rows, ..Commit::default() }).await.map(drop)
}

/// The lnd that this installation worked with last.
pub async fn known_node(store: &dyn Store) -> Result<Option<KnownNode>, StoreError> {
    let fact = read(store, LND).await?;
    Ok(fact.and_then(|fact| {
        let (identity, network) = fact.split_once(' ')?;
        Some(KnownNode { identity: identity.to_owned(), network: network.to_owned() })
    }))
}

/// Remembers lnd.
pub async fn remember_node(store: &dyn Store, at: Timestamp, node: &KnownNode) -> Result<(), CommitError> {
    write(store, at, LND, &format!("{} {}", node.identity, node.network)).await
}
