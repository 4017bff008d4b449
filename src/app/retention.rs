//! Finished runs are retired and delivered messages forgotten on a schedule, so that the database does
//! not grow with all that ever was.
//! A few at a time, each lot in a transaction of its own between those of the daemon's work.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::engine::{Clock, CommitError, Effects, Engine, Retirement, Store, StoreError, Timestamp};
use crate::payout::retention::remains;

use super::AppError;
use super::in_force::InForce;
use super::info::next_after;
use super::lineage::held;

/// How many runs are looked at, and retired by one transaction.
const AT_ONCE: u32 = 100;

/// How many messages one transaction forgets: a few times as many come about in a day.
const MESSAGES_AT_ONCE: u32 = 250;

/// How soon it is tried again when the database is away.
const AGAIN: Duration = Duration::from_secs(60);

/// What the part needs.
pub(super) struct Retention {
    pub(super) store: Arc<dyn Store>,
    pub(super) engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) in_force: Arc<InForce>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Retires until `stop` turns true.
pub(super) async fn run(retention: Retention) -> Result<(), AppError> {
    let mut stop = retention.stop.clone();
    // They change with the settings, and so may the schedule.
    let mut terms = retention.in_force.terms();
    let mut again = None;
    loop {
        let now = retention.clock.now();
        let (schedule, _) = retention.in_force.retention();
        let at = again.take().or_else(|| next_after(&schedule, now));
        let timer = async {
            let Some(at) = at else { std::future::pending().await };
            while retention.clock.now() < at {
                retention.clock.sleep_until(at).await;
            }
            at
        };
        let at = tokio::select! {
            at = timer => at,
            Ok(()) = terms.changed() => continue,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        tokio::select! {
            swept = retention.on(at) => if let Err(error) = swept {
                warn!("finished runs are retired later: {error}");
                again = Some(retention.clock.now().after(AGAIN));
            },
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

impl Retention {
    /// One occasion of the schedule: of several daemons one takes it.
    async fn on(&self, at: Timestamp) -> Result<(), CommitError> {
        let unread = |error: StoreError| CommitError::Unavailable(error.0);
        if held(self.store.as_ref()).await.map_err(unread)?.is_some() {
            info!("no run is retired while it is not known what the database lacks");
            return Ok(());
        }
        match self.engine.submit(Effects::default(), Some(format!("retention of {at}"))).await {
            Ok(_) => {}
            Err(CommitError::Seen) => return Ok(()),
            Err(error) => return Err(error),
        }
        let (_, days) = self.in_force.retention();
        let now = self.clock.now();
        let before = Timestamp(now.millis().saturating_sub(i64::from(days) * 86_400_000));
        let (retired, kept) = sweep(self.store.as_ref(), before, now).await.map_err(unread)?;
        let mut forgotten = 0;
        loop {
            let lot = self.store.forget_messages(before, MESSAGES_AT_ONCE).await.map_err(unread)?;
            forgotten += lot;
            if lot < u64::from(MESSAGES_AT_ONCE) {
                break;
            }
        }
        info!(retired, kept, forgotten, "finished runs of more than {days} days ago are retired");
        Ok(())
    }
}

/// Retires what ended before that time; how many runs, and how many had to stay.
async fn sweep(store: &dyn Store, before: Timestamp, now: Timestamp) -> Result<(u64, u64), StoreError> {
    let (mut after, mut retired, mut kept) = (0, 0, 0);
    loop {
        let found = store.ended(before, after, AT_ONCE).await?;
        let Some(last) = found.last() else { return Ok((retired, kept)) };
        after = last.seq;
        let mut lot = Vec::with_capacity(found.len());
        for run in &found {
            match remains(store, run).await? {
                Some(keeps) => lot.push(Retirement { seq: run.seq, revision: run.revision, keeps }),
                None => kept += 1,
            }
        }
        if !lot.is_empty() {
            retired += store.retire(lot, now).await?;
        }
    }
}
