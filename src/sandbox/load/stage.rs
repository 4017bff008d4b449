//! What stands around the daemon, and the daemon itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nostr_sdk::{Keys, ToBech32};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::Plan;
use super::report::Spent;
use super::winner::Winner;
use crate::config::ENV_PREFIX;
use crate::engine::{Clock, Store as _, SystemClock, Timestamp};
use crate::import::Takeover;
use crate::payout::tables::{BONDS, TABLES};
use crate::sandbox::clients::{Client, Line};
use crate::sandbox::lnd::{Behaviour, Payee, StandIn, StandInOptions};
use crate::sandbox::mostrod::{self, Trade};
use crate::sandbox::relay::{Limits, SandboxRelay};
use crate::store::sqlite::{OpenMode, SqliteStore};

/// The world around the daemon. Dropping it ends it.
pub(super) struct Stage {
    pub(super) lnd: StandIn,
    pub(super) wallet: Payee,
    pub(super) solver: Client,
    pub(super) winners: Vec<Winner>,
    relay: SandboxRelay,
    node: Keys,
    folder: PathBuf,
}

impl Stage {
    /// Sets it up: all bonds are locked, all orders in dispute and taken over.
    pub(super) async fn set(folder: PathBuf, plan: &Plan) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Messages from before the takeover would be mostrod's to answer, and here they are made beforehand.
        let begun = clock.now();
        let relay = SandboxRelay::start(0, Limits::default()).await?;
        let now = Arc::new(|| SystemClock.now().secs());
        let lnd = StandIn::start(StandInOptions::new(folder.join("lnd"), now)).await?;
        let wallet = Payee::of(&lnd.node, "winner");
        wallet.always(Behaviour::Pay { fee_sat: 1, after: plan.payment });
        let node = Keys::generate();
        let line = Line::shared(&[relay.url()], node.public_key(), clock).await?;
        let keys = Keys::generate();
        let solver = Client::on(&line, keys.clone(), keys);
        let winners = (0..plan.held + plan.bonds).map(|_| Winner::new(&line, &solver, &wallet));
        let winners = winners.collect::<anyhow::Result<Vec<_>>>()?;
        for bond in winners.iter().flat_map(|winner| &winner.trade.bonds) {
            lnd.node.lock_in(bond.preimage, bond.amount_sats);
        }
        let stage = Self { lnd, wallet, solver, winners, relay, node, folder };
        stage.import(begun).await?;
        stage.write_settings(plan)?;
        Ok(stage)
    }

    fn database(&self) -> PathBuf {
        self.folder.join("bondflow.db")
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }

    async fn import(&self, at: Timestamp) -> anyhow::Result<()> {
        let left = self.folder.join("mostro.db");
        let trades: Vec<Trade> = self.winners.iter().map(|winner| winner.trade.clone()).collect();
        mostrod::create(&left, &self.lnd.node.identity(), &trades).await?;
        let store = SqliteStore::open(&self.database(), TABLES, OpenMode::Daemon).await?;
        let takeover = Takeover::read(&left).await?;
        takeover.into_store(&store, "load", Vec::new(), at).await?;
        store.close().await;
        Ok(())
    }

    /// The defaults, but for the places and the caps: as many payments at once as there are bonds.
    fn write_settings(&self, plan: &Plan) -> anyhow::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let further = |section: &str| {
            let lines = plan.settings.iter().filter(|(of, _)| *of == section).map(|(_, line)| format!("{line}\n"));
            lines.collect::<String>()
        };
        let known = ["lightning", "nostr", "mostro", "database", "anti_abuse_bond", "engine", "http"];
        ensure!(plan.settings.iter().all(|(section, _)| known.contains(section)), "a setting of an unknown section");
        let text = format!(
            "[lightning]\nlnd_cert_file = '{}'\nlnd_macaroon_file = '{}'\nlnd_grpc_host = '{}'\n\
             max_inflight_payouts = {}\nmax_inflight_payouts_per_destination = 0\n{}\n\
             [nostr]\nnsec_privkey = '{}'\nrelays = ['{}']\n{}\n\
             [mostro]\n{}\n\
             [database]\nurl = 'sqlite://{}'\n{}\n\
             [anti_abuse_bond]\nenabled = true\nslash_node_share_pct = 0.5\n{}\n\
             [engine]\n{}\n\
             [http]\nenabled = false\n{}",
            self.lnd.cert_path().display(),
            self.lnd.macaroon_path().display(),
            self.lnd.address(),
            self.winners.len().max(1),
            further("lightning"),
            self.node.secret_key().to_bech32()?,
            self.relay.url(),
            further("nostr"),
            further("mostro"),
            self.database().display(),
            further("database"),
            further("anti_abuse_bond"),
            further("engine"),
            further("http"),
        );
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.settings())?;
        file.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Starts the daemon, and waits until it works.
    pub(super) async fn start(&self, program: &Path) -> anyhow::Result<Bondflowd> {
        Bondflowd::start(program, &self.settings(), &self.folder.join("bondflowd.log")).await
    }

    /// Holds what came of it against lnd's ledger and the daemon's books: each bond was paid once,
    /// by one send.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let ledger = self.lnd.node.ledger();
        let store = SqliteStore::open(&self.database(), TABLES, OpenMode::Tool).await?;
        for winner in &self.winners {
            let (paid, sent) = (ledger.times_paid(winner.hash), ledger.sends_of(winner.hash).len());
            ensure!((paid, sent) == (1, 1), "an invoice was paid {paid} times by {sent} sends");
            let row = store.row(BONDS.name, &winner.bond()).await?.context("a bond's row is gone")?;
            let (state, attempts) = (row.get("state").cloned(), row.get("payout_attempts").cloned());
            ensure!(state == Some("slashed".into()) && attempts == Some(0.into()), "{state:?}, {attempts:?}");
        }
        Ok(())
    }
}

/// The daemon's process. Dropping it kills it.
pub(super) struct Bondflowd {
    child: Child,
    pid: u32,
}

impl Bondflowd {
    async fn start(program: &Path, settings: &Path, log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with(ENV_PREFIX) {
                command.env_remove(variable);
            }
        }
        command.args(["run", "--config"]).arg(settings).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pid = child.id().context("the daemon has ended already")?;
        let mut lines = BufReader::new(child.stderr.take().context("the daemon has no log")?).lines();
        let mut log = tokio::fs::File::create(log).await?;
        let (works, mut is_working) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("bondflowd works") {
                    works.send_replace(true);
                }
                // A log that can't be written spoils no figure.
                let _ = log.write_all(format!("{line}\n").as_bytes()).await;
            }
        });
        tokio::select! {
            works = is_working.wait_for(|works| *works) => works.map(drop).context("the daemon has ended")?,
            status = child.wait() => bail!("the daemon ended with {}", status?),
        }
        Ok(Self { child, pid })
    }

    /// What it has needed so far.
    pub(super) fn spent(&self) -> anyhow::Result<Spent> {
        Spent::by(self.pid)
    }

    /// SIGTERM, and its end in good order.
    pub(super) async fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        let kill = Command::new("kill").args(["-s", "TERM", &self.pid.to_string()]).status().await?;
        ensure!(kill.success(), "the daemon can't be told to stop");
        let status = tokio::time::timeout(patience, self.child.wait()).await.context("the daemon does not stop")??;
        ensure!(status.success(), "the daemon stopped with {status}");
        Ok(())
    }
}
