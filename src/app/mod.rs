//! The composition root: makes a daemon of settings, adapters, engine and payout.

mod chain;
mod database;
mod facts;
mod health;
mod http;
mod in_force;
mod inbound;
mod info;
mod lightning;
pub mod lineage;
mod retention;
mod terms;

pub use facts::MOVED_FACT;
pub use terms::KnownNode;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nostr_sdk::Keys;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::{Change, Settings};
use crate::engine::{Alarms, Clock, CommitError, Courier, Engine, Options, Parts, Store, StoreError, Timestamp};
use crate::import::BEGUN_FACT;
use crate::lnd::{self, startup};
use crate::nostr::health::{OtherDaemon, other_daemon, published};
use crate::nostr::relays::{BadRelays, Mail, Patience, Relays, name};
use crate::nostr::seal::NostrSealer;
use crate::nostr::wire::health_address;
use crate::payout::books::upsert;
use crate::payout::tables::{CURSORS, USERS};
use crate::payout::{Intake, Workflows, World};
use crate::store::postgres::{self, Reckoning};
use crate::store::sqlite::OpenError;
use crate::store::wake::WakeListener;

use database::Database;
use http::Panel;
use in_force::InForce;
use inbound::{Attended, Listener};
use lineage::{Lineage, Reconciler};

