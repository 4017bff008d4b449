//! Everybody who talks to the node, over one connection: hundreds of websockets would measure themselves.
//!
//! What they say goes over the websocket like any client's. What the node tells them is read where
//! it lies, in the relay's own store: that is what any client would get, however often it was away.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bondflow::engine::{Clock, SystemClock, Timestamp};
use bondflow::nostr::relays::{Mail, Patience, Relays};
use bondflow::payout::invariants::{Asked, Told};
use bondflow::sandbox::clients::Heard;
use bondflow::sandbox::relay::SandboxRelay;
use mostro_core::message::{Action, Message, Payload};
use mostro_core::nip59::WrapOptions;
use mostro_core::transport::{unwrap_message_nip44, wrap_message_nip44};
use nostr_sdk::{Event, Filter, JsonUtil, Keys, Kind, PublicKey, Timestamp as NostrTime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How often the relay is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// An event is stored at most so long after the time that it names: the node could not publish it before.
const LATE: u64 = 600;

struct Ear {
    keys: Keys,
    heard: watch::Sender<Vec<Heard>>,
}

/// The crowd's connection, and what each of them has heard.
pub struct Crowd {
    node: PublicKey,
    relay: Arc<SandboxRelay>,
    mouth: Relays,
    ears: Mutex<HashMap<PublicKey, Ear>>,
    asked: Mutex<Vec<Asked>>,
    numbers: AtomicU64,
    _tasks: Mutex<JoinSet<()>>,
}

impl Crowd {
    pub fn gather(node: PublicKey, relay: Arc<SandboxRelay>) -> Arc<Self> {
        let patience = Patience {
            longest_retry: Duration::from_millis(500),
            acknowledge: Duration::from_secs(2),
            ..Patience::default()
        };
        let (clock, nobody) = (Arc::new(SystemClock), Keys::generate());
        let (mouth, mut inbound) = Relays::connect(
            &[relay.url()],
            &nobody,
            Mail::To(nobody.public_key()),
            clock,
            &HashMap::new(),
            Timestamp(0),
            patience,
        )
        .unwrap();
        let crowd = Arc::new(Self {
            node,
            relay,
            mouth,
            ears: Mutex::default(),
            asked: Mutex::default(),
            numbers: AtomicU64::new(1),
            _tasks: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        // Nothing is addressed to the connection's own key.
        tasks.spawn(async move { while inbound.recv().await.is_some() {} });
        let listening = Arc::downgrade(&crowd);
        tasks.spawn(async move {
            let mut known = HashSet::new();
            while let Some(crowd) = listening.upgrade() {
                crowd.listen(&mut known).await;
                drop(crowd);
                tokio::time::sleep(LOOK).await;
            }
        });
        *crowd._tasks.lock().unwrap() = tasks;
        crowd
    }

    /// A person with a key of their own.
    pub fn join(self: &Arc<Self>, keys: Keys) -> Person {
        let (heard, hearing) = watch::channel(Vec::new());
        self.ears.lock().unwrap().insert(keys.public_key(), Ear { keys: keys.clone(), heard });
        Person { crowd: Arc::clone(self), keys, heard: hearing }
    }

    /// All requests that a relay has acknowledged, and every answer that was heard.
    pub fn talk(&self) -> (Vec<Asked>, Vec<Told>) {
        let ears = self.ears.lock().unwrap();
        let told = ears.iter().flat_map(|(key, ear)| {
            let heard = ear.heard.borrow().clone();
            heard.into_iter().filter_map(|heard| {
                Some(Told { request_id: heard.request_id()?, event: heard.event, to: key.to_hex() })
            })
        });
        (self.asked.lock().unwrap().clone(), told.collect())
    }

    async fn listen(&self, known: &mut HashSet<nostr_sdk::EventId>) {
        let since = u64::try_from(SystemClock.now().secs()).unwrap().saturating_sub(LATE);
        let direct =
            Filter::new().author(self.node).kind(Kind::PrivateDirectMessage).since(NostrTime::from_secs(since));
        for event in self.relay.matching(direct).await.into_iter().rev() {
            if !known.insert(event.id) {
                continue;
            }
            let ears = self.ears.lock().unwrap();
            let Some(ear) = event.tags.public_keys().find_map(|to| ears.get(to)) else { continue };
            let opened = unwrap_message_nip44(&event, &ear.keys).unwrap().unwrap();
            let heard =
                Heard { event: event.id.to_hex(), created_at: event.created_at.as_secs(), message: opened.message };
            ear.heard.send_modify(|all| all.push(heard));
        }
    }
}

/// One of the crowd.
#[derive(Clone)]
pub struct Person {
    crowd: Arc<Crowd>,
    keys: Keys,
    heard: watch::Receiver<Vec<Heard>>,
}

impl Person {
    /// A message about an order under a number that nobody has used.
    pub fn message(&self, order: Uuid, action: Action, payload: Option<Payload>) -> Message {
        let number = self.crowd.numbers.fetch_add(1, Ordering::SeqCst);
        match action {
            Action::AdminSettle | Action::AdminCancel => {
                Message::new_dispute(Some(order), Some(number), None, action, payload)
            }
            _ => Message::new_order(Some(order), Some(number), None, action, payload),
        }
    }

    /// Says something until a relay has it, however often it is away meanwhile; the event.
    pub async fn says(&self, message: &Message) -> Event {
        let event =
            wrap_message_nip44(message, &self.keys, &self.keys, self.crowd.node, WrapOptions::default()).unwrap();
        self.publishes(&event).await;
        let request_id = message.get_inner_message_kind().request_id.unwrap();
        let asked = Asked { event: event.id.to_hex(), sender: self.keys.public_key().to_hex(), request_id };
        self.crowd.asked.lock().unwrap().push(asked);
        event
    }

    /// Publishes an event, once more perhaps.
    pub async fn publishes(&self, event: &Event) {
        while !self.crowd.mouth.publish(&event.as_json()).await.acknowledged() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says something and waits for the answer.
    pub async fn asks(&self, message: &Message) -> Heard {
        self.says(message).await;
        let number = message.get_inner_message_kind().request_id;
        self.hears(|heard| heard.request_id() == number).await
    }

    /// Waits for the first message that is as wanted, heard already or to come.
    pub async fn hears(&self, is: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.clone();
        let all = heard.wait_for(|all| all.iter().any(&is)).await.unwrap();
        all.iter().find(|heard| is(heard)).unwrap().clone()
    }

    /// Waits until an action was heard so often.
    pub async fn hears_often(&self, action: &Action, times: usize) {
        let count = |all: &Vec<Heard>| all.iter().filter(|heard| heard.action() == *action).count();
        self.heard.clone().wait_for(|all| count(all) >= times).await.unwrap();
    }

    /// How often an action was heard so far.
    pub fn heard(&self, action: &Action) -> usize {
        self.heard.borrow().iter().filter(|heard| heard.action() == *action).count()
    }
}
