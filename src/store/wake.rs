//! A nudge from another process: `workflowctl` has written a request into the database, and the
//! daemon that serves it should look at once.
//!
//! It is a Unix socket beside the database file, `FILE.sock`; any line on it is a nudge. Nothing
//! depends on it: what is asked is in the database, and a daemon that starts later finds it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// How long a connection may stay silent, and a nudge may take to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that one connection may say.
const MOST_BYTES: u64 = 256;

/// The socket beside a database file.
pub fn socket_beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".sock");
    PathBuf::from(name)
}

/// Nudges the daemon that listens there.
///
/// # Errors
/// When nobody listens: then nobody is there to be woken, which is no failure of what was asked.
pub async fn wake(socket: &Path) -> io::Result<()> {
    let nudge = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"wake\n").await?;
        stream.shutdown().await
    };
    tokio::time::timeout(PATIENCE, nudge).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The daemon's side: listens until it is dropped, and takes the socket away then.
#[derive(Debug)]
pub struct WakeListener {
    socket: PathBuf,
    listening: JoinHandle<()>,
}

impl WakeListener {
    /// Calls `woken` for each line that comes in. The caller has the database for itself, so that a
    /// socket that is there already is a dead daemon's and is replaced. Only the owner may connect.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn listen(socket: &Path, woken: impl Fn() + Send + Sync + Clone + 'static) -> io::Result<Self> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        std::fs::set_permissions(socket, Permissions::from_mode(0o600))?;
        let listening = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, woken.clone()))),
                    // Too many open files, most likely: others must close theirs first.
                    Err(_) => tokio::time::sleep(PATIENCE).await,
                }
            }
        });
        Ok(Self { socket: socket.to_owned(), listening })
    }
}

impl Drop for WakeListener {
    fn drop(&mut self) {
        self.listening.abort();
        // Whoever finds it later replaces it.
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn serve(stream: UnixStream, woken: impl Fn()) {
    let mut lines = BufReader::new(stream.take(MOST_BYTES));
    let mut line = String::new();
    while let Ok(Ok(1..)) = tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await {
        woken();
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_nudge_arrives_and_the_socket_goes_with_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let socket = socket_beside(&folder.path().join("bondflow.db"));
        assert!(socket.ends_with("bondflow.db.sock"));
        assert!(wake(&socket).await.is_err());
        std::fs::write(&socket, "a dead daemon's").unwrap();

        let (woken, mut nudges) = mpsc::unbounded_channel();
        let listener = WakeListener::listen(&socket, move || woken.send(()).unwrap()).unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        for _ in 0..2 {
            wake(&socket).await.unwrap();
            nudges.recv().await.unwrap();
        }
        drop(listener);
        assert!(!socket.exists());
    }
}
