//! What the service manager is told: when the daemon works, reloads and stops, and that it is alive.
//! Without one nobody is told anything.

use std::sync::Arc;
use std::time::Duration;

use bondflow::engine::{Store, Timestamp};
use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tracing::warn;

/// The daemon works.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("at work")]);
}

/// It reads its settings again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!("the service manager is not told of the reload: {error}"),
    }
}

/// It finishes what is under way, and ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// Tells, three times within the time that the service manager gives, that the daemon is alive: the
/// database's one writer has answered, were it only to say that its server is away.
pub fn alive(store: Arc<dyn Store>) -> Option<JoinHandle<()>> {
    let period = sd_notify::watchdog_enabled()? / 3;
    Some(tokio::spawn(async move {
        loop {
            if answers(store.as_ref(), period).await {
                tell(&[NotifyState::Watchdog]);
            }
            tokio::time::sleep(period).await;
        }
    }))
}

/// Whether the writer answers a request that changes nothing: nobody has leases of that name.
async fn answers(store: &dyn Store, within: Duration) -> bool {
    tokio::time::timeout(within, store.renew("nobody", Timestamp(0), Timestamp(0))).await.is_ok()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("the service manager can't be told: {error}");
    }
}
