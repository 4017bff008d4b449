//! Whether the database goes on from what was seen committed. One that does not (an old backup,
//! a copy, a replica that lagged behind) lacks what was done since: a debt that is paid looks
//! unpaid in it. Then no run is driven, so that nothing is asked for, accepted or sent, until the
//! part that is missing is made up for.
//!
//! What was seen is kept in three places outside the database, since none of them sees all:
//!
//! | | notices | can't see |
//! |---|---|---|
//! | `witness`, a file beside it | an older copy put in its place; a copy elsewhere | a whole folder or machine that was put back |
//! | the newest health event at the relays | anything older than the last minute | relays that are away; the last minute |
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
pub(super) use witness::Witness;

/// The fact that names the history which a witness saw last.
const WITNESSED: &str = "witnessed";
/// The fact which tells of the last start.
const STARTED: &str = "started";
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

/// Compares how far the history that was seen has gone with what was seen of it; `witnessed` says
/// that the database was ever seen by a witness.
fn gap(seen: Result<Option<&Standing>, ()>, reached: Option<i64>, witnessed: bool) -> Option<Gap> {
    match (seen, reached) {
        (Err(()), _) => Some(Gap::Unread),
        (Ok(None), _) => witnessed.then_some(Gap::Unseen),
        (Ok(Some(_)), None) => Some(Gap::OtherTimeline),
        (Ok(Some(seen)), Some(reached)) if seen.count > reached => Some(Gap::Behind(seen.count - reached)),
        (Ok(Some(_)), Some(_)) => None,
    }
}

/// Watches where the database stands.
pub(super) struct Lineage {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    alarms: Alarms,
    witness: Option<Mutex<Witness>>,
    /// The newest commit that was there at start.
    last_commit: Option<Timestamp>,
    clear: watch::Sender<bool>,
}

/// What a start found, before it wrote anything.
pub(super) struct Found {
    gap: Option<Gap>,
    last_commit: Option<Timestamp>,
}

/// Looks, before the first write of a start. `witness` is the file that tells what was seen; none:
/// there is no such file.
pub(super) async fn look(store: &dyn Store, witness: Option<&Path>) -> Result<Found, AppError> {
    let last_commit = store.last_commit().await?;
    let Some(witness) = witness else { return Ok(Found { gap: None, last_commit }) };
    let seen = Witness::at(witness).read();
    let reached = match &seen {
        Ok(Some(seen)) => store.reached(&seen.timeline).await?,
        Ok(None) | Err(_) => None,
    };
    // A daemon that joins others on a database has seen nothing yet; one that is alone has, if the
    // history that it saw last is in this database.
    let witnessed = match facts::read(store, WITNESSED).await? {
        Some(name) if store.alone() => store.reached(&name).await?.is_some(),
        _ => false,
    };
    Ok(Found { gap: gap(seen.as_ref().map(Option::as_ref).map_err(|_| ()), reached, witnessed), last_commit })
}

