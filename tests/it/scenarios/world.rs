//! One trade in dispute, with everything around it: a relay, an lnd, three clients, a
//! mostrod database that was taken over, and the daemon, on a clock that the test moves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bondflow::app::Daemon;
use bondflow::config::Settings;
use bondflow::engine::store::Row;
use bondflow::engine::{Clock, RunId, Status, Store, SystemClock, Timestamp, VirtualClock};
use bondflow::import::Takeover;
use bondflow::payout::tables::{BONDS, ORDERS, TABLES};
use bondflow::sandbox::clients::{Client, Heard};
use bondflow::sandbox::lnd::{InvoiceSpec, StandIn, payment_hash};
use bondflow::sandbox::mostrod::{self, Bond, Trade};
use bondflow::sandbox::relay::{Limits, SandboxRelay};
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{OpenMode, SqliteStore};
use mostro_core::message::Action;
use nostr_sdk::{Keys, ToBech32};
use tempfile::TempDir;
use uuid::Uuid;

use super::side::{Fate, Side};
use crate::cluster::Lent;

/// How long anything may take on the machine's clock before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How far a clock that stands still is ahead of the machine's at first. Real nodes go by the machine's: what a daemon
/// sends them may not have run out in the time that a test takes. Less than the daemon mistrusts.
const AHEAD_SECS: i64 = 3_600;

/// What differs from a sell order of 100,000 sats with two bonds of 1,000 and a share of 0.5.
#[derive(Debug, Clone)]
pub struct Setup {
    pub kind: &'static str,
    pub share: &'static str,
    pub bond_sats: u64,
    pub fee_sats: u64,
    pub max_retries: u32,
    pub escrow: bool,
    /// What becomes of the payment to the buyer, if the buyer's invoice is there from the beginning.
    pub buyer_invoice: Option<Fate>,
    /// Further lines for the settings: section and `key = value`.
    pub settings: Vec<(&'static str, String)>,
    /// How many trades there are besides the first, each with a seller of its own.
    pub more_trades: usize,
    /// How many relays there are besides the first.
    pub more_relays: usize,
    /// Whether all live by the machine's clock, as a daemon in a process of its own does.
    pub real_time: bool,
    /// Whether calls to lnd can be made to go wrong.
    pub faulty_lnd: bool,
    /// How much earlier than usual the clock begins: a test that moves it by that much ends in the present of real nodes,
    /// which go by the machine's.
    pub behind: Duration,
    /// Whether the database is one on a server.
    pub server: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            kind: "sell",
            share: "0.5",
            bond_sats: 1_000,
            fee_sats: 0,
            max_retries: 5,
            escrow: true,
            buyer_invoice: None,
            settings: Vec::new(),
            more_trades: 0,
            more_relays: 0,
            real_time: false,
            faulty_lnd: false,
            behind: Duration::ZERO,
            server: on_server(),
        }
    }
}

impl Setup {
    /// With a bond whose share nobody else is owed. All worlds beside real nodes share one lnd, and a payment of just the
    /// sum that is owed, made while the daemon is down, would be taken for one that a restored database lacks.
    pub fn with_own_sum() -> Self {
        static WORLDS: AtomicU64 = AtomicU64::new(1);
        Self { bond_sats: 1_000 + 2 * WORLDS.fetch_add(1, Ordering::Relaxed), ..Self::default() }
    }
}

/// Whether the scenarios are run on a database server, `STORE=postgres`, and not on a file.
fn on_server() -> bool {
    match std::env::var("STORE").as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(_) => false,
        Ok(other) => panic!("STORE is sqlite or postgres, not {other}"),
    }
}

pub struct World<L: Side = StandIn> {
    pub folder: TempDir,
    /// A database on a server, where the scenarios are run on one.
    server: Option<Lent>,
    pub clock: VirtualClock,
    pub relay: SandboxRelay,
    pub lnd: L,
    pub setup: Setup,
    pub node: Keys,
    pub seller: Client,
    pub buyer: Client,
    pub solver: Client,
    pub winner: L::Winner,
    pub trade: Trade,
    /// The trades besides the first, and their sellers; buyer and solver are the same.
    pub more: Vec<(Trade, Client)>,
    pub more_relays: Vec<SandboxRelay>,
    daemon: Option<Daemon>,
    /// The database of a daemon in a process of its own.
    looking: Option<Arc<dyn Store>>,
}

impl World {
    /// Everything, the daemon at work beside a stand-in.
    pub async fn new(setup: Setup) -> Self {
        Self::at_work(setup).await
    }

    pub async fn without_daemon(setup: Setup) -> Self {
        Self::idle(setup).await
    }

