//! A gate before another lnd, so that calls to a real one, too, can be made to go wrong on their way.
//!
//! It ends the TLS connection under a certificate of its own, passes each call on as it came, macaroon and all, and
//! hands the answer back. What it does not pass on, lnd never sees.

use super::faults::{self, Fault, Faults};
use super::wire::{self, Scissors};
use crate::lnd;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic_lnd::tonic::body::Body;
use tonic_lnd::tonic::codegen::{BoxFuture, Service, http};
use tonic_lnd::tonic::transport::{Channel, Server};

/// An open gate. Dropping it cuts all connections through it.
pub struct Gate {
    folder: PathBuf,
    port: u16,
    faults: Arc<Mutex<Faults>>,
    scissors: Scissors,
    tasks: [JoinHandle<()>; 2],
}

impl Gate {
    /// Opens a gate to the lnd at `https://HOST:PORT` that holds the certificate of that file. The gate's own
    /// certificate goes into the folder.
    ///
    /// # Errors
    /// When the address is of another form, or the folder can't be written.
    pub async fn open(folder: &Path, lnd: &str, certificate: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let tls = wire::tls(folder)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (faults, scissors) = (Arc::<Mutex<Faults>>::default(), Scissors::new());
        let (accepted, incoming) = mpsc::channel(16);
        let channel = lnd::open_channel(lnd, certificate.to_owned()).map_err(io::Error::other)?;
        let passing = Passing { lnd: channel, faults: Arc::clone(&faults) };
        let accepting = tokio::spawn(wire::accept(listener, tls, scissors.clone(), accepted));
        let serving = tokio::spawn(async move {
            let incoming = ReceiverStream::new(incoming);
            if let Err(error) = Server::builder().serve_with_incoming(passing, incoming).await {
                tracing::warn!(%error, "the gate before lnd stopped");
            }
        });
        Ok(Self { folder: folder.to_owned(), port, faults, scissors, tasks: [accepting, serving] })
    }

    /// `https://127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate to pin.
    pub fn cert_path(&self) -> PathBuf {
        self.folder.join("tls.cert")
    }

    /// Makes the next `times` calls of `method` (its last path segment, or `*`) go wrong.
    pub fn inject(&self, method: &str, fault: Fault, times: u32) {
        lock(&self.faults).add(method, fault, times);
    }

    /// Forgets all faults that are still to come.
    pub fn clear_faults(&self) {
        lock(&self.faults).clear();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.scissors.cut();
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(faults: &Mutex<Faults>) -> MutexGuard<'_, Faults> {
    faults.lock().expect("no holder of the faults panics")
}

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;

/// Passes calls on.
#[derive(Clone)]
struct Passing {
    lnd: Channel,
    faults: Arc<Mutex<Faults>>,
}

impl Service<HttpRequest> for Passing {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<HttpResponse, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let fault = lock(&self.faults).take(request.uri().path());
        let lnd = self.lnd.clone();
        Box::pin(async move { Ok(pass(lnd, request, fault).await) })
    }
}

async fn pass(mut lnd: Channel, request: HttpRequest, fault: Option<Fault>) -> HttpResponse {
    let connection: Option<Scissors> = request.extensions().get().cloned();
    let fault = match faults::before_acting(fault, connection.as_ref()).await {
        Ok(fault) => fault,
        Err(status) => return status.into_http(),
    };
    let answer = async {
        std::future::poll_fn(|context| Service::poll_ready(&mut lnd, context)).await?;
        lnd.call(request).await
    };
    match answer.await {
        // lnd sends headers with its first word only: it has acted.
        Ok(response) => {
            faults::after_acting(fault, connection.as_ref()).await;
            response
        }
        // lnd is away, and so is the way to it.
        Err(error) => {
            tracing::debug!(%error, "the gate finds no lnd");
            faults::cut(connection.as_ref());
            std::future::pending().await
        }
    }
}
