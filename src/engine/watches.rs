//! The effects that are being watched without a lease, one for a run.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// Running watches by run. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Watches(Arc<Mutex<HashMap<i64, AbortHandle>>>);

impl Watches {
    /// Begins to watch for a run, instead of what was watched for it before.
    pub(super) fn begin(&self, run: i64, watch: impl Future<Output = ()> + Send + 'static) {
        let watches = self.clone();
        let mut by_run = self.locked();
        let handle = tokio::spawn(async move {
            watch.await;
            let mut by_run = watches.locked();
            if by_run.get(&run).map(AbortHandle::id) == tokio::task::try_id() {
                by_run.remove(&run);
            }
        });
        if let Some(former) = by_run.insert(run, handle.abort_handle()) {
            former.abort();
        }
    }

    /// Ends the watch for a run.
    pub(super) fn end(&self, run: i64) {
        if let Some(watch) = self.locked().remove(&run) {
            watch.abort();
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<i64, AbortHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends all watches when the engine's loop ends, also when it is dropped half way.
pub(super) struct WatchesEnd(pub(super) Watches);

impl Drop for WatchesEnd {
    fn drop(&mut self) {
        for (_, watch) in self.0.locked().drain() {
            watch.abort();
        }
    }
}
