//! Bonds against the chain's height: lnd gives an accepted HTLC back by itself when the chain comes
//! near its expiry, and what it has given back can never be claimed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tracing::debug;

use crate::engine::store::Row;
use crate::engine::{Alarms, Clock, RunId, Store};
use crate::payout::books::secret32;
use crate::payout::ports::{HoldState, Lightning};
use crate::payout::tables::BONDS;
use crate::payout::{bond_payout, bond_release};

use super::AppError;

/// How often the height is read while a locked bond exists.
const PERIOD: Duration = Duration::from_secs(30);
/// lnd cancels an accepted hold invoice so many blocks before its lowest HTLC expires.
const LND_CANCELS_BEFORE: u32 = 12;
/// How many blocks before that the alarm is raised: some hours for a person to act.
const WARNED_BEFORE: u32 = 24;

/// What the part needs.
pub(super) struct Chain {
    pub(super) store: Arc<dyn Store>,
    pub(super) lnd: Arc<dyn Lightning>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) alarms: Alarms,
    pub(super) stop: watch::Receiver<bool>,
}

/// Watches until `stop` turns true.
pub(super) async fn run(chain: Chain) -> Result<(), AppError> {
    let mut stop = chain.stop.clone();
    // The expiry heights of accepted HTLCs never change; an alarm is raised once for each bond.
    let mut known: BTreeMap<String, Watched> = BTreeMap::new();
    loop {
        let next = chain.clock.now().after(PERIOD);
        let locked = chain.store.rows(BONDS.name, "state", &Value::from("locked")).await?;
        known.retain(|id, _| locked.iter().any(|bond| bond.get("id").and_then(Value::as_str) == Some(id)));
        let round = async {
            if !locked.is_empty() {
                look(&chain, &locked, &mut known).await?;
            }
            sleep_until(chain.clock.as_ref(), next).await;
            Ok::<(), AppError>(())
        };
        tokio::select! {
            looked = round => looked?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

async fn sleep_until(clock: &dyn Clock, at: crate::engine::Timestamp) {
    while clock.now() < at {
        clock.sleep_until(at).await;
    }
}

/// What is known of a locked bond's HTLC.
struct Watched {
    expiry_height: u32,
    warned: bool,
}

impl Watched {
    /// Whether lnd cancels it at that height.
    fn is_overdue(&self, height: u32) -> bool {
        height.saturating_add(LND_CANCELS_BEFORE) >= self.expiry_height
    }
}

async fn look(chain: &Chain, locked: &[Row], known: &mut BTreeMap<String, Watched>) -> Result<(), AppError> {
    let height = match chain.lnd.info().await {
        Ok(info) => info.block_height,
        Err(error) => {
            debug!("the chain's height is not known now: {error}");
            return Ok(());
        }
    };
    for bond in locked {
        let text = |column: &str| bond.get(column).and_then(Value::as_str);
        let (Some(id), Some(hash)) = (text("id"), text("hash").and_then(secret32)) else { continue };
        // One that lnd should have given back by now is looked at again.
        let is_known = known.get(id).is_some_and(|watched| !watched.is_overdue(height));
        if !is_known {
            match chain.lnd.hold_state(hash).await {
                Ok(HoldState::Accepted { expiry_height }) => {
                    known.entry(id.to_owned()).or_insert(Watched { expiry_height, warned: false });
                }
                // It was given back on purpose, or its own run tells of the loss.
                Ok(HoldState::Canceled | HoldState::Unknown) if is_ruled(chain.store.as_ref(), id).await? => {}
                Ok(HoldState::Canceled | HoldState::Unknown) => {
                    let text = format!("lnd no longer holds the locked bond {id}: it can't be claimed any more");
                    chain.alarms.raise("bond-lost", &text);
                    known.insert(id.to_owned(), Watched { expiry_height: u32::MAX, warned: true });
                }
                Ok(HoldState::Open | HoldState::Settled) | Err(_) => {}
            }
        }
        if let Some(watched) = known.get_mut(id)
            && !watched.warned
            && height.saturating_add(LND_CANCELS_BEFORE + WARNED_BEFORE) >= watched.expiry_height
        {
            watched.warned = true;
            let left = watched.expiry_height.saturating_sub(LND_CANCELS_BEFORE).saturating_sub(height);
            let text = format!("lnd gives the locked bond {id} back in {left} blocks: its dispute needs a ruling now");
            chain.alarms.raise("htlc-near-expiry", &text);
        }
    }
    Ok(())
}

/// Whether a run releases or claims the bond: the row says `locked` until that run has committed.
async fn is_ruled(store: &dyn Store, bond: &str) -> Result<bool, AppError> {
    for workflow in [bond_release::NAME, bond_payout::NAME] {
        if store.run(&RunId::of(workflow, bond)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
