//! The socket beside the database file by which `workflowctl` tells that it has written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::engine::Store;

use super::AppError;

/// Where the socket of a database is.
pub fn socket_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".sock");
    name.into()
}

/// Listens until `stop` turns true: whoever connects has the store tell of a change.
pub(super) async fn listen(
    database: PathBuf,
    store: Arc<dyn Store>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), AppError> {
    let path = socket_of(&database);
    // Left by a daemon that was killed; the lock on the database says that it is dead.
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            warn!("requests of workflowctl are seen late: {} can't be made: {error}", path.display());
            let _ = stop.wait_for(|stop| *stop).await;
            return Ok(());
        }
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) => store.announce(),
                Err(error) => debug!("a connection to the socket failed: {error}"),
            },
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    let _ = std::fs::remove_file(&path);
    Ok(())
}
