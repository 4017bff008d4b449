//! Whether the database goes on from what was seen committed. One that does not (an old backup,
//! a copy, a replica that lagged behind) lacks what was done since: a debt that is paid looks
//! unpaid in it. Then no run is driven, so that nothing is asked for, accepted or sent, until the
//! part that is missing is made up for.
//!
//! What was seen is kept in three places outside the database, since none of them sees all:
//!
//! | | notices | can't see |
//! |---|---|---|
//! | [`witness`], a file beside it | an older copy put in its place; a copy elsewhere | a whole folder or machine that was put back |
//! | the newest info event at the relays | anything older than the last start, or the last hour | relays that are away; the last hour |
//! | lnd's payments | a payment, of a sum that is owed, made after the last commit | what was not paid yet: nothing is lost by that |

mod held;
mod reconcile;
mod witness;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tracing::warn;

use crate::engine::{Alarms, Clock, Standing, Store, StoreError, Timestamp};
use crate::nostr::health::Published;
use crate::payout::tables::REPLACEABLES;

use super::{AppError, facts};

pub use held::{Held, Word, ask, held};
pub(super) use reconcile::Reconciler;
use witness::Witness;

/// The fact which says that a witness was begun.
const WITNESSED: &str = "witnessed";
/// The kind of alarm.
const ALARM: &str = "database-restored";
/// The least time between two looks at where the database stands.
const PACE: Duration = Duration::from_millis(20);
/// The longest.
const LOOK: Duration = Duration::from_secs(5);

/// How a database differs from what was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// It lacks commits of its own history.
    Behind(i64),
    /// It has gone on under another name.
    OtherTimeline,
    /// Nothing was seen of it here: it is a copy.
    Unseen,
    /// What was seen can't be read.
    Unread,
}

impl Gap {
    /// Whether the daemon that made the part which is missing may be alive.
    const fn may_be_anothers(self) -> bool {
        !matches!(self, Self::Behind(_))
    }

    fn sentence(self, witness: &Path) -> String {
        let witness = witness.display();
        match self {
            Self::Behind(count) => format!("{witness} has seen {count} transactions more than this database has"),
            Self::OtherTimeline => format!("{witness} tells of another history than this database's"),
            Self::Unseen => format!("{witness} is missing, so that this database is a copy from elsewhere"),
            Self::Unread => format!("{witness} can't be read, so that nobody knows what was committed"),
        }
    }
}

/// Compares where a database stands with what was seen; `witnessed` says that the database was
/// ever seen by a witness.
fn gap(seen: Result<Option<&Standing>, ()>, standing: &Standing, witnessed: bool) -> Option<Gap> {
    match seen {
        Err(()) => Some(Gap::Unread),
        Ok(None) => witnessed.then_some(Gap::Unseen),
        Ok(Some(seen)) if seen.timeline != standing.timeline => Some(Gap::OtherTimeline),
        Ok(Some(seen)) if seen.count > standing.count => Some(Gap::Behind(seen.count - standing.count)),
        Ok(Some(_)) => None,
    }
}

/// Watches where the database stands.
pub(super) struct Lineage {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    alarms: Alarms,
    witness: Mutex<Witness>,
    /// The newest commit that was there at start.
    last_commit: Option<Timestamp>,
    clear: watch::Sender<bool>,
}

/// What a start found, before it wrote anything.
pub(super) struct Found {
    gap: Option<Gap>,
    last_commit: Option<Timestamp>,
}

/// Looks, before the first write of a start.
pub(super) async fn look(store: &dyn Store, database: &Path) -> Result<Found, AppError> {
    let seen = Witness::beside(database).read();
    let witnessed = facts::read(store, WITNESSED).await?.is_some();
    let gap = gap(seen.as_ref().map(Option::as_ref).map_err(|_| ()), &store.standing().await?, witnessed);
    Ok(Found { gap, last_commit: store.last_commit().await? })
}

