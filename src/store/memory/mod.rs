//! The store in memory: the oracle that other stores are compared with, and the one that
//! simulations run on. It is written to be obviously right: one lock, and every write is made on
//! a copy that takes the place of the tables only when nothing in it failed.
//!
//! Data outlives a [`MemoryStore`] as a file outlives a daemon: [`MemoryStore::reopen`] gives
//! what the next daemon finds, [`MemoryStore::on_call`] lets a test make calls fail or the daemon
//! die at any of them, [`MemoryStore::paced_by`] lets calls take their time, and
//! [`MemoryStore::restore`] puts an old backup in place.

mod dump;
mod fault;
mod map;
mod reads;
mod rows;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use crate::engine::store::{
    Change, Commit, CommitError, Committed, Delivery, Guard, OutboxEntry, Page, Retirement, Row, RunFilter, Standing,
    Store, StoreError, Table, Tally,
};
use crate::engine::{HistoryEntry, Pin, Run, RunId, Signal, Timestamp};

pub use dump::Dump;
pub use fault::{Call, Fault};
use fault::{Failure, Hook};
use tables::Tables;

/// How many changes a slow listener may lag behind before it is told that it missed some.
const CHANGES_KEPT: usize = 256;

/// What all stores opened on the same data share.
#[derive(Debug)]
struct Data {
    tables: Mutex<Tables>,
    /// Several daemons may be at work on it at the same time.
    shared: bool,
    changes: broadcast::Sender<Change>,
}

/// What each call waits for before it begins.
type Pace = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// One daemon's view of a database in memory. See the module.
pub struct MemoryStore {
    data: Arc<Data>,
    hook: Mutex<Option<Hook>>,
    pace: OnceLock<Pace>,
    crashed: watch::Sender<bool>,
}

/// All tables as they were at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot(Tables);

impl Snapshot {
    /// The content as rows by table, comparable with any other store's.
    pub fn dump(&self) -> Dump {
        self.0.dump()
    }

    /// All runs, by number.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.0.runs.values()
    }

    /// The outbox, in the order of the commits.
    pub fn outbox(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.0.outbox.values()
    }
}

impl MemoryStore {
    /// An empty database with the engine's tables and these of the workflow.
    pub fn new(tables: &'static [Table]) -> Self {
        Self::empty(tables, false)
    }

    /// The same for several daemons at a time, each with its own [`reopen`](Self::reopen)ed view.
    pub fn shared(tables: &'static [Table]) -> Self {
        Self::empty(tables, true)
    }

    fn empty(tables: &'static [Table], shared: bool) -> Self {
        let changes = broadcast::Sender::new(CHANGES_KEPT);
        Self::on(Arc::new(Data { tables: Mutex::new(Tables::new(tables)), shared, changes }))
    }

    fn on(data: Arc<Data>) -> Self {
        Self { data, hook: Mutex::new(None), pace: OnceLock::new(), crashed: watch::Sender::new(false) }
    }

    /// The same data as the next daemon finds it, without faults. This store stays as it is: a
    /// daemon that only stalled still has its own.
    pub fn reopen(&self) -> Self {
        Self::on(Arc::clone(&self.data))
    }

