//! What a daemon does before it drives a run of a database that was put back: it reads the relays again, and gives each
//! payment at lnd that the database has forgotten to its debt. The composition root does the same over real parts
//! (`app::lineage`); whom a payment belongs to that nothing tells of, a person says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bondflow::engine::{RunId, Timestamp};
use bondflow::payout::World;
use bondflow::payout::ports::Hash;
use bondflow::payout::restored::{Found, adopt, debtor, unknown_payments};

use super::time::Time;

/// How long a send of a daemon that has died can still reach lnd.
const LATE: Duration = Duration::from_secs(140);
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(5);

/// A database that was put back.
#[derive(Clone)]
pub struct PutBack {
    pub since: Timestamp,
    /// The newest commit that it has.
    pub last_commit: Timestamp,
    /// What a person knows of the invoices.
    pub whose: BTreeMap<Hash, RunId>,
    /// Nothing is missing any more.
    pub mended: Arc<AtomicBool>,
}

impl PutBack {
    pub fn is_mended(&self) -> bool {
        self.mended.load(Ordering::SeqCst)
    }

    /// Returns once runs may be driven.
    pub async fn mend(&self, world: &World, time: &Time) {
        let past = self.since.after(LATE);
        while !self.is_mended() {
            let read = world.attendance.catch_up().await.is_ok();
            if time.now() < past {
                time.until(past).await;
            } else if read && self.give_all(world, time).await {
                self.mended.store(true, Ordering::SeqCst);
            } else {
                time.until(time.now().after(AGAIN)).await;
            }
        }
    }

    /// Whether no payment is left over.
    async fn give_all(&self, world: &World, time: &Time) -> bool {
        let Ok(found) = unknown_payments(world, self.last_commit).await else { return false };
        let mut all = true;
        for found in found {
            all &= self.give(world, time, &found).await.is_some();
        }
        all
    }

    async fn give(&self, world: &World, time: &Time, found: &Found) -> Option<()> {
        let hash: Hash = hex::decode(&found.hash).ok()?.try_into().ok()?;
        let told = debtor(world, found).await.ok()?;
        let run = world.store.run(&told.or_else(|| self.whose.get(&hash).cloned())?).await.ok()??;
        let commit = adopt(&run, &found.hash, "it was found", time.now()).ok()?;
        world.store.commit(commit).await.ok().map(drop)
    }
}
