//! Meeting lnd: waiting until it serves, and making sure that it is the one that holds the bonds.

use serde_json::Value;
use tokio::time::{Duration, sleep};
use tracing::{info, warn};

use crate::engine::{Clock, Store};
use crate::lnd::startup::Unusable;
use crate::lnd::{self, startup};
use crate::payout::tables::BONDS;

use super::AppError;
use super::facts;
use super::terms::KnownNode;

/// lnd has another identity key than the one that holds the open bonds.
#[derive(Debug, thiserror::Error)]
#[error(
    "lnd is {found}, but the open bonds are held by {expected}: point `lightning.lnd_grpc_host` at that one, \
     or set `lightning.allow_node_change = true` if they are lost"
)]
pub struct OtherLnd {
    expected: String,
    found: String,
}

/// How often an lnd that can't be used yet is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until lnd serves with all that is needed of it, and remembers it. While bonds are open it must be on the
/// network on which it was met before.
///
/// # Errors
/// When it is another lnd than the one that holds the open bonds.
pub(super) async fn meet(
    node: &lnd::Node,
    store: &dyn Store,
    clock: &dyn Clock,
    allow_node_change: bool,
) -> Result<KnownNode, AppError> {
    let holds_bonds = holds_bonds(store).await?;
    let before = facts::known_node(store).await?.filter(|_| holds_bonds && !allow_node_change);
    let network = before.as_ref().map(|before| before.network.as_str());
    let mut told = None;
    let info = loop {
        match startup::check(node, network).await {
            Ok(info) => break info,
            // It is known by its key, and settles what it holds; payments wait for its chain by themselves.
            Err(Unusable::Syncing(info)) => {
                warn!("{}", Unusable::Syncing(info.clone()));
                break info;
            }
            Err(reason) if told.as_ref() != Some(&reason) => {
                warn!("lnd can't be used yet: {reason}");
                told = Some(reason);
            }
            Err(_) => {}
        }
        sleep(PAUSE).await;
    };
    let found = KnownNode { identity: info.identity, network: info.network };
    let before = facts::holder(store).await?;
    if let Some(before) = before.filter(|before| *before != found.identity)
        && !allow_node_change
        && holds_bonds
    {
        return Err(OtherLnd { expected: before, found: found.identity }.into());
    }
    facts::remember_node(store, clock.now(), &found).await?;
    info!(identity = found.identity, network = found.network, version = info.version, "lnd is there");
    Ok(found)
}

/// Whether any bond still depends on the lnd that holds it.
async fn holds_bonds(store: &dyn Store) -> Result<bool, AppError> {
    for state in ["locked", "pending-payout", "failed"] {
        if !store.rows(BONDS.name, "state", &Value::from(state)).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