/// Why a daemon does not start, or stopped. One line each; it says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database did not take what a start writes.
    #[error("the database did not take what a start writes: {0}")]
    Commit(#[from] CommitError),
    /// The database's server, or the database on it, is not to be used.
    #[error(transparent)]
    OpenServer(#[from] postgres::OpenError),
    /// A setting that only shows to be wrong in use.
    #[error("{0}")]
    Setting(String),
    /// The relays can't be used.
    #[error("`nostr.relays`: {0}")]
    Relays(#[from] BadRelays),
    /// Another node's database.
    #[error("this database belongs to the node {database}, the settings are of {settings}: each node has its own")]
    OtherNode {
        /// The key that the database belongs to, hex.
        database: String,
        /// The key of the settings, hex.
        settings: String,
    },
    /// The installation was moved to another database.
    #[error("this installation was moved to {0}: set `database.url` to that database")]
    Moved(String),
    /// Another daemon on the key.
    #[error(transparent)]
    OtherDaemon(#[from] OtherDaemon),
    /// lnd's certificate or the macaroon is not there.
    #[error("`lightning`: {0}")]
    LndFile(#[from] lnd::NotConnected),
    /// lnd is another than the one that holds the open bonds.
    #[error(transparent)]
    OtherLnd(#[from] lightning::OtherLnd),
    /// The database has lost what was seen committed while the daemon ran.
    #[error("the database has gone back: {0}; stopping, so that nothing is done by an old state")]
    WentBack(String),
    /// Runs of another version.
    #[error(transparent)]
    Upgrade(#[from] crate::engine::UpgradeError),
    /// A definition and its Rust side differ.
    #[error(transparent)]
    Definition(#[from] crate::engine::DefinitionError),
    /// A part of the daemon has stopped of a defect.
    #[error("a part of the daemon has stopped: {0}")]
    Part(String),
}

/// A daemon at work.
pub struct Daemon {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    alarms: Alarms,
    in_force: Arc<InForce>,
    announce: Arc<Notify>,
    stop: watch::Sender<bool>,
    lineage: Arc<Lineage>,
    wake: Option<WakeListener>,
    http_address: Option<SocketAddr>,
    parts: JoinSet<Result<(), AppError>>,
}

impl Daemon {
    /// Starts a daemon. It returns once it works; while lnd was never seen it waits for it, since
    /// nothing can be decided before its network and key are known.
    ///
    /// The clock is the machine's; daemons on a database server go by that one's instead.
    ///
    /// # Errors
    /// When it can't, or must not, start.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        Self::start_by(Reckoning::Database, clock, settings).await
    }

    /// The same in a world whose time is no machine's: nothing goes by the time of a server.
    ///
    /// # Errors
    /// When it can't, or must not, start.
    pub async fn start_in_time_of(clock: Arc<dyn Clock>, settings: Settings) -> Result<Self, AppError> {
        Self::start_by(Reckoning::Caller, clock, settings).await
    }

    async fn start_by(reckoning: Reckoning, clock: Arc<dyn Clock>, settings: Settings) -> Result<Self, AppError> {
        let keys = Keys::parse(settings.nostr.nsec_privkey.expose())
            .map_err(|_| AppError::Setting("`nostr.nsec_privkey` is no private key".to_owned()))?;
        let Settings { lightning, nostr, .. } = settings.clone();
        startup::check_files(&lightning.lnd_cert_file, &lightning.lnd_macaroon_file).await?;
        let door = http::open(&settings.http).await;
        let database = Database::open(&settings.database.url, clock, reckoning).await?;
        let Database { store, clock, meters, socket, witness, fails } = database;
        let witness = settings.database.witness.clone().or(witness);
        let node_key = keys.public_key().to_hex();
        let found = lineage::look(store.as_ref(), witness.as_deref()).await?;
        let begun = own_database(store.as_ref(), clock.now(), &node_key).await?;
        upsert_solvers(store.as_ref(), clock.now(), &settings).await?;

        let alarms = Alarms::default();
        let lnd = lnd::Node::new(&lightning.lnd_grpc_host, lightning.lnd_cert_file, lightning.lnd_macaroon_file)
            .map_err(|error| AppError::Setting(format!("`lightning.lnd_grpc_host`: {error}")))?;
        let panel = Arc::new(Panel::new(Arc::clone(&store), Arc::clone(&clock), Arc::new(lnd.clone()), alarms.clone()));
        panel.shows(|registry| meters.register(registry));
        let stop = watch::Sender::new(false);
        let http_address = door.as_ref().map(|(_, address)| *address);
        let mut parts = JoinSet::new();
        if let Some((listener, address)) = door {
            info!("metrics and health are at http://{address}");
            parts.spawn(http::serve(listener, Arc::clone(&panel), stop.subscribe()));
        }
        let remembered = facts::known_node(store.as_ref()).await?;
        let met = remembered.is_none();
        let known = match remembered {
            Some(known) => known,
            None => {
                info!("waiting for lnd, which this installation has never seen");
                lightning::meet(&lnd, store.as_ref(), clock.as_ref(), lightning.allow_node_change).await?
            }
        };
        let in_force = Arc::new(InForce::new(settings.clone(), known, node_key)?);

        let urls: Vec<String> = nostr.relays.iter().map(ToString::to_string).collect();
        let installation = facts::installation(store.as_ref(), clock.now()).await?;
        let (other, published) = tokio::join!(
            other_daemon(&urls, keys.public_key(), &installation, clock.now()),
            published(&urls, keys.public_key(), &installation)
        );
        if let Some(other) = other {
            return Err(other.into());
        }
        let lineage =
            Arc::new(Lineage::new(Arc::clone(&store), Arc::clone(&clock), alarms.clone(), witness.as_deref(), &found));
        lineage.begin(&found, published.as_ref(), &health_address(keys.public_key())).await?;
        let cursors = read_cursors(store.as_ref(), &settings).await?;
        let (relays, received) = Relays::connect(
            &urls,
            &keys,
            Mail::To(keys.public_key()),
            Arc::clone(&clock),
            &cursors,
            begun,
            Patience::default(),
        )?;
        let relays = Arc::new(relays);
        panel.sees(Arc::clone(&relays));
        let attended = Attended::new(Arc::clone(&relays), Arc::clone(&clock));
        let world = World {
            store: Arc::clone(&store),
            lightning: Arc::new(lnd.clone()),
            attendance: Arc::new(attended.clone()),
            terms: in_force.terms(),
        };
        let workflows = Workflows::bind(&world)?;
        let registry = workflows.registry();
        registry.check(store.as_ref()).await?;
        let owner = uuid::Uuid::new_v4().to_string();
        let lease = Duration::from_secs(u64::from(settings.engine.lease_seconds));
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            registry,
            sealer: Arc::new(NostrSealer::new(keys.clone(), in_force.profile())),
            alarms: alarms.clone(),
            owner: owner.clone(),
            options: Options { lease, workers: settings.engine.workers },
        });
        panel.shows(|registry| engine.meters().register(registry));

        let mut daemon = Self {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            alarms,
            in_force: Arc::clone(&in_force),
            announce: Arc::new(Notify::new()),
            stop,
            lineage: Arc::clone(&lineage),
            wake: None,
            http_address,
            parts,
        };
        let reconciler = Reconciler { lineage: Arc::clone(&lineage), world: world.clone() };
        let hurry = Arc::new(Notify::new());
        let intake = Intake::new(world, engine.clone(), workflows);
        let stop = daemon.stop.clone();
        daemon.parts.spawn(health::run(health::Health {
            engine: engine.clone(),
            lnd: Arc::new(lnd.clone()),
            relays: Arc::clone(&relays),
            urls,
            node: keys.public_key(),
            installation,
            clock: Arc::clone(&clock),
            alarms: daemon.alarms.clone(),
            stop: stop.subscribe(),
        }));
        let publisher = Arc::new(inbound::Outward(relays));
        let listener = Listener::new(intake, Arc::clone(&clock), keys, in_force.profile(), begun);
        let courier = Courier::new(Arc::clone(&store), Arc::clone(&clock), publisher, Arc::clone(&hurry));
        let courier = courier.named(owner, lease);
        let courier_stop = stop.subscribe();
        daemon.parts.spawn(async move { Ok(courier.run(courier_stop).await?) });
        daemon.parts.spawn(listener.run(received, Arc::clone(&store), attended, hurry, stop.subscribe()));
        daemon.parts.spawn(daemon.spend(engine.clone(), reconciler, lnd.clone(), met, lightning.allow_node_change));
        let keeping = stop.subscribe();
        daemon.parts.spawn(async move { lineage.keep(keeping).await });
        let mut stopping = stop.subscribe();
        daemon.parts.spawn(async move {
            tokio::select! {
                error = fails => Err(error.into()),
                _ = stopping.wait_for(|stop| *stop) => Ok(()),
            }
        });
        daemon.parts.spawn(chain::run(chain::Chain {
            store: Arc::clone(&store),
            lnd: Arc::new(lnd.clone()),
            clock: Arc::clone(&clock),
            alarms: daemon.alarms.clone(),
            stop: stop.subscribe(),
        }));
        daemon.parts.spawn(retention::run(retention::Retention {
            store: Arc::clone(&store),
            engine: engine.clone(),
            clock: Arc::clone(&clock),
            in_force: Arc::clone(&in_force),
            stop: stop.subscribe(),
        }));
        daemon.parts.spawn(info::run(info::Info {
            engine,
            lnd,
            clock,
            in_force,
            announce: Arc::clone(&daemon.announce),
            stop: stop.subscribe(),
        }));
        if let Some(socket) = socket {
            match WakeListener::listen(&socket, move || store.announce()) {
                Ok(listener) => daemon.wake = Some(listener),
                Err(error) => warn!("requests of workflowctl are seen late, its socket can't be made: {error}"),
            }
        }
        Ok(daemon)
    }

    /// The engine, which spends: it begins once it is sure whose lnd this is, and that the database
    /// is the one that was seen committed.
    fn spend(
        &self,
        engine: Engine,
        reconciler: Reconciler,
        lnd: lnd::Node,
        met: bool,
        allow_node_change: bool,
    ) -> impl Future<Output = Result<(), AppError>> + Send + 'static {
        let (store, clock, in_force) = (self.store(), Arc::clone(&self.clock), Arc::clone(&self.in_force));
        let mut stop = self.stop.subscribe();
        async move {
            if !met {
                let found = tokio::select! {
                    found = lightning::meet(&lnd, store.as_ref(), clock.as_ref(), allow_node_change) => found?,
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                };
                in_force.met(found)?;
            }
            reconciler.cleared(stop.clone()).await?;
            Ok(engine.run(stop).await?)
        }
    }

    /// The alarms that were raised since the start.
    pub const fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Where it serves `/metrics` and the health checks, if it does.
    pub const fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// The database.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Takes new settings over, and says what has changed; keys that need a restart keep their
    /// old values until then.
    ///
    /// # Errors
    /// When the new settings can't be used: nothing has changed then.
    pub async fn reload(&mut self, new: Settings) -> Result<Vec<Change>, AppError> {
        upsert_solvers(self.store.as_ref(), self.clock.now(), &new).await?;
        let changes = self.in_force.settings(new)?;
        self.announce.notify_one();
        Ok(changes)
    }

    /// Resolves when a part has stopped without being asked to.
    pub async fn failed(&mut self) -> AppError {
        match self.parts.join_next().await {
            Some(Ok(Err(error @ AppError::WentBack(_)))) => {
                // What is under way was decided on a state that is no more.
                self.parts.abort_all();
                error
            }
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) => AppError::Part("it ended".to_owned()),
            Some(Err(error)) => AppError::Part(error.to_string()),
            None => AppError::Part("none is left".to_owned()),
        }
    }

    /// Finishes what is under way and stops. What is not finished goes on at the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.parts.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!("while stopping: {error}"),
                Err(error) => warn!("while stopping: {error}"),
            }
        }
        self.wake = None;
        self.lineage.end().await;
        self.store.close().await;
    }
}

