//! Taking due runs under a lease, keeping the leases, and letting go in good order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, info, info_span};

use super::alarm::Alarms;
use super::clock::{Clock, Timestamp};
use super::lease::Leases;
use super::meters::Meters;
use super::outbox::{Sealed, Sealer};
use super::registry::Registry;
use super::run::{Run, Signal, Status};
use super::step::{Effects, StepError};
use super::store::{Change, Commit, CommitError, Committed, RunFilter, Store, StoreError};
use super::wait::{changed, stopped};
use super::watches::{Watches, WatchesEnd};

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
        Self { lease: Duration::from_secs(15), workers: 256 }
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
    leases: Arc<Leases>,
    pub(super) watches: Watches,
    pub(super) meters: Meters,
}

impl Engine {
    /// An engine of these parts; it does nothing before [`Engine::run`].
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), leases: Arc::default(), watches: Watches::default(), meters: Meters::default() }
    }

    /// What it counts of its own work.
    pub const fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Works until `stop` turns true or its sender is gone, then brings the runs under way to
    /// their next rest and lets go. Dropped half way it ends as in a crash.
    ///
    /// # Errors
    /// When the database can't be read or claimed from: the daemon should stop.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<(), StoreError> {
        self.recover().await?;
        let store = &self.parts.store;
        let mut changes = store.changes();
        let places = Arc::new(Semaphore::new(self.parts.options.workers as usize));
        let ending = watch::Sender::new(false);
        let mut runs: JoinSet<Result<(), StoreError>> = JoinSet::new();
        let _watches = WatchesEnd(self.watches.clone());
        let mut keeper = JoinSet::new();
        keeper.spawn({
            let engine = self.clone();
            async move { engine.leases.keep(&engine.parts).await }
        });
        let ended = loop {
            if *stop.borrow() {
                break Ok(());
            }
            let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
            if free > 0 {
                let (claimed, term) = match self.leases.claim(&self.parts, free).await {
                    Ok(claimed) => claimed,
                    Err(error) => break Err(error),
                };
                let mut mail = match self.mail(&claimed).await {
                    Ok(mail) => mail,
                    Err(error) => break Err(error),
                };
                for run in claimed {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
                    let (engine, term, ending) = (self.clone(), term.clone(), ending.subscribe());
                    let mail = mail.remove(&run.seq).unwrap_or_default();
                    let span = info_span!("run", run = %run.id, workflow = run.pin.workflow, key = run.key);
                    let drive = async move {
                        let driven = engine.drive(run, mail, term, ending).await;
                        drop(place);
                        driven
                    };
                    runs.spawn(drive.instrument(span));
                }
            }
            let full = places.available_permits() == 0;
            let next = match full {
                true => None,
                false => match store.next_due().await {
                    Ok(next) => next,
                    Err(error) => break Err(error),
                },
            };
            let timer = async {
                match next {
                    Some(at) => self.parts.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // In a fixed order, so that what happens follows from what is there and not from chance.
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break Ok(()),
                ran_out = keeper.join_next() => {
                    let defect = || StoreError("the leases can't be kept".into());
                    break Err(ran_out.and_then(Result::ok).unwrap_or_else(defect));
                }
                Some(driven) = runs.join_next() => {
                    // All that have ended by now make room for as many in one claim.
                    let ended = std::iter::once(driven).chain(std::iter::from_fn(|| runs.try_join_next()));
                    if let Some(error) = ended.filter_map(|driven| driven.ok()?.err()).last() {
                        break Err(error);
                    }
                }
                () = changed(&mut changes, Change::Runs), if !full => {}
                () = timer => {}
            }
        };
        ending.send_replace(true);
        while runs.join_next().await.is_some() {}
        ended
    }

    /// The signals in the mailboxes of these runs, read together.
    async fn mail(&self, claimed: &[Run]) -> Result<HashMap<i64, Vec<Signal>>, StoreError> {
        let runs: Vec<i64> = claimed.iter().filter(|run| run.has_mail()).map(|run| run.seq).collect();
        let mut mail: HashMap<i64, Vec<Signal>> = HashMap::with_capacity(runs.len());
        if !runs.is_empty() {
            for (run, signal) in self.parts.store.mailboxes(&runs).await? {
                mail.entry(run).or_default().push(signal);
            }
        }
        Ok(mail)
    }

    /// Takes up what a dead daemon left: where it is known to be dead its leases end now, and what
    /// is in doubt is looked up now and not at its timer.
    async fn recover(&self) -> Result<(), StoreError> {
        let store = &self.parts.store;
        let now = self.parts.clock.now();
        if store.alone() {
            store.release_others(&self.parts.owner, now).await?;
        }
        let in_doubt = RunFilter { status: Some(Status::InDoubt), ..RunFilter::default() };
        let in_doubt = store.runs(&in_doubt).await?;
        try_join_all(in_doubt.iter().map(|run| store.wake(run.seq, now))).await?;
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
        for note in &effects.notes {
            info!("{note}");
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
