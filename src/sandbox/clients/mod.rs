//! A winner's and a solver's client, speaking the real protocol with mostro-core.
//!
//! They share the node's connection to relays: nostr-sdk alone does not subscribe again when it
//! reconnects within the second in which it subscribed.

mod line;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mostro_core::message::{Action, BondResolution, Message, Payload};
use mostro_core::nip59::WrapOptions;
use mostro_core::transport::wrap_message_nip44;
use nostr_sdk::{Event, EventBuilder, JsonUtil, Keys, PublicKey, Timestamp as NostrTime};
use tokio::sync::watch;
use uuid::Uuid;

use crate::engine::Clock;
use crate::nostr::relays::BadRelays;

pub use line::Line;

/// A message that the node sent to this client.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The event's id, hex.
    pub event: String,
    /// When the event says that it was made, Unix seconds.
    pub created_at: u64,
    /// What it says.
    pub message: Message,
}

impl Heard {
    /// The action.
    pub fn action(&self) -> Action {
        self.message.get_inner_message_kind().action.clone()
    }

    /// The number of the request that it answers.
    pub fn request_id(&self) -> Option<u64> {
        self.message.get_inner_message_kind().request_id
    }

    /// What it carries.
    pub fn payload(&self) -> Option<&Payload> {
        self.message.get_inner_message_kind().payload.as_ref()
    }
}

/// Why a client did not get what it waited for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Too few relays took the message.
    #[error("not sent: {0}")]
    Send(String),
    /// Nothing such came in time; these actions did.
    #[error("nothing such was heard, but {0:?}")]
    Silence(Vec<Action>),
}

/// A client: its keys, its line to the relays, and all that it heard, each event once.
pub struct Client {
    identity: Keys,
    trade: Keys,
    line: Arc<Line>,
    numbers: AtomicU64,
    heard: watch::Receiver<Vec<Heard>>,
}

impl Client {
    /// Connects to `relays` and listens for what `node` sends to `trade`, returning once a relay
    /// has told what it had, or does not answer. A client without a reputation has
    /// `identity` = `trade`.
    ///
    /// # Errors
    /// When the relays can't be used.
    pub async fn connect(
        relays: &[String],
        identity: Keys,
        trade: Keys,
        node: PublicKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BadRelays> {
        let (line, heard) = Line::private(relays, &trade, node, clock).await?;
        Ok(Self { identity, trade, line, numbers: AtomicU64::new(1), heard })
    }

    /// A client on a line that others use, too; it hears what is said to it from now on.
    pub fn on(line: &Arc<Line>, identity: Keys, trade: Keys) -> Self {
        let heard = line.join(&trade);
        Self { identity, trade, line: Arc::clone(line), numbers: AtomicU64::new(1), heard }
    }

    /// The key that the node answers.
    pub fn key(&self) -> PublicKey {
        self.trade.public_key()
    }

    /// All that was heard so far, in the order in which it came.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    /// How often `action` was heard.
    pub fn count(&self, action: &Action) -> usize {
        self.heard.borrow().iter().filter(|heard| heard.action() == *action).count()
    }

    /// A number for a request that this client has not used.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// The event that carries a message, signed now, not yet published.
    pub fn wrap(&self, message: &Message) -> Result<Event, ClientError> {
        let error = |error: &dyn std::fmt::Display| ClientError::Send(error.to_string());
        let wrapped = wrap_message_nip44(message, &self.identity, &self.trade, self.line.node, WrapOptions::default())
            .map_err(|e| error(&e))?;
        // mostro-core stamps the machine's time; a client lives by the same clock as the node.
        let at = u64::try_from(self.line.clock.now().secs()).unwrap_or(0);
        EventBuilder::new(wrapped.kind, wrapped.content)
            .tags(wrapped.tags)
            .custom_created_at(NostrTime::from_secs(at))
            .sign_with_keys(&self.trade)
            .map_err(|e| error(&e))
    }

    /// Publishes an event; done when a quorum of the client's relays has it.
    pub async fn publish(&self, event: &Event) -> Result<(), ClientError> {
        let outcome = self.line.publish(&event.as_json()).await;
        if outcome.acknowledged() { Ok(()) } else { Err(ClientError::Send(format!("{:?}", outcome.answers))) }
    }

    /// Sends a message; the id of its event.
    pub async fn send(&self, message: &Message) -> Result<String, ClientError> {
        let event = self.wrap(message)?;
        self.publish(&event).await?;
        Ok(event.id.to_hex())
    }

    /// Waits for the first message, heard already or to come, that `is` what is wanted.
    pub async fn wait_for(&self, patience: Duration, is: impl Fn(&Heard) -> bool) -> Result<Heard, ClientError> {
        let mut heard = self.heard.clone();
        let found = heard.wait_for(|all| all.iter().any(&is));
        let found = match tokio::time::timeout(patience, found).await {
            Ok(Ok(all)) => all.iter().find(|heard| is(heard)).cloned(),
            _ => None,
        };
        found.ok_or_else(|| ClientError::Silence(self.heard().iter().map(Heard::action).collect()))
    }

    /// Sends a request and waits for the message that carries its number.
    pub async fn request(&self, message: &Message, patience: Duration) -> Result<Heard, ClientError> {
        let number = message.get_inner_message_kind().request_id;
        self.send(message).await?;
        self.wait_for(patience, |heard| heard.request_id() == number).await
    }

    /// The message that answers the node's request for an invoice for a bond's share.
    pub fn bond_invoice(&self, order: Uuid, bolt11: &str) -> Message {
        self.invoice(order, Action::AddBondInvoice, bolt11)
    }

    /// The message that answers the node's request for another invoice for the trade.
    pub fn trade_invoice(&self, order: Uuid, bolt11: &str) -> Message {
        self.invoice(order, Action::AddInvoice, bolt11)
    }

    fn invoice(&self, order: Uuid, action: Action, bolt11: &str) -> Message {
        let payload = Payload::PaymentRequest(None, bolt11.to_owned(), None);
        Message::new_order(Some(order), Some(self.number()), None, action, Some(payload))
    }

    /// A solver's ruling, `admin-settle` or `admin-cancel`; in the `dispute` wrapper with the
    /// order's id, as clients send it.
    pub fn ruling(&self, order: Uuid, action: Action, slash_seller: bool, slash_buyer: bool) -> Message {
        let slashed = slash_seller || slash_buyer;
        let payload = slashed.then_some(Payload::BondResolution(BondResolution { slash_seller, slash_buyer }));
        Message::new_dispute(Some(order), Some(self.number()), None, action, payload)
    }

    /// A solver's request to take a dispute.
    pub fn take_dispute(&self, dispute: Uuid) -> Message {
        Message::new_dispute(Some(dispute), Some(self.number()), None, Action::AdminTakeDispute, None)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.line.leave(&self.trade.public_key());
    }
}

#[cfg(test)]
mod tests;
