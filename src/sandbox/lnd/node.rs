//! The simulated node: its state, its clock and chain, and who waits for a change.

use super::bolt11;
use super::faults::{Fault, Faults};
use super::hash::Hash32;
use super::ledger::Ledger;
use super::macaroons;
use super::own_invoice::OwnInvoice;
use super::payee::PayeeState;
use lightning_invoice::Currency;
use nostr_sdk::secp256k1::SecretKey;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tonic_lnd::lnrpc::{Chain, GetInfoResponse, Invoice, Payment};
use tonic_lnd::staterpc::WalletState;
use tonic_lnd::tonic::Status;

/// Unix seconds, from wherever the test takes its time.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// lnd hands out payment indexes in blocks of this size and skips the rest of a block at a restart.
const PAYMENT_INDEX_BLOCK: u64 = 1000;

/// Those who follow one hash, and what they are sent.
pub(super) struct Watchers<T>(HashMap<Hash32, Vec<UnboundedSender<Result<T, Status>>>>);

impl<T> Default for Watchers<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone> Watchers<T> {
    /// A new stream for `hash` that starts with `first`, and ends with it if it is the last.
    pub(super) fn follow(
        &mut self,
        hash: Hash32,
        first: Option<T>,
        last: bool,
    ) -> UnboundedReceiver<Result<T, Status>> {
        let (sender, receiver) = unbounded_channel();
        if let Some(first) = first {
            // The receiver lives in this very function.
            let _ = sender.send(Ok(first));
        }
        if !last {
            self.0.entry(hash).or_default().push(sender);
        }
        receiver
    }

    /// Sends a change to all who follow `hash`; the last one ends their streams.
    pub(super) fn tell(&mut self, hash: Hash32, change: T, last: bool) {
        if let Some(senders) = self.0.get_mut(&hash) {
            senders.retain(|sender| sender.send(Ok(change.clone())).is_ok());
        }
        if last {
            self.0.remove(&hash);
        }
    }

    /// Ends every stream, with an error if there is one.
    pub(super) fn end(&mut self, error: Option<&Status>) {
        for sender in self.0.drain().flat_map(|(_, senders)| senders) {
            if let Some(error) = error {
                // Who no longer listens needs no error.
                let _ = sender.send(Err(error.clone()));
            }
        }
    }
}

/// What lives as long as the node's disk.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct State {
    pub height: u32,
    pub last_payment_index: u64,
    pub spendable_msat: u64,
    /// How many secrets were drawn.
    pub drawn: u64,
    /// Whether the macaroons that can be revoked were.
    pub revoked: bool,
    pub invoices: BTreeMap<Hash32, OwnInvoice>,
    pub payees: BTreeMap<String, PayeeState>,
    pub ledger: Ledger,
    #[serde(skip)]
    pub invoice_watchers: Watchers<Invoice>,
    #[serde(skip)]
    pub payment_watchers: Watchers<Payment>,
    #[serde(skip)]
    pub faults: Faults,
}

/// The node behind the stand-in. It outlives `stop` and `restart`; tests steer and question it through this.
pub struct Node {
    pub(super) network: Currency,
    pub(super) now: Now,
    pub(super) key: SecretKey,
    seed: String,
    state: Mutex<State>,
    file: Option<PathBuf>,
    synced: Mutex<bool>,
    pub(super) wallet: watch::Sender<WalletState>,
    changes: watch::Sender<u64>,
    born: tokio::time::Instant,
}

