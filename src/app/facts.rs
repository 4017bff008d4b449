//! What this installation remembers of itself: whose database it is, and which lnd holds its bonds.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use serde_json::{Value, json};

use crate::engine::store::{RowWrite, Store};
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
/// How long a server that is restarted is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
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
    match commit(store, at, rows).await {
        Ok(()) => Ok(value.to_owned()),
        Err(CommitError::Conflict(why)) => Ok(read(store, name).await?.ok_or(CommitError::Conflict(why))?),
        Err(error) => Err(error.into()),
    }
}

/// Writes a fact.
pub async fn write(store: &dyn Store, at: Timestamp, name: &str, value: &str) -> Result<(), CommitError> {
    let rows = vec![upsert(FACTS, name, json!({ "value": value }))];
    commit(store, at, rows).await
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
    commit(store, at, rows.into()).await
}

/// Writes rows of the daemon's own. A server that is being restarted has written nothing, and is waited for; a file that
/// can't be written to is for the operator to see to at once.
pub async fn commit(store: &dyn Store, at: Timestamp, rows: Vec<RowWrite>) -> Result<(), CommitError> {
    let pauses = ExponentialBackoff { max_elapsed_time: Some(PATIENCE), ..ExponentialBackoff::default() };
    commit_with(pauses, store, at, rows).await
}

async fn commit_with(
    mut pauses: impl Backoff,
    store: &dyn Store,
    at: Timestamp,
    rows: Vec<RowWrite>,
) -> Result<(), CommitError> {
    loop {
        let written = store.commit(Commit { at, rows: rows.clone(), ..Commit::default() }).await;
        let refused = matches!(written, Err(CommitError::Unavailable(_))) && !store.alone();
        match refused.then(|| pauses.next_backoff()).flatten() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return written.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use backoff::backoff::Zero;

    use super::*;
    use crate::payout::tables::TABLES;
    use crate::store::memory::{Call, Fault, MemoryStore};

    /// Writes the node's key to a store that refuses the first two commits; what it has then.
    async fn written_to(store: MemoryStore) -> (Result<(), CommitError>, Option<String>) {
        let asked = AtomicU32::new(0);
        store.on_call(move |call| {
            let refuses = matches!(call, Call::Commit(_)) && asked.fetch_add(1, Ordering::SeqCst) < 2;
            refuses.then_some(Fault::Unavailable)
        });
        let rows = vec![insert(FACTS, NODE_KEY, json!({ "value": "key" }))];
        let written = commit_with(Zero {}, &store, Timestamp(0), rows).await;
        (written, read(&store, NODE_KEY).await.unwrap())
    }

    #[tokio::test]
    async fn a_server_that_is_restarted_is_waited_for_and_a_file_is_not() {
        assert_eq!(written_to(MemoryStore::shared(TABLES)).await, (Ok(()), Some("key".to_owned())));
        let (refused, left) = written_to(MemoryStore::new(TABLES)).await;
        assert!(matches!(refused, Err(CommitError::Unavailable(_))));
        assert_eq!(left, None);
    }
}
