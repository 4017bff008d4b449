//! What a step can reach: the database for reading, the Lightning node, the relays' past, and the
//! terms in force.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use crate::engine::{Store, StoreError, Timestamp};

use super::policy::Doubt;
use super::policy::{Circumstances, HashRecord, Ledger, Observation, Verdict};
use super::ports::{Hash, Lightning, Unavailable};
use super::tables::PAYMENTS;
use super::terms::Terms;

/// Whether the node has heard all that was said to it while it was away.
#[async_trait]
pub trait Attendance: Send + Sync + 'static {
    /// Reads what a quorum of relays has stored, in a reading begun now, and returns when it began
    /// once the effects of everything found are committed.
    async fn catch_up(&self) -> Result<Timestamp, Unavailable>;
}

/// What a step can reach. Clones share everything.
#[derive(Clone)]
pub struct World {
    /// The database; steps only read it.
    pub store: Arc<dyn Store>,
    /// The Lightning node.
    pub lightning: Arc<dyn Lightning>,
    /// The relays' past.
    pub attendance: Arc<dyn Attendance>,
    /// The terms in force.
    pub terms: watch::Receiver<Arc<Terms>>,
}

impl World {
    /// The terms in force now.
    pub fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.borrow())
    }

    /// Asks the node about a payment and judges the answer. `asked_at` is the time before the call.
    pub async fn look(&self, record: &HashRecord, asked_at: Timestamp) -> Result<(HashRecord, Verdict), StoreError> {
        let seen = self.lightning.track(record.payment_hash).await;
        self.judge(record, seen, asked_at).await
    }

    /// Judges what the node said about a payment. Whether the node has forgotten payments is only
    /// found out where the verdict depends on it.
    pub async fn judge(
        &self,
        record: &HashRecord,
        seen: Observation,
        asked_at: Timestamp,
    ) -> Result<(HashRecord, Verdict), StoreError> {
        let at = |ledger| Circumstances {
            asked_at: asked_at.secs(),
            ledger,
            skew_margin_secs: super::policy::verdict::SKEW_MARGIN_SECS,
        };
        let first = record.judge(seen, &at(Ledger::Unread));
        if first.1 != Verdict::InDoubt(Doubt::LedgerUnread) {
            return Ok(first);
        }
        Ok(record.judge(seen, &at(self.ledger(record).await?)))
    }

    /// The newest payment that the database knows the node to have had: its indices count all
    /// payments together, so the newest is the one with the highest.
    pub async fn newest_judged(&self) -> Result<Option<Hash>, StoreError> {
        let newest = self.store.newest(PAYMENTS.name, "judged_index").await?;
        let hash = newest.as_ref().and_then(|row| row.get("hash")).and_then(Value::as_str);
        Ok(hash.and_then(super::books::secret32))
    }

    /// Whether the node still knows the newest payment that the database knows, and the one that
    /// witnessed the send in question: a node that was wiped, and has paid something since, knows
    /// the newest again.
    async fn ledger(&self, record: &HashRecord) -> Result<Ledger, StoreError> {
        let witness = record.undecided.and_then(|send| send.witness);
        let newest = self.newest_judged().await?.filter(|newest| Some(*newest) != witness);
        for hash in witness.into_iter().chain(newest) {
            match self.lightning.track(hash).await {
                Observation::Payment { .. } => {}
                Observation::NotFound => return Ok(Ledger::Gap),
                Observation::Refused(_) | Observation::Unavailable | Observation::Silent => return Ok(Ledger::Unread),
            }
        }
        Ok(Ledger::Intact)
    }
}