impl Node {
    pub(super) fn new(
        network: Currency,
        now: Now,
        seed: String,
        file: Option<PathBuf>,
        fresh: State,
    ) -> std::io::Result<Self> {
        let stored = file.as_ref().filter(|path| path.exists()).map(std::fs::read).transpose()?;
        let state = match stored {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => fresh,
        };
        Ok(Self {
            network,
            now,
            key: bolt11::key(&format!("{seed} node")),
            seed,
            state: Mutex::new(state),
            file,
            synced: Mutex::new(true),
            wallet: watch::Sender::new(WalletState::ServerActive),
            changes: watch::Sender::new(0),
            born: tokio::time::Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the state panics")
    }

    /// Changes the state, stores it, and wakes those who wait for a change.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        if let Some(file) = &self.file {
            store(file, &state).expect("the stand-in's folder is writable");
        }
        drop(state);
        self.changes.send_modify(|count| *count += 1);
        result
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// A new secret of this node; the same seed draws the same secrets.
    pub(super) fn draw(&self, state: &mut State) -> Hash32 {
        state.drawn += 1;
        Hash32::of(format!("{} secret {}", self.seed, state.drawn).as_bytes())
    }

    /// The root key under an id; none if it was deleted, or never made.
    pub(super) fn root_key(&self, id: &str) -> Option<Hash32> {
        let exists = match id {
            macaroons::ROOT_KEY_ID => true,
            macaroons::REVOCABLE_ROOT_KEY_ID => !self.read(|state| state.revoked),
            _ => false,
        };
        exists.then(|| Hash32::of(format!("{} root key {id}", self.seed).as_bytes()))
    }

    /// Milliseconds of tokio's clock since the node was made, as the ledger counts them.
    pub fn elapsed_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    pub(super) fn is_synced(&self) -> bool {
        *self.synced.lock().expect("no holder of the flag panics")
    }

    /// The node's identity, a compressed public key in hexadecimal.
    pub fn identity(&self) -> String {
        bolt11::public_key(&self.key).to_string()
    }

    /// A snapshot of what was seen and paid.
    pub fn ledger(&self) -> Ledger {
        self.read(|state| state.ledger.clone())
    }

    /// What the node can still send out.
    pub fn spendable_msat(&self) -> u64 {
        self.read(|state| state.spendable_msat)
    }

    /// Sets what the node can send out.
    pub fn set_spendable_sat(&self, sat: u64) {
        self.update(|state| state.spendable_msat = sat * 1000);
    }

    /// Waits until the ledger is as wanted.
    pub async fn wait_until(&self, wanted: impl Fn(&Ledger) -> bool) {
        let mut changes = self.changes.subscribe();
        while !self.read(|state| wanted(&state.ledger)) {
            // The sender lives in this node.
            let _ = changes.changed().await;
        }
    }

    /// Waits until a send for this hash has arrived, accepted or not.
    pub async fn wait_for_send(&self, hash: impl Into<Hash32>) {
        let hash = hash.into();
        self.wait_until(|ledger| !ledger.sends_of(hash).is_empty()).await;
    }

    /// Waits until the payee holds, or held, an HTLC of this hash.
    pub async fn wait_for_htlc(&self, hash: impl Into<Hash32>) {
        let hash = hash.into();
        self.wait_until(|ledger| ledger.payment(hash).is_some_and(|payment| payment.has_htlc)).await;
    }

    /// Makes the next `times` calls of `method` (its last path segment, or `*`) go wrong.
    pub fn inject(&self, method: &str, fault: Fault, times: u32) {
        self.lock().faults.add(method, fault, times);
    }

    /// How many calls will still go wrong: a fault that has begun is not among them.
    pub fn faults_to_come(&self) -> u32 {
        self.lock().faults.to_come()
    }

    /// Forgets all faults that are still to come.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    pub(super) fn take_fault(&self, path: &str) -> Option<Fault> {
        self.lock().faults.take(path)
    }

    /// Locks or unlocks the wallet, or lets lnd be starting.
    pub fn set_wallet(&self, wallet: WalletState) {
        self.wallet.send_replace(wallet);
    }

    /// What `GetInfo` says of the chain.
    pub fn set_synced(&self, synced: bool) {
        *self.synced.lock().expect("no holder of the flag panics") = synced;
    }

    /// Mines blocks; accepted invoices that come too near their HTLC's expiry are canceled.
    pub fn mine(&self, blocks: u32) {
        let now = (self.now)();
        self.update(|state| {
            state.height += blocks;
            state.cancel_near_expiry(now);
        });
    }

    /// The payment database is lost; the HTLCs in the channels are not.
    pub fn wipe_payments(&self) {
        self.update(|state| {
            state.last_payment_index = 0;
            for attempt in state.ledger.attempts.values_mut().flatten() {
                attempt.forgotten = true;
            }
        });
    }

    /// What lnd does with its database when it starts.
    pub(super) fn resume(&self) {
        self.update(|state| {
            state.last_payment_index = state.last_payment_index.next_multiple_of(PAYMENT_INDEX_BLOCK);
            for attempt in state.ledger.attempts.values_mut().flatten() {
                attempt.resumed = true;
            }
        });
    }

    /// Ends all streams as a shutdown does: invoice streams without error, payment streams with one.
    pub(super) fn end_streams(&self) {
        let mut state = self.lock();
        state.invoice_watchers.end(None);
        state.payment_watchers.end(Some(&Status::unknown("routerrpc server shutting down")));
    }

    pub(super) fn info(&self) -> GetInfoResponse {
        let network = match self.network {
            Currency::BitcoinTestnet => "testnet",
            _ => bolt11::active_network(&self.network),
        };
        let height = self.read(|state| state.height);
        #[allow(deprecated, reason = "lnd still fills the field")]
        let chain = Chain { chain: "bitcoin".into(), network: network.into() };
        GetInfoResponse {
            version: "0.20.3-beta commit=".into(),
            identity_pubkey: self.identity(),
            alias: self.seed.clone(),
            color: "#3399ff".into(),
            num_active_channels: 1,
            num_peers: 1,
            block_height: height,
            block_hash: Hash32::of(&height.to_be_bytes()).to_string(),
            best_header_timestamp: (self.now)(),
            synced_to_chain: self.is_synced(),
            synced_to_graph: self.is_synced(),
            chains: vec![chain],
            ..Default::default()
        }
    }
}

/// Replaces the file in one step, so that a kill leaves the old or the new state.
fn store(file: &std::path::Path, state: &State) -> std::io::Result<()> {
    let next = file.with_extension("next");
    std::fs::write(&next, serde_json::to_vec(state)?)?;
    std::fs::rename(next, file)
}
