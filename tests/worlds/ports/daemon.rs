//! The daemon's core: engine, intake and courier at their ports, and how it dies.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::store::OutboxMessage;
use bondflow::engine::{Alarms, Clock, Courier, Engine, Offered, Options, Parts, Publisher, Sealer, Store, Timestamp};
use bondflow::payout::policy::verdict::Observation;
use bondflow::payout::ports::{Hash, HoldAnswer, HoldState, Lightning, Made, NodeInfo, Send, Unavailable};
use bondflow::payout::{Attendance, Intake, Terms, Workflows, World};
use bondflow::store::memory::{self, Call, MemoryStore};
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::faults::{Fault, Faults, Life, Port};
use super::journal::Journal;
use super::lnd::Lnd;
use super::relays::{PlainSealer, Relays};
use super::restored::PutBack;
use super::time::Time;

/// How long the adapters wait for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a message that the database did not take waits.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a run waits for the relays to be read.
const PATIENCE: Duration = Duration::from_secs(45);
const LEASE: Duration = Duration::from_secs(60);

/// What outlives every daemon.
#[derive(Clone)]
pub struct Outside {
    pub time: Time,
    pub store: Arc<MemoryStore>,
    pub journal: Journal,
    pub lnd: Lnd,
    pub relays: Relays,
    pub sealer: PlainSealer,
    pub faults: Faults,
    pub terms: watch::Sender<Arc<Terms>>,
    pub alarms: Alarms,
}

/// A daemon at work. Dropping it ends it as a crash does.
pub struct Daemon {
    pub life: Life,
    hurry: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Daemon {
    /// Starts it, on a database that was put back, or on one that was not.
    pub fn start(outside: &Outside, owner: &str, put_back: Option<PutBack>) -> Self {
        let life = Life::new();
        let ports = Arc::new(Ports { life: life.clone(), outside: outside.clone(), intake: OnceLock::new() });
        let store = Arc::new(store(outside, &life));
        let world = World {
            store: Arc::clone(&store) as Arc<dyn Store>,
            lightning: Arc::clone(&ports) as Arc<dyn Lightning>,
            attendance: Arc::clone(&ports) as Arc<dyn Attendance>,
            terms: outside.terms.subscribe(),
        };
        let workflows = Workflows::bind(&world).unwrap();
        let engine = Engine::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::clone(&ports) as Arc<dyn Clock>,
            registry: workflows.registry(),
            sealer: Arc::new(outside.sealer.clone()) as Arc<dyn Sealer>,
            alarms: outside.alarms.clone(),
            owner: owner.to_owned(),
            options: Options { lease: LEASE, workers: 8 },
        });
        let intake = Intake::new(world.clone(), engine.clone(), workflows);
        let _ = ports.intake.set(intake.clone());
        let hurry = Arc::new(Notify::new());
        let publisher = Arc::clone(&ports) as Arc<dyn Publisher>;
        let courier = Courier::new(store, Arc::clone(&ports) as Arc<dyn Clock>, publisher, Arc::clone(&hurry))
            .named(owner.to_owned(), LEASE);
        let mut tasks = JoinSet::new();
        // Whichever part ends, the daemon is over: nobody asks it to.
        let stop = watch::Sender::new(false);
        let (to_engine, to_courier, ended) = (stop.subscribe(), stop.subscribe(), life.clone());
        let time = outside.time.clone();
        tasks.spawn(async move {
            let _stop = stop;
            if let Some(put_back) = put_back {
                put_back.mend(&world, &time).await;
            }
            let _ = engine.run(to_engine).await;
            ended.die();
        });
        let ended = life.clone();
        tasks.spawn(async move {
            let _ = courier.run(to_courier).await;
            ended.die();
        });
        tasks.spawn(ports.listen(intake));
        Self { life, hurry, _tasks: tasks }
    }

    /// A relay is there again: everything that waits is offered now.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }
}

