//! From the relays to the intake, and from the outbox to the relays.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nostr_sdk::{Event, EventId, Keys};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::engine::store::{OutboxMessage, Row};
use crate::engine::{Clock, Commit, Offered, Publisher, Store, StoreError, Timestamp};
use crate::nostr::relays::{Inbound, Relays, cursor};
use crate::nostr::wire::{Profile, Rules, decode};
use crate::payout::ports::Unavailable;
use crate::payout::tables::{BONDS, DISPUTES, ORDERS};
use crate::payout::{Attendance, Intake};

use super::AppError;

/// How many messages are taken in side by side.
const SIDE_BY_SIDE: usize = 64;
/// How soon a message that the database did not take is offered to it again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a run waits for the relays to be read.
const PATIENCE: Duration = Duration::from_secs(45);
/// How many ids of events are remembered so that copies from other relays cost nothing.
const REMEMBERED: usize = 65_536;

/// The outbox's way out.
pub(super) struct Outward(pub Arc<Relays>);

#[async_trait]
impl Publisher for Outward {
    async fn offer(&self, message: &OutboxMessage) -> Offered {
        let outcome = self.0.publish(&message.body).await;
        if outcome.acknowledged() {
            return Offered::Acknowledged;
        }
        let answers: Vec<String> =
            outcome.answers.iter().map(|(relay, answer)| format!("{relay}: {answer:?}")).collect();
        Offered::NotYet(format!("{} acknowledgments needed; {}", outcome.needed, answers.join("; ")))
    }
}

/// Up to when the node has heard what was said to it.
#[derive(Clone)]
pub(super) struct Attended {
    relays: Arc<Relays>,
    clock: Arc<dyn Clock>,
    begun: Arc<Mutex<HashMap<Arc<str>, Timestamp>>>,
    quorum: watch::Sender<Option<Timestamp>>,
}

impl Attended {
    pub(super) fn new(relays: Arc<Relays>, clock: Arc<dyn Clock>) -> Self {
        Self { relays, clock, begun: Arc::default(), quorum: watch::Sender::new(None) }
    }

    /// A relay has been read, in a reading begun then, and what it had is committed.
    fn read(&self, relay: &Arc<str>, begun_at: Timestamp) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(Arc::clone(relay), begun_at);
        let mut latest: Vec<Timestamp> = begun.values().copied().collect();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        self.quorum.send_replace(latest.get(self.relays.quorum() - 1).copied());
    }
}

#[async_trait]
impl Attendance for Attended {
    async fn catch_up(&self) -> Result<Timestamp, Unavailable> {
        let now = self.clock.now();
        let mut quorum = self.quorum.subscribe();
        self.relays.catch_up();
        let read = quorum.wait_for(|begun| begun.is_some_and(|begun| begun >= now));
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(begun)) => Ok(begun.unwrap_or(now)),
            Ok(Err(_)) | Err(_) => Err(Unavailable("a quorum of relays could not be read".to_owned())),
        }
    }
}

/// Takes in what the relays hand over.
pub(super) struct Listener {
    intake: Intake,
    clock: Arc<dyn Clock>,
    keys: Keys,
    profile: watch::Receiver<Profile>,
    begun: Timestamp,
    copies: Mutex<HashSet<EventId>>,
}

impl Listener {
    pub(super) fn new(
        intake: Intake,
        clock: Arc<dyn Clock>,
        keys: Keys,
        profile: watch::Receiver<Profile>,
        begun: Timestamp,
    ) -> Self {
        Self { intake, clock, keys, profile, begun, copies: Mutex::default() }
    }

