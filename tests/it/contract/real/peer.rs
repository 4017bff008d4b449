//! One lnd.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{
    AddressType, ConnectPeerRequest, Invoice, LightningAddress, ListChannelsRequest, NewAddressRequest,
    OpenChannelRequest, WalletBalanceRequest,
};

use super::super::bed::Access;
use super::super::calls::{Lnd, PATIENCE, PAUSE, paying};
use super::chain::{Chain, RPC_USER};
use super::process::{Reaper, log_of};

/// How long a peer gets to call back by itself.
const CALL_BACK: Duration = Duration::from_millis(500);

/// An lnd with a folder and ports of its own.
pub struct Peer {
    pub name: &'static str,
    bin: PathBuf,
    folder: PathBuf,
    peer_port: u16,
    rpc_port: u16,
    reaper: Arc<Reaper>,
    child: Mutex<Option<Child>>,
}

impl Peer {
    pub fn new(name: &'static str, bin: &Path, folder: &Path, ports: [u16; 2], reaper: Arc<Reaper>) -> Self {
        let [peer_port, rpc_port] = ports;
        let (bin, folder) = (bin.to_owned(), folder.join(name));
        Self { name, bin, folder, peer_port, rpc_port, reaper, child: Mutex::new(None) }
    }

    pub fn access(&self) -> Access {
        Access {
            address: format!("https://127.0.0.1:{}", self.rpc_port),
            certificate: self.folder.join("tls.cert"),
            macaroon: self.folder.join("data/chain/bitcoin/simnet/admin.macaroon"),
        }
    }

    /// Starts lnd. Its wallet opens by itself, or waits for a password.
    pub fn start(&self, chain: &Chain, opens_by_itself: bool) -> anyhow::Result<()> {
        let mut command = Command::new(self.bin.join("lnd"));
        command.env("HOME", &self.folder).arg(format!("--lnddir={}", self.folder.display()));
        command.args(["--bitcoin.simnet", "--bitcoin.node=btcd", "--bitcoin.defaultchanconfs=1"]);
        command.arg(format!("--btcd.rpchost={}", chain.rpc()));
        command.arg(format!("--btcd.rpcuser={RPC_USER}")).arg(format!("--btcd.rpcpass={RPC_USER}"));
        command.arg(format!("--btcd.rpccert={}", chain.certificate().display()));
        command.arg(format!("--listen=127.0.0.1:{}", self.peer_port));
        command.arg(format!("--rpclisten=127.0.0.1:{}", self.rpc_port)).arg("--norest");
        command.args(["--nobootstrap", "--trickledelay=50", "--gossip.sub-batch-delay=5ms"]);
        command.args(["--db.batch-commit-interval=10ms", "--minbackoff=200ms", "--maxbackoff=1s", "--debuglevel=info"]);
        command.arg(format!("--alias={}", self.name));
        command.args(opens_by_itself.then_some("--noseedbackup"));
        log_of(&self.folder, &mut command)?;
        let child = self
            .reaper
            .spawn(&mut command)
            .with_context(|| format!("{} can't be run", command.get_program().display()))?;
        *self.child.lock().unwrap() = Some(child);
        Ok(())
    }

    /// Kills it; nothing is left of the process on return.
    pub fn kill(&self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends the process a signal.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.child.lock().unwrap().as_ref().map(Child::id).context("it does not run")?.to_string();
        let sent = tokio::process::Command::new("kill").args(["-s", name, &id]).status().await?;
        ensure!(sent.success(), "kill -s {name} {id}: {sent}");
        Ok(())
    }

    /// The next start makes a new certificate.
    pub fn drop_certificate(&self) -> anyhow::Result<()> {
        for file in ["tls.cert", "tls.key"] {
            std::fs::remove_file(self.folder.join(file))?;
        }
        Ok(())
    }

