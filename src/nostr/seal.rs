//! Seals drafts for the outbox: a message gets its id, its time and its signature when it is
//! decided on, once, so that publishing it again is harmless.

use async_trait::async_trait;
use nostr_sdk::{Event, JsonUtil, Keys};
use serde_json::json;
use tokio::sync::watch;

use super::wire::{self, Profile};
use crate::engine::store::{OutboxMessage, Row, RowChange, RowWrite};
use crate::engine::{Draft, Sealed, Sealer, Store, Timestamp};
use crate::payout::messages::Outgoing;
use crate::payout::tables::REPLACEABLES;

/// Seals by signing Nostr events.
pub struct NostrSealer {
    keys: Keys,
    profile: watch::Receiver<Profile>,
}

impl NostrSealer {
    /// Signs with the node's keys; what the node says of itself is read anew each time.
    pub fn new(keys: Keys, profile: watch::Receiver<Profile>) -> Self {
        Self { keys, profile }
    }

    /// Seals `outgoing`; `last` is when the newest event at its address was made, Unix seconds.
    fn seal_after(
        &self,
        outgoing: &Outgoing,
        topic: &str,
        now: Timestamp,
        last: Option<i64>,
    ) -> Result<Sealed, wire::EncodeError> {
        let slot = wire::address(outgoing, &self.keys);
        let profile = self.profile.borrow().clone();
        let event = wire::encode(outgoing, &self.keys, &profile, now, last)?;
        // What is said to one key, and what replaces each other, must keep its order; nothing else.
        let lane = match (outgoing, &slot) {
            (Outgoing::Direct { to, .. }, _) => to.clone(),
            (_, Some(address)) => address.clone(),
            (_, None) => event.id.to_hex(),
        };
        let rows = slot.iter().map(|address| replaced(address, &event, last)).collect();
        let expires_at = event.tags.expiration().and_then(|at| i64::try_from(at.as_secs()).ok());
        let message = OutboxMessage {
            id: event.id.to_hex(),
            lane,
            topic: topic.to_owned(),
            slot,
            body: event.as_json(),
            expires_at: expires_at.map(Timestamp::from_secs),
        };
        Ok(Sealed { message, rows })
    }
}

impl std::fmt::Debug for NostrSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NostrSealer").field("node", &self.keys.public_key().to_hex()).finish_non_exhaustive()
    }
}

/// Remembers the newest event at `address`. Of two writers that read the same `last` one conflicts.
fn replaced(address: &str, event: &Event, last: Option<i64>) -> RowWrite {
    let set = Row::from_iter([
        ("created_at".to_owned(), json!(event.created_at.as_secs())),
        ("event_id".to_owned(), json!(event.id.to_hex())),
    ]);
    let change = match last {
        None => RowChange::Insert(set),
        Some(last) => RowChange::Update { set, expect: Row::from_iter([("created_at".to_owned(), json!(last))]) },
    };
    RowWrite { table: REPLACEABLES.name, key: address.to_owned(), change }
}

#[async_trait]
impl Sealer for NostrSealer {
    async fn seal(&self, draft: &Draft, now: Timestamp, store: &dyn Store) -> Result<Sealed, String> {
        let outgoing: Outgoing =
            serde_json::from_str(&draft.content).map_err(|error| format!("the draft can't be read: {error}"))?;
        let last = match wire::address(&outgoing, &self.keys) {
            None => None,
            Some(address) => match store.row(REPLACEABLES.name, &address).await.map_err(|error| error.to_string())? {
                None => None,
                Some(row) => Some(
                    row.get("created_at")
                        .and_then(serde_json::Value::as_i64)
                        .ok_or_else(|| format!("the time of {address} can't be read"))?,
                ),
            },
        };
        self.seal_after(&outgoing, &draft.topic, now, last).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payout::messages::{Refusal, Said};

    const NOW: Timestamp = Timestamp::from_secs(1_900_000_000);

    fn sealer() -> NostrSealer {
        NostrSealer::new(Keys::generate(), watch::Sender::new(Profile::default()).subscribe())
    }

    fn dispute(status: &str) -> Outgoing {
        Outgoing::DisputeEvent {
            id: "1ca8bde7-51c0-4e4f-846f-969a5ceddd71".into(),
            status: status.into(),
            initiator: "buyer".into(),
            created_at: 1_899_000_000,
        }
    }

    fn created_at(sealed: &Sealed) -> u64 {
        Event::from_json(&sealed.message.body).unwrap().created_at.as_secs()
    }

    #[test]
    fn a_direct_message_has_its_receivers_lane_its_own_id_and_no_slot() {
        let to = Keys::generate().public_key().to_hex();
        let outgoing = Outgoing::Direct {
            to: to.clone(),
            about: None,
            request_id: Some(7),
            said: Said::CantDo(Refusal::NotFound),
        };
        let sealed = sealer().seal_after(&outgoing, "cant-do", NOW, None).unwrap();
        let event = Event::from_json(&sealed.message.body).unwrap();
        event.verify().unwrap();
        assert_eq!(sealed.message.id, event.id.to_hex());
        assert_eq!((sealed.message.lane, sealed.message.slot), (to, None));
        assert_eq!(sealed.message.topic, "cant-do");
        assert_eq!(sealed.message.expires_at, Some(Timestamp::from_secs(NOW.secs() + 30 * 86_400)));
        assert_eq!(sealed.rows, []);
    }

    #[test]
    fn a_replaceable_event_is_newer_than_the_one_before_and_conflicts_with_a_racing_one() {
        let sealer = sealer();
        let first = sealer.seal_after(&dispute("in-progress"), "dispute", NOW, None).unwrap();
        assert_eq!(created_at(&first), 1_900_000_000);
        let address = "38386:1ca8bde7-51c0-4e4f-846f-969a5ceddd71";
        assert_eq!((first.message.lane.as_str(), first.message.slot.as_deref()), (address, Some(address)));
        assert!(matches!(&first.rows[..], [RowWrite { table: "replaceables", change: RowChange::Insert(_), .. }]));

        let second = sealer.seal_after(&dispute("settled"), "dispute", NOW, Some(1_900_000_000)).unwrap();
        assert_eq!(created_at(&second), 1_900_000_001);
        let RowChange::Update { set, expect } = &second.rows[0].change else { panic!("not an update") };
        assert_eq!(set["created_at"], 1_900_000_001_i64);
        assert_eq!(set["event_id"], second.message.id.as_str());
        assert_eq!(expect["created_at"], 1_900_000_000_i64);
    }

    #[test]
    fn a_sealer_shows_no_secret() {
        let sealer = sealer();
        assert!(!format!("{sealer:?}").contains(&sealer.keys.secret_key().to_secret_hex()));
    }
}
