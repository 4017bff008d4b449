//! Writes that are no commits: leases, wake-ups and deliveries.

use std::collections::BTreeMap;

use sqlx::{Error, SqliteConnection};

use super::batch::{Applied, json, write};
use super::{read, sql};
use crate::engine::store::{Delivery, OutboxState};
use crate::engine::{Run, Timestamp};

/// One such write; see the port's methods.
#[derive(Debug)]
pub(super) enum Upkeep {
    Claim { owner: String, now: Timestamp, until: Timestamp, limit: u32 },
    Renew { owner: String, now: Timestamp, until: Timestamp },
    ReleaseOthers { owner: String, now: Timestamp },
    Wake { run: i64, at: Timestamp },
    Deliver(Vec<Delivery>),
    BeginTimeline(String),
}

/// What it gives.
#[derive(Debug)]
pub(super) enum Answer {
    /// How many rows were written.
    Count(u64),
    Claimed(Vec<Run>),
}

impl Upkeep {
    /// Makes the write within the open transaction.
    pub(super) async fn apply(&self, db: &mut SqliteConnection, applied: &mut Applied) -> Result<Answer, Error> {
        let count = match self {
            Self::Claim { owner, now, until, limit } => {
                let claimed = claim(db, owner, *now, *until, *limit).await?;
                applied.wrote |= !claimed.is_empty();
                return Ok(Answer::Claimed(claimed));
            }
            Self::Renew { owner, now, until } => {
                let query = sqlx::query(sql::RENEW).bind(owner).bind(now.millis()).bind(until.millis());
                query.execute(db).await?.rows_affected()
            }
            Self::ReleaseOthers { owner, now } => {
                let released =
                    sqlx::query(sql::RELEASE).bind(owner).bind(now.millis()).execute(db).await?.rows_affected();
                applied.runs |= released > 0;
                released
            }
            Self::Wake { run, at } => {
                let woken = sqlx::query(sql::WAKE).bind(run).bind(at.millis()).execute(db).await?.rows_affected();
                applied.runs |= woken > 0;
                woken
            }
            Self::BeginTimeline(name) => sqlx::query(sql::BEGIN_TIMELINE).bind(name).execute(db).await?.rows_affected(),
            Self::Deliver(deliveries) => write(db, sql::DELIVER, json(&folded(deliveries))).await?,
        };
        applied.wrote |= count > 0;
        Ok(Answer::Count(count))
    }
}

async fn claim(
    db: &mut SqliteConnection,
    owner: &str,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<Run>, Error> {
    let rows = sqlx::query(sql::DUE).bind(now.millis()).bind(limit).fetch_all(&mut *db).await?;
    let mut runs: Vec<Run> = rows.iter().map(read::run).collect::<Result<_, _>>()?;
    if !runs.is_empty() {
        let list = json(&runs.iter().map(|run| run.seq).collect::<Vec<_>>());
        sqlx::query(sql::LEASE).bind(owner).bind(until.millis()).bind(list).execute(db).await?;
    }
    for run in &mut runs {
        run.owner = Some(owner.to_owned());
        run.token += 1;
        run.due_at = Some(until);
    }
    Ok(runs)
}

/// One entry a message, as if the deliveries had been written one after the other: what has
/// closed a message is final.
fn folded(deliveries: &[Delivery]) -> Vec<(i64, &'static str, u32, i64)> {
    let mut entries: BTreeMap<i64, (OutboxState, u32, Timestamp)> = BTreeMap::new();
    for delivery in deliveries {
        let (state, offers, due_at) = entries.entry(delivery.seq).or_insert((OutboxState::Pending, 0, delivery.due_at));
        if *state == OutboxState::Pending {
            (*state, *offers, *due_at) = (delivery.state, *offers + 1, delivery.due_at);
        }
    }
    entries.into_iter().map(|(seq, (state, offers, due_at))| (seq, state.as_str(), offers, due_at.millis())).collect()
}
