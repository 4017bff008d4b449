//! One relay: connect, listen, read back, and again.
//!
//! On each new connection it subscribes first and reads back then, so that nothing falls between.
//! On a good connection it reads back again from time to time and whenever asked: that proves
//! the connection, moves the cursor, and mends what a relay or a full buffer has lost.

use std::borrow::Cow;
use std::sync::Arc;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use nostr_sdk::message::MachineReadablePrefix;
use nostr_sdk::pool::relay::limits::RelayLimits;
use nostr_sdk::pool::relay::{RelayNotification, RelayOptions};
use nostr_sdk::{
    Alphabet, ClientMessage, Event, Filter, Relay, RelayMessage, RelayPool, RelayStatus, SingleLetterTag,
    SubscriptionId, Timestamp as NostrTime,
};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};

use super::connection::Connection;
use super::read_back::ReadBack;
use super::{Inbound, MARGIN, Mail, Patience};
use crate::engine::{Clock, Timestamp};
use crate::nostr::wire::DIRECT;

/// How many messages may wait for a slow receiver; losing some costs a reading back.
const BUFFER: usize = 8192;

/// How many events one page asks for: no more than the buffer holds.
const PAGE: usize = 500;

const LIVE: &str = "live";

pub(super) struct Session {
    pub(super) name: Arc<str>,
    pub(super) mail: Mail,
    pub(super) pool: RelayPool,
    pub(super) connection: watch::Sender<Option<Connection>>,
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) wish: watch::Receiver<u64>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) read_until: Option<Timestamp>,
    pub(super) first: Timestamp,
    pub(super) patience: Patience,
    /// How many pages were asked for.
    pub(super) asked: u64,
}

/// Why listening or reading ended.
#[derive(Debug)]
enum Ended {
    /// The buffer ran over: read back on the same connection.
    Lost,
    /// The relay wants to know who reads: once it does, ask again.
    Unknown,
    /// The connection is of no use any more.
    Gone(String),
}

type Messages = Receiver<RelayNotification>;

