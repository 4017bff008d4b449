//! Making up for what a restored database lacks: the relays are read again, lnd is asked what it
//! has paid since, and what these don't tell is asked of a person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::engine::{CommitError, Timestamp};
use crate::payout::World;
use crate::payout::books::insert;
use crate::payout::policy::verdict::SKEW_MARGIN_SECS;
use crate::payout::restored::{Found, adopt, debtor, unknown_payments};
use crate::payout::tables::HASHES;

use super::held::{self, Held, Word};
use super::{ALARM, LOOK, Lineage, PACE};
use crate::app::{AppError, facts};

/// How long a send that was begun just before the start can still reach lnd: its own time, and
/// what the two clocks may differ by.
const LATE: Duration = Duration::from_secs(20 + SKEW_MARGIN_SECS as u64);
/// The fact that tells of the last reconciliation.
const RECONCILED: &str = "reconciled";

/// Lets the runs go on once nothing is missing.
pub(in crate::app) struct Reconciler {
    pub(in crate::app) lineage: Arc<Lineage>,
    pub(in crate::app) world: World,
}

impl Reconciler {
    /// Returns once runs may be driven: at once when the database is the one that was seen.
    ///
    /// # Errors
    /// When the database can't be read or written.
    pub(in crate::app) async fn cleared(&self, mut stop: watch::Receiver<bool>) -> Result<(), AppError> {
        tokio::select! {
            cleared = self.work() => cleared,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        }
    }

    async fn work(&self) -> Result<(), AppError> {
        if held::held(self.store()).await?.is_none() {
            let found = self.asked_of_lnd(self.lineage.last_commit).await;
            let Some(first) = found.first() else { return self.lineage.cleared().await };
            let evidence = format!(
                "lnd made a payment of {} sats ({}) after the last commit of this database, which owes as much and does not know it",
                first.sats, first.hash
            );
            self.lineage.hold(evidence, true).await?;
        }
        let Some(mut held) = held::held(self.store()).await? else { return self.lineage.cleared().await };
        self.lineage.alarms.raise(ALARM, &held.paragraph());
        let mut changes = self.world.store.changes();
        // A word on an earlier state of things says nothing of this one; it is given anew.
        let mut read_relays = false;
        loop {
            let mut now_held = Held { waits_for: Vec::new(), ..held.clone() };
            let past = Timestamp(held.since).after(LATE);
            if !read_relays {
                match self.world.attendance.catch_up().await {
                    Ok(_) => read_relays = true,
                    Err(error) => now_held.waits_for.push(format!("the relays ({error})")),
                }
            }
            let late = self.lineage.clock.now() < past;
            let last_commit = held.last_commit.map(Timestamp);
            now_held.found = self.adopt_known(self.asked_of_lnd(last_commit).await).await?;
            if late {
                now_held.waits_for.push(format!("{past}, when no send begun before the start can reach lnd any more"));
            }
            if let Some(word) = held::word(self.store()).await? {
                match self.obey(&word, &now_held).await? {
                    Ok(()) if late => {}
                    Ok(()) => return self.release(Some(&word), &now_held).await,
                    Err(refused) => {
                        warn!("an operator's word is not enough: {refused}");
                        now_held.refused = Some(refused);
                        held::write(self.store(), self.now(), held::WORD, None::<&Word>).await?;
                    }
                }
            } else if !late && read_relays && now_held.found.is_empty() && !now_held.needs_word {
                return self.release(None, &now_held).await;
            }
            if now_held != held {
                held::write(self.store(), self.now(), held::HELD, Some(&now_held)).await?;
                held = now_held;
            }
            tokio::select! {
                () = super::changed(&mut changes) => {}
                () = tokio::time::sleep(LOOK) => {}
                () = self.lineage.clock.sleep_until(past), if late => {}
            }
            tokio::time::sleep(PACE).await;
        }
    }

    fn store(&self) -> &dyn crate::engine::Store {
        self.world.store.as_ref()
    }

    fn now(&self) -> Timestamp {
        self.lineage.clock.now()
    }