    /// An invoice of the winner's over so many sats, and its payment hash.
    pub fn invoice(&self, sats: u64) -> (String, [u8; 32]) {
        let bolt11 = self.winner.invoice(sats, InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() });
        let hash = payment_hash(&bolt11);
        (bolt11, hash)
    }

    /// How many settlements lnd granted; the probes of the macaroon are refused ones.
    pub fn settled(&self) -> usize {
        self.lnd.node.ledger().settles.iter().filter(|call| call.refusal.is_none()).count()
    }
}

impl<L: Side> World<L> {
    /// Everything, the daemon at work.
    pub async fn at_work(setup: Setup) -> Self {
        let mut world = Self::idle(setup).await;
        world.start().await;
        world
    }

    /// Everything but a daemon.
    pub async fn idle(setup: Setup) -> Self {
        let world = Self::left(setup).await;
        world.take_over().await;
        world
    }

    /// What a mostrod leaves, not yet taken over.
    pub async fn left(setup: Setup) -> Self {
        // With `RUST_LOG` set, a test that fails shows what the daemon said.
        let log = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(log).with_test_writer().try_init();
        let folder = tempfile::tempdir().unwrap();
        let ahead = AHEAD_SECS - setup.behind.as_secs() as i64;
        let start = || Timestamp::from_secs(SystemClock.now().secs() + ahead);
        let clock = VirtualClock::starting_at(start());
        let shared: Arc<dyn Clock> = if setup.real_time { Arc::new(SystemClock) } else { Arc::new(clock.clone()) };
        let relay = SandboxRelay::start(0, Limits::default()).await.unwrap();
        let mut more_relays = Vec::new();
        for _ in 0..setup.more_relays {
            more_relays.push(SandboxRelay::start(0, Limits::default()).await.unwrap());
        }
        let lnd = L::open(&folder.path().join("lnd"), Arc::clone(&shared)).await;
        // There is one set of real nodes: it may have taken a while until it was this test's turn.
        clock.set(start());
        let node = Keys::generate();
        let connect = async |keys: Keys| {
            let relays: Vec<String> = std::iter::once(&relay).chain(&more_relays).map(SandboxRelay::url).collect();
            Client::connect(&relays, keys.clone(), keys, node.public_key(), Arc::clone(&shared)).await.unwrap()
        };
        let (seller, buyer, solver) =
            (connect(Keys::generate()).await, connect(Keys::generate()).await, connect(Keys::generate()).await);
        let preimage = || {
            let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
            std::array::from_fn(|at| if at < 16 { first.as_bytes()[at] } else { second.as_bytes()[at - 16] })
        };
        let bond = |maker| Bond {
            id: Uuid::new_v4(),
            maker,
            amount_sats: setup.bond_sats,
            preimage: preimage(),
            state: "locked",
        };
        let owed = 100_000;
        let paying = owed - setup.fee_sats;
        let trade_of = async |seller: &Client| Trade {
            order: Uuid::new_v4(),
            dispute: Uuid::new_v4(),
            kind: setup.kind,
            amount_sats: owed,
            fee_sats: setup.fee_sats,
            seller: seller.key().to_hex(),
            buyer: buyer.key().to_hex(),
            solver: Some(solver.key().to_hex()),
            escrow: setup.escrow.then(&preimage),
            buyer_invoice: match setup.buyer_invoice {
                Some(fate) => Some(lnd.invoice(paying, fate).await),
                None => None,
            },
            bonds: vec![bond(true), bond(false)],
            at: shared.now().secs(),
        };
        let trade = trade_of(&seller).await;
        let mut more = Vec::new();
        for _ in 0..setup.more_trades {
            let seller = connect(Keys::generate()).await;
            more.push((trade_of(&seller).await, seller));
        }
        for trade in std::iter::once(&trade).chain(more.iter().map(|(trade, _)| trade)) {
            for bond in &trade.bonds {
                lnd.locks_in(bond.preimage, bond.amount_sats).await;
            }
            if let Some(preimage) = trade.escrow {
                lnd.locks_in(preimage, trade.amount_sats).await;
            }
        }
        let winner = lnd.winner();
        let world = Self {
            folder,
            server: if setup.server { Some(Lent::new().await) } else { None },
            clock,
            relay,
            lnd,
            setup,
            node,
            seller,
            buyer,
            solver,
            winner,
            trade,
            more,
            more_relays,
            daemon: None,
            looking: None,
        };
        let trades: Vec<Trade> =
            std::iter::once(&world.trade).chain(world.more.iter().map(|more| &more.0)).cloned().collect();
        mostrod::create(&world.mostrod(), &world.lnd.identity().await, &trades).await.unwrap();
        world
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("bondflow.db")
    }

