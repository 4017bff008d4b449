//! Publishing what transitions decided to say.
//!
//! A message is sealed (signed, encrypted) before the commit that decides it and stored with it;
//! the [`Courier`] offers it until it is acknowledged. A crash therefore loses no message and
//! makes no second one: what is offered again is the same sealed text under the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::clock::{Clock, Timestamp};
use super::part::{Part, PartTerm};
use super::retry::RetryPolicy;
use super::step::Draft;
use super::store::{Change, Delivery, OutboxEntry, OutboxMessage, OutboxState, RowWrite, Store, StoreError};
use super::wait::{changed, stopped};

/// A message ready to be stored, with the rows that its sealing needs written along.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// The message.
    pub message: OutboxMessage,
    /// Rows to be committed with it.
    pub rows: Vec<RowWrite>,
}

/// Turns a draft into the text that is published.
#[async_trait]
pub trait Sealer: Send + Sync + 'static {
    /// Seals a draft as of `now`. An error's text is for the operator.
    async fn seal(&self, draft: &Draft, now: Timestamp, store: &dyn Store) -> Result<Sealed, String>;
}

/// What came of offering a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// Enough of the outside has it.
    Acknowledged,
    /// Offer it again later; the text is for the operator.
    NotYet(String),
}

/// Carries a message to the outside. Offering one twice must be harmless there.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Offers a message once; ends within a deadline.
    async fn offer(&self, message: &OutboxMessage) -> Offered;
}

/// How long a message waits between two offers.
const AGAIN: RetryPolicy = RetryPolicy { first_ms: 500, factor: 2, cap_ms: 30_000, jitter_pct: 20, max_attempts: None };

/// How many messages are read at once.
const READ_AT_ONCE: u32 = 256;

/// How many lanes are offered side by side.
const LANES: usize = 256;

/// Offers pending messages until they are acknowledged. Clones are the same courier.
///
/// Of several daemons on one database one offers at a time, under a lease; where it stops in the
/// middle, the next one offers again what was not acknowledged.
#[derive(Clone)]
pub struct Courier {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    publisher: Arc<dyn Publisher>,
    hurry: Arc<Notify>,
    owner: String,
    lease: Duration,
}