impl Lineage {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        alarms: Alarms,
        witness: Option<&Path>,
        found: &Found,
    ) -> Self {
        let witness = witness.map(|path| Mutex::new(Witness::at(path)));
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
            let path = self.witness().map(|witness| witness.path().to_owned()).unwrap_or_default();
            let sentence = gap.sentence(&path);
            // Where daemons share a server no lock tells whether one of them works on the server before this one.
            self.hold(sentence, gap.may_be_anothers() || !self.store.alone()).await?;
        }
        if let Some(sentence) = self.newer_at_relays(published, address).await? {
            self.hold(sentence, true).await?;
        }
        Ok(())
    }

    /// A health event at the relays that is newer than any of this database.
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
                "the relays have a health event of this node ({}) that is newer than any of this database",
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
        // A history without a commit can't be found again.
        let now = self.clock.now();
        facts::write(self.store.as_ref(), now, STARTED, &now.millis().to_string()).await?;
        let standing = self.store.standing().await?;
        self.note(&standing);
        self.sync();
        if facts::read(self.store.as_ref(), WITNESSED).await?.as_ref() != Some(&standing.timeline) {
            facts::write(self.store.as_ref(), now, WITNESSED, &standing.timeline).await?;
        }
        self.clear.send_replace(true);
        Ok(())
    }

    /// Whether nothing is held.
    pub(super) fn is_clear(&self) -> bool {
        *self.clear.borrow()
    }

    fn note(&self, standing: &Standing) {
        let Some(mut witness) = self.witness() else { return };
        if let Err(error) = witness.note(standing) {
            // Less is known then of a backup that is restored later; what runs now is not at risk.
            warn!("what is committed can't be written to {}: {error}", witness.path().display());
        }
    }

    fn sync(&self) {
        let Some(witness) = self.witness() else { return };
        if let Err(error) = witness.sync() {
            warn!("what is committed can't be written to {}: {error}", witness.path().display());
        }
    }

    fn witness(&self) -> Option<MutexGuard<'_, Witness>> {
        self.witness.as_ref().map(|witness| witness.lock().unwrap_or_else(PoisonError::into_inner))
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
            let reached = self.store.reached(&seen.timeline).await?;
            if let Some(gap) = gap(Ok(Some(&seen)), reached, true) {
                let sentence = gap.sentence(Path::new("this daemon"));
                self.alarms.raise(ALARM, &sentence);
                // What is here now is not what is to be found at the next start.
                self.clear.send_replace(false);
                return Err(AppError::WentBack(sentence));
            }
            let standing = self.store.standing().await?;
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
        self.sync();
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
        let path = folder.path().join("a.seen");
        let memory = MemoryStore::new(TABLES);
        let store: Arc<dyn Store> = Arc::new(memory.reopen());
        let found = look(store.as_ref(), Some(path.as_path())).await.unwrap();
        assert_eq!(found.gap, None);
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(Timestamp(0)));
        let alarms = Alarms::default();
        let lineage = Lineage::new(Arc::clone(&store), clock, alarms.clone(), Some(path.as_path()), &found);
        written(store.as_ref(), "before").await;
        let backup = memory.snapshot();
        lineage.cleared().await.unwrap();
        written(store.as_ref(), "after").await;
        let stop = watch::Sender::new(false);
        let keeping = async {
            while Witness::at(&path).read().unwrap() != Some(store.standing().await.unwrap()) {
                tokio::task::yield_now().await;
            }
            memory.restore(&backup);
            store.announce();
        };
        let (kept, ()) = tokio::join!(lineage.keep(stop.subscribe()), keeping);
        assert!(matches!(kept, Err(AppError::WentBack(_))), "{kept:?}");
        assert_eq!(alarms.counts()[ALARM], 1);
        lineage.end().await;
        assert!(matches!(look(store.as_ref(), Some(path.as_path())).await.unwrap().gap, Some(Gap::Behind(_))));
    }

    fn at(count: i64) -> Standing {
        Standing { timeline: "a".to_owned(), count }
    }

    #[test]
    fn a_database_that_went_on_is_no_gap() {
        assert_eq!(gap(Ok(Some(&at(5))), Some(5), true), None);
        assert_eq!(gap(Ok(Some(&at(5))), Some(6), true), None);
        assert_eq!(gap(Ok(None), None, false), None, "nothing was ever seen of it");
    }

    #[test]
    fn an_older_one_a_copy_and_another_are() {
        assert_eq!(gap(Ok(Some(&at(7))), Some(5), true), Some(Gap::Behind(2)));
        assert_eq!(gap(Ok(Some(&at(5))), None, false), Some(Gap::OtherTimeline));
        assert_eq!(gap(Ok(None), None, true), Some(Gap::Unseen));
        assert_eq!(gap(Err(()), None, true), Some(Gap::Unread));
        assert!(!Gap::Behind(2).may_be_anothers() && Gap::Unseen.may_be_anothers());
    }
}
