//! Relays between the node and its clients: what either side said is kept, in clear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bondflow::engine::store::{OutboxMessage, Row, RowChange, RowWrite};
use bondflow::engine::{Draft, Sealed, Sealer, Store, Timestamp};
use bondflow::payout::messages::{Incoming, Outgoing};
use bondflow::payout::tables::REPLACEABLES;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long relays are asked to keep a direct message, seconds.
const KEEP_MESSAGES: i64 = 30 * 86_400;

struct Shelves {
    /// For each relay whether it is reached, and what it has of the node's messages.
    relays: Vec<(bool, BTreeMap<String, OutboxMessage>)>,
    /// What clients said, in the order in which it came, with the relays that have it.
    said: Vec<(Incoming, BTreeSet<usize>)>,
    /// The node's messages that clients have not read yet.
    fresh: Vec<Outgoing>,
    /// The ids of all that clients can have read.
    read: BTreeSet<String>,
    listening: Vec<UnboundedSender<Incoming>>,
}

/// All relays. Clones are the same.
#[derive(Clone)]
pub struct Relays(Arc<Mutex<Shelves>>);

impl Relays {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Shelves {
            relays: (0..count).map(|_| (true, BTreeMap::new())).collect(),
            said: Vec::new(),
            fresh: Vec::new(),
            read: BTreeSet::new(),
            listening: Vec::new(),
        })))
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap()
    }

    pub fn set_reached(&self, relay: usize, reached: bool) {
        let mut shelves = self.shelves();
        let count = shelves.relays.len();
        let relay = relay % count;
        shelves.relays[relay].0 = reached;
        if reached {
            shelves.hand_over(|relays| relays.contains(&relay));
        }
    }

    pub fn reach_all(&self) {
        let mut shelves = self.shelves();
        shelves.relays.iter_mut().for_each(|relay| relay.0 = true);
        shelves.hand_over(|_| true);
    }

    /// Whether more than half of them are reached.
    pub fn quorum(&self) -> bool {
        let shelves = self.shelves();
        shelves.relays.iter().filter(|relay| relay.0).count() * 2 > shelves.relays.len()
    }

    /// Stores a message of the node's; whether more than half of the relays have it now.
    pub fn store(&self, message: &OutboxMessage) -> bool {
        let mut shelves = self.shelves();
        for (_, stored) in shelves.relays.iter_mut().filter(|relay| relay.0) {
            stored.insert(message.id.clone(), message.clone());
        }
        let having = shelves.relays.iter().filter(|(reached, stored)| *reached && stored.contains_key(&message.id));
        let (having, all) = (having.count(), shelves.relays.len());
        if having > 0 && shelves.read.insert(message.id.clone()) {
            let outgoing = opened(&message.body);
            shelves.fresh.push(outgoing);
        }
        having * 2 > all
    }

    /// What clients have not read yet.
    pub fn fresh(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.shelves().fresh)
    }

    /// The node's messages that some relay has.
    pub fn published(&self) -> BTreeMap<String, OutboxMessage> {
        self.shelves().relays.iter().flat_map(|(_, stored)| stored.clone()).collect()
    }

    /// A client says something; whether a relay took it. Whoever listens hears of it by [`deliver`](Self::deliver).
    pub fn say(&self, incoming: &Incoming) -> bool {
        let mut shelves = self.shelves();
        let reached: BTreeSet<usize> =
            shelves.relays.iter().enumerate().filter(|(_, relay)| relay.0).map(|(at, _)| at).collect();
        if reached.is_empty() {
            return false;
        }
        shelves.said.push((incoming.clone(), reached));
        true
    }

    /// What was said comes to all who listen, so many times.
    pub fn deliver(&self, incoming: &Incoming, copies: u32) {
        let mut shelves = self.shelves();
        for _ in 0..copies {
            shelves.listening.retain(|listener| listener.send(incoming.clone()).is_ok());
        }
    }

    /// What clients said, as far as relays that are reached have it.
    pub fn said(&self) -> Vec<Incoming> {
        let shelves = self.shelves();
        let can_be_read = |relays: &BTreeSet<usize>| relays.iter().any(|relay| shelves.relays[*relay].0);
        shelves.said.iter().filter(|(_, relays)| can_be_read(relays)).map(|(said, _)| said.clone()).collect()
    }

    /// All that was stored, and all that clients say from now on.
    pub fn listen(&self) -> UnboundedReceiver<Incoming> {
        let (sender, receiver) = unbounded_channel();
        for incoming in self.said() {
            // The receiver lives in this very function.
            let _ = sender.send(incoming);
        }
        self.shelves().listening.push(sender);
        receiver
    }
}

