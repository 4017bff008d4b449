//! A connection to the relays, for one client or for many.
//!
//! A relay holds every event against every subscription: a thousand clients, each with its own,
//! would be its main occupation. On a shared line there is one subscription to all that the node
//! says, and each message is opened by the client that it is for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mostro_core::transport::unwrap_message_nip44;
use nostr_sdk::{Event, EventId, Keys, PublicKey};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::Heard;
use crate::engine::{Clock, Timestamp};
use crate::nostr::relays::{BadRelays, Inbound, Mail, Patience, PublishOutcome, Relays};

/// The connection. Dropping it ends the hearing of all its clients.
pub struct Line {
    pub(super) node: PublicKey,
    pub(super) clock: Arc<dyn Clock>,
    relays: Relays,
    ears: Ears,
    sending: Semaphore,
    listening: JoinHandle<()>,
}

/// How many events are published at once; nostr-sdk refuses more than a thousand.
const AT_ONCE: usize = 256;

/// What one client heard so far.
struct Ear {
    keys: Keys,
    said: watch::Sender<Vec<Heard>>,
}

#[derive(Clone, Default)]
struct Ears(Arc<Mutex<HashMap<PublicKey, Ear>>>);

impl Line {
    /// A line for many clients of `node`, who hear what is said to them after they joined. It
    /// returns once a relay has told what it had, or does not answer.
    ///
    /// # Errors
    /// When the relays can't be used.
    pub async fn shared(relays: &[String], node: PublicKey, clock: Arc<dyn Clock>) -> Result<Arc<Self>, BadRelays> {
        Self::open(relays, &Keys::generate(), Mail::From(node), node, clock, Ears::default()).await
    }

    /// A line for one client, who hears what was said before, too.
    pub(super) async fn private(
        relays: &[String],
        keys: &Keys,
        node: PublicKey,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, watch::Receiver<Vec<Heard>>), BadRelays> {
        let ears = Ears::default();
        let heard = ears.join(keys);
        let line = Self::open(relays, keys, Mail::To(keys.public_key()), node, clock, ears).await?;
        Ok((line, heard))
    }

    async fn open(
        relays: &[String],
        keys: &Keys,
        mail: Mail,
        node: PublicKey,
        clock: Arc<dyn Clock>,
        ears: Ears,
    ) -> Result<Arc<Self>, BadRelays> {
        let patience = Patience { longest_retry: Duration::from_millis(500), ..Patience::default() };
        let (relays, inbound) =
            Relays::connect(relays, keys, mail, clock.clone(), &HashMap::new(), Timestamp(0), patience)?;
        let (ready, mut is_ready) = watch::channel(false);
        let listening = tokio::spawn(listen(inbound, node, ears.clone(), ready));
        let _ = tokio::time::timeout(patience.connect, is_ready.wait_for(|ready| *ready)).await;
        let sending = Semaphore::new(AT_ONCE);
        Ok(Arc::new(Self { node, clock, relays, ears, sending, listening }))
    }

    /// From now on what is said to the owner of `keys` is heard.
    pub(super) fn join(&self, keys: &Keys) -> watch::Receiver<Vec<Heard>> {
        self.ears.join(keys)
    }

    pub(super) fn leave(&self, key: &PublicKey) {
        self.ears.locked().remove(key);
    }

    pub(super) async fn publish(&self, event: &str) -> PublishOutcome {
        let _permit = self.sending.acquire().await;
        self.relays.publish(event).await
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Ears {
    fn locked(&self) -> MutexGuard<'_, HashMap<PublicKey, Ear>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, keys: &Keys) -> watch::Receiver<Vec<Heard>> {
        let (said, heard) = watch::channel(Vec::new());
        self.locked().insert(keys.public_key(), Ear { keys: keys.clone(), said });
        heard
    }

    fn hear(&self, event: &Event) {
        for key in event.tags.public_keys() {
            let ear = self.locked().get(key).map(|ear| (ear.keys.clone(), ear.said.clone()));
            let Some((keys, said)) = ear else { continue };
            if let Ok(Some(opened)) = unwrap_message_nip44(event, &keys) {
                let heard =
                    Heard { event: event.id.to_hex(), created_at: event.created_at.as_secs(), message: opened.message };
                said.send_modify(|all| all.push(heard));
            }
        }
    }
}

async fn listen(mut inbound: mpsc::Receiver<Inbound>, node: PublicKey, ears: Ears, ready: watch::Sender<bool>) {
    let mut seen: HashSet<EventId> = HashSet::new();
    while let Some(inbound) = inbound.recv().await {
        match inbound {
            Inbound::Event { event, .. } if event.pubkey == node && seen.insert(event.id) => ears.hear(&event),
            Inbound::CaughtUp { .. } => {
                ready.send_replace(true);
            }
            _ => {}
        }
    }
}
