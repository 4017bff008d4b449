//! How a connection to lnd is made: address, files, TLS, and at most one attempt a second.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::client::TlsStream;
use tonic_lnd::tonic::codegen::http::Uri;

use super::pin;

/// How long a connection may take to be made, TLS included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest time between two attempts.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Why there is no connection. One line each, no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotConnected {
    /// A file can't be read.
    #[error("{} can't be read: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's word.
        why: String,
    },
    /// The certificate's file holds none.
    #[error("{} holds no PEM certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The macaroon's file holds none.
    #[error("{} holds no macaroon of version 2", .0.display())]
    NoMacaroon(PathBuf),
    /// Nothing listens there.
    #[error("connection to lnd at {0} refused: it is not running, or at another address")]
    Refused(String),
    /// The address can't be reached.
    #[error("lnd at {address} can't be reached: {why}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The operating system's word.
        why: String,
    },
    /// It takes connections and then says nothing.
    #[error("{0} takes connections but does not answer")]
    Mute(String),
    /// The server holds another certificate than the pinned one.
    #[error("lnd at {0} shows another certificate than the file: wrong file, or another server")]
    OtherCertificate(String),
    /// The server speaks no TLS that fits, or no HTTP/2.
    #[error("{address} does not speak HTTP/2 over TLS: {why}")]
    NotTls {
        /// Host and port.
        address: String,
        /// What went wrong.
        why: String,
    },
}

/// Where lnd listens, as the setting says it, is not of the form `https://HOST:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lnd's address must be https://HOST:PORT")]
pub struct BadAddress;

/// Where lnd listens and the certificate that it must hold.
#[derive(Debug)]
pub(super) struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
    certificate: PathBuf,
}

impl Target {
    pub(super) fn new(address: &str, certificate: PathBuf) -> Result<Self, BadAddress> {
        let uri: Uri = address.parse().map_err(|_| BadAddress)?;
        let plain = uri.path() == "/" && uri.query().is_none() && !address.contains('@');
        if uri.scheme_str() != Some("https") || !plain {
            return Err(BadAddress);
        }
        let (host, port) = uri.host().zip(uri.port_u16()).ok_or(BadAddress)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| BadAddress)?;
        Ok(Self { host, port, name, certificate })
    }

    /// `HOST:PORT`, an IPv6 address in brackets.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, NotConnected> {
        let pem = read(&self.certificate).await?;
        let certificate =
            pin::certificate_of(&pem).ok_or_else(|| NotConnected::NoCertificate(self.certificate.clone()))?;
        let config = pin::client_config(certificate).map_err(|error| self.not_tls(&error))?;
        timeout(CONNECT_TIMEOUT, self.open(config)).await.unwrap_or_else(|_| Err(NotConnected::Mute(self.authority())))
    }

    async fn open(&self, config: rustls::ClientConfig) -> Result<TlsStream<TcpStream>, NotConnected> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => NotConnected::Refused(self.authority()),
            _ => NotConnected::Unreachable { address: self.authority(), why: error.to_string() },
        })?;
        // Without it small requests wait for acknowledgments; the connection works either way.
        let _ = tcp.set_nodelay(true);
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|error| self.tls_failure(&error))?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2".as_slice()) {
            return Err(NotConnected::NotTls { address: self.authority(), why: "no HTTP/2".to_owned() });
        }
        Ok(tls)
    }

    fn tls_failure(&self, error: &io::Error) -> NotConnected {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_)) => NotConnected::OtherCertificate(self.authority()),
            _ => self.not_tls(error),
        }
    }

    fn not_tls(&self, error: &dyn std::error::Error) -> NotConnected {
        NotConnected::NotTls { address: self.authority(), why: error.to_string() }
    }
}

/// Reads one of the two files that lnd writes.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, NotConnected> {
    tokio::fs::read(path)
        .await
        .map_err(|error| NotConnected::File { path: path.to_owned(), why: error.kind().to_string() })
}

/// Makes the connections of one channel; lnd's certificate is read again for each.
///
/// An attempt that fails is the answer to every call until the next attempt is due, so that callers learn at once why
/// nothing works and lnd is asked at most once a second however many they are.
pub(super) struct Connector(Arc<Mutex<Attempts>>);

struct Attempts {
    target: Target,
    pauses: ExponentialBackoff,
    not_before: Instant,
    failure: Option<NotConnected>,
}

impl Connector {
    pub(super) fn new(target: Target) -> Self {
        let mut pauses = ExponentialBackoff {
            initial_interval: SHORTEST_PAUSE,
            max_interval: LONGEST_PAUSE,
            multiplier: 2.0,
            randomization_factor: 0.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        pauses.reset();
        Self(Arc::new(Mutex::new(Attempts { target, pauses, not_before: Instant::now(), failure: None })))
    }
}

impl Attempts {
    async fn next(&mut self) -> Result<TlsStream<TcpStream>, NotConnected> {
        if Instant::now() < self.not_before {
            if let Some(failure) = &self.failure {
                return Err(failure.clone());
            }
            sleep_until(self.not_before).await;
        }
        self.not_before = Instant::now() + SHORTEST_PAUSE;
        match self.target.connect().await {
            Ok(stream) => {
                self.failure = None;
                self.pauses.reset();
                Ok(stream)
            }
            Err(failure) => {
                tracing::debug!(%failure, "not connected to lnd");
                self.failure = Some(failure.clone());
                self.not_before = Instant::now() + self.pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
                Err(failure)
            }
        }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = NotConnected;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NotConnected>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _target: Uri) -> Self::Future {
        let attempts = Arc::clone(&self.0);
        Box::pin(async move { attempts.lock().await.next().await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests;
