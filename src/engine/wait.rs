//! What the engine's loops wait for.

use tokio::sync::{broadcast, watch};

use super::store::Change;

/// Waits for a change of that kind; a receiver that fell behind counts as told.
pub(super) async fn changed(changes: &mut broadcast::Receiver<Change>, kind: Change) {
    use broadcast::error::RecvError;
    loop {
        match changes.recv().await {
            Ok(change) if change == kind => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Waits until `stop` turns true; nobody being left who could turn it counts as that.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