/// The store as one daemon sees it.
fn store(outside: &Outside, life: &Life) -> MemoryStore {
    let store = outside.store.reopen();
    let (faults, journal, dies) = (outside.faults.clone(), outside.journal.clone(), life.clone());
    store.on_call(move |call| {
        let fault = goes_wrong(call, &faults, &dies);
        journal.keep(call, fault);
        fault
    });
    let life = life.clone();
    store.paced_by(move || {
        let life = life.clone();
        Box::pin(async move { life.go_on().await })
    });
    store
}

/// What goes wrong in a call of the store.
fn goes_wrong(call: Call<'_>, faults: &Faults, life: &Life) -> Option<memory::Fault> {
    let port = if matches!(call, Call::Commit(_)) { Port::Commit } else { Port::Store };
    if let Call::Commit(commit) = call {
        let step = commit.step.as_ref().map(|step| (step.seq, step.revision));
        if faults.refuses(|| format!("{step:?} {:?}", commit.inbox)) {
            return Some(memory::Fault::Unavailable);
        }
    }
    let fault = faults.next(port)?;
    Some(match fault {
        Fault::Refused | Fault::Late(_) => memory::Fault::Unavailable,
        Fault::LostBefore => memory::Fault::Unknown { applied: false },
        Fault::LostAfter => memory::Fault::Unknown { applied: true },
        Fault::DiesBefore | Fault::DiesAfter => {
            life.die();
            memory::Fault::Crash { applied: fault == Fault::DiesAfter }
        }
        Fault::Freezes(millis) => {
            life.freeze(millis);
            return None;
        }
    })
}

/// All other ports of one daemon.
struct Ports {
    life: Life,
    outside: Outside,
    intake: OnceLock<Intake>,
}

impl Ports {
    async fn wait(&self, time: Duration) {
        self.outside.time.until(self.outside.time.now().after(time)).await;
    }

    /// A call of lnd, with what goes wrong in it.
    async fn call<T>(&self, silence: T, refusal: T, act: impl FnOnce(&Lnd) -> T) -> T {
        self.life.go_on().await;
        self.with(self.outside.faults.next(Port::Lnd), silence, refusal, act).await
    }

    async fn with<T>(&self, fault: Option<Fault>, silence: T, refusal: T, act: impl FnOnce(&Lnd) -> T) -> T {
        let lnd = &self.outside.lnd;
        match fault {
            None => act(lnd),
            Some(Fault::Refused) => refusal,
            Some(Fault::LostBefore) => {
                self.wait(DEADLINE).await;
                silence
            }
            Some(Fault::LostAfter) => {
                drop(act(lnd));
                self.wait(DEADLINE).await;
                silence
            }
            Some(Fault::Late(millis)) => {
                let delay = Duration::from_millis(u64::from(millis));
                self.wait(delay.min(DEADLINE)).await;
                if delay <= DEADLINE { act(lnd) } else { silence }
            }
            Some(Fault::DiesBefore) => self.life.end().await,
            Some(Fault::DiesAfter) => {
                drop(act(lnd));
                self.life.end().await
            }
            Some(Fault::Freezes(millis)) => {
                self.life.freeze(millis);
                self.life.go_on().await;
                act(lnd)
            }
        }
    }

    /// Takes in what clients say, for ever.
    async fn listen(self: Arc<Self>, intake: Intake) {
        let mut heard = self.outside.relays.listen();
        let mut taking = JoinSet::new();
        while let Some(incoming) = heard.recv().await {
            self.life.go_on().await;
            let (ports, intake) = (Arc::clone(&self), intake.clone());
            taking.spawn(async move {
                while intake.receive(&incoming, ports.now()).await.is_err() {
                    ports.life.before_it_is_offered_again(ports.wait(AGAIN)).await;
                    ports.life.go_on().await;
                }
            });
            while taking.try_join_next().is_some() {}
        }
    }
}

#[async_trait]
impl Clock for Ports {
    fn now(&self) -> Timestamp {
        self.outside.time.now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        self.outside.time.until(at).await;
        self.life.go_on().await;
    }
}