impl Shelves {
    /// Relays that are reached again give all that they have to those who listen.
    fn hand_over(&mut self, from: impl Fn(&BTreeSet<usize>) -> bool) {
        let stored = self.said.iter().filter(|(_, relays)| from(relays)).map(|(said, _)| said);
        self.listening.retain(|listener| stored.clone().all(|said| listener.send(said.clone()).is_ok()));
    }
}

/// What a sealed message says.
pub fn opened(body: &str) -> Outgoing {
    #[derive(Deserialize)]
    struct Body {
        said: Outgoing,
    }
    serde_json::from_str::<Body>(body).unwrap().said
}

/// Seals as the Nostr adapter does, without its keys: each sealing has an id of its own, and of
/// two writers of one replaceable event one conflicts.
#[derive(Clone, Default)]
pub struct PlainSealer(Arc<Mutex<u64>>);

#[async_trait::async_trait]
impl Sealer for PlainSealer {
    async fn seal(&self, draft: &Draft, now: Timestamp, store: &dyn Store) -> Result<Sealed, String> {
        let outgoing: Outgoing = serde_json::from_str(&draft.content).map_err(|error| error.to_string())?;
        let slot = match &outgoing {
            Outgoing::Direct { .. } => None,
            Outgoing::OrderEvent { order, .. } => Some(format!("38383:{}", order["id"].as_str().unwrap_or_default())),
            Outgoing::DisputeEvent { id, .. } => Some(format!("38386:{id}")),
            Outgoing::Info(_) => Some("38385:node".to_owned()),
            Outgoing::Health(_) => Some("health:node".to_owned()),
        };
        let lane = match &outgoing {
            Outgoing::Direct { to, .. } => to.clone(),
            _ => "public".to_owned(),
        };
        let last = match &slot {
            None => None,
            Some(address) => store.row(REPLACEABLES.name, address).await.map_err(|error| error.to_string())?,
        };
        let last = last.and_then(|row| row["created_at"].as_i64());
        let stamp = last.filter(|_| slot.is_some()).map_or(now.secs(), |last| now.secs().max(last + 1));
        let number = {
            let mut number = self.0.lock().unwrap();
            *number += 1;
            *number
        };
        let id = hex::encode(Sha256::digest(format!("{number} {stamp} {}", draft.content)));
        let rows = slot.iter().map(|address| newest(address, stamp, &id, last)).collect();
        let expires_at = lane.ne("public").then(|| Timestamp::from_secs(now.secs() + KEEP_MESSAGES));
        let body = json!({ "created_at": stamp, "said": outgoing }).to_string();
        Ok(Sealed { message: OutboxMessage { id, lane, topic: draft.topic.clone(), slot, body, expires_at }, rows })
    }
}

fn newest(address: &str, stamp: i64, id: &str, last: Option<i64>) -> RowWrite {
    let set = Row::from_iter([("created_at".to_owned(), json!(stamp)), ("event_id".to_owned(), json!(id))]);
    let change = match last {
        None => RowChange::Insert(set),
        Some(last) => RowChange::Update { set, expect: Row::from_iter([("created_at".to_owned(), json!(last))]) },
    };
    RowWrite { table: REPLACEABLES.name, key: address.to_owned(), change }
}