    /// The database's address, as the settings have it.
    pub fn database_url(&self) -> String {
        match &self.server {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite://{}", self.database().display()),
        }
    }

    /// From the next start on the database is this one, on a server of the test's own.
    pub fn move_to(&mut self, url: String) {
        self.server = Some(Lent::elsewhere(url));
    }

    async fn open(&self, mode: OpenMode) -> Arc<dyn Store> {
        let Some(database) = &self.server else {
            return Arc::new(SqliteStore::open(&self.database(), TABLES, mode).await.unwrap());
        };
        let mode = match mode {
            OpenMode::Daemon => postgres::OpenMode::Daemon,
            OpenMode::Tool => postgres::OpenMode::Tool,
        };
        Arc::new(PostgresStore::open(database.url(), TABLES, mode, Reckoning::Caller).await.unwrap())
    }

    /// The time by which all of it lives.
    pub fn now(&self) -> Timestamp {
        if self.setup.real_time { SystemClock.now() } else { self.clock.now() }
    }

    /// The database that mostrod left.
    pub fn mostrod(&self) -> PathBuf {
        self.folder.path().join("mostro.db")
    }

    /// Takes it over, with a run for each debt.
    pub async fn take_over(&self) {
        let store = self.open(OpenMode::Daemon).await;
        let takeover = Takeover::read(&self.mostrod()).await.unwrap();
        let starts = takeover.starts(self.now()).unwrap();
        takeover.into_store(store.as_ref(), "a test", starts, self.now()).await.unwrap();
        store.close().await;
    }

    /// The settings as a file would have them.
    pub fn settings_text(&self) -> String {
        let Setup { share, max_retries, .. } = &self.setup;
        let lnd = if self.setup.faulty_lnd { self.lnd.faulty_access() } else { self.lnd.access() };
        let relays: Vec<String> =
            std::iter::once(&self.relay).chain(&self.more_relays).map(|relay| format!("'{}'", relay.url())).collect();
        let mut sections = vec![
            ("lightning", format!("lnd_cert_file = '{}'", lnd.certificate.display())),
            ("lightning", format!("lnd_macaroon_file = '{}'", lnd.macaroon.display())),
            ("lightning", format!("lnd_grpc_host = '{}'", lnd.address)),
            ("nostr", format!("nsec_privkey = '{}'", self.node.secret_key().to_bech32().unwrap())),
            ("nostr", format!("relays = [{}]", relays.join(", "))),
            ("database", format!("url = '{}'", self.database_url())),
            ("anti_abuse_bond", "enabled = true".to_owned()),
            ("anti_abuse_bond", format!("slash_node_share_pct = {share}")),
            ("anti_abuse_bond", format!("payout_max_retries = {max_retries}")),
        ];
        if !self.setup.settings.iter().any(|(section, _)| *section == "http") {
            sections.push(("http", "enabled = false".to_owned()));
        }
        sections.extend(self.setup.settings.iter().cloned());
        sections.sort_by_key(|(section, _)| *section);
        let mut text = String::new();
        let mut last = "";
        for (section, line) in &sections {
            if *section != last {
                text += &format!("[{section}]\n");
                last = section;
            }
            text += &format!("{line}\n");
        }
        text
    }

