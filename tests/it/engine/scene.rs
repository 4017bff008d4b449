//! A database, a clock, a world, and the daemons that a test starts on them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::operator::{AUDIT, Asked, Request};
use bondflow::engine::store::{Commit, NewRun, NewSignal, OutboxMessage};
use bondflow::engine::{
    Alarms, Bound, Clock, Draft, Effects, Engine, Options, Parts, Registry, Run, RunId, Sealed, Sealer, Status, Store,
    StoreError, Timestamp, VirtualClock,
};
use bondflow::store::memory::MemoryStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::errand::{Errand, World, bound};

pub const START: Timestamp = Timestamp(1_700_000_000_000);
pub const LEASE: Duration = Duration::from_secs(15);

/// How often a condition is looked at before the test counts as stuck; everybody else runs between
/// two looks.
const LOOKS: u32 = 20_000;

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What outlives a daemon.
pub struct Scene {
    pub clock: VirtualClock,
    pub store: Arc<MemoryStore>,
    pub world: Arc<World>,
    pub bound: Arc<Bound>,
    pub alarms: Alarms,
}

/// A running engine.
pub struct Daemon {
    pub engine: Engine,
    pub store: Arc<MemoryStore>,
    pub stop: watch::Sender<bool>,
    pub task: JoinHandle<Result<(), StoreError>>,
}

impl Daemon {
    /// Stops in good order.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap();
    }

    /// Dies at once.
    pub async fn kill(self) {
        self.store.crash();
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Scene {
    pub fn new() -> Self {
        let world = Arc::new(World::default());
        Self {
            clock: VirtualClock::starting_at(START),
            store: Arc::new(MemoryStore::new(&[AUDIT])),
            bound: bound(&world),
            world,
            alarms: Alarms::default(),
        }
    }

    pub fn daemon(&self, owner: &str) -> Daemon {
        self.daemon_on(Arc::new(self.store.reopen()), owner, 8)
    }

    pub fn daemon_on(&self, store: Arc<MemoryStore>, owner: &str, workers: u32) -> Daemon {
        let mut registry = Registry::default();
        registry.add(Arc::clone(&self.bound));
        let engine = Engine::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::new(self.clock.clone()),
            registry,
            sealer: Arc::new(Plain),
            alarms: self.alarms.clone(),
            owner: owner.into(),
            options: Options { lease: LEASE, workers },
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run(stopped).await }
        });
        Daemon { engine, store, stop, task }
    }

    pub fn id(&self, key: &str) -> RunId {
        self.bound.id(key)
    }

    pub fn new_run(&self, key: &str, state: &Errand) -> NewRun {
        self.bound.start(key, state, self.clock.now()).unwrap()
    }

    pub async fn commit(&self, commit: Commit) {
        self.store.commit(Commit { at: self.clock.now(), ..commit }).await.unwrap();
    }

    /// Starts a run.
    pub async fn start(&self, key: &str) {
        self.start_with(key, &Errand::default()).await;
    }

    pub async fn start_with(&self, key: &str, state: &Errand) {
        self.commit(Commit { starts: vec![self.new_run(key, state)], ..Commit::default() }).await;
    }

    /// Puts a signal into a run's mailbox; its payload is also its dedup key.
    pub async fn signal(&self, key: &str, name: &str, payload: &str) {
        let signal = NewSignal { run: self.id(key), name: name.into(), payload: payload.into(), dedup: payload.into() };
        self.commit(Commit { signals: vec![signal], ..Commit::default() }).await;
    }

    /// An operator's request.
    pub async fn request(&self, key: &str, request: Request) {
        self.insist(key, request, false).await;
    }

    /// The same by somebody who may insist on it.
    pub async fn insist(&self, key: &str, request: Request, force: bool) {
        let run = self.run(key).await;
        let ticket = format!("{} {}", request.name(), run.signals);
        let asked = Asked { ticket, by: "ann".into(), reason: Some("a reason".into()), force, request };
        let name = asked.request.signal();
        self.request_named(key, &name, &serde_json::to_string(&asked).unwrap()).await;
    }

    pub async fn request_named(&self, key: &str, name: &str, payload: &str) {
        let dedup = format!("{name} {}", self.run(key).await.signals);
        let signal = NewSignal { run: self.id(key), name: name.into(), payload: payload.into(), dedup };
        self.commit(Commit { signals: vec![signal], ..Commit::default() }).await;
    }

    pub async fn run(&self, key: &str) -> Run {
        self.store.run(&self.id(key)).await.unwrap().expect("the run is there")
    }

    /// The run, once it is at rest in that status.
    pub async fn at_rest(&self, key: &str, status: Status) -> Run {
        self.until(key, move |run| run.status == status && run.owner.is_none()).await
    }

    /// The run, once it is as wanted.
    pub async fn until(&self, key: &str, wanted: impl Fn(&Run) -> bool) -> Run {
        for _ in 0..LOOKS {
            let run = self.run(key).await;
            if wanted(&run) {
                return run;
            }
            tokio::task::yield_now().await;
        }
        panic!("stuck: {:?}, {:?}", self.run(key).await, self.story(key).await);
    }

    /// Moves the clock on, little by little, until the run has ended.
    pub async fn finish(&self, key: &str) -> Run {
        for _ in 0..500 {
            let run = self.run(key).await;
            if run.status.is_final() {
                return run;
            }
            rest().await;
            self.clock.advance(secs(1));
        }
        panic!("it does not end: {:?}, {:?}", self.run(key).await, self.story(key).await);
    }

    /// The run's history: step, outcome and where that led.
    pub async fn story(&self, key: &str) -> Vec<String> {
        let history = self.store.history(self.run(key).await.seq).await.unwrap();
        history.iter().map(|entry| format!("{} {} {}", entry.step, entry.outcome, entry.to)).collect()
    }

    /// The details in the run's history.
    pub async fn details(&self, key: &str) -> Vec<String> {
        let history = self.store.history(self.run(key).await.seq).await.unwrap();
        history.into_iter().filter_map(|entry| entry.detail).collect()
    }

    /// What came of the requests to a run, oldest first: request, outcome, detail.
    pub async fn audit(&self, key: &str) -> Vec<String> {
        let id = self.id(key).0;
        let rows = self.store.rows("audit", "run", &id.into()).await.unwrap();
        let text = |row: &bondflow::engine::store::Row, column: &str| row[column].as_str().unwrap().to_owned();
        rows.iter().map(|row| ["request", "outcome", "detail"].map(|column| text(row, column)).join(" ")).collect()
    }

    /// The payloads that a run has not consumed.
    pub async fn mail(&self, key: &str) -> Vec<String> {
        let mail = self.store.mailbox(self.run(key).await.seq).await.unwrap();
        mail.into_iter().map(|signal| signal.payload).collect()
    }
}

