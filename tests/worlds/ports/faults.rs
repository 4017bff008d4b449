//! What goes wrong in a world's single calls, decided beforehand; and whether a daemon lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Where calls are counted, over all daemons of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Port {
    /// Commits.
    Commit,
    /// All other calls of the store.
    Store,
    /// Calls of lnd.
    Lnd,
    /// Messages offered to the relays.
    Relay,
}

/// What goes wrong in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fault {
    /// It is refused before anything happens, and the caller is told so.
    Refused,
    /// Nothing happens, and the caller learns nothing.
    LostBefore,
    /// It has its effect, and the caller learns nothing.
    LostAfter,
    /// It takes so many milliseconds to arrive; the caller has given up by then or not.
    Late(u32),
    /// The daemon dies; nothing has happened.
    DiesBefore,
    /// The daemon dies; it has happened.
    DiesAfter,
    /// The daemon freezes for so many milliseconds, and then makes the call.
    Freezes(u32),
}

/// One call that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallFault {
    pub port: Port,
    /// Which call of that port, from 0.
    pub at: u32,
    pub fault: Fault,
}

/// The calls that go wrong, and how many there were. Clones share it.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    calls: BTreeMap<Port, u32>,
    planned: BTreeMap<(Port, u32), Fault>,
    /// Each commit is refused once before it is taken; these were.
    every_commit_twice: bool,
    refused: BTreeSet<String>,
    over: bool,
}

impl Faults {
    pub fn of(planned: &[CallFault], every_commit_twice: bool) -> Self {
        let planned = planned.iter().map(|fault| ((fault.port, fault.at), fault.fault)).collect();
        Self(Arc::new(Mutex::new(Counted { planned, every_commit_twice, ..Counted::default() })))
    }

    /// Counts a call, and says what goes wrong in it.
    pub fn next(&self, port: Port) -> Option<Fault> {
        let mut counted = self.0.lock().unwrap();
        let at = counted.calls.entry(port).or_default();
        let this = *at;
        *at += 1;
        if counted.over { None } else { counted.planned.get(&(port, this)).copied() }
    }

    /// Whether a commit, told apart from others by what it is of, is refused for being the first try.
    pub fn refuses(&self, of: impl FnOnce() -> String) -> bool {
        let mut counted = self.0.lock().unwrap();
        counted.every_commit_twice && !counted.over && counted.refused.insert(of())
    }

    /// From now on nothing goes wrong.
    pub fn end(&self) {
        self.0.lock().unwrap().over = true;
    }

    /// How many calls of a port there were.
    pub fn calls(&self, port: Port) -> u32 {
        self.0.lock().unwrap().calls.get(&port).copied().unwrap_or(0)
    }
}

/// Whether a daemon lives, and for how long it is frozen. Clones share it.
#[derive(Clone)]
pub struct Life(Arc<Alive>);

struct Alive {
    dead: AtomicBool,
    frozen: AtomicBool,
    thawed: Notify,
    thaws: Mutex<Option<u32>>,
    /// Messages that wait to be offered to the database again.
    retrying: AtomicUsize,
}

impl Life {
    pub fn new() -> Self {
        Self(Arc::new(Alive {
            dead: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            thawed: Notify::new(),
            thaws: Mutex::new(None),
            retrying: AtomicUsize::new(0),
        }))
    }

    pub fn die(&self) {
        self.0.dead.store(true, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::SeqCst)
    }

    /// Freezes for so long; the world is told by [`Life::freezing`] and thaws it.
    pub fn freeze(&self, millis: u32) {
        self.0.frozen.store(true, Ordering::SeqCst);
        *self.0.thaws.lock().unwrap() = Some(millis);
    }

    /// A freeze that the world has not heard of yet.
    pub fn freezing(&self) -> Option<u32> {
        self.0.thaws.lock().unwrap().take()
    }

    pub fn thaw(&self) {
        self.0.frozen.store(false, Ordering::SeqCst);
        self.0.thawed.notify_waiters();
    }

    /// Goes on once the daemon is not frozen, and never if it is dead.
    pub async fn go_on(&self) {
        loop {
            let thawed = self.0.thawed.notified();
            if !self.0.frozen.load(Ordering::SeqCst) {
                break;
            }
            thawed.await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits before a message is offered to the database again.
    pub async fn before_it_is_offered_again(&self, wait: impl Future<Output = ()>) {
        self.0.retrying.fetch_add(1, Ordering::SeqCst);
        wait.await;
        self.0.retrying.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a message waits to be offered again: the world's next moment is no later than that.
    pub fn is_retrying(&self) -> bool {
        self.0.retrying.load(Ordering::SeqCst) > 0
    }

    /// Dies in the middle of a call.
    pub async fn end(&self) -> ! {
        self.die();
        std::future::pending().await
    }
}