    /// What the tables hold now. Neither faults nor a crash hinder it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(locked(&self.data.tables).clone())
    }

    /// Puts back what the tables held once, as somebody does who restores an old backup. Seen from
    /// here, what was numbered since is numbered again.
    pub fn restore(&self, snapshot: &Snapshot) {
        *locked(&self.data.tables) = snapshot.0.clone();
    }

    /// Asks `hook` at the beginning of each call, instead of an earlier hook, what goes wrong in
    /// it. The hook may look at a [`snapshot`](Self::snapshot): the tables before the call.
    pub fn on_call(&self, hook: impl FnMut(Call<'_>) -> Option<Fault> + Send + 'static) {
        *locked(&self.hook) = Some(Box::new(hook));
    }

    /// From now on, and for good, each call waits for what `pace` gives before anything else of it
    /// happens: a slow database, or a daemon that is frozen.
    pub fn paced_by(&self, pace: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        // Who sets a second pace keeps the first.
        let _ = self.pace.set(Box::new(pace));
    }

    async fn at_its_pace(&self) {
        if let Some(pace) = self.pace.get() {
            pace().await;
        }
    }

    /// Kills the daemon: each later call of this store fails and changes nothing.
    pub fn crash(&self) {
        self.crashed.send_replace(true);
    }

    /// Waits until the daemon was killed, by [`crash`](Self::crash) or by [`Fault::Crash`].
    pub async fn crashed(&self) {
        // The sender lives as long as `self`, so that waiting can't end in an error.
        let _ = self.crashed.subscribe().wait_for(|crashed| *crashed).await;
    }

    /// What goes wrong in this call, if anything.
    fn fault(&self, call: Call<'_>) -> Option<Fault> {
        if *self.crashed.borrow() {
            return Some(Fault::Crash { applied: false });
        }
        locked(&self.hook).as_mut().and_then(|hook| hook(call))
    }

    async fn write<T, E: From<Failure>>(
        &self,
        call: Call<'_>,
        change: impl FnOnce(&mut Tables) -> Result<T, E>,
    ) -> Result<T, E> {
        self.at_its_pace().await;
        let Some(fault) = self.fault(call) else { return self.apply(change) };
        let applied = match fault {
            Fault::Unavailable => false,
            Fault::Unknown { applied } | Fault::Crash { applied } => applied,
        };
        let outcome = if applied { self.apply(change).map(drop) } else { Ok(()) };
        let failure = match fault {
            Fault::Unavailable => Failure::Unavailable,
            Fault::Unknown { .. } => Failure::Unknown,
            Fault::Crash { .. } => {
                self.crash();
                Failure::Crashed
            }
        };
        outcome.and(Err(failure.into()))
    }

    /// Makes the change whole or not at all, and tells what came of it.
    fn apply<T, E>(&self, change: impl FnOnce(&mut Tables) -> Result<T, E>) -> Result<T, E> {
        let mut tables = locked(&self.data.tables);
        let mut changed = tables.clone();
        let answer = change(&mut changed)?;
        let news = tables.news(&changed);
        *tables = changed;
        drop(tables);
        for change in news {
            // Nobody listening is no failure.
            let _ = self.data.changes.send(change);
        }
        Ok(answer)
    }

    async fn read<T>(&self, answer: impl FnOnce(&Tables) -> T) -> Result<T, StoreError> {
        self.at_its_pace().await;
        match self.fault(Call::Read) {
            None => Ok(answer(&locked(&self.data.tables))),
            Some(Fault::Crash { .. }) => {
                self.crash();
                Err(Failure::Crashed.into())
            }
            Some(_) => Err(Failure::Unavailable.into()),
        }
    }
}

