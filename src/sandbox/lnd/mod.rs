//! An lnd stand-in: real gRPC over TLS with macaroons, and a small Lightning network behind it.
//!
//! It answers as lnd 0.20.3-beta does, in codes and in texts, for the calls that the daemon makes. Tests steer it
//! through its [`Node`] and its [`Payee`]s, and judge by its [`Ledger`]. Unlike the daemon's own `State` client
//! types suggest, lnd serves that service as `/lnrpc.State/…`, and so does this.

#![allow(clippy::result_large_err, reason = "a gRPC server refuses with tonic's status")]

mod attempt;
mod bolt11;
mod faults;
mod gate;
mod hash;
mod invoices;
mod ledger;
mod macaroons;
mod network;
mod node;
mod own_invoice;
mod payee;
mod payments;
mod server;
mod wire;

#[cfg(test)]
mod tests;

pub use faults::Fault;
pub use gate::Gate;
pub use hash::Hash32;
pub use ledger::{Attempt, InvoiceCall, Ledger, Reason, ReceivedSend, Status};
pub use lightning_invoice::Currency;
pub use node::{Node, Now};
pub use payee::{Behaviour, InvoiceSpec, Payee, payment_hash};

use crate::lnd::macaroon::Macaroon;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use wire::Scissors;

/// How long a shutdown waits for the streams to end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Where and how a stand-in runs.
#[derive(Clone)]
pub struct StandInOptions {
    /// Gets `tls.cert`, `tls.key`, `admin.macaroon` and, if `persist`, `state.json`.
    pub folder: PathBuf,
    /// Loopback port; 0 takes a free one, which `restart` then keeps.
    pub port: u16,
    /// Simnet or regtest; it decides the invoices' prefix.
    pub network: Currency,
    /// Names the node; its keys, and those of its payees, follow from it.
    pub name: String,
    /// Store the state in the folder, so that another process can take over after a kill.
    pub persist: bool,
    /// The node's clock: invoices' expiry and macaroons' `time-before` follow it.
    pub now: Now,
    /// The first block height, if no state is stored.
    pub height: u32,
    /// What the node can send out at first, if no state is stored.
    pub spendable_sat: u64,
}

impl StandInOptions {
    /// A node on simnet with a bitcoin to spend, at block 500.
    pub fn new(folder: impl Into<PathBuf>, now: Now) -> Self {
        Self {
            folder: folder.into(),
            port: 0,
            network: Currency::Simnet,
            name: "node".to_owned(),
            persist: false,
            now,
            height: 500,
            spendable_sat: 100_000_000,
        }
    }
}

/// A running server.
struct Run {
    scissors: Scissors,
    graceful: Option<oneshot::Sender<()>>,
    accepting: JoinHandle<()>,
    serving: JoinHandle<()>,
}

/// A node and its gRPC server. Dropping it cuts all connections.
pub struct StandIn {
    /// What tests steer and question; it lives on while the server is stopped.
    pub node: Arc<Node>,
    folder: PathBuf,
    port: AtomicU16,
    run: Mutex<Option<Run>>,
}

impl StandIn {
    /// Writes the credentials and starts to listen.
    pub async fn start(options: StandInOptions) -> io::Result<Self> {
        std::fs::create_dir_all(&options.folder)?;
        let file = options.persist.then(|| options.folder.join("state.json"));
        let resumed = file.as_ref().is_some_and(|file| file.exists());
        let fresh =
            node::State { height: options.height, spendable_msat: options.spendable_sat * 1000, ..Default::default() };
        let node = Node::new(options.network, options.now, options.name, file, fresh)?;
        let stand_in = Self {
            node: Arc::new(node),
            folder: options.folder,
            port: AtomicU16::new(options.port),
            run: Mutex::new(None),
        };
        std::fs::write(stand_in.macaroon_path(), stand_in.bake(&macaroons::admin_permissions()).to_bytes())?;
        if resumed {
            stand_in.node.resume();
            stand_in.node.claim_left_over();
        }
        stand_in.listen().await?;
        Ok(stand_in)
    }

