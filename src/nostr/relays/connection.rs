//! One standing connection to a relay, and what the relay says to the events that it is offered.
//!
//! One listener hears the answers for all who wait: were each to listen for itself, a thousand
//! events under way would each have to hear the answers to the other thousand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nostr_sdk::pool::relay::RelayNotification;
use nostr_sdk::{ClientMessage, Event, EventId, Relay, RelayMessage, RelayStatus};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// What a relay said to an event: whether it has it, and its own words.
pub(super) type Word = (bool, String);

/// A connection. Clones are the same one; the last to be dropped ends the listening.
#[derive(Debug, Clone)]
pub(super) struct Connection(Arc<Standing>);

#[derive(Debug)]
struct Standing {
    relay: Relay,
    waiting: Waiting,
    introductions: watch::Receiver<u64>,
    listening: JoinHandle<()>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Connection {
    /// Listens to a relay that is connected.
    pub(super) fn of(relay: Relay) -> Self {
        let waiting = Waiting::default();
        let (introduced, introductions) = watch::channel(0);
        let listening = tokio::spawn(listen(relay.notifications(), waiting.clone(), introduced));
        Self(Arc::new(Standing { relay, waiting, introductions, listening }))
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.0.relay
    }

    /// Offers an event once, and waits for the relay's word on it without an end. A relay that
    /// wants to know first who writes is offered it again once it does.
    pub(super) async fn offer(&self, event: &Event) -> Result<Word, String> {
        let mut introductions = self.0.introductions.clone();
        let known_since = *introductions.borrow_and_update();
        let word = self.word_on(event).await?;
        if word.0 || !word.1.starts_with("auth-required") {
            return Ok(word);
        }
        let introduced = introductions.wait_for(|count| *count > known_since).await;
        introduced.map_err(|_| "the connection ended".to_owned())?;
        self.word_on(event).await
    }

    async fn word_on(&self, event: &Event) -> Result<Word, String> {
        let expected = self.0.waiting.expect(event.id);
        self.0.relay.send_msg(ClientMessage::event(event.clone())).map_err(|error| error.to_string())?;
        expected.word().await
    }
}

/// Who waits for a word on which event.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<EventId, Vec<oneshot::Sender<Word>>>>>);

impl Waiting {
    fn locked(&self) -> MutexGuard<'_, HashMap<EventId, Vec<oneshot::Sender<Word>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, event: EventId) -> Expected {
        let (sender, receiver) = oneshot::channel();
        self.locked().entry(event).or_default().push(sender);
        Expected { waiting: self.clone(), event, receiver }
    }

    fn tell(&self, event: EventId, word: &Word) {
        for sender in self.locked().remove(&event).unwrap_or_default() {
            // Who no longer waits needs no word.
            let _ = sender.send(word.clone());
        }
    }

    /// Nobody is told anything any more.
    fn give_up(&self) {
        self.locked().clear();
    }
}

/// A word to come. Dropping it ends the waiting.
struct Expected {
    waiting: Waiting,
    event: EventId,
    receiver: oneshot::Receiver<Word>,
}

impl Expected {
    async fn word(mut self) -> Result<Word, String> {
        (&mut self.receiver).await.map_err(|_| "the relay's answer was lost with its connection".to_owned())
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.receiver.close();
        let mut waiting = self.waiting.locked();
        if let Some(senders) = waiting.get_mut(&self.event) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                waiting.remove(&self.event);
            }
        }
    }
}

async fn listen(mut messages: Receiver<RelayNotification>, waiting: Waiting, introduced: watch::Sender<u64>) {
    loop {
        match messages.recv().await {
            Ok(RelayNotification::Message { message: RelayMessage::Ok { event_id, status, message } }) => {
                waiting.tell(event_id, &(status, message.into_owned()));
            }
            Ok(RelayNotification::Authenticated) => introduced.send_modify(|count| *count += 1),
            Ok(
                RelayNotification::Shutdown
                | RelayNotification::RelayStatus {
                    status: RelayStatus::Disconnected | RelayStatus::Terminated | RelayStatus::Banned,
                },
            )
            | Err(RecvError::Closed) => return waiting.give_up(),
            // Some answers are lost: an event that is offered again is answered again.
            Err(RecvError::Lagged(_)) => waiting.give_up(),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_word_reaches_all_who_wait_for_it_and_nobody_is_kept_who_does_not() {
        let (waiting, event) = (Waiting::default(), EventId::all_zeros());
        let (one, other, gone) = (waiting.expect(event), waiting.expect(event), waiting.expect(event));
        drop(gone);
        assert_eq!(waiting.locked()[&event].len(), 2);
        waiting.tell(event, &(true, String::new()));
        assert_eq!((one.word().await, other.word().await), (Ok((true, String::new())), Ok((true, String::new()))));
        let (lost, dropped) = (waiting.expect(event), waiting.expect(event));
        drop(dropped);
        waiting.give_up();
        assert!(lost.word().await.is_err());
        assert!(waiting.locked().is_empty());
    }
}
