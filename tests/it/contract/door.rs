//! A door before a node: open, shut, or with nobody behind it. It counts who comes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A port of its own on the way to a node.
pub struct Door {
    node: SocketAddr,
    port: u16,
    came: Arc<AtomicUsize>,
    standing: Option<JoinHandle<()>>,
}

impl Door {
    /// A shut door before the node at `https://127.0.0.1:PORT`.
    pub async fn before(address: &str) -> Self {
        let node = address.trim_start_matches("https://").parse().unwrap();
        // Bound once, so that the port is one that was free.
        let port = listener(0).await.local_addr().unwrap().port();
        Self { node, port, came: Arc::default(), standing: None }
    }

    /// `https://127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// How many connections were made since it was shut last.
    pub fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// Connections are refused.
    pub async fn shut(&mut self) {
        if let Some(standing) = self.standing.take() {
            standing.abort();
            // Ends as canceled, and the port is free then.
            let _ = standing.await;
        }
        self.came.store(0, Ordering::SeqCst);
    }

    /// Connections lead to the node.
    pub async fn open(&mut self) {
        let node = self.node;
        self.stand(move |mut stream| async move {
            if let Ok(mut way) = TcpStream::connect(node).await {
                // However it ends, it has ended.
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut way).await;
            }
        })
        .await;
    }

    /// Connections are taken, and nobody says a word.
    pub async fn nobody_answers(&mut self) {
        self.stand(|stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
    }

    async fn stand<F>(&mut self, serve: impl Fn(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.shut().await;
        let (listener, came) = (listener(self.port).await, Arc::clone(&self.came));
        self.standing = Some(tokio::spawn(async move {
            let mut visits = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                came.fetch_add(1, Ordering::SeqCst);
                visits.spawn(serve(stream));
            }
        }));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(standing) = &self.standing {
            standing.abort();
        }
    }
}

async fn listener(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap()
}