/// Makes the database this node's own, or refuses another's; says since when it has been.
async fn own_database(store: &dyn Store, now: Timestamp, node_key: &str) -> Result<Timestamp, AppError> {
    if let Some(to) = facts::read(store, facts::MOVED_FACT).await? {
        return Err(AppError::Moved(to));
    }
    let database = facts::read_or_write(store, now, facts::NODE_KEY, node_key).await?;
    if database != node_key {
        return Err(AppError::OtherNode { database, settings: node_key.to_owned() });
    }
    let begun = facts::read_or_write(store, now, BEGUN_FACT, &now.secs().to_string()).await?;
    Ok(Timestamp::from_secs(begun.parse().unwrap_or_else(|_| now.secs())))
}

/// Solvers of the settings may rule; who is taken out of the settings keeps what he has.
async fn upsert_solvers(store: &dyn Store, at: Timestamp, settings: &Settings) -> Result<(), CommitError> {
    let rows = settings
        .mostro
        .solvers
        .iter()
        .map(|solver| upsert(USERS, &solver.to_hex(), json!({ "is_solver": 1, "category": 2 })))
        .collect();
    facts::commit(store, at, rows).await
}

/// How far each relay has been read, by its normal name.
async fn read_cursors(store: &dyn Store, settings: &Settings) -> Result<HashMap<String, Timestamp>, AppError> {
    let mut cursors = HashMap::new();
    for url in &settings.nostr.relays {
        let relay = name(url.as_str())?;
        let row = store.row(CURSORS.name, &relay).await?;
        if let Some(until) = row.and_then(|row| row.get("read_until")?.as_i64()) {
            cursors.insert(relay, Timestamp::from_secs(until));
        }
    }
    Ok(cursors)
}
