//! Four lnd nodes on one chain: slashed party → node → router → winner.
//!
//! A fourth channel, from the router to the slashed party, is too narrow for some payments. All is on the loopback and
//! in a folder for the time being.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::sync::Mutex;
use tonic_lnd::lnrpc::{ChannelGraphRequest, SendManyRequest};
use tonic_lnd::routerrpc::ResetMissionControlRequest;

use super::super::bed::Access;
use super::chain::Chain;
use super::peer::Peer;
use super::process::{Reaper, free_ports};

/// What names the folder of the binaries.
const LND_BIN: &str = "LND_BIN";
/// The three channels along the way.
const CAPACITY_SAT: i64 = 10_000_000;
/// The one from the router to the slashed party.
pub const NARROW_SAT: i64 = 1_000_000;

/// The nodes.
pub struct Network {
    pub chain: Chain,
    pub slashed: Peer,
    pub node: Peer,
    pub router: Peer,
    pub winner: Peer,
    /// Starts further nodes.
    start: Start,
    /// A node of a chain of its own, which has no recent block until it is told to mine one.
    late: Mutex<Option<(Chain, Peer)>>,
}

/// What it takes to start a node.
struct Start {
    bin: PathBuf,
    folder: PathBuf,
    reaper: Arc<Reaper>,
}

impl Start {
    fn chain(&self, name: &str, ports: [u16; 2]) -> Chain {
        Chain::new(&self.bin, &self.folder.join(name), ports, Arc::clone(&self.reaper))
    }

    fn peer(&self, name: &'static str, ports: [u16; 2]) -> Peer {
        Peer::new(name, &self.bin, &self.folder, ports, Arc::clone(&self.reaper))
    }
}

/// The folder that holds lnd, btcd and btcctl.
fn binaries() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os(LND_BIN).filter(|folder| !folder.is_empty());
    let folder = PathBuf::from(folder.with_context(|| {
        format!("{LND_BIN} is not set: it must name a folder that holds lnd 0.20, btcd and btcctl")
    })?);
    for name in ["lnd", "btcd", "btcctl"] {
        ensure!(folder.join(name).is_file(), "{LND_BIN} names {}, which holds no {name}", folder.display());
    }
    Ok(folder.canonicalize()?)
}

impl Network {
    /// Starts all nodes and opens their channels.
    pub async fn stand_up() -> anyhow::Result<Self> {
        let bin = binaries()?;
        let folder = tempfile::Builder::new().prefix("contract-").tempdir()?.keep();
        let reaper = Arc::new(Reaper::new(&folder)?);
        let network = Self::new(Start { bin, folder, reaper })?;
        network.chain.start(None).await?;
        for peer in network.peers() {
            peer.start(&network.chain, true)?;
        }
        network.mine_coins().await?;
        network.fund().await?;
        network.open_channels().await?;
        Ok(network)
    }

    fn new(start: Start) -> anyhow::Result<Self> {
        let [a, b, c, d, e, f, g, h, i, j] = free_ports()?;
        Ok(Self {
            chain: start.chain("btcd", [a, b]),
            slashed: start.peer("slashed", [c, d]),
            node: start.peer("node", [e, f]),
            router: start.peer("router", [g, h]),
            winner: start.peer("winner", [i, j]),
            start,
            late: Mutex::default(),
        })
    }

    /// Starts a node on a chain whose only block is years old.
    pub async fn start_late(&self) -> anyhow::Result<Access> {
        let [a, b, c, d] = free_ports()?;
        let (chain, peer) = (self.start.chain("late-btcd", [a, b]), self.start.peer("late", [c, d]));
        chain.start(None).await?;
        peer.start(&chain, true)?;
        // It has made its files once it answers.
        peer.until("its answer", |lnd| async move { Ok(lnd.info().await.is_ok()) }).await?;
        let access = peer.access();
        *self.late.lock().await = Some((chain, peer));
        Ok(access)
    }

    /// Mines a block there.
    pub async fn late_syncs(&self) -> anyhow::Result<()> {
        let late = self.late.lock().await;
        let (chain, peer) = late.as_ref().context("no late node")?;
        chain.start(Some(&peer.new_address().await?)).await?;
        chain.mine(1).await?;
        peer.reaches(1).await
    }