    fn copies(&self) -> MutexGuard<'_, HashSet<EventId>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, event: EventId) {
        let mut copies = self.copies();
        if copies.len() >= REMEMBERED {
            copies.clear();
        }
        copies.insert(event);
    }

    /// Works until `stop` turns true. A relay's cursor moves only after everything that it handed
    /// over before is committed.
    pub(super) async fn run(
        self,
        mut received: mpsc::Receiver<Inbound>,
        store: Arc<dyn Store>,
        attended: Attended,
        hurry: Arc<Notify>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), AppError> {
        let listener = Arc::new(self);
        let mut taking: JoinSet<()> = JoinSet::new();
        loop {
            let inbound = tokio::select! {
                inbound = received.recv() => inbound,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some(inbound) = inbound else { break };
            match inbound {
                Inbound::Connected { relay } => {
                    info!(%relay, "connected");
                    hurry.notify_one();
                }
                Inbound::Event { event, .. } => {
                    if listener.copies().contains(&event.id) {
                        continue;
                    }
                    while taking.len() >= SIDE_BY_SIDE {
                        taking.join_next().await;
                    }
                    taking.spawn(Arc::clone(&listener).take(event, Arc::clone(&store), stop.clone()));
                }
                Inbound::CaughtUp { relay, begun_at, .. } => {
                    while taking.join_next().await.is_some() {}
                    if *stop.borrow() {
                        break;
                    }
                    let at = listener.clock.now();
                    let rows = vec![cursor(&relay, begun_at, at)];
                    match store.commit(Commit { at, rows, ..Commit::default() }).await {
                        Ok(_) => attended.read(&relay, begun_at),
                        Err(error) => warn!(%relay, "how far it has been read was not stored: {error}"),
                    }
                }
            }
        }
        while taking.join_next().await.is_some() {}
        Ok(())
    }

    /// Takes one event in; what the database does not take now is offered to it again.
    async fn take(self: Arc<Self>, event: Box<Event>, store: Arc<dyn Store>, stop: watch::Receiver<bool>) {
        let (pow, pow_first_contact) = {
            let profile = self.profile.borrow();
            (profile.pow, profile.pow_first_contact)
        };
        // Whoever shows the work of a stranger needs no acquaintance, whoever shows none has no use of it.
        let between = pow_first_contact.is_some_and(|first| event.check_pow(pow) && !event.check_pow(first));
        let mut known = true;
        while !*stop.borrow() {
            if between {
                known = match is_known(store.as_ref(), &event.pubkey.to_hex()).await {
                    Ok(known) => known,
                    Err(error) => {
                        warn!("a message waits: {error}");
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                };
            }
            let known = |_: &str| known;
            let rules = Rules { pow, pow_first_contact, known: &known, not_before: Some(self.begun) };
            let incoming = match decode(&event, &self.keys, &rules) {
                Ok(incoming) => incoming,
                Err(dropped) => return debug!(event = %event.id, "dropped: {dropped}"),
            };
            // Only now: a forged event under the same id must not make the genuine one a copy.
            self.remember(event.id);
            match self.intake.receive(&incoming, self.clock.now()).await {
                Ok(()) => return,
                Err(not_yet) => warn!(event = %event.id, "{not_yet}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Statuses of orders that are over.
const OVER: [&str; 6] =
    ["canceled", "canceled-by-admin", "settled-by-admin", "completed-by-admin", "success", "expired"];

/// States of bonds whose order's parties may still have to be heard, whatever became of the order.
const OWED: [&str; 3] = ["locked", "pending-payout", "failed"];

/// Whether a key is a party's of an order that is open or has an open bond, or an assigned solver's.
async fn is_known(store: &dyn Store, key: &str) -> Result<bool, StoreError> {
    let text = |row: &Row, column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned();
    for column in ["buyer_pubkey", "seller_pubkey"] {
        for order in store.rows(ORDERS.name, column, &Value::from(key)).await? {
            if !OVER.contains(&text(&order, "status").as_str()) {
                return Ok(true);
            }
            let bonds = store.rows(BONDS.name, "order_id", &Value::from(text(&order, "id"))).await?;
            if bonds.iter().any(|bond| OWED.contains(&text(bond, "state").as_str())) {
                return Ok(true);
            }
        }
    }
    Ok(!store.rows(DISPUTES.name, "solver_pubkey", &Value::from(key)).await?.is_empty())
}
