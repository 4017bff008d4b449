//! Parts that one daemon plays at a time, among several on one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tracing::{info, warn};

use super::clock::{Clock, Timestamp};
use super::store::{Store, StoreError};

/// How soon a daemon that waits for a part asks for it again: so long after the end of the lease
/// of one that has died somebody else plays it.
const WAITS: Duration = Duration::from_millis(500);

/// One daemon's claim to a part.
pub(super) struct Part {
    name: &'static str,
    owner: String,
    lease: Duration,
    term: PartTerm,
    ask_at: Option<Timestamp>,
}

/// Until when a daemon may play its part.
#[derive(Clone)]
pub(super) struct PartTerm(Arc<AtomicI64>);

impl PartTerm {
    /// Whether it may now.
    pub(super) fn lasts(&self, now: Timestamp) -> bool {
        now.millis() < self.0.load(Ordering::Acquire)
    }
}

impl Part {
    pub(super) fn new(name: &'static str, owner: String, lease: Duration) -> Self {
        Self { name, owner, lease, term: PartTerm(Arc::new(AtomicI64::new(i64::MIN))), ask_at: None }
    }

    /// Whether this daemon plays the part now. Takes or prolongs the lease when it is time to.
    pub(super) async fn is_mine(&mut self, store: &dyn Store, clock: &dyn Clock) -> Result<bool, StoreError> {
        let now = clock.now();
        if store.alone() {
            self.term.0.store(i64::MAX, Ordering::Release);
            return Ok(true);
        }
        let had = self.term.lasts(now);
        if !had || self.ask_at.is_none_or(|at| now >= at) {
            let until = now.after(self.lease);
            let held = store.hold(self.name, &self.owner, now, until).await?;
            self.term.0.store(if held { until.millis() } else { i64::MIN }, Ordering::Release);
            self.ask_at = Some(now.after(if held { self.lease / 3 } else { WAITS }));
            if held && !had {
                info!(part = self.name, "this daemon plays the part now");
            }
        }
        Ok(self.term.lasts(clock.now()))
    }

    /// Leaves the part to the others, who need not wait for the lease's end then.
    pub(super) async fn let_go(&mut self, store: &dyn Store, clock: &dyn Clock) {
        let now = clock.now();
        if store.alone() || !self.term.lasts(now) {
            return;
        }
        self.term.0.store(i64::MIN, Ordering::Release);
        if let Err(error) = store.hold(self.name, &self.owner, now, now).await {
            warn!(part = self.name, "the others wait for the end of the lease: {error}");
        }
    }

    /// When to ask [`Part::is_mine`] again, if there is somebody else to play it.
    pub(super) fn ask_at(&self) -> Option<Timestamp> {
        self.ask_at
    }

    /// For whoever acts in the part meanwhile.
    pub(super) fn term(&self) -> PartTerm {
        self.term.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::VirtualClock;
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn one_plays_it_until_its_lease_is_over() {
        let (a, clock) = (MemoryStore::shared(&[]), VirtualClock::starting_at(Timestamp(0)));
        let b = a.reopen();
        let lease = Duration::from_secs(9);
        let (mut one, mut other) = (Part::new("courier", "a".into(), lease), Part::new("courier", "b".into(), lease));
        assert!(one.is_mine(&a, &clock).await.unwrap());
        assert!(!other.is_mine(&b, &clock).await.unwrap());
        let term = one.term();
        for _ in 0..5 {
            clock.advance(Duration::from_secs(3));
            assert!(one.is_mine(&a, &clock).await.unwrap(), "it is prolonged");
            assert!(!other.is_mine(&b, &clock).await.unwrap());
        }
        clock.advance(Duration::from_millis(8_999));
        assert!(term.lasts(clock.now()) && !other.is_mine(&b, &clock).await.unwrap());
        clock.advance(Duration::from_millis(1));
        assert!(!term.lasts(clock.now()), "who does not prolong it has lost it, without asking");
        clock.set(other.ask_at().unwrap());
        assert!(other.is_mine(&b, &clock).await.unwrap());
        assert!(!one.is_mine(&a, &clock).await.unwrap());
        other.let_go(&b, &clock).await;
        assert!(!other.term().lasts(clock.now()));
        clock.set(one.ask_at().unwrap());
        assert!(one.is_mine(&a, &clock).await.unwrap(), "who lets go of it is not waited for");
        other.let_go(&b, &clock).await;
        assert!(!other.is_mine(&b, &clock).await.unwrap(), "nobody lets go of what is another's");
    }

    #[tokio::test]
    async fn who_is_alone_plays_all() {
        let (store, clock) = (MemoryStore::new(&[]), VirtualClock::starting_at(Timestamp(0)));
        let mut part = Part::new("courier", "a".into(), Duration::from_secs(1));
        store.crash();
        assert!(part.is_mine(&store, &clock).await.unwrap(), "nobody needs to be asked");
        assert!(part.term().lasts(Timestamp(1_000_000)));
    }
}
