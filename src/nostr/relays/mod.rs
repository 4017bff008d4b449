//! The connection to the node's relays.
//!
//! One task for each relay keeps a connection, listens, and reads back what an absence missed;
//! see `session`. Publishing goes beside it and waits for no reading. Whatever arrives goes
//! into one channel in the order in which each relay sent it, so that a [`Inbound::CaughtUp`]
//! stands behind every event that it speaks of.
//!
//! **Duties of the receiver.** Commit the effect of each event before taking up the next marker
//! of its relay; on `CaughtUp` commit [`cursor`]. Events come more than once: from every relay,
//! and again after each absence.

mod connection;
mod publish;
mod read_back;
mod session;
mod transport;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::FuturesUnordered;
use nostr_sdk::{Client, Event, Keys, PublicKey, RelayUrl};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::engine::store::{Row, RowChange, RowWrite};
use crate::engine::{Clock, Timestamp};
use crate::payout::tables::CURSORS;

use connection::Connection;
pub use publish::{Answer, PublishOutcome};

/// How far behind a relay's last good contact reading back begins: clients' clocks are wrong by
/// that much at most, and relays take that long to store.
pub const MARGIN: Duration = Duration::from_secs(15 * 60);

/// How patient the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection to be made.
    pub connect: Duration,
    /// For a relay to acknowledge an event.
    pub acknowledge: Duration,
    /// For the next message of a query that is being answered.
    pub read: Duration,
    /// Between two readings back on a good connection: also how soon a dead one is noticed.
    pub refresh: Duration,
    /// The first wait before connecting again.
    pub first_retry: Duration,
    /// The longest wait before connecting again.
    pub longest_retry: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            acknowledge: Duration::from_secs(5),
            read: Duration::from_secs(10),
            refresh: Duration::from_secs(60),
            first_retry: Duration::from_millis(250),
            longest_retry: Duration::from_secs(5),
        }
    }
}

/// Which direct messages are listened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    /// What is addressed to a key.
    To(PublicKey),
    /// What a key sends, to whomever.
    From(PublicKey),
}

/// What comes in. `relay` is the relay's URL in its normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A connection stands: what is waiting to be published may go out.
    Connected {
        /// The relay.
        relay: Arc<str>,
    },
    /// An event of the [`Mail`] that is listened for, not yet verified.
    Event {
        /// The relay that sent it.
        relay: Arc<str>,
        /// The event.
        event: Box<Event>,
    },
    /// All that the relay had stored when the reading began has been handed over, back to `since`.
    CaughtUp {
        /// The relay.
        relay: Arc<str>,
        /// When the reading began.
        begun_at: Timestamp,
        /// How far back it went.
        since: Timestamp,
    },
}

/// The row that says that a relay has been read up to `begun_at`: to be committed once the events
/// before its [`Inbound::CaughtUp`] are, at `now`.
pub fn cursor(relay: &str, begun_at: Timestamp, now: Timestamp) -> RowWrite {
    let row = Row::from_iter([
        ("read_until".to_owned(), json!(begun_at.secs())),
        ("complete_at".to_owned(), json!(now.secs())),
    ]);
    RowWrite { table: CURSORS.name, key: relay.to_owned(), change: RowChange::Upsert(row) }
}

/// How many of `relays` are a quorum: more than half.
pub const fn quorum(relays: usize) -> usize {
    relays / 2 + 1
}

/// No relay can be used as the settings have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRelays {
    /// There is none.
    #[error("no relay is configured")]
    None,
    /// A URL is not one of a relay.
    #[error("not a relay's URL: {0:?}")]
    Url(String),
    /// The websocket client refuses it.
    #[error("can't use relay {0}: {1}")]
    Refused(String, String),
}

/// The normal form of a relay's URL: its name in the table of cursors.
pub fn name(url: &str) -> Result<String, BadRelays> {
    let url = RelayUrl::parse(url.trim()).map_err(|_| BadRelays::Url(url.to_owned()))?;
    Ok(url.as_str_without_trailing_slash().to_owned())
}

