//! What the daemon finds: a relay, an lnd that holds the bonds, the database of a mostrod, and the
//! people.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use nostr_sdk::{Keys, ToBech32};
use tokio::net::UnixStream;
use uuid::Uuid;

use crate::engine::{Clock, SystemClock};
use crate::sandbox::clients::Client;
use crate::sandbox::lnd::{Hash32, Payee, StandIn, StandInOptions};
use crate::sandbox::mostrod::{self, Bond, Trade};
use crate::sandbox::relay::{Limits, SandboxRelay};
use crate::store::wake::socket_beside;

use super::programs::shown;
use super::screen::{Screen, Who, grouped};

/// Sats of each bond.
pub const BOND_SATS: u64 = 1_000;
/// Sats of the trade.
const TRADE_SATS: u64 = 100_000;

/// The world around the daemon. Dropping it ends it.
pub struct Stage {
    pub folder: PathBuf,
    pub relay: SandboxRelay,
    pub lnd: StandIn,
    pub node: Keys,
    pub seller: Client,
    pub buyer: Client,
    pub solver: Client,
    /// The seller's Lightning wallet.
    pub wallet: Payee,
    /// The trade of the demo, and with `another` one to play with.
    pub trades: Vec<Trade>,
}

impl Stage {
    /// Sets it up in an empty folder.
    pub async fn set(folder: &Path, another: bool, screen: Screen) -> anyhow::Result<Self> {
        empty(folder).await.with_context(|| format!("{} can't be used", folder.display()))?;
        let relay = SandboxRelay::start(0, Limits::default()).await.context("no relay")?;
        screen.step(Who::Relay, format_args!("listens on {}", relay.url()));

        let now = Arc::new(|| SystemClock.now().secs());
        let lnd = StandIn::start(StandInOptions::new(folder.join("lnd"), now)).await.context("no lnd")?;
        screen.step(Who::Lnd, format_args!("a stand-in serves gRPC on {}", lnd.address()));

        let node = Keys::generate();
        let connect = async |keys: Keys| {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            Client::connect(&[relay.url()], keys.clone(), keys, node.public_key(), clock).await
        };
        let (seller, buyer, solver) =
            (connect(Keys::generate()).await?, connect(Keys::generate()).await?, connect(Keys::generate()).await?);
        let trades: Vec<Trade> =
            (0..=u8::from(another)).map(|_| trade(seller.key().to_hex(), buyer.key().to_hex(), &solver)).collect();
        for trade in &trades {
            for bond in &trade.bonds {
                lnd.node.lock_in(bond.preimage, bond.amount_sats);
            }
            if let Some(preimage) = trade.escrow {
                lnd.node.lock_in(preimage, trade.amount_sats);
            }
        }
        screen.step(
            Who::Lnd,
            format_args!(
                "holds the escrow of {} sats and two bonds of {}",
                grouped(TRADE_SATS.cast_signed()),
                grouped(BOND_SATS.cast_signed())
            ),
        );

        let left = folder.join("mostro.db");
        mostrod::create(&left, &lnd.node.identity(), &trades).await.context("no mostrod database")?;
        screen.step(Who::Mostrod, format_args!("left {}: a sell order in dispute", shown(&left)));

        let wallet = Payee::of(&lnd.node, "winner");
        let stage = Self { folder: folder.to_owned(), relay, lnd, node, seller, buyer, solver, wallet, trades };
        stage.write_settings()?;
        Ok(stage)
    }

    /// The daemon's database.
    pub fn database(&self) -> PathBuf {
        database(&self.folder)
    }

    /// The daemon's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("bondflowd.log")
    }

    /// The trade of the demo.
    pub fn trade(&self) -> &Trade {
        &self.trades[0]
    }

    /// The settings: defaults but for the places, and for the sockets that others may use.
    fn write_settings(&self) -> anyhow::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let text = format!(
            "[lightning]\nlnd_cert_file = '{}'\nlnd_macaroon_file = '{}'\nlnd_grpc_host = '{}'\n\n\
             [nostr]\nnsec_privkey = '{}'\nrelays = ['{}']\n\n\
             [mostro]\nname = 'demo'\n\n\
             [database]\nurl = 'sqlite://{}'\n\n\
             [anti_abuse_bond]\nenabled = true\nslash_node_share_pct = 0.5\n\n\
             [http]\nenabled = false\n",
            self.lnd.cert_path().display(),
            self.lnd.macaroon_path().display(),
            self.lnd.address(),
            self.node.secret_key().to_bech32()?,
            self.relay.url(),
            self.database().display(),
        );
        let path = self.folder.join("settings.toml");
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(())
    }
}

/// The taker's bond: the buyer's, since it is a sell order.
pub fn buyers_bond(trade: &Trade) -> &Bond {
    &trade.bonds[1]
}

/// The hash of a hold invoice.
pub fn hash_of(preimage: &[u8; 32]) -> Hash32 {
    Hash32::of(preimage)
}

fn database(folder: &Path) -> PathBuf {
    folder.join("bondflow.db")
}

fn trade(seller: String, buyer: String, solver: &Client) -> Trade {
    let secret = || Keys::generate().secret_key().to_secret_bytes();
    let bond = |maker| Bond { id: Uuid::new_v4(), maker, amount_sats: BOND_SATS, preimage: secret(), state: "locked" };
    Trade {
        order: Uuid::new_v4(),
        dispute: Uuid::new_v4(),
        kind: "sell",
        amount_sats: TRADE_SATS,
        fee_sats: 0,
        seller,
        buyer,
        solver: Some(solver.key().to_hex()),
        escrow: Some(secret()),
        buyer_invoice: None,
        bonds: vec![bond(true), bond(false)],
        at: SystemClock.now().secs(),
    }
}

/// Empties the folder, which holds nothing but an earlier demo; not while that one still runs.
async fn empty(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if UnixStream::connect(socket_beside(&database(folder))).await.is_ok() {
        bail!("another demo is still running there");
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(folder)?;
    Ok(())
}
