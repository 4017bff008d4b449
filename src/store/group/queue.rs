//! The one task that writes. It folds whatever has queued while the last transaction was synced
//! into the next one, so that a lone commit never waits and many share one sync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::meters::CommitMeters;
use super::upkeep::{Answer, Upkeep};
use super::{Applied, Verdict};
use crate::engine::store::{Change, Commit, CommitError, Committed, StoreError};

/// The most requests in one transaction.
const MOST: usize = 1024;

/// What is asked of the writer.
pub(in crate::store) enum Request {
    Commit(AskedCommit),
    Upkeep(AskedUpkeep),
    /// Write what has queued, and end.
    Close(oneshot::Sender<()>),
}

/// A request and where its answer goes. Who asked may be gone when it is answered.
pub(in crate::store) struct Asked<T, A, E> {
    pub(in crate::store) what: T,
    reply: oneshot::Sender<Result<A, E>>,
}

pub(in crate::store) type AskedCommit = Asked<Box<Commit>, Committed, CommitError>;
pub(in crate::store) type AskedUpkeep = Asked<Upkeep, Answer, Failure>;

/// Why a transaction was not made.
#[derive(Debug, Clone)]
pub(in crate::store) enum Failure {
    /// Nothing was written: the database won't have what was to be written.
    Refused(String),
    /// Nothing was written: the database can't write.
    Unavailable(String),
    /// Nobody knows.
    Unknown(String),
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(why) => Self::Conflict(why),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Unknown(why) => Self::Unknown(why),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(why) | Failure::Unavailable(why) | Failure::Unknown(why) => Self(why),
        }
    }
}

/// What a transaction came to, if it was committed.
pub(in crate::store) struct Done {
    pub(in crate::store) applied: Applied,
    pub(in crate::store) answers: Vec<Answer>,
}

/// Counts of the writer's transactions.
#[derive(Debug, Default)]
pub(in crate::store) struct Counters {
    pub(in crate::store) batches: AtomicU64,
    pub(in crate::store) requests: AtomicU64,
    pub(in crate::store) last: AtomicU64,
    pub(in crate::store) meters: CommitMeters,
}

impl Counters {
    /// Counts a transaction that wrote something, begun at that time.
    pub(in crate::store) fn count(&self, requests: usize, begun: Instant) {
        self.meters.committed(requests, begun.elapsed());
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
        self.last.store(requests as u64, Ordering::Relaxed);
    }
}

/// The asking side: hands requests to the writer and waits for its answers.
pub(in crate::store) struct Queue(mpsc::UnboundedSender<Request>);

impl Queue {
    /// A queue, and the end at which the writer takes from it.
    pub(in crate::store) fn new() -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (queue, requests) = mpsc::unbounded_channel();
        (Self(queue), requests)
    }

    /// Asks for a commit.
    pub(in crate::store) async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Request::Commit(Asked { what: Box::new(commit), reply })).is_err() {
            return Err(CommitError::Unavailable("the store is closed".into()));
        }
        answer.await.unwrap_or_else(|_| Err(CommitError::Unknown("the writer has ended".into())))
    }

    /// Asks for another write.
    pub(in crate::store) async fn upkeep(&self, what: Upkeep) -> Result<Answer, Failure> {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Request::Upkeep(Asked { what, reply })).is_err() {
            return Err(Failure::Refused("the store is closed".into()));
        }
        answer.await.unwrap_or_else(|_| Err(Failure::Unknown("the writer has ended".into())))
    }

    /// Has the writer write what was asked for, and end.
    pub(in crate::store) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.0.send(Request::Close(reply)).is_ok() {
            // An error means that the writer is gone already.
            let _ = closed.await;
        }
    }
}

/// A database's side of the writer.
pub(in crate::store) trait Backend {
    /// One transaction, from its beginning to the certainty of what became of it.
    async fn transaction(&mut self, commits: &[AskedCommit], upkeep: &[AskedUpkeep]) -> Result<Done, Failure>;