/// Looks again and again, letting everybody else run, until the condition holds.
pub async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("stuck waiting for {what}");
}

/// Lets everybody run until nobody has anything to do without a change of the clock or the world:
/// the runtime of these tests has one thread, so that each turn lets each ready task go on.
pub async fn rest() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Waits for a task's end.
pub async fn ended<T>(task: impl Future<Output = T>) -> T {
    let mut task = std::pin::pin!(task);
    for _ in 0..LOOKS {
        tokio::select! {
            biased;
            done = &mut task => return done,
            () = tokio::task::yield_now() => {}
        }
    }
    panic!("stuck waiting for a task's end");
}

/// A start to be put into another transition's effects.
pub fn starting(run: NewRun) -> Effects {
    Effects { starts: vec![run], ..Effects::default() }
}

/// Seals nothing: the text is as it was, the id is the topic.
pub struct Plain;

#[async_trait]
impl Sealer for Plain {
    async fn seal(&self, draft: &Draft, _now: Timestamp, _store: &dyn Store) -> Result<Sealed, String> {
        if draft.topic.contains("unspeakable") {
            return Err("no words".into());
        }
        let message = OutboxMessage {
            id: draft.topic.clone(),
            lane: "lane".into(),
            topic: draft.topic.clone(),
            slot: None,
            body: draft.content.clone(),
            expires_at: None,
        };
        Ok(Sealed { message, rows: vec![] })
    }
}

/// A door that a step waits at.
#[derive(Clone, Default)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn pass(self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
