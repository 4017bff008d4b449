//! The node's health event, at a steady interval: by it another daemon that is started on the
//! node's key learns that this one runs. One that is started all the same is alarmed of.

use std::sync::Arc;
use std::time::Duration;

use nostr_sdk::PublicKey;
use tokio::sync::watch;
use tracing::warn;

use crate::engine::{Alarms, Clock, Effects, Engine};
use crate::nostr::health::other_daemon;
use crate::nostr::relays::Relays;
use crate::payout::messages::{HealthFacts, Outgoing};
use crate::payout::ports::Lightning;

use super::AppError;

/// mostrod's interval.
const INTERVAL_SECS: u32 = 60;

/// What the part needs.
pub(super) struct Health {
    pub(super) engine: Engine,
    pub(super) lnd: Arc<dyn Lightning>,
    pub(super) relays: Arc<Relays>,
    pub(super) urls: Vec<String>,
    pub(super) node: PublicKey,
    pub(super) installation: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) alarms: Alarms,
    pub(super) stop: watch::Receiver<bool>,
}

/// Publishes until `stop` turns true.
pub(super) async fn run(health: Health) -> Result<(), AppError> {
    let mut stop = health.stop.clone();
    let mut seq = 0;
    loop {
        let next = health.clock.now().after(Duration::from_secs(u64::from(INTERVAL_SECS)));
        let round = async {
            // Its own event hides another's, and the other way round: so this comes first. At the
            // start it was looked for already.
            match seq {
                // Before they had a chance to be reached the relays are not missing.
                0 => health.relays.reach_quorum().await,
                _ => look_around(&health).await,
            }
            seq += 1;
            publish(&health, seq).await;
            while health.clock.now() < next {
                health.clock.sleep_until(next).await;
            }
        };
        tokio::select! {
            () = round => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

async fn look_around(health: &Health) {
    let other = other_daemon(&health.urls, health.node, &health.installation, health.clock.now()).await;
    if let Some(other) = other {
        health.alarms.raise("other-daemon", &other.to_string());
    }
}

async fn publish(health: &Health, seq: u64) {
    let info = health.lnd.info().await.ok();
    let synced_to_chain = info.as_ref().map(|info| info.synced_to_chain);
    let relays = health.relays.connected().len() >= health.relays.quorum();
    let facts = HealthFacts {
        installation: health.installation.clone(),
        seq,
        interval_secs: INTERVAL_SECS,
        // That the database is well shows in the event itself: it goes out by way of it.
        checks: [("lnd_sync", synced_to_chain == Some(true)), ("relays", relays), ("database", true)]
            .map(|(name, well)| (name.to_owned(), well))
            .into(),
        block_height: info.map(|info| info.block_height),
        synced_to_chain,
    };
    let effects = Effects { drafts: vec![Outgoing::Health(facts).draft("health event")], ..Effects::default() };
    if let Err(error) = health.engine.submit(effects, None).await {
        warn!("the health event waits for the next time: {error}");
    }
}
