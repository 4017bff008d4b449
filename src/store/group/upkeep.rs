//! Writes that are no commits: leases, wake-ups and deliveries.

use std::collections::BTreeMap;

use super::{Applied, Transaction};
use crate::engine::store::{Delivery, OutboxState, Retirement};
use crate::engine::{Run, Timestamp};

/// One such write; see the port's methods.
#[derive(Debug, Clone)]
pub(in crate::store) enum Upkeep {
    Claim { owner: String, now: Timestamp, until: Timestamp, limit: u32 },
    Renew { owner: String, now: Timestamp, until: Timestamp },
    ReleaseOthers { owner: String, now: Timestamp },
    Hold { part: String, owner: String, now: Timestamp, until: Timestamp },
    Wake { run: i64, at: Timestamp },
    Deliver(Vec<Delivery>),
    Retire { runs: Vec<Retirement>, at: Timestamp },
    ForgetMessages { before: Timestamp, limit: u32 },
    BeginTimeline,
}

/// What it gives.
#[derive(Debug)]
pub(in crate::store) enum Answer {
    /// How many rows were written.
    Count(u64),
    Claimed(Vec<Run>),
}

/// What came of offering one message: number, standing, how often it was offered, when it is due.
pub(in crate::store) type Offers = (i64, &'static str, u32, i64);

/// The statements for them.
pub(in crate::store) trait Maintenance: Transaction {
    /// See [`Store::claim`](crate::engine::Store::claim).
    async fn claim(
        &mut self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Run>, Self::Error>;

    /// See [`Store::renew`](crate::engine::Store::renew).
    async fn renew(&mut self, owner: &str, now: Timestamp, until: Timestamp) -> Result<u64, Self::Error>;

    /// See [`Store::release_others`](crate::engine::Store::release_others).
    async fn release_others(&mut self, owner: &str, now: Timestamp) -> Result<u64, Self::Error>;

    /// See [`Store::hold`](crate::engine::Store::hold); 1 when it is held.
    async fn hold(&mut self, part: &str, owner: &str, now: Timestamp, until: Timestamp) -> Result<u64, Self::Error>;

    /// See [`Store::wake`](crate::engine::Store::wake).
    async fn wake(&mut self, run: i64, at: Timestamp) -> Result<u64, Self::Error>;

    /// See [`Store::begin_timeline`](crate::engine::Store::begin_timeline).
    async fn begin_timeline(&mut self) -> Result<u64, Self::Error>;

    /// See [`Store::retire`](crate::engine::Store::retire).
    async fn retire(&mut self, runs: &[Retirement], at: Timestamp) -> Result<u64, Self::Error>;

    /// See [`Store::forget_messages`](crate::engine::Store::forget_messages).
    async fn forget_messages(&mut self, before: Timestamp, limit: u32) -> Result<u64, Self::Error>;

    /// Writes down what came of offering messages; what was closed meanwhile stays so.
    async fn deliver(&mut self, offers: &[Offers]) -> Result<u64, Self::Error>;
}

impl Upkeep {
    /// Makes the write within the open transaction.
    pub(in crate::store) async fn apply<M: Maintenance>(
        &self,
        db: &mut M,
        applied: &mut Applied,
    ) -> Result<Answer, M::Error> {
        let count = match self {
            Self::Claim { owner, now, until, limit } => {
                let claimed = db.claim(owner, *now, *until, *limit).await?;
                applied.wrote |= !claimed.is_empty();
                return Ok(Answer::Claimed(claimed));
            }
            Self::Renew { owner, now, until } => db.renew(owner, *now, *until).await?,
            Self::ReleaseOthers { owner, now } => {
                let released = db.release_others(owner, *now).await?;
                applied.runs |= released > 0;
                released
            }
            Self::Hold { part, owner, now, until } => db.hold(part, owner, *now, *until).await?,
            Self::Wake { run, at } => {
                let woken = db.wake(*run, *at).await?;
                applied.runs |= woken > 0;
                woken
            }
            Self::Retire { runs, at } => db.retire(runs, *at).await?,
            Self::ForgetMessages { before, limit } => db.forget_messages(*before, *limit).await?,
            Self::BeginTimeline => db.begin_timeline().await?,
            Self::Deliver(deliveries) => db.deliver(&folded(deliveries)).await?,
        };
        applied.wrote |= count > 0;
        Ok(Answer::Count(count))
    }
}

/// One entry a message, as if the deliveries had been written one after the other: what has
/// closed a message is final.
fn folded(deliveries: &[Delivery]) -> Vec<Offers> {
    let mut entries: BTreeMap<i64, (OutboxState, u32, Timestamp)> = BTreeMap::new();
    for delivery in deliveries {
        let (state, offers, due_at) = entries.entry(delivery.seq).or_insert((OutboxState::Pending, 0, delivery.due_at));
        if *state == OutboxState::Pending {
            (*state, *offers, *due_at) = (delivery.state, *offers + 1, delivery.due_at);
        }
    }
    entries.into_iter().map(|(seq, (state, offers, due_at))| (seq, state.as_str(), offers, due_at.millis())).collect()
}
