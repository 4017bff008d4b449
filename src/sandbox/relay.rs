//! A Nostr relay on a real websocket, with a door that can be shut.
//!
//! Clients connect to the door, a plain TCP listener that passes bytes on to the relay behind it, within this process.
//! Shutting the door cuts every connection at once, as a crash or a dead network would, while the
//! relay keeps what it has stored; opening it listens on the same port again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nostr_relay_builder::builder::{PolicyResult, RateLimit, RelayBuilder, RelayBuilderNip42, WritePolicy};
use nostr_relay_builder::local::LocalRelay;
use nostr_sdk::prelude::{BoxedFuture, MemoryDatabase, MemoryDatabaseOptions, NostrDatabase};
use nostr_sdk::{Event, Filter};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

/// Bytes that are passed on at once.
const BUFFER: usize = 64 * 1024;

/// What the relay allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events that one connection may publish in a minute, before `rate-limited`.
    pub notes_per_minute: u32,
    /// The most events that one query gets.
    pub page: usize,
    /// Whether clients must prove who they are (NIP-42) before they read or write.
    pub introduction: bool,
}

impl Default for Limits {
    /// Nothing that a test would run into, and pages as public relays have them.
    fn default() -> Self {
        Self { notes_per_minute: 1_000_000, page: 500, introduction: false }
    }
}

/// The relay. Dropping it ends it.
#[derive(Debug)]
pub struct SandboxRelay {
    address: SocketAddr,
    relay: LocalRelay,
    database: MemoryDatabase,
    door: Mutex<Option<JoinSet<()>>>,
    frozen: watch::Sender<bool>,
    refuses: Arc<AtomicBool>,
}

impl SandboxRelay {
    /// Starts a relay with an open door on `port` of the loopback address; 0 takes any free port.
    pub async fn start(port: u16, limits: Limits) -> io::Result<Self> {
        let database = MemoryDatabase::with_opts(MemoryDatabaseOptions { events: true, max_events: None });
        let refuses = Arc::new(AtomicBool::new(false));
        let mut builder = RelayBuilder::default()
            .database(database.clone())
            .rate_limit(RateLimit { max_reqs: 500, notes_per_minute: limits.notes_per_minute })
            .max_filter_limit(limits.page)
            .default_filter_limit(limits.page)
            .write_policy(Refusing(refuses.clone()));
        if limits.introduction {
            builder = builder.nip42(RelayBuilderNip42::default());
        }
        let relay = LocalRelay::new(builder);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let frozen = watch::Sender::new(false);
        let door = open_door(listener, relay.clone(), frozen.subscribe());
        Ok(Self { address, relay, database, door: Mutex::new(Some(door)), frozen, refuses })
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Cuts every connection and lets none in.
    pub async fn shut(&self) {
        if let Some(mut door) = self.door.lock().await.take() {
            door.shutdown().await;
        }
    }

    /// Lets connections in again, on the same port. What was stored is still there.
    pub async fn open(&self) -> io::Result<()> {
        let mut door = self.door.lock().await;
        if door.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            *door = Some(open_door(listener, self.relay.clone(), self.frozen.subscribe()));
        }
        Ok(())
    }

    /// While frozen, connections stay and no byte passes in either direction.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// While refusing, every published event is answered with `blocked`.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Stores an event without telling subscribers: as if it had come while nobody listened.
    pub async fn store(&self, event: &Event) -> io::Result<()> {
        self.database.save_event(event).await.map(drop).map_err(io::Error::other)
    }

    /// All that is stored, newest first.
    pub async fn events(&self) -> Vec<Event> {
        self.matching(Filter::new()).await
    }

    /// What is stored and passes a filter, newest first.
    pub async fn matching(&self, filter: Filter) -> Vec<Event> {
        self.database.query(filter).await.map(|events| events.to_vec()).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Refusing(Arc<AtomicBool>);

impl WritePolicy for Refusing {
    fn admit_event<'a>(&'a self, _: &'a Event, _: &'a SocketAddr) -> BoxedFuture<'a, PolicyResult> {
        let refuses = self.0.load(Ordering::SeqCst);
        Box::pin(async move {
            if refuses { PolicyResult::Reject("refused by the test".to_owned()) } else { PolicyResult::Accept }
        })
    }
}

/// The tasks of an open door: aborting them closes every socket.
fn open_door(listener: TcpListener, relay: LocalRelay, frozen: watch::Receiver<bool>) -> JoinSet<()> {
    let mut door = JoinSet::new();
    door.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((client, address)) = accepted {
                        connections.spawn(pass(client, address, relay.clone(), frozen.clone()));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    door
}

/// Passes bytes both ways until one side closes. The relay is no socket further on: between two
/// that answer each other at once, each with its own timers, a small packet waits for 40 ms.
async fn pass(client: TcpStream, address: SocketAddr, relay: LocalRelay, frozen: watch::Receiver<bool>) {
    // An answer is smaller than a packet: without this it would wait for the next one.
    let _ = client.set_nodelay(true);
    let (door, mut behind) = tokio::io::duplex(BUFFER);
    let serve = async {
        // The relay wants the stream as it is once the websocket is open.
        if tokio_tungstenite::accept_async(&mut behind).await.is_ok() {
            // It ends with the connection; what ended it concerns the client.
            let _ = relay.take_connection(behind, address).await;
        }
    };
    let (from_client, to_client) = client.into_split();
    let (from_relay, to_relay) = tokio::io::split(door);
    tokio::select! {
        () = serve => {}
        () = copy(from_client, to_relay, frozen.clone()) => {}
        () = copy(from_relay, to_client, frozen) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let thawed = frozen.wait_for(|frozen| !frozen).await.is_ok();
        if !thawed || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