impl Courier {
    /// A courier that takes messages from `store` to `publisher`. Who notifies `hurry` has it
    /// offer every pending message at once, whatever its back-off: the outside is there again.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        publisher: Arc<dyn Publisher>,
        hurry: Arc<Notify>,
    ) -> Self {
        Self { store, clock, publisher, hurry, owner: String::new(), lease: Duration::from_secs(15) }
    }

    /// What this daemon is called among the others, by a name never used before, and how long its
    /// lease on the outbox holds without being prolonged.
    pub fn named(self, owner: String, lease: Duration) -> Self {
        Self { owner, lease, ..self }
    }

    /// Works until `stop` turns true or its sender is gone, then lets the offers under way come to
    /// their end.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<(), StoreError> {
        let mut changes = self.store.changes();
        let mut part = Part::new("outbox", self.owner.clone(), self.lease);
        let mut offers: JoinSet<String> = JoinSet::new();
        let mut hurried = false;
        // Lanes whose messages were on their way out when there was a hurry: whether they were in time is not known, so that
        // there is another one when all of these have come to their end.
        let mut hurried_past: BTreeSet<String> = BTreeSet::new();
        // Lanes under way, with the messages that were read for each. A lane is read again only
        // when all of them were offered, so that none overtakes another.
        let mut busy: BTreeMap<String, u32> = BTreeMap::new();
        let ended = loop {
            if *stop.borrow() {
                break Ok(());
            }
            match part.is_mine(self.store.as_ref(), self.clock.as_ref()).await {
                Ok(true) => {}
                Ok(false) => {
                    let again = part.ask_at().unwrap_or_default();
                    tokio::select! {
                        biased;
                        () = stopped(&mut stop) => break Ok(()),
                        () = self.clock.sleep_until(again) => continue,
                    }
                }
                Err(error) => break Err(error),
            }
            // What is under way is read along each time: a crowd of lanes is first let thin out.
            let crowded = busy.len() > LANES / 2;
            let mut next = None;
            if !crowded {
                let now = self.clock.now();
                let up_to = if std::mem::take(&mut hurried) { Timestamp(i64::MAX) } else { now };
                match self.read(up_to, &busy).await {
                    Ok(lanes) => {
                        for (lane, entries) in lanes {
                            busy.insert(lane.clone(), u32::try_from(entries.len()).unwrap_or(u32::MAX));
                            let (courier, term, mut stop) = (self.clone(), part.term(), stop.clone());
                            offers.spawn(async move {
                                courier.offer_lane(entries, &term, &mut stop).await;
                                lane
                            });
                        }
                    }
                    Err(error) => break Err(error),
                }
                next = match self.store.outbox_next().await {
                    // What is due and under way hides what comes next.
                    Ok(next) => next.map(|next| if next <= now { now.after(AGAIN.delay(1, "")) } else { next }),
                    Err(error) => break Err(error),
                };
            }
            let timer = async {
                match next.into_iter().chain(part.ask_at()).min() {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break Ok(()),
                () = self.hurry.notified() => {
                    hurried = true;
                    hurried_past.extend(busy.keys().cloned());
                }
                Some(done) = offers.join_next() => {
                    let more = std::iter::from_fn(|| offers.try_join_next());
                    for lane in std::iter::once(done).chain(more).flatten() {
                        busy.remove(&lane);
                        hurried |= hurried_past.remove(&lane) && hurried_past.is_empty();
                    }
                }
                () = changed(&mut changes, Change::Outbox), if !crowded => {}
                () = timer => {}
            }
        };
        while offers.join_next().await.is_some() {}
        part.let_go(self.store.as_ref(), self.clock.as_ref()).await;
        ended
    }

    /// The messages that are due by then, by lane; of lanes that are under way, none.
    async fn read(
        &self,
        up_to: Timestamp,
        busy: &BTreeMap<String, u32>,
    ) -> Result<BTreeMap<String, Vec<OutboxEntry>>, StoreError> {
        let due = self.store.outbox_due(up_to, READ_AT_ONCE.saturating_add(busy.values().sum())).await?;
        let mut lanes: BTreeMap<String, Vec<OutboxEntry>> = BTreeMap::new();
        for entry in due {
            let wanted = lanes.contains_key(&entry.message.lane) || lanes.len() + busy.len() < LANES;
            if wanted && !busy.contains_key(&entry.message.lane) {
                lanes.entry(entry.message.lane.clone()).or_default().push(entry);
            }
        }
        Ok(lanes)
    }

    /// Offers one lane's messages one after the other, so that a reply is seen before the notices
    /// that follow from it. That a message was acknowledged is stored while the next is offered.
    async fn offer_lane(&self, lane: Vec<OutboxEntry>, term: &PartTerm, stop: &mut watch::Receiver<bool>) {
        let mut noted: JoinSet<bool> = JoinSet::new();
        for entry in lane {
            if *stop.borrow() || !term.lasts(self.clock.now()) {
                break;
            }
            let delivery = offer_one(self.clock.as_ref(), self.publisher.as_ref(), &entry).await;
            let store = Arc::clone(&self.store);
            noted.spawn(async move {
                let stored = store.delivered(vec![delivery]).await;
                if let Err(error) = &stored {
                    // Offered again: harmless, it is the same message.
                    let (topic, id) = (&entry.message.topic, &entry.message.id);
                    warn!(topic, id, "an acknowledgment was not stored: {error}");
                }
                stored.is_ok()
            });
        }
        if !noted.join_all().await.into_iter().all(|stored| stored) {
            tokio::select! {
                biased;
                () = stopped(stop) => {}
                () = self.clock.sleep_until(self.clock.now().after(AGAIN.delay(1, ""))) => {}
            }
        }
    }
}

async fn offer_one(clock: &dyn Clock, publisher: &dyn Publisher, entry: &OutboxEntry) -> Delivery {
    let message = &entry.message;
    if message.expires_at.is_some_and(|at| at <= clock.now()) {
        info!(topic = message.topic, id = message.id, "a message has expired before it was acknowledged");
        return Delivery { seq: entry.seq, state: OutboxState::Expired, due_at: entry.due_at };
    }
    let offered = AssertUnwindSafe(publisher.offer(message)).catch_unwind().await;
    match offered.unwrap_or_else(|_| Offered::NotYet("the publisher has a defect: it panicked".into())) {
        Offered::Acknowledged => {
            debug!(topic = message.topic, id = message.id, "published");
            Delivery { seq: entry.seq, state: OutboxState::Acknowledged, due_at: entry.due_at }
        }
        Offered::NotYet(reason) => {
            let wait = AGAIN.delay(entry.attempts.saturating_add(1), &message.id);
            warn!(
                topic = message.topic,
                id = message.id,
                again_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "not published yet: {reason}"
            );
            let due_at = clock.now().after(wait.max(Duration::from_millis(1)));
            Delivery { seq: entry.seq, state: OutboxState::Pending, due_at }
        }
    }
}