impl Lineage {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        alarms: Alarms,
        database: &Path,
        found: &Found,
    ) -> Self {
        let witness = Mutex::new(Witness::beside(database));
        Self { store, clock, alarms, witness, last_commit: found.last_commit, clear: watch::Sender::new(false) }
    }

    /// Holds what must be held by what the start found here and at the relays.
    pub(super) async fn begin(
        &self,
        found: &Found,
        published: Option<&Published>,
        address: &str,
    ) -> Result<(), AppError> {
        if let Some(gap) = found.gap {
            let sentence = gap.sentence(self.witness().path());
            self.hold(sentence, gap.may_be_anothers()).await?;
        }
        if let Some(sentence) = self.newer_at_relays(published, address).await? {
            self.hold(sentence, true).await?;
        }
        Ok(())
    }

    /// An info event at the relays that is newer than any of this database.
    async fn newer_at_relays(
        &self,
        published: Option<&Published>,
        address: &str,
    ) -> Result<Option<String>, StoreError> {
        let Some(published) = published else { return Ok(None) };
        // Before its first one this database has none to compare.
        let Some(own) = self.store.row(REPLACEABLES.name, address).await? else { return Ok(None) };
        let own = own.get("created_at").and_then(Value::as_i64).unwrap_or(i64::MAX);
        Ok((published.created_at > own).then(|| {
            format!(
                "the relays have an info event of this node ({}) that is newer than any of this database",
                published.id
            )
        }))
    }

    /// Writes down that the database is held, and why; what was known before is kept.
    async fn hold(&self, evidence: String, needs_word: bool) -> Result<(), AppError> {
        let now = self.clock.now();
        let mut held = held::held(self.store.as_ref()).await?.unwrap_or_else(|| Held {
            since: now.millis(),
            last_commit: self.last_commit.map(Timestamp::millis),
            ..Held::default()
        });
        if !held.evidence.contains(&evidence) {
            held.evidence.push(evidence);
        }
        held.needs_word |= needs_word;
        Ok(held::write(self.store.as_ref(), now, held::HELD, Some(&held)).await?)
    }

    /// Begins to write down what is seen: nothing is held.
    async fn cleared(&self) -> Result<(), AppError> {
        let standing = self.store.standing().await?;
        self.note(&standing);
        if let Err(error) = self.witness().sync() {
            warn!("what is committed can't be written down beside the database: {error}");
        }
        if facts::read(self.store.as_ref(), WITNESSED).await?.is_none() {
            facts::write(self.store.as_ref(), self.clock.now(), WITNESSED, "yes").await?;
        }
        self.clear.send_replace(true);
        Ok(())
    }

    /// Whether nothing is held.
    pub(super) fn is_clear(&self) -> bool {
        *self.clear.borrow()
    }

    fn note(&self, standing: &Standing) {
        if let Err(error) = self.witness().note(standing) {
            // Less is known then of a backup that is restored later; what runs now is not at risk.
            warn!("what is committed can't be written down beside the database: {error}");
        }
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is committed until `stop` turns true.
    ///
    /// # Errors
    /// When the database has gone back, or can't be read: the daemon must end at once.
    pub(super) async fn keep(&self, mut stop: watch::Receiver<bool>) -> Result<(), AppError> {
        let mut changes = self.store.changes();
        let mut clear = self.clear.subscribe();
        tokio::select! {
            _ = clear.wait_for(|clear| *clear) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        let mut seen = self.store.standing().await?;
        loop {
            let standing = self.store.standing().await?;
            if let Some(gap) = gap(Ok(Some(&seen)), &standing, true) {
                let sentence = gap.sentence(Path::new("this daemon"));
                self.alarms.raise(ALARM, &sentence);
                // What is here now is not what is to be found at the next start.
                self.clear.send_replace(false);
                return Err(AppError::WentBack(sentence));
            }
            self.note(&standing);
            seen = standing;
            tokio::select! {
                () = changed(&mut changes) => {}
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Writes down the last that is committed.
    pub(super) async fn end(&self) {
        if !self.is_clear() {
            return;
        }
        if let Ok(standing) = self.store.standing().await {
            self.note(&standing);
        }
        if let Err(error) = self.witness().sync() {
            warn!("what is committed can't be written down beside the database: {error}");
        }
    }
}

async fn changed(changes: &mut broadcast::Receiver<crate::engine::store::Change>) {
    if matches!(changes.recv().await, Err(broadcast::error::RecvError::Closed)) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::{Commit, VirtualClock};
    use crate::payout::books::upsert;
    use crate::payout::tables::{FACTS, TABLES};
    use crate::store::memory::MemoryStore;

    use super::*;

    async fn written(store: &dyn Store, value: &str) {
        let rows = vec![upsert(FACTS, "a", serde_json::json!({ "value": value }))];
        store.commit(Commit { rows, ..Commit::default() }).await.unwrap();
    }

    /// A database that is put back while the daemon runs, as by a fail-over to a replica that lags.
    #[tokio::test]
    async fn a_database_that_goes_back_ends_the_daemon_and_is_found_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let memory = MemoryStore::new(TABLES);
        let store: Arc<dyn Store> = Arc::new(memory.reopen());
        let found = look(store.as_ref(), &path).await.unwrap();
        assert_eq!(found.gap, None);
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(Timestamp(0)));
        let alarms = Alarms::default();
        let lineage = Lineage::new(Arc::clone(&store), clock, alarms.clone(), &path, &found);
        written(store.as_ref(), "before").await;
        let backup = memory.snapshot();
        lineage.cleared().await.unwrap();
        written(store.as_ref(), "after").await;
        let stop = watch::Sender::new(false);
        let keeping = async {
            while Witness::beside(&path).read().unwrap() != Some(store.standing().await.unwrap()) {
                tokio::task::yield_now().await;
            }
            memory.restore(&backup);
            store.announce();
        };
        let (kept, ()) = tokio::join!(lineage.keep(stop.subscribe()), keeping);
        assert!(matches!(kept, Err(AppError::WentBack(_))), "{kept:?}");
        assert_eq!(alarms.counts()[ALARM], 1);
        lineage.end().await;
        assert!(matches!(look(store.as_ref(), &path).await.unwrap().gap, Some(Gap::Behind(_))));
    }

    fn at(timeline: &str, count: i64) -> Standing {
        Standing { timeline: timeline.to_owned(), count }
    }

    #[test]
    fn a_database_that_went_on_is_no_gap() {
        assert_eq!(gap(Ok(Some(&at("a", 5))), &at("a", 5), true), None);
        assert_eq!(gap(Ok(Some(&at("a", 5))), &at("a", 6), true), None);
        assert_eq!(gap(Ok(None), &at("a", 6), false), None, "nothing was ever seen of it");
    }

    #[test]
    fn an_older_one_a_copy_and_another_are() {
        assert_eq!(gap(Ok(Some(&at("a", 7))), &at("a", 5), true), Some(Gap::Behind(2)));
        assert_eq!(gap(Ok(Some(&at("a", 5))), &at("b", 9), false), Some(Gap::OtherTimeline));
        assert_eq!(gap(Ok(None), &at("a", 5), true), Some(Gap::Unseen));
        assert_eq!(gap(Err(()), &at("a", 5), true), Some(Gap::Unread));
        assert!(!Gap::Behind(2).may_be_anothers() && Gap::Unseen.may_be_anothers());
    }
}
