//! What this installation remembers of itself: whose database it is, and which lnd holds its bonds.

use serde_json::{Value, json};

use crate::engine::store::Store;
use crate::engine::{Commit, CommitError, StoreError, Timestamp};
use crate::import::LND_FACT;
use crate::payout::books::{insert, upsert};
use crate::payout::tables::FACTS;

use super::AppError;
use super::terms::KnownNode;

/// The node's Nostr key, hex: a database belongs to one.
pub const NODE_KEY: &str = "node-key";
/// To which database the installation was moved: from then on none may work on this one.
pub const MOVED_FACT: &str = "moved-to";
/// lnd's network, as it names it.
const LND_NETWORK: &str = "lnd-network";
/// What all daemons on this database are known by, and no others.
const INSTALLATION: &str = "installation";

/// Reads a fact.
pub async fn read(store: &dyn Store, name: &str) -> Result<Option<String>, StoreError> {
    let row = store.row(FACTS.name, name).await?;
    Ok(row.and_then(|row| row.get("value").and_then(Value::as_str).map(str::to_owned)))
}

/// Reads a fact, or makes it this one if there is none: of several daemons that start at once all
/// go by what one of them has written.
pub async fn read_or_write(store: &dyn Store, at: Timestamp, name: &str, value: &str) -> Result<String, AppError> {
    if let Some(known) = read(store, name).await? {
        return Ok(known);
    }
    let rows = vec![insert(FACTS, name, json!({ "value": value }))];
    match store.commit(Commit { at, rows, ..Commit::default() }).await {
        Ok(_) => Ok(value.to_owned()),
        Err(CommitError::Conflict(why)) => Ok(read(store, name).await?.ok_or(CommitError::Conflict(why))?),
        Err(error) => Err(error.into()),
    }
}

/// Writes a fact.
pub async fn write(store: &dyn Store, at: Timestamp, name: &str, value: &str) -> Result<(), CommitError> {
    let rows = vec![upsert(FACTS, name, json!({ "value": value }))];
    store.commit(Commit { at, rows, ..Commit::default() }).await.map(drop)
}

/// What this database's daemons are known by: drawn once, when there is none yet.
pub async fn installation(store: &dyn Store, at: Timestamp) -> Result<String, AppError> {
    read_or_write(store, at, INSTALLATION, &uuid::Uuid::new_v4().to_string()).await
}

/// The identity key of the lnd that holds the bonds: the one that this installation worked with
/// last, or that the imported database names.
pub async fn holder(store: &dyn Store) -> Result<Option<String>, StoreError> {
    read(store, LND_FACT).await
}

/// The lnd that this installation worked with last.
pub async fn known_node(store: &dyn Store) -> Result<Option<KnownNode>, StoreError> {
    let (identity, network) = (holder(store).await?, read(store, LND_NETWORK).await?);
    Ok(identity.zip(network).map(|(identity, network)| KnownNode { identity, network }))
}

/// Remembers lnd.
pub async fn remember_node(store: &dyn Store, at: Timestamp, node: &KnownNode) -> Result<(), CommitError> {
    let rows = [(LND_FACT, &node.identity), (LND_NETWORK, &node.network)]
        .map(|(name, value)| upsert(FACTS, name, json!({ "value": value })));
    store.commit(Commit { at, rows: rows.into(), ..Commit::default() }).await.map(drop)
}
