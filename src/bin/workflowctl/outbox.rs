//! A run's messages that nobody has acknowledged.

use bondflow::engine::store::OutboxEntry;
use bondflow::engine::{Run, Timestamp};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::stake::Stake;

/// Most messages of the outbox that are looked through: they are few unless the relays are away.
const MOST_MESSAGES: u32 = 2_000;

/// The messages about the run's bond or order, and to its parties, that wait to be published.
pub async fn about(desk: &Desk, run: &Run, stake: &Stake) -> Result<Vec<OutboxEntry>, Failure> {
    let mut pending = desk.store.outbox_due(Timestamp(i64::MAX), MOST_MESSAGES).await?;
    let names: Vec<&str> = [Some(run.key.as_str()), stake.order.as_deref()]
        .into_iter()
        .flatten()
        .filter(|name| !name.is_empty())
        .collect();
    let named = |topic: &str| names.iter().any(|name| topic.contains(name));
    // What names a bond or an order, and none of these, is about another one.
    let anonymous = |topic: &str| !topic.contains(' ');
    pending.retain(|entry| {
        let topic = &entry.message.topic;
        named(topic) || anonymous(topic) && stake.parties.contains(&entry.message.lane)
    });
    Ok(pending)
}