impl Session {
    pub(super) async fn run(mut self) {
        let mut retries = ExponentialBackoff {
            initial_interval: self.patience.first_retry,
            current_interval: self.patience.first_retry,
            max_interval: self.patience.longest_retry,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        while !self.inbound.is_closed() {
            let ended = match self.open().await {
                Ok((connection, messages)) => self.attend(connection, messages, &mut retries).await,
                Err(error) => error,
            };
            self.connection.send_replace(None);
            // A fresh object for each connection: an old one may not have ended yet.
            let _ = self.pool.force_remove_relay(&*self.name).await;
            tracing::debug!(relay = %self.name, reason = %ended, "no connection to the relay");
            tokio::time::sleep(retries.next_backoff().unwrap_or(self.patience.longest_retry)).await;
        }
    }

    async fn open(&self) -> Result<(Connection, Messages), String> {
        let options = RelayOptions::new()
            .reconnect(false)
            // What is too large is for the wire's rules to drop, not for the client to report.
            .limits(RelayLimits::disable())
            .notification_channel_size(BUFFER);
        self.pool.add_relay(&*self.name, options).await.map_err(|error| error.to_string())?;
        let relay = self.pool.relay(&*self.name).await.map_err(|error| error.to_string())?;
        let messages = relay.notifications();
        relay.try_connect(self.patience.connect).await.map_err(|error| error.to_string())?;
        Ok((Connection::of(relay), messages))
    }

    /// Stays with a connection until it ends; says why.
    async fn attend(
        &mut self,
        connection: Connection,
        mut messages: Messages,
        retries: &mut ExponentialBackoff,
    ) -> String {
        let relay = connection.relay();
        self.connection.send_replace(Some(connection.clone()));
        let _ = self.inbound.send(Inbound::Connected { relay: self.name.clone() }).await;
        let mut subscribed = false;
        loop {
            let ended = self.catch_up_and_listen(relay, &mut messages, retries, &mut subscribed).await;
            match ended {
                Ok(()) | Err(Ended::Lost) => {}
                Err(Ended::Gone(reason)) => return reason,
                Err(Ended::Unknown) => {
                    if let Err(reason) = self.introduced(&mut messages).await {
                        return reason;
                    }
                    subscribed = false;
                }
            }
        }
    }

    /// Ends well when it is time to read back again.
    async fn catch_up_and_listen(
        &mut self,
        relay: &Relay,
        messages: &mut Messages,
        retries: &mut ExponentialBackoff,
        subscribed: &mut bool,
    ) -> Result<(), Ended> {
        if !*subscribed {
            // Only what is new: stored events are for reading back.
            ask(relay, SubscriptionId::new(LIVE), self.filter().limit(0))?;
            *subscribed = true;
        }
        self.wish.mark_unchanged();
        let begun_at = self.clock.now();
        let since = self.since(begun_at);
        self.read_back(relay, messages, since).await?;
        let _ = self.inbound.send(Inbound::CaughtUp { relay: self.name.clone(), begun_at, since }).await;
        self.read_until = Some(begun_at);
        retries.reset();
        self.listen(messages, begun_at.after(self.patience.refresh)).await
    }

    /// From when on to read: a margin before the last good contact, however far ahead the clock
    /// stood then.
    fn since(&self, now: Timestamp) -> Timestamp {
        let margin = i64::try_from(MARGIN.as_millis()).unwrap_or(i64::MAX);
        let read_until = self.read_until.map(|at| Timestamp(at.min(now).millis().saturating_sub(margin)));
        read_until.map_or(self.first, |since| since.max(self.first))
    }

    fn filter(&self) -> Filter {
        let direct = Filter::new().kind(DIRECT);
        match self.mail {
            Mail::To(key) => direct.custom_tag(SingleLetterTag::lowercase(Alphabet::P), key.to_hex()),
            Mail::From(key) => direct.author(key),
        }
    }

    async fn listen(&mut self, messages: &mut Messages, refresh_at: Timestamp) -> Result<(), Ended> {
        let clock = self.clock.clone();
        while clock.now() < refresh_at {
            let message = tokio::select! {
                message = next(messages) => message?,
                () = clock.sleep_until(refresh_at) => continue,
                wished = self.wish.changed() => {
                    return wished.map_err(|_| Ended::Gone("the relays are no longer wanted".to_owned()));
                }
            };
            self.take(message).await?;
        }
        Ok(())
    }

    async fn read_back(&mut self, relay: &Relay, messages: &mut Messages, since: Timestamp) -> Result<(), Ended> {
        let mut reading = ReadBack::from(u64::try_from(since.secs()).unwrap_or(0));
        loop {
            // Never twice the same: an answer to an older question must not pass for this one's.
            self.asked += 1;
            let id = SubscriptionId::new(format!("page-{}", self.asked));
            let mut filter = self.filter().since(NostrTime::from_secs(reading.since())).limit(PAGE);
            filter.until = reading.until().map(NostrTime::from_secs);
            ask(relay, id.clone(), filter)?;
            let read = self.read_page(&id, messages, &mut reading).await;
            let _ = relay.send_msg(ClientMessage::Close(Cow::Owned(id)));
            read?;
            if !reading.turn() {
                return Ok(());
            }
        }
    }

    async fn read_page(
        &self,
        id: &SubscriptionId,
        messages: &mut Messages,
        reading: &mut ReadBack,
    ) -> Result<(), Ended> {
        loop {
            let message = tokio::time::timeout(self.patience.read, next(messages)).await;
            let message = message.map_err(|_| Ended::Gone("a query was not answered in time".to_owned()))??;
            match message {
                RelayMessage::Event { subscription_id, event } if *subscription_id == *id => {
                    let new = reading.take(&event);
                    if new.map_err(|_| Ended::Gone("a query was answered out of range".to_owned()))? {
                        self.hand_over(event.into_owned()).await;
                    }
                }
                RelayMessage::EndOfStoredEvents(ended) if *ended == *id => return Ok(()),
                RelayMessage::Closed { subscription_id, message } if *subscription_id == *id => {
                    return Err(closed(&message));
                }
                other => self.take(other).await?,
            }
        }
    }

    /// Takes a message that belongs to no page.
    async fn take(&self, message: RelayMessage<'static>) -> Result<(), Ended> {
        match message {
            RelayMessage::Event { event, .. } => self.hand_over(event.into_owned()).await,
            RelayMessage::Closed { subscription_id, message } if subscription_id.as_str() == LIVE => {
                return Err(closed(&message));
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands an event over, at the receiver's pace. One of another kind of mail was not asked for.
    async fn hand_over(&self, event: Event) {
        let wanted = match self.mail {
            Mail::To(key) => event.tags.public_keys().any(|tagged| *tagged == key),
            Mail::From(key) => event.pubkey == key,
        };
        if event.kind == DIRECT && wanted {
            let _ = self.inbound.send(Inbound::Event { relay: self.name.clone(), event: Box::new(event) }).await;
        }
    }

    /// Waits until the relay knows who the node is.
    async fn introduced(&self, messages: &mut Messages) -> Result<(), String> {
        let wait = async {
            loop {
                match messages.recv().await {
                    Ok(RelayNotification::Authenticated) => return Ok(()),
                    Ok(RelayNotification::AuthenticationFailed | RelayNotification::Shutdown)
                    | Err(RecvError::Closed) => return Err("the relay does not accept the node".to_owned()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(self.patience.read, wait)
            .await
            .unwrap_or_else(|_| Err("no introduction in time".to_owned()))
    }
}

fn ask(relay: &Relay, id: SubscriptionId, filter: Filter) -> Result<(), Ended> {
    relay.send_msg(ClientMessage::req(id, vec![filter])).map_err(|error| Ended::Gone(error.to_string()))
}

/// What it means that the relay ended a subscription.
fn closed(message: &str) -> Ended {
    match MachineReadablePrefix::parse(message) {
        Some(MachineReadablePrefix::AuthRequired) => Ended::Unknown,
        _ => Ended::Gone(format!("the relay ended a subscription: {message}")),
    }
}

/// The relay's next message.
async fn next(messages: &mut Messages) -> Result<RelayMessage<'static>, Ended> {
    loop {
        match messages.recv().await {
            Ok(RelayNotification::Message { message }) => return Ok(message),
            Ok(
                RelayNotification::Shutdown
                | RelayNotification::RelayStatus {
                    status: RelayStatus::Disconnected | RelayStatus::Terminated | RelayStatus::Banned,
                },
            )
            | Err(RecvError::Closed) => return Err(Ended::Gone("the connection ended".to_owned())),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return Err(Ended::Lost),
        }
    }
}