    async fn listen(&self) -> io::Result<()> {
        let tls = wire::tls(&self.folder)?;
        let port = self.port.load(Ordering::SeqCst);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        self.port.store(listener.local_addr()?.port(), Ordering::SeqCst);
        let scissors = Scissors::new();
        let (accepted, incoming) = mpsc::channel(16);
        let (graceful, asked) = oneshot::channel();
        let accepting = tokio::spawn(wire::accept(listener, tls, scissors.clone(), accepted));
        let server = server::Server(self.node.clone());
        let serving = tokio::spawn(async move {
            let asked = async {
                // The sender is only ever dropped.
                let _ = asked.await;
            };
            let incoming = ReceiverStream::new(incoming);
            let server =
                tonic_lnd::tonic::transport::Server::builder().serve_with_incoming_shutdown(server, incoming, asked);
            if let Err(error) = server.await {
                tracing::warn!(%error, "lnd stand-in stopped");
            }
        });
        *self.run.lock().await = Some(Run { scissors, graceful: Some(graceful), accepting, serving });
        Ok(())
    }

    /// `https://127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port.load(Ordering::SeqCst))
    }

    /// The certificate to pin.
    pub fn cert_path(&self) -> PathBuf {
        self.folder.join("tls.cert")
    }

    /// A macaroon that may do everything.
    pub fn macaroon_path(&self) -> PathBuf {
        self.folder.join("admin.macaroon")
    }

    /// A macaroon for `permissions`, each `entity:action` or `uri:/package.Service/Method`.
    pub fn bake(&self, permissions: &[impl AsRef<str>]) -> Macaroon {
        self.bake_under(macaroons::ROOT_KEY_ID, permissions)
    }

    /// As [`bake`](Self::bake), one that [`revoke`](Self::revoke) takes back.
    pub fn bake_revocable(&self, permissions: &[impl AsRef<str>]) -> Macaroon {
        self.bake_under(macaroons::REVOCABLE_ROOT_KEY_ID, permissions)
    }

    /// Revokes all macaroons that can be revoked, for good.
    pub fn revoke(&self) {
        self.node.update(|state| state.revoked = true);
    }

    fn bake_under(&self, root_key_id: &str, permissions: &[impl AsRef<str>]) -> Macaroon {
        let root_key = self.node.root_key(root_key_id).expect("its macaroons were not revoked");
        let named: String = permissions.iter().map(AsRef::as_ref).collect();
        macaroons::bake(&root_key.0, root_key_id, &Hash32::of(named.as_bytes()).0, permissions)
    }

    /// Kills the server: all connections break and new ones are refused. The network lives on.
    pub async fn stop(&self) {
        if let Some(mut run) = self.run.lock().await.take() {
            run.cut();
            // Ends as canceled, and the port is free then.
            let _ = (&mut run.accepting).await;
        }
    }

    /// Shuts the server down as `lncli stop` does: streams end first, invoice streams without an error.
    pub async fn shutdown(&self) {
        let Some(mut run) = self.run.lock().await.take() else {
            return;
        };
        run.accepting.abort();
        // Ends as canceled, and new connections are refused then.
        let _ = (&mut run.accepting).await;
        // Dropping the sender ends the server once its streams have ended.
        drop(run.graceful.take());
        self.node.end_streams();
        if tokio::time::timeout(SHUTDOWN_PATIENCE, &mut run.serving).await.is_err() {
            tracing::warn!("lnd stand-in: a stream outlives the shutdown");
        }
        run.cut();
    }

    /// Starts again on the same port with the same state; what was in flight is resumed as lnd does.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        self.node.resume();
        self.listen().await
    }

    /// Makes the next start issue a new certificate, as lnd does when the old one runs out.
    pub fn expire_certificate(&self) -> io::Result<()> {
        std::fs::remove_file(self.cert_path())
    }
}

impl Run {
    fn cut(&self) {
        self.accepting.abort();
        self.scissors.cut();
        self.serving.abort();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(run) = self.run.get_mut().take() {
            run.cut();
        }
    }
}
