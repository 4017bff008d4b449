//! What the daemons work with: a relay, an lnd, a database with all trades in it, settings.

use std::path::PathBuf;
use std::sync::Arc;

use bondflow::engine::{Clock, SystemClock, Timestamp};
use bondflow::import::Takeover;
use bondflow::sandbox::lnd::{StandIn, StandInOptions};
use bondflow::sandbox::mostrod;
use bondflow::sandbox::relay::{Limits, SandboxRelay};
use nostr_sdk::{Keys, ToBech32};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::database::Database;
use super::plot::{BOND_SATS, Beginning, Plot};
use super::story::slashed_at;

pub struct Bed {
    pub folder: TempDir,
    pub relay: Arc<SandboxRelay>,
    pub lnd: StandIn,
    pub node: Keys,
    pub database: Database,
    /// When it was made: windows are reckoned from here.
    pub began: Timestamp,
}

impl Bed {
    pub async fn new(server: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = if server { Database::server().await } else { Database::file(folder.path()) };
        let relay = Arc::new(SandboxRelay::start(0, Limits::default()).await.unwrap());
        let options = StandInOptions::new(folder.path().join("lnd"), Arc::new(|| SystemClock.now().secs()));
        let lnd = StandIn::start(options).await.unwrap();
        Self { folder, relay, lnd, node: Keys::generate(), database, began: SystemClock.now() }
    }

    /// Locks the sats of these trades in, and has a new database take them over from mostrod.
    pub async fn fill(&self, plots: &[Plot]) {
        for trade in plots.iter().map(|plot| &plot.trade) {
            for bond in trade.bonds.iter().filter(|bond| bond.state == "locked") {
                self.lnd.node.lock_in(bond.preimage, bond.amount_sats);
            }
            if let Some(preimage) = trade.escrow {
                self.lnd.node.lock_in(preimage, trade.amount_sats);
            }
        }
        let path = self.folder.path().join("mostro.db");
        let trades: Vec<_> = plots.iter().map(|plot| plot.trade.clone()).collect();
        mostrod::create(&path, &self.lnd.node.identity(), &trades).await.unwrap();
        self.slash_before(&path, plots).await;
        let store = self.database.make().await;
        let takeover = Takeover::read(&path).await.unwrap();
        let now = SystemClock.now();
        let starts = takeover.starts(now).unwrap();
        takeover.into_store(store.as_ref(), "a test", starts, now).await.unwrap();
        store.close().await;
    }

    /// Bonds that mostrod had slashed almost a window ago.
    async fn slash_before(&self, path: &std::path::Path, plots: &[Plot]) {
        let mut db = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        for plot in plots {
            let Beginning::TakenOver { closes_after } = plot.beginning else { continue };
            sqlx::query("UPDATE orders SET status = 'canceled-by-admin' WHERE id = ?")
                .bind(plot.trade.order.as_bytes().to_vec())
                .execute(&mut db)
                .await
                .unwrap();
            sqlx::query(
                "UPDATE bonds SET state = 'pending-payout', slashed_reason = 'lost-dispute', slashed_at = ?,
                 node_share_sats = ? WHERE id = ?",
            )
            .bind(slashed_at(self.began, closes_after))
            .bind(i64::try_from(BOND_SATS / 2).unwrap())
            .bind(plot.trade.bonds[1].id.as_bytes().to_vec())
            .execute(&mut db)
            .await
            .unwrap();
        }
        db.close().await.unwrap();
    }

    /// Settings with everything as short as it may be.
    pub fn settings(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let text = format!(
            "[lightning]\n\
             lnd_cert_file = '{}'\n\
             lnd_macaroon_file = '{}'\n\
             lnd_grpc_host = '{}'\n\
             [nostr]\n\
             nsec_privkey = '{}'\n\
             relays = ['{}']\n\
             [database]\n\
             url = '{}'\n\
             [anti_abuse_bond]\n\
             slash_node_share_pct = 0.5\n\
             payout_max_retries = 2\n\
             payout_invoice_window_seconds = 3\n\
             payout_claim_window_days = 1\n\
             [engine]\n\
             lease_seconds = 2\n\
             in_doubt_recheck_seconds = 1\n\
             [http]\n\
             enabled = false\n",
            self.lnd.cert_path().display(),
            self.lnd.macaroon_path().display(),
            self.lnd.address(),
            self.node.secret_key().to_bech32().unwrap(),
            self.relay.url(),
            self.database.url(),
        );
        let path = self.folder.path().join("settings.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}