/// The relays. Dropping it ends the connections.
#[derive(Debug)]
pub struct Relays {
    links: Vec<Link>,
    wish: watch::Sender<u64>,
    patience: Patience,
    _sessions: JoinSet<()>,
}

/// One relay: its name, and the connection while there is one.
#[derive(Debug)]
struct Link {
    name: Arc<str>,
    connection: watch::Receiver<Option<Connection>>,
}

impl Relays {
    /// Begins to connect to all of `urls`, and goes on for as long as it lives. To relays that want
    /// to know who reads and writes it is the owner of `keys`. `read_until` has the committed
    /// cursors by [`name`]; a relay without one is read from `first` on.
    pub fn connect(
        urls: &[String],
        keys: &Keys,
        mail: Mail,
        clock: Arc<dyn Clock>,
        read_until: &HashMap<String, Timestamp>,
        first: Timestamp,
        patience: Patience,
    ) -> Result<(Self, mpsc::Receiver<Inbound>), BadRelays> {
        let mut names = urls.iter().map(|url| name(url)).collect::<Result<Vec<_>, _>>()?;
        names.sort();
        // One relay under two spellings is one vote.
        names.dedup();
        if names.is_empty() {
            return Err(BadRelays::None);
        }
        // The client holds the keys for relays that want to know who reads (NIP-42).
        let client = Client::builder().signer(keys.clone()).websocket_transport(transport::Prompt).build();
        let (inbound, received) = mpsc::channel(1024);
        let wish = watch::Sender::new(0);
        let mut sessions = JoinSet::new();
        let mut links = Vec::new();
        for name in names {
            let (connection, current) = watch::channel(None);
            let since = read_until.get(&name).copied();
            let name: Arc<str> = name.into();
            links.push(Link { name: name.clone(), connection: current });
            sessions.spawn(
                session::Session {
                    name,
                    mail,
                    pool: client.pool().clone(),
                    connection,
                    inbound: inbound.clone(),
                    wish: wish.subscribe(),
                    clock: clock.clone(),
                    read_until: since,
                    first,
                    patience,
                    asked: 0,
                }
                .run(),
            );
        }
        Ok((Self { links, wish, patience, _sessions: sessions }, received))
    }

    /// The relays' names.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.links.iter().map(|link| link.name.clone()).collect()
    }

    /// How many of them are a quorum.
    pub fn quorum(&self) -> usize {
        quorum(self.links.len())
    }

    /// Which of them are connected.
    pub fn connected(&self) -> Vec<Arc<str>> {
        let connected = self.links.iter().filter(|link| link.connection.borrow().is_some());
        connected.map(|link| link.name.clone()).collect()
    }

    /// Waits until a quorum was reached, for as long as one of them may take to be connected to.
    pub async fn reach_quorum(&self) {
        let connected = self.links.iter().map(|link| {
            let mut connection = link.connection.clone();
            async move { connection.wait_for(Option::is_some).await.is_ok() }
        });
        let mut connected =
            connected.collect::<FuturesUnordered<_>>().filter(|reached| ready(*reached)).take(self.quorum());
        // Without a quorum in that time the rest of the daemon goes on all the same.
        let _ = tokio::time::timeout(self.patience.connect, async { while connected.next().await.is_some() {} }).await;
    }

    /// Has every relay read back once more, now; each ends in an [`Inbound::CaughtUp`].
    pub fn catch_up(&self) {
        self.wish.send_modify(|wish| *wish += 1);
    }

    /// Offers an event to every relay and returns once a quorum has it, or once all have answered
    /// or run out of time. The others are still offered it afterwards.
    pub async fn publish(&self, event: &str) -> PublishOutcome {
        publish::publish(&self.links, event, self.patience.acknowledge).await
    }
}

#[cfg(test)]
mod tests;