#[async_trait]
impl Lightning for Ports {
    async fn settle(&self, preimage: [u8; 32]) -> HoldAnswer {
        let nothing = || HoldAnswer::Unavailable("no answer".to_owned());
        self.call(nothing(), nothing(), |lnd| lnd.settle(preimage)).await
    }

    async fn cancel(&self, hash: Hash) -> HoldAnswer {
        let nothing = || HoldAnswer::Unavailable("no answer".to_owned());
        self.call(nothing(), nothing(), |lnd| lnd.cancel(hash)).await
    }

    async fn hold_state(&self, hash: Hash) -> Result<HoldState, Unavailable> {
        let nothing = || Err(Unavailable("no answer".to_owned()));
        self.call(nothing(), nothing(), |lnd| lnd.hold_state(hash)).await
    }

    async fn send(&self, send: &Send) -> Observation {
        self.life.go_on().await;
        let fault = self.outside.faults.next(Port::Lnd);
        if let Some(Fault::Late(millis)) = fault {
            // Once it has left, a send arrives whatever becomes of its sender.
            let delay = Duration::from_millis(u64::from(millis));
            self.outside.lnd.send_later(send, delay);
            self.wait(delay.min(DEADLINE)).await;
            return Observation::Silent;
        }
        self.with(fault, Observation::Silent, Observation::Unavailable, |lnd| lnd.send(send)).await
    }

    async fn track(&self, hash: Hash) -> Observation {
        self.call(Observation::Silent, Observation::Unavailable, |lnd| lnd.track(hash)).await
    }

    fn watch(&self, hash: Hash, seen: bool) -> BoxFuture<'static, ()> {
        let (lnd, life) = (self.outside.lnd.clone(), self.life.clone());
        Box::pin(async move {
            lnd.watch(hash, seen).await;
            life.go_on().await;
        })
    }

    async fn payments_since(&self, since: Timestamp) -> Result<Vec<Made>, Unavailable> {
        let nothing = || Err(Unavailable("no answer".to_owned()));
        self.call(nothing(), nothing(), |lnd| lnd.payments_since(since)).await
    }

    async fn info(&self) -> Result<NodeInfo, Unavailable> {
        let nothing = || Err(Unavailable("no answer".to_owned()));
        self.call(nothing(), nothing(), Lnd::info).await
    }
}

#[async_trait]
impl Publisher for Ports {
    async fn offer(&self, message: &OutboxMessage) -> Offered {
        self.life.go_on().await;
        let relays = &self.outside.relays;
        let told = |has| if has { Offered::Acknowledged } else { Offered::NotYet("too few have it".to_owned()) };
        let nothing = || Offered::NotYet("no answer".to_owned());
        match self.outside.faults.next(Port::Relay) {
            None => told(relays.store(message)),
            Some(Fault::Refused | Fault::LostBefore) => nothing(),
            Some(Fault::LostAfter) => {
                relays.store(message);
                nothing()
            }
            Some(Fault::Late(millis)) => {
                self.wait(Duration::from_millis(u64::from(millis)).min(DEADLINE)).await;
                told(relays.store(message))
            }
            Some(Fault::DiesBefore) => self.life.end().await,
            Some(Fault::DiesAfter) => {
                relays.store(message);
                self.life.end().await
            }
            Some(Fault::Freezes(millis)) => {
                self.life.freeze(millis);
                self.life.go_on().await;
                told(relays.store(message))
            }
        }
    }
}

#[async_trait]
impl Attendance for Ports {
    async fn catch_up(&self) -> Result<Timestamp, Unavailable> {
        let begun = self.now();
        let intake = self.intake.get().ok_or_else(|| Unavailable("not begun".to_owned()))?;
        while !self.outside.relays.quorum() {
            if self.now() >= begun.after(PATIENCE) {
                return Err(Unavailable("a quorum of relays could not be read".to_owned()));
            }
            self.wait(Duration::from_secs(1)).await;
        }
        for incoming in self.outside.relays.said() {
            let taken = intake.receive(&incoming, self.now()).await;
            taken.map_err(|error| Unavailable(error.to_string()))?;
        }
        Ok(begun)
    }
}