    pub fn settings_file(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join("settings.toml");
        std::fs::write(&path, self.settings_text()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A daemon that is being started.
    pub fn starting(&self) -> impl Future<Output = Daemon> + Send + use<L> {
        let settings = Settings::load(&self.settings_file(), std::iter::empty()).unwrap();
        let clock: Arc<dyn Clock> =
            if self.setup.real_time { Arc::new(SystemClock) } else { Arc::new(self.clock.clone()) };
        let real_time = self.setup.real_time;
        async move {
            let started = if real_time {
                Daemon::start(settings, clock).await
            } else {
                Daemon::start_in_time_of(clock, settings).await
            };
            started.unwrap()
        }
    }

    pub async fn start(&mut self) {
        self.started(self.starting().await);
    }

    /// This is the daemon now.
    pub fn started(&mut self, daemon: Daemon) {
        self.daemon = Some(daemon);
    }

    pub async fn stop(&mut self) {
        self.daemon.take().unwrap().stop().await;
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    /// How many alarms of a kind were raised since the daemon's start.
    pub fn alarms(&self, kind: &str) -> u64 {
        self.daemon.as_ref().unwrap().alarms().counts().get(kind).copied().unwrap_or(0)
    }

    /// Waits until an alarm of a kind was raised so often since the daemon's start: that is soon after the commit that is
    /// its cause.
    pub async fn alarmed(&self, kind: &str, times: u64) {
        let enough = || async {
            let raised = self.alarms(kind);
            (raised >= times).then_some(raised).ok_or_else(|| format!("{kind} × {raised}"))
        };
        assert_eq!(self.until(enough).await, times, "{kind}");
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.daemon.as_ref().map(Daemon::store).or_else(|| self.looking.clone()).unwrap()
    }

    /// Reads the database beside a daemon that runs in a process of its own.
    pub async fn look(&mut self) {
        self.looking = Some(self.open(OpenMode::Tool).await);
    }

    /// The solver rules; the node's direct answer.
    pub async fn rule(&self, action: Action, slash_seller: bool, slash_buyer: bool) -> Heard {
        let ruling = self.solver.ruling(self.trade.order, action, slash_seller, slash_buyer);
        self.solver.request(&ruling, PATIENCE).await.unwrap()
    }

    /// Waits until a client has heard an action so often.
    pub async fn hears(&self, client: &Client, action: Action, times: usize) -> Vec<Heard> {
        let told = client.wait_for(PATIENCE, |heard| heard.action() == action && client.count(&action) >= times).await;
        told.unwrap_or_else(|error| panic!("{action:?} × {times}: {error}"));
        client.heard().into_iter().filter(|heard| heard.action() == action).collect()
    }

    /// An invoice of the winner's over so many sats that has this fate, and its payment hash.
    pub async fn invoice_of(&self, sats: u64, fate: Fate) -> (String, [u8; 32]) {
        let bolt11 = self.lnd.invoice(sats, fate).await;
        let hash = payment_hash(&bolt11);
        (bolt11, hash)
    }

    /// A client answers the request for a bond's share; the node's direct answer.
    pub async fn answer(&self, client: &Client, bolt11: &str) -> Heard {
        let message = client.bond_invoice(self.trade.order, bolt11);
        client.request(&message, PATIENCE).await.unwrap()
    }

    /// What the winner of one slashed bond gets, under a share of a half.
    pub fn share(&self) -> u64 {
        self.setup.bond_sats / 2
    }

    pub fn maker_bond(&self) -> String {
        self.trade.bonds[0].id.to_string()
    }

    pub fn taker_bond(&self) -> String {
        self.trade.bonds[1].id.to_string()
    }

    pub async fn bond(&self, id: &str) -> Row {
        self.store().row(BONDS.name, id).await.unwrap().unwrap()
    }

    pub async fn order(&self) -> Row {
        self.store().row(ORDERS.name, &self.trade.order.to_string()).await.unwrap().unwrap()
    }

    /// Waits until a row's column has a value.
    pub async fn bond_is(&self, id: &str, column: &str, value: impl Into<serde_json::Value>) -> Row {
        let value = value.into();
        self.until(|| async {
            let row = self.bond(id).await;
            (row[column] == value).then_some(row).ok_or_else(|| format!("bond {column} is not {value}"))
        })
        .await
    }

    /// Waits until the run of a workflow is where it is expected.
    pub async fn run_is(&self, workflow: &str, key: &str, step: &str, status: Status) {
        let id = RunId::of(workflow, key);
        self.until(|| async {
            let run = self.store().run(&id).await.unwrap();
            let found = run.as_ref().map(|run| (run.step.clone(), run.status));
            (found == Some((step.to_owned(), status))).then_some(()).ok_or_else(|| format!("{found:?}"))
        })
        .await;
    }

    /// Asks again after every change of the database until the answer is there.
    pub async fn until<T, F: Future<Output = Result<T, String>>>(&self, ask: impl Fn() -> F) -> T {
        self.until_within(PATIENCE, ask).await
    }

    /// As [`until`](Self::until), with another patience.
    pub async fn until_within<T, F>(&self, patience: Duration, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, String>>,
    {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let answered = tokio::time::timeout(patience.max(PATIENCE), ask()).await;
            match answered.expect("there is no answer to what is waited for") {
                Ok(answer) => return answer,
                Err(why) if tokio::time::Instant::now() > deadline => panic!("waited in vain: {why}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Lets time go by, 25 times as fast as the machine's, until something has come about.
    pub async fn passing<T>(&self, until: impl Future<Output = T>) -> T {
        let time = async {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                self.clock.advance(Duration::from_millis(250));
            }
        };
        tokio::select! {
            done = until => done,
            () = time => unreachable!("time goes on for ever"),
        }
    }

    /// Lets so many seconds go by, not all at once.
    pub async fn pass(&self, seconds: u64) {
        let end = self.clock.now().after(Duration::from_secs(seconds));
        self.passing(self.clock.sleep_until(end)).await;
    }

    /// Moves the clock by days at once.
    pub fn pass_days(&self, days: u64) {
        self.clock.advance(Duration::from_secs(days * 86_400));
    }
}
