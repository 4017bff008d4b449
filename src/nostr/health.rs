//! Whether another daemon runs on the node's key. A daemon publishes its health (kind 38389) at a
//! steady interval, and two on one key would both answer, settle and pay. Daemons on one database
//! name the same installation and belong together. And whether relays are there at all.

use std::time::Duration;

use nostr_sdk::{Client, Event, Filter, Kind, PublicKey, TagKind};

use super::wire::public::{HEALTH, INSTALLATION};
use crate::engine::Timestamp;

/// The interval of a health event that names none, seconds.
const INTERVAL: i64 = 60;
/// How long relays are asked for; one that is away can't be waited for at each start.
const PATIENCE: Duration = Duration::from_secs(2);

/// Another daemon on the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another daemon ({version}) runs on this node's key: its health event is {age_secs} s old; stop it, and start again {wait_secs} s later"
)]
pub struct OtherDaemon {
    version: String,
    age_secs: i64,
    wait_secs: i64,
}

/// Looks at the relays for a health event of the node's key that is younger than two of its own
/// intervals and comes from another installation than `own`. Relays that don't answer in time are
/// passed over.
pub async fn other_daemon(relays: &[String], node: PublicKey, own: &str, now: Timestamp) -> Option<OtherDaemon> {
    let client = Client::default();
    for relay in relays {
        // What is no relay's address is refused where the relays are connected to.
        let _ = client.add_relay(relay).await;
    }
    client.try_connect(PATIENCE).await;
    let filter = Filter::new().kind(Kind::Custom(HEALTH)).author(node).limit(1);
    let found = client.fetch_events(filter, PATIENCE).await.unwrap_or_default();
    client.shutdown().await;
    found.into_iter().find_map(|event| alive(&event, own, now))
}

/// Connects to each relay once: what hinders it, if anything does.
pub async fn reachable(relays: &[String]) -> Vec<(String, Option<String>)> {
    let client = Client::default();
    let mut reached = Vec::with_capacity(relays.len());
    for relay in relays {
        let problem = match client.add_relay(relay).await {
            Ok(_) => client.try_connect_relay(relay, PATIENCE).await.err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        reached.push((relay.clone(), problem));
    }
    client.shutdown().await;
    reached
}

fn alive(event: &Event, own: &str, now: Timestamp) -> Option<OtherDaemon> {
    let tag = |name: &'static str| event.tags.find(TagKind::custom(name)).and_then(|tag| tag.content());
    if tag(INSTALLATION) == Some(own) {
        return None;
    }
    let interval = tag("interval").and_then(|text| text.parse().ok()).unwrap_or(INTERVAL);
    let made_at = i64::try_from(event.created_at.as_secs()).ok()?;
    let (age_secs, alive_for) = (now.secs().saturating_sub(made_at), interval.saturating_mul(2));
    (age_secs < alive_for).then(|| OtherDaemon {
        version: tag("mostro_version").unwrap_or("of unknown version").to_owned(),
        age_secs,
        wait_secs: alive_for.saturating_sub(age_secs.max(0)),
    })
}

#[cfg(test)]
mod tests {
    use nostr_sdk::{EventBuilder, Keys, Tag, Timestamp as NostrTime};

    use super::*;

    fn health(interval: &str, installation: Option<&str>) -> Event {
        let tag = |name: &'static str, value: &str| Tag::custom(TagKind::custom(name), [value]);
        EventBuilder::new(Kind::Custom(HEALTH), "")
            .tags([tag("interval", interval), tag("mostro_version", "0.20.2")])
            .tags(installation.map(|name| tag(INSTALLATION, name)))
            .custom_created_at(NostrTime::from_secs(1_000))
            .sign_with_keys(&Keys::generate())
            .unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_health_event_counts_for_two_of_its_intervals() {
        let alive = |interval, secs| alive(&health(interval, None), "here", at(secs));
        assert!(alive("60", 1_119).is_some_and(|other| other.wait_secs == 1 && other.version == "0.20.2"));
        assert_eq!(alive("60", 1_120), None);
        assert!(alive("300", 1_599).is_some());
        assert!(alive("no number", 1_119).is_some());
    }

    #[test]
    fn daemons_of_one_installation_belong_together() {
        assert_eq!(alive(&health("60", Some("here")), "here", at(1_001)), None);
        assert!(alive(&health("60", Some("there")), "here", at(1_001)).is_some());
    }
}