    pub fn runs(&self) -> bool {
        self.child.lock().unwrap().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until it takes connections.
    pub async fn listens(&self) -> anyhow::Result<()> {
        let listening = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.rpc_port)).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.with_context(|| format!("{} does not listen", self.name))
    }

    pub async fn client(&self) -> Lnd {
        Lnd::at(&self.access()).await
    }

    /// Waits for something that only asking tells; an error is as good as a no.
    pub async fn until<F: Future<Output = anyhow::Result<bool>>>(
        &self,
        what: &str,
        ask: impl Fn(Lnd) -> F,
    ) -> anyhow::Result<()> {
        let asked = async {
            let client = loop {
                match Lnd::open(&self.access(), self.access().macaroon).await {
                    Ok(client) => break client,
                    // lnd has not written its files yet.
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            };
            while !matches!(ask(client.clone()).await, Ok(true)) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let log = self.folder.join("output.log");
        let late = || format!("{}: {what}: not within {PATIENCE:?}; see {}", self.name, log.display());
        tokio::time::timeout(PATIENCE, asked).await.with_context(late)
    }

    /// Waits until it has seen the chain up to that height.
    pub async fn reaches(&self, height: u32) -> anyhow::Result<()> {
        self.until("synced", |lnd| async move {
            let info = lnd.info().await?;
            Ok(info.synced_to_chain && info.block_height >= height)
        })
        .await
    }

    pub async fn has_coins(&self) -> anyhow::Result<()> {
        self.until("coins", |lnd| async move {
            let balance = lnd.client().lightning().wallet_balance(WalletBalanceRequest::default()).await?;
            Ok(balance.into_inner().confirmed_balance > 0)
        })
        .await
    }

    /// Waits until so many channels can be used. The first of each pair calls the second if need be: lnd forgets now and
    /// then to call back a peer that was gone.
    pub async fn has_channels(&self, count: usize, pairs: &[(&Self, &Self)]) -> anyhow::Result<()> {
        self.until("active channels", |lnd| async move {
            let wanted = ListChannelsRequest { active_only: true, ..ListChannelsRequest::default() };
            let channels = lnd.client().lightning().list_channels(wanted).await?.into_inner().channels;
            if channels.len() == count {
                return Ok(true);
            }
            tokio::time::sleep(CALL_BACK).await;
            for (from, to) in pairs {
                // It fails if they are connected.
                let _ = from.connect(to).await;
            }
            Ok(false)
        })
        .await
    }

    pub async fn new_address(&self) -> anyhow::Result<String> {
        let kind = AddressType::WitnessPubkeyHash.into();
        let message = NewAddressRequest { r#type: kind, ..NewAddressRequest::default() };
        let answer = self.client().await.client().lightning().new_address(message).await?;
        Ok(answer.into_inner().address)
    }

    pub async fn identity(&self) -> anyhow::Result<String> {
        Ok(self.client().await.info().await?.identity_pubkey)
    }

    pub async fn connect(&self, to: &Self) -> anyhow::Result<()> {
        let address = LightningAddress { pubkey: to.identity().await?, host: format!("127.0.0.1:{}", to.peer_port) };
        let message = ConnectPeerRequest { addr: Some(address), ..ConnectPeerRequest::default() };
        self.client().await.client().lightning().connect_peer(message).await?;
        Ok(())
    }

    /// Opens a channel; its funding is in the chain's waiting room on return.
    pub async fn open_channel(&self, to: &Self, capacity_sat: i64) -> anyhow::Result<()> {
        let node_pubkey = hex::decode(to.identity().await?)?;
        let message = OpenChannelRequest {
            node_pubkey,
            local_funding_amount: capacity_sat,
            sat_per_vbyte: 2,
            ..OpenChannelRequest::default()
        };
        self.client().await.client().lightning().open_channel_sync(message).await?;
        Ok(())
    }

    /// What can still go to a peer over their channel, with enough left for the channel's own fees.
    pub async fn spare_sat(&self, to: &Self) -> anyhow::Result<i64> {
        const FEES: i64 = 50_000;
        let peer = hex::decode(to.identity().await?)?;
        let wanted = ListChannelsRequest { peer, active_only: true, ..ListChannelsRequest::default() };
        let channels = self.client().await.client().lightning().list_channels(wanted).await?.into_inner().channels;
        let spare = channels.iter().map(|channel| {
            let reserve = channel.local_constraints.as_ref().map_or(0, |limits| limits.chan_reserve_sat as i64);
            (channel.local_balance - reserve - FEES).max(0)
        });
        Ok(spare.sum())
    }

    /// Pays a peer.
    pub async fn pays(&self, to: &Self, sats: i64) -> anyhow::Result<()> {
        let invoice = Invoice { value: sats, ..Invoice::default() };
        let invoice = to.client().await.client().lightning().add_invoice(invoice).await?.into_inner();
        let paid = self.client().await.pay(paying(&invoice.payment_request)).await;
        ensure!(paid.status() == PaymentStatus::Succeeded, "{} pays {} sats to {}: {paid:?}", self.name, sats, to.name);
        Ok(())
    }
}
