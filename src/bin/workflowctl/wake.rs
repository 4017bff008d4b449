//! Nudging the daemon: what is asked is in the database, and a daemon that is up sees it at once
//! when it is told so through the Unix socket beside the database file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// How long a nudge may take: it is a courtesy.
const PATIENCE: Duration = Duration::from_secs(5);

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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_nudge_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let socket = socket_beside(&folder.path().join("bondflow.db"));
        assert!(socket.ends_with("bondflow.db.sock"));
        assert!(wake(&socket).await.is_err());
        let listener = UnixListener::bind(&socket).unwrap();
        let (nudged, accepted) = tokio::join!(wake(&socket), listener.accept());
        nudged.unwrap();
        let mut said = String::new();
        accepted.unwrap().0.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "wake\n");
    }
}
