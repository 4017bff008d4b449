//! TLS connections that can be cut at any time.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::server::TlsStream;
use tonic_lnd::tonic::transport::server::Connected;

/// Cuts one connection.
#[derive(Clone)]
pub(super) struct Scissors(Arc<watch::Sender<bool>>);

impl Scissors {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(super) fn cut(&self) {
        self.0.send_replace(true);
    }

    /// Completes once it is cut.
    async fn until_cut(self) {
        // The sender lives in this value.
        let _ = self.0.subscribe().wait_for(|cut| *cut).await;
    }
}

/// A connection that breaks once it, or the whole server, is cut.
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    scissors: Scissors,
    broken: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Wire {
    fn new(stream: TlsStream<TcpStream>, server: Scissors) -> Self {
        let scissors = Scissors::new();
        let own = scissors.clone();
        let broken = Box::pin(async move {
            tokio::select! {
                () = own.until_cut() => {}
                () = server.until_cut() => {}
            }
        });
        Self { stream, scissors, broken }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.broken.as_mut().poll(context) {
            Poll::Ready(()) => {
                self.broken = Box::pin(std::future::ready(()));
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Wire {
    type ConnectInfo = Scissors;

    fn connect_info(&self) -> Scissors {
        self.scissors.clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Makes `tls.cert` and `tls.key` in the folder, as lnd does, unless they are there.
pub(super) fn tls(folder: &Path) -> io::Result<TlsAcceptor> {
    let (cert, key) = (folder.join("tls.cert"), folder.join("tls.key"));
    if !cert.exists() {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        std::fs::write(&cert, made.cert.pem())?;
    }
    let chain = vec![CertificateDer::from_pem_file(cert).map_err(io::Error::other)?];
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections and hands on those that shake hands, until nobody takes them.
pub(super) async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    server: Scissors,
    accepted: mpsc::Sender<io::Result<Wire>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        // As Go's sockets are: two answers at once must not wait for each other's acknowledgment.
        let _ = tcp.set_nodelay(true);
        let (tls, server, accepted) = (tls.clone(), server.clone(), accepted.clone());
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(tcp).await {
                // A server that has stopped takes no connection.
                let _ = accepted.send(Ok(Wire::new(stream, server))).await;
            }
        });
    }
}