/// A panic under the lock leaves nothing half done, so that a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.write(Call::Commit(&commit), |tables| tables.commit(&commit)).await
    }

    async fn claim(&self, owner: &str, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Run>, StoreError> {
        self.write(Call::Claim(owner, now, until, limit), |tables| Ok(tables.claim(owner, now, until, limit))).await
    }

    async fn renew(&self, owner: &str, now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        self.write(Call::Renew(owner, now, until), |tables| {
            tables.renew(owner, now, until);
            Ok(())
        })
        .await
    }

    async fn release_others(&self, owner: &str, now: Timestamp) -> Result<u64, StoreError> {
        self.write(Call::ReleaseOthers(owner, now), |tables| Ok(tables.release_others(owner, now))).await
    }

    fn alone(&self) -> bool {
        !self.data.shared
    }

    async fn hold(&self, part: &str, owner: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let alone = self.alone();
        self.write(Call::Hold(part, owner, now, until), |tables| Ok(alone || tables.hold(part, owner, now, until)))
            .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(Tables::next_due).await
    }

    async fn wake(&self, run: i64, at: Timestamp) -> Result<(), StoreError> {
        self.write(Call::Wake(run, at), |tables| {
            tables.wake(run, at);
            Ok(())
        })
        .await
    }

    async fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError> {
        self.read(|tables| tables.run(id).cloned()).await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        self.read(|tables| tables.runs(filter)).await
    }

    async fn ended(&self, before: Timestamp, after: i64, limit: u32) -> Result<Vec<Run>, StoreError> {
        self.read(|tables| tables.ended(before, after, limit)).await
    }

    async fn retire(&self, runs: Vec<Retirement>, at: Timestamp) -> Result<u64, StoreError> {
        self.write(Call::Retire(&runs, at), |tables| Ok(tables.retire(&runs, at))).await
    }

    async fn tally(&self, open: bool) -> Result<Vec<Tally>, StoreError> {
        self.read(|tables| tables.tally(open)).await
    }

    async fn pins(&self) -> Result<Vec<(Pin, u64)>, StoreError> {
        self.read(Tables::pins).await
    }

    async fn mailbox(&self, run: i64) -> Result<Vec<Signal>, StoreError> {
        self.read(|tables| tables.mailbox(run)).await
    }

    async fn history(&self, run: i64) -> Result<Vec<HistoryEntry>, StoreError> {
        self.read(|tables| tables.history(run)).await
    }

    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, StoreError> {
        self.read(|tables| tables.row(table, key)).await?
    }

    async fn rows(&self, table: &'static str, column: &'static str, value: &Value) -> Result<Vec<Row>, StoreError> {
        self.read(|tables| tables.rows(table, column, value)).await?
    }

    async fn page(&self, table: &'static str, page: &Page) -> Result<Vec<Row>, StoreError> {
        self.read(|tables| tables.page(table, page)).await?
    }

    async fn sum(&self, table: &'static str, column: &'static str, matching: &Row) -> Result<i64, StoreError> {
        self.read(|tables| tables.sum(table, column, matching)).await?
    }

    async fn newest(&self, table: &'static str, column: &'static str) -> Result<Option<Row>, StoreError> {
        self.read(|tables| tables.newest(table, column)).await?
    }

    async fn holds(&self, guard: &Guard) -> Result<bool, StoreError> {
        self.read(|tables| tables.check(guard).is_ok()).await
    }

    async fn seen(&self, inbox: &str) -> Result<bool, StoreError> {
        self.read(|tables| tables.seen(inbox)).await
    }

    async fn outbox_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        self.read(|tables| tables.outbox_due(now, limit)).await
    }

    async fn outbox_next(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(Tables::outbox_next).await
    }

    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError> {
        self.read(Tables::outbox_depth).await
    }

    async fn delivered(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        self.write(Call::Delivered(&deliveries), |tables| {
            tables.delivered(&deliveries);
            Ok(())
        })
        .await
    }

    async fn forget_messages(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(Call::ForgetMessages(before, limit), |tables| Ok(tables.forget_messages(before, limit))).await
    }

    async fn outbox_topic(&self, topic: &str) -> Result<Option<OutboxEntry>, StoreError> {
        self.read(|tables| tables.outbox.values().rfind(|entry| entry.message.topic == topic).cloned()).await
    }

    async fn outbox(&self, id: &str) -> Result<Option<OutboxEntry>, StoreError> {
        self.read(|tables| tables.message(id).cloned()).await
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        self.read(|tables| tables.standing.clone()).await
    }

    async fn reached(&self, timeline: &str) -> Result<Option<i64>, StoreError> {
        self.read(|tables| (tables.standing.timeline == timeline).then_some(tables.standing.count)).await
    }

    async fn begin_timeline(&self) -> Result<(), StoreError> {
        self.write(Call::BeginTimeline, |tables| {
            tables.standing.timeline = format!("after-{}", tables.standing.count);
            tables.standing.count += 1;
            Ok(())
        })
        .await
    }

    async fn last_commit(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(Tables::last_commit).await
    }

    fn announce(&self) {
        // Nobody listening is no failure.
        let _ = self.data.changes.send(Change::Runs);
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.data.changes.subscribe()
    }

    async fn close(&self) {
        self.crash();
    }
}

#[cfg(test)]
mod tests;