    /// The payments at lnd that the database lacks; asked until lnd answers.
    async fn asked_of_lnd(&self, last_commit: Option<Timestamp>) -> Vec<Found> {
        let Some(last_commit) = last_commit else { return Vec::new() };
        loop {
            match unknown_payments(&self.world, last_commit).await {
                Ok(found) => return found,
                Err(error) => warn!("lnd's payments can't be compared yet: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Gives each payment whose invoice lies in a run's mailbox to that run; the others are left.
    async fn adopt_known(&self, found: Vec<Found>) -> Result<Vec<Found>, AppError> {
        let mut left = Vec::new();
        for found in found {
            match debtor(&self.world, &found).await? {
                Some(run) => {
                    let why = "its invoice came in again from the relays";
                    if let Err(reason) = self.give(&found.hash, &run, why).await? {
                        warn!("{reason}");
                        left.push(found);
                    }
                }
                None => left.push(found),
            }
        }
        Ok(left)
    }

    async fn give(&self, hash: &str, run: &crate::engine::RunId, why: &str) -> Result<Result<(), String>, AppError> {
        let Some(run) = self.world.store.run(run).await? else { return Ok(Err(format!("there is no run {run}"))) };
        let commit = match adopt(&run, hash, why, self.now()) {
            Ok(commit) => commit,
            Err(reason) => return Ok(Err(reason.to_string())),
        };
        match self.world.store.commit(commit).await {
            Ok(_) => {
                info!(run = %run.id, hash, "a payment that lnd knows is taken on: {why}");
                Ok(Ok(()))
            }
            Err(CommitError::Fenced | CommitError::Conflict(_)) => Ok(Err(format!("run {} has moved on", run.id))),
            Err(error) => Err(error.into()),
        }
    }

    /// Does what a person says of the payments, when that leaves none open.
    async fn obey(&self, word: &Word, held: &Held) -> Result<Result<(), String>, AppError> {
        let mut open: BTreeMap<&str, &Found> = held.found.iter().map(|found| (found.hash.as_str(), found)).collect();
        for hash in word.paid.keys().chain(&word.not_ours) {
            open.remove(hash.as_str());
        }
        if !open.is_empty() {
            let hashes: Vec<&str> = open.into_keys().collect();
            return Ok(Err(format!("it says nothing of the payments {}", hashes.join(", "))));
        }
        for (hash, run) in &word.paid {
            if facts_know(self, hash).await? {
                continue;
            }
            let why = format!("by {}: {}", word.by, word.reason);
            if let Err(reason) = self.give(hash, run, &why).await? {
                return Ok(Err(reason));
            }
        }
        for hash in &word.not_ours {
            if !facts_know(self, hash).await? {
                let row = json!({ "used_by": format!("others, by {}", word.by), "created_at": self.now().secs() });
                let rows = vec![insert(HASHES, hash, row)];
                self.world.store.commit(crate::engine::Commit { at: self.now(), rows, ..Default::default() }).await?;
            }
        }
        Ok(Ok(()))
    }

    /// Goes on under another timeline. Killed half way, it is held and released again.
    async fn release(&self, word: Option<&Word>, held: &Held) -> Result<(), AppError> {
        self.world.store.begin_timeline().await?;
        let said = json!({ "at": self.now().millis(), "word": word, "evidence": held.evidence }).to_string();
        facts::write(self.store(), self.now(), RECONCILED, &said).await?;
        held::write(self.store(), self.now(), held::WORD, None::<&Word>).await?;
        self.lineage.cleared().await?;
        held::write(self.store(), self.now(), held::HELD, None::<&Held>).await?;
        match word {
            Some(word) => info!(by = word.by, reason = word.reason, "the restored database is reconciled: runs go on"),
            None => info!("the restored database is reconciled by what lnd and the relays have: runs go on"),
        }
        Ok(())
    }
}

async fn facts_know(reconciler: &Reconciler, hash: &str) -> Result<bool, AppError> {
    Ok(reconciler.world.store.row(HASHES.name, hash).await?.is_some())
}
