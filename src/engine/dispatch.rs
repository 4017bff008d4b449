//! Taking due runs under a lease, keeping the leases, and letting go in good order.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

use super::alarm::Alarms;
use super::clock::{Clock, Timestamp};
use super::outbox::{Sealed, Sealer, changed};
use super::registry::Registry;
use super::run::Status;
use super::step::{Effects, StepError};
use super::store::{Change, Commit, CommitError, Committed, RunFilter, Store, StoreError};

/// The engine's numbers.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long a lease holds without being renewed.
    pub lease: Duration,
    /// How many runs are worked on side by side. A run that waits, and one whose effect is being
    /// watched, takes no place.
    pub workers: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), workers: 64 }
    }
}

/// What an engine is made of.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The workflows.
    pub registry: Registry,
    /// Seals messages before they are stored.
    pub sealer: Arc<dyn Sealer>,
    /// Where alarms go.
    pub alarms: Alarms,
    /// This daemon's name among those on the same database; never used before.
    pub owner: String,
    /// The numbers.
    pub options: Options,
}

/// Drives runs. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) parts: Arc<Parts>,
    lease_until: Arc<AtomicI64>,
    pub(super) watches: Arc<Watches>,
}

impl Engine {
    /// An engine of these parts; it does nothing before [`Engine::run`].
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), lease_until: Arc::new(AtomicI64::new(i64::MIN)), watches: Arc::default() }
    }

    /// Until when every lease of this daemon holds at least.
    pub(super) fn lease_until(&self) -> Timestamp {
        Timestamp(self.lease_until.load(Ordering::Acquire))
    }

    /// Works until `stop` turns true, then finishes the steps under way and lets go.
    ///
    /// # Errors
    /// When the database can't be read or claimed from: the daemon should stop.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<(), StoreError> {
        self.recover().await?;
        let store = &self.parts.store;
        let mut changes = store.changes();
        let places = Arc::new(Semaphore::new(self.parts.options.workers as usize));
        let mut runs: JoinSet<()> = JoinSet::new();
        let mut keeper = tokio::spawn(self.clone().keep_leases());
        let ended = loop {
            if *stop.borrow() {
                break Ok(());
            }
            while runs.try_join_next().is_some() {}
            let now = self.parts.clock.now();
            let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
            if free > 0 {
                if self.lease_until() <= now
                    && let Err(error) = self.renew().await
                {
                    break Err(error);
                }
                // No lease outlives the common limit, which only a renewal of all of them moves.
                let until = self.lease_until();
                let claimed = match store.claim(&self.parts.owner, now, until, free).await {
                    Ok(claimed) => claimed,
                    Err(error) => break Err(error),
                };
                for run in claimed {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
                    let engine = self.clone();
                    runs.spawn(async move {
                        engine.drive(run).await;
                        drop(place);
                    });
                }
            }
            let next = match store.next_due().await {
                Ok(next) => next,
                Err(error) => break Err(error),
            };
            let full = places.available_permits() == 0;
            let timer = async {
                match next {
                    Some(at) if !full => self.parts.clock.sleep_until(at).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                () = changed(&mut changes, Change::Runs), if !full => {}
                Some(_) = runs.join_next(), if !runs.is_empty() => {}
                _ = stop.changed() => {}
                _ = &mut keeper => break Err(StoreError("the leases can't be kept".into())),
            }
        };
        while runs.join_next().await.is_some() {}
        keeper.abort();
        self.watches.abort_all();
        ended
    }

    /// Takes up what a dead daemon left: its leases end now, and what is in doubt is looked up
    /// now and not at its timer.
    async fn recover(&self) -> Result<(), StoreError> {
        let store = &self.parts.store;
        let now = self.parts.clock.now();
        self.lease_until.store(now.after(self.parts.options.lease).millis(), Ordering::Release);
        store.release_others(&self.parts.owner, now).await?;
        let in_doubt = RunFilter { status: Some(Status::InDoubt), ..RunFilter::default() };
        for run in store.runs(&in_doubt).await? {
            store.wake(run.seq, now).await?;
        }
        Ok(())
    }

    /// Renews the leases three times within their length; ends when they could not be kept.
    async fn keep_leases(self) {
        let third = self.parts.options.lease / 3;
        loop {
            let now = self.parts.clock.now();
            self.parts.clock.sleep_until(now.after(third)).await;
            match self.renew().await {
                Ok(()) => {}
                Err(error) if self.parts.clock.now() >= self.lease_until() => {
                    return warn!("the leases ran out: {error}");
                }
                Err(error) => warn!("the leases could not be renewed, trying again: {error}"),
            }
        }
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        let until = now.after(self.parts.options.lease);
        self.parts.store.renew(&self.parts.owner, now, until).await?;
        self.lease_until.store(until.millis(), Ordering::Release);
        Ok(())
    }

    /// Commits what an intake or a start decided: the effects, with an incoming message's id.
    /// Nothing is written when the message was seen before or a guard fails.
    ///
    /// # Errors
    /// As [`Store::commit`]; a message that can't be sealed is a [`CommitError::Conflict`].
    pub async fn submit(&self, effects: Effects, inbox: Option<String>) -> Result<Committed, CommitError> {
        let now = self.parts.clock.now();
        let sealed = self.seal(&effects, now).await.map_err(|error| CommitError::Conflict(format!("{error:?}")))?;
        let mut commit = Commit {
            at: now,
            step: None,
            guards: effects.guards,
            inbox,
            rows: effects.rows,
            starts: effects.starts,
            signals: effects.signals,
            nudges: effects.nudges,
            outbox: Vec::with_capacity(sealed.len()),
        };
        for sealed in sealed {
            commit.rows.extend(sealed.rows);
            commit.outbox.push(sealed.message);
        }
        let committed = self.parts.store.commit(commit).await?;
        for (kind, text) in &effects.alarms {
            self.parts.alarms.raise(kind, text);
        }
        Ok(committed)
    }

    pub(super) async fn seal(&self, effects: &Effects, now: Timestamp) -> Result<Vec<Sealed>, StepError> {
        let mut sealed = Vec::with_capacity(effects.drafts.len());
        for draft in &effects.drafts {
            let one = self.parts.sealer.seal(draft, now, self.parts.store.as_ref()).await;
            sealed.push(one.map_err(|reason| {
                StepError::pause("seal", format!("the message `{}` can't be sealed: {reason}", draft.topic))
            })?);
        }
        Ok(sealed)
    }
}

/// The effects that are being watched, one for a run.
#[derive(Default)]
pub(super) struct Watches {
    by_run: Mutex<HashMap<i64, AbortHandle>>,
}

impl Watches {
    pub(super) fn spawn(self: &Arc<Self>, run: i64, watch: impl Future<Output = ()> + Send + 'static) {
        let watches = Arc::clone(self);
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = tokio::spawn(async move {
            watch.await;
            watches.by_run.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
        });
        if let Some(former) = by_run.insert(run, handle.abort_handle()) {
            former.abort();
        }
    }

    fn abort_all(&self) {
        for (_, handle) in self.by_run.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            handle.abort();
        }
    }
}