    fn peers(&self) -> [&Peer; 4] {
        [&self.slashed, &self.node, &self.router, &self.winner]
    }

    /// The router mines; lnd tells an address before it is synced, but btcd must know it from its start.
    async fn mine_coins(&self) -> anyhow::Result<()> {
        self.router.until("serving", |lnd| async move { Ok(lnd.info().await.is_ok()) }).await?;
        let address = self.router.new_address().await?;
        self.chain.start(Some(&address)).await?;
        // Coins ripen in 100 blocks, and segregated witness comes after 300.
        self.chain.mine(400).await?;
        for peer in self.peers() {
            peer.reaches(400).await?;
        }
        // lnd's wallet finds its coins with the next block only.
        self.mine(1).await?;
        self.router.has_coins().await
    }

    async fn fund(&self) -> anyhow::Result<()> {
        let mut amounts = HashMap::new();
        for peer in [&self.slashed, &self.node] {
            amounts.insert(peer.new_address().await?, CAPACITY_SAT * 2);
        }
        let message = SendManyRequest { addr_to_amount: amounts, sat_per_vbyte: 2, ..SendManyRequest::default() };
        self.router.client().await.client().lightning().send_many(message).await?;
        self.mine(1).await?;
        self.slashed.has_coins().await?;
        self.node.has_coins().await
    }

    async fn open_channels(&self) -> anyhow::Result<()> {
        let channels = [
            (&self.slashed, &self.node, CAPACITY_SAT),
            (&self.node, &self.router, CAPACITY_SAT),
            (&self.router, &self.winner, CAPACITY_SAT),
            (&self.router, &self.slashed, NARROW_SAT),
        ];
        for (from, to, capacity) in channels {
            from.connect(to).await?;
            from.open_channel(to, capacity).await?;
        }
        // Announced after six blocks, which a route over two hops needs.
        self.mine(6).await?;
        self.settled().await?;
        let edges = channels.len();
        for peer in [&self.slashed, &self.node, &self.router] {
            peer.until("all channels announced", |lnd| async move {
                let graph = lnd.client().lightning().describe_graph(ChannelGraphRequest::default()).await?;
                let known = graph.into_inner().edges;
                Ok(known.iter().filter(|edge| edge.node1_policy.is_some() && edge.node2_policy.is_some()).count()
                    == edges)
            })
            .await?;
        }
        Ok(())
    }

    /// Mines, and waits until all nodes have seen it.
    pub async fn mine(&self, blocks: u32) -> anyhow::Result<()> {
        self.chain.mine(blocks).await?;
        let height = self.chain.height().await?;
        for peer in self.peers() {
            peer.reaches(height).await?;
        }
        Ok(())
    }

    /// Waits until all channels can be used.
    pub async fn settled(&self) -> anyhow::Result<()> {
        // The node first: of those who may have been gone it alone knows, the others may not have noticed yet.
        self.node.has_channels(2, &[(&self.slashed, &self.node), (&self.node, &self.router)]).await?;
        self.slashed.has_channels(2, &[]).await?;
        self.router.has_channels(3, &[]).await?;
        self.winner.has_channels(1, &[]).await?;
        Ok(())
    }

    /// Pays the winner until about so many sats are left that can go that way.
    pub async fn narrow_the_way(&self, left_sat: i64) -> anyhow::Result<()> {
        let spare = self.router.spare_sat(&self.winner).await?;
        ensure!(spare > left_sat, "the router has {spare} sats for the winner, less than {left_sat}");
        self.router.pays(&self.winner, spare - left_sat).await
    }

    /// As it was stood up, whatever the row before has left: the node runs and has forgotten which channels failed it,
    /// and the way to the winner is wide.
    pub async fn restore(&self) -> anyhow::Result<()> {
        if !self.node.runs() {
            self.node.start(&self.chain, true)?;
        }
        self.settled().await?;
        let spare = self.router.spare_sat(&self.winner).await?;
        if spare < CAPACITY_SAT / 2 {
            self.winner.pays(&self.router, self.winner.spare_sat(&self.router).await?).await?;
        }
        let forget = ResetMissionControlRequest {};
        self.node.client().await.client().router().reset_mission_control(forget).await?;
        Ok(())
    }
}
