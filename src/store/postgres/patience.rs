//! How long a server that does not answer is waited for.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// A server that is restarted, or whose address moves to another one, is away for less.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One wait for the server, made of growing pauses.
pub(super) struct Patience(ExponentialBackoff);

impl Patience {
    /// One that ends after so long.
    pub(super) fn of(whole: Duration) -> Self {
        Self(ExponentialBackoff {
            current_interval: Duration::from_millis(50),
            initial_interval: Duration::from_millis(50),
            multiplier: 2.0,
            max_interval: Duration::from_secs(2),
            max_elapsed_time: Some(whole),
            ..ExponentialBackoff::default()
        })
    }

    /// One that never ends.
    pub(super) fn endless() -> Self {
        let mut patience = Self::of(PATIENCE);
        patience.0.max_elapsed_time = None;
        patience
    }

    /// Pauses before the next attempt; `false` when there shall be none.
    pub(super) async fn wait(&mut self) -> bool {
        match self.0.next_backoff() {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                true
            }
            None => false,
        }
    }
}
