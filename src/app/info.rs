//! The node's info event: at start, after a reload, and on a schedule.

use std::sync::Arc;

use chrono::DateTime;
use cron::Schedule;
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::engine::{Clock, CommitError, Effects, Engine, Timestamp};
use crate::lnd;
use crate::payout::messages::{InfoFacts, Outgoing};
use crate::payout::ports::Lightning;

use super::AppError;
use super::in_force::InForce;

/// What the part needs.
pub(super) struct Info {
    pub(super) engine: Engine,
    pub(super) lnd: lnd::Node,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) in_force: Arc<InForce>,
    pub(super) announce: Arc<Notify>,
    pub(super) stop: watch::Receiver<bool>,
}

/// How soon the event is tried again when lnd or the database is away.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Publishes until `stop` turns true.
pub(super) async fn run(info: Info) -> Result<(), AppError> {
    let mut stop = info.stop.clone();
    let mut occasion = None;
    loop {
        let now = info.clock.now();
        let published = tokio::select! {
            published = publish(&info, occasion) => published,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let next = match published {
            Ok(()) => {
                occasion = next_after(&info.in_force.info_schedule(), now);
                occasion
            }
            Err(reason) => {
                warn!("the info event waits: {reason}");
                Some(now.after(AGAIN))
            }
        };
        let timer = async {
            match next {
                Some(at) => {
                    while info.clock.now() < at {
                        info.clock.sleep_until(at).await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = info.announce.notified() => occasion = None,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// Publishes the event; on an occasion of the schedule, if no other daemon has done so.
async fn publish(info: &Info, occasion: Option<Timestamp>) -> Result<(), String> {
    let inbox = occasion.map(|at| format!("info event of {at}"));
    let node = info.lnd.info().await.map_err(|error| error.to_string())?;
    let facts = InfoFacts {
        lnd_version: node.version,
        lnd_node_pubkey: node.identity,
        lnd_node_alias: node.alias,
        lnd_networks: node.network,
    };
    let effects = Effects { drafts: vec![Outgoing::Info(facts).draft("info event")], ..Effects::default() };
    match info.engine.submit(effects, inbox).await {
        Ok(_) | Err(CommitError::Seen) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The next occasion of a schedule.
pub(super) fn next_after(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let next = schedule.after(&DateTime::from_timestamp_millis(now.millis())?).next()?;
    Some(Timestamp(next.timestamp_millis()))
}