    /// Called now and then while nothing is asked for.
    async fn look_around(&mut self);

    /// Ends in good order; all that was asked for is written.
    async fn end(self);
}

/// Works until all that could ask are gone, or it is asked to end.
pub(in crate::store) async fn serve<B: Backend>(
    mut backend: B,
    mut queue: mpsc::UnboundedReceiver<Request>,
    look: Duration,
) {
    let mut look = tokio::time::interval(look);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut requests = Vec::with_capacity(MOST);
    let mut put_off: Vec<AskedCommit> = Vec::new();
    let mut closing = Vec::new();
    loop {
        let (mut commits, mut upkeep) = (std::mem::take(&mut put_off), Vec::new());
        if commits.is_empty() {
            tokio::select! {
                count = queue.recv_many(&mut requests, MOST) => if count == 0 { break },
                _ = look.tick() => {
                    backend.look_around().await;
                    continue;
                }
            }
        } else {
            while requests.len() + commits.len() < MOST
                && let Ok(request) = queue.try_recv()
            {
                requests.push(request);
            }
        }
        for request in requests.drain(..) {
            match request {
                Request::Commit(asked) => commits.push(asked),
                Request::Upkeep(asked) => upkeep.push(asked),
                Request::Close(reply) => {
                    queue.close();
                    closing.push(reply);
                }
            }
        }
        put_off = write(&mut backend, commits, upkeep).await;
        // Those just answered get to ask for more before the next batch is closed.
        tokio::task::yield_now().await;
    }
    backend.end().await;
    for reply in closing {
        let _ = reply.send(());
    }
}

/// Writes a batch and answers; gives back what is put off to the next.
async fn write<B: Backend>(backend: &mut B, commits: Vec<AskedCommit>, upkeep: Vec<AskedUpkeep>) -> Vec<AskedCommit> {
    if commits.is_empty() && upkeep.is_empty() {
        return commits;
    }
    let done = backend.transaction(&commits, &upkeep).await;
    if !matches!(done, Err(Failure::Refused(_))) || commits.len() + upkeep.len() == 1 {
        return answer(commits, upkeep, done);
    }
    // The database won't have something of what the batch was to write: only who asked for
    // that shall suffer, so that each has a transaction of its own.
    for one in commits {
        let done = backend.transaction(std::slice::from_ref(&one), &[]).await;
        answer(vec![one], Vec::new(), done);
    }
    for one in upkeep {
        let done = backend.transaction(&[], std::slice::from_ref(&one)).await;
        answer(Vec::new(), vec![one], done);
    }
    Vec::new()
}

/// Answers all that were asked, and gives back what is put off.
fn answer(commits: Vec<AskedCommit>, upkeep: Vec<AskedUpkeep>, done: Result<Done, Failure>) -> Vec<AskedCommit> {
    let mut put_off = Vec::new();
    match done {
        Ok(done) => {
            for (asked, verdict) in commits.into_iter().zip(done.applied.verdicts) {
                match verdict {
                    Verdict::Now(outcome) => drop(asked.reply.send(outcome)),
                    Verdict::Later => put_off.push(asked),
                }
            }
            for (asked, answer) in upkeep.into_iter().zip(done.answers) {
                let _ = asked.reply.send(Ok(answer));
            }
        }
        Err(failure) => {
            for asked in commits {
                let _ = asked.reply.send(Err(failure.clone().into()));
            }
            for asked in upkeep {
                let _ = asked.reply.send(Err(failure.clone()));
            }
        }
    }
    put_off
}

/// Tells whoever listens of changes.
pub(in crate::store) fn announce(changes: &broadcast::Sender<Change>, runs: bool, outbox: bool) {
    for change in [runs.then_some(Change::Runs), outbox.then_some(Change::Outbox)].into_iter().flatten() {
        // Nobody listening is no failure.
        let _ = changes.send(change);
    }
}
