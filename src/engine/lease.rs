//! The leases of one daemon: taken and renewed together, and lost together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Mutex;
use tracing::warn;

use super::clock::Timestamp;
use super::dispatch::Parts;
use super::run::Run;
use super::store::StoreError;

/// Until when the leases of one lot hold at least. A renewal in time moves it. Once it has passed
/// it stands still for ever, since another daemon may have the runs by then; what is claimed
/// later is of another lot.
#[derive(Debug, Clone)]
pub(super) struct Term(Arc<AtomicI64>);

impl Term {
    fn new(until: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(until.millis())))
    }

    /// The time.
    pub(super) fn until(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Acquire))
    }
}

/// Takes and keeps leases. Claims and renewals never overlap, so that no lease ends before its
/// lot's term.
pub(super) struct Leases(Mutex<Term>);

impl Default for Leases {
    fn default() -> Self {
        Self(Mutex::new(Term::new(Timestamp(i64::MIN))))
    }
}

impl Leases {
    /// Takes due runs, at most `limit`, with the term of their leases.
    pub(super) async fn claim(&self, parts: &Parts, limit: u32) -> Result<(Vec<Run>, Term), StoreError> {
        let mut term = self.0.lock().await;
        let now = parts.clock.now();
        if term.until() <= now {
            renew(parts, &mut term).await?;
        }
        let claimed = parts.store.claim(&parts.owner, now, term.until(), limit).await?;
        Ok((claimed, term.clone()))
    }

    /// Renews the leases three times within their length; ends when they could not be kept, and
    /// says why.
    pub(super) async fn keep(&self, parts: &Parts) -> StoreError {
        let third = parts.options.lease / 3;
        loop {
            let now = parts.clock.now();
            parts.clock.sleep_until(now.after(third)).await;
            let mut term = self.0.lock().await;
            match renew(parts, &mut term).await {
                Ok(()) => {}
                Err(error) if parts.clock.now() >= term.until() => return error,
                Err(error) => warn!("the leases could not be renewed, trying again: {error}"),
            }
        }
    }
}

async fn renew(parts: &Parts, term: &mut Term) -> Result<(), StoreError> {
    let now = parts.clock.now();
    let until = now.after(parts.options.lease);
    if term.until() <= now {
        parts.store.renew(&parts.owner, now, until).await?;
        *term = Term::new(until);
    } else {
        // A clock that was set back makes the leases end sooner: that counts before it is written.
        term.0.fetch_min(until.millis(), Ordering::AcqRel);
        parts.store.renew(&parts.owner, now, until).await?;
        term.0.store(until.millis(), Ordering::Release);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;

    use super::super::alarm::Alarms;
    use super::super::clock::VirtualClock;
    use super::super::dispatch::Options;
    use super::super::outbox::{Sealed, Sealer};
    use super::super::registry::Registry;
    use super::super::step::Draft;
    use super::super::store::Store;
    use super::*;
    use crate::store::memory::MemoryStore;

    struct Silent;

    #[async_trait]
    impl Sealer for Silent {
        async fn seal(&self, _draft: &Draft, _now: Timestamp, _store: &dyn Store) -> Result<Sealed, String> {
            Err("nothing is said here".into())
        }
    }

    fn parts(clock: &VirtualClock) -> Parts {
        Parts {
            store: Arc::new(MemoryStore::new(&[])),
            clock: Arc::new(clock.clone()),
            registry: Registry::default(),
            sealer: Arc::new(Silent),
            alarms: Alarms::default(),
            owner: "a".into(),
            options: Options { lease: Duration::from_millis(90), workers: 1 },
        }
    }

    #[tokio::test]
    async fn a_renewal_moves_a_term_that_has_not_passed_and_no_other() {
        let clock = VirtualClock::starting_at(Timestamp(0));
        let (parts, leases) = (parts(&clock), Leases::default());
        let (_, first) = leases.claim(&parts, 1).await.unwrap();
        assert_eq!(first.until(), Timestamp(90));
        clock.set(Timestamp(60));
        renew(&parts, &mut *leases.0.lock().await).await.unwrap();
        assert_eq!(first.until(), Timestamp(150));
        clock.set(Timestamp(150));
        renew(&parts, &mut *leases.0.lock().await).await.unwrap();
        let (_, second) = leases.claim(&parts, 1).await.unwrap();
        assert_eq!((first.until(), second.until()), (Timestamp(150), Timestamp(240)));
        clock.set(Timestamp(100));
        renew(&parts, &mut *leases.0.lock().await).await.unwrap();
        assert_eq!(second.until(), Timestamp(190), "a clock that was set back ends the leases sooner");
    }
}
