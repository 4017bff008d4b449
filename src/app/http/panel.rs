//! What is shown, put together as the daemon comes up: it can be asked from the first moment on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::registry::Registry;

use crate::engine::{Alarms, Clock, Store};
use crate::nostr::relays::Relays;
use crate::payout::ports::Lightning;

use super::metrics;
use super::ready::{self, Report};

/// The daemon as whoever watches it sees it.
pub(in crate::app) struct Panel {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lnd: Arc<dyn Lightning>,
    alarms: Alarms,
    relays: OnceLock<Arc<Relays>>,
    /// What counts by itself.
    counted: Mutex<Registry>,
}

impl Panel {
    pub(in crate::app) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        lnd: Arc<dyn Lightning>,
        alarms: Alarms,
    ) -> Self {
        let mut counted = metrics::registry();
        metrics::this_program(&mut counted, clock.now());
        Self { store, clock, lnd, alarms, relays: OnceLock::new(), counted: Mutex::new(counted) }
    }

    /// Shows what `register` puts into the registry, from now on.
    pub(in crate::app) fn shows(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The daemon has begun to connect to its relays.
    pub(in crate::app) fn sees(&self, relays: Arc<Relays>) {
        // There is one set of relays for as long as the daemon lives.
        let _ = self.relays.set(relays);
    }

    /// Whether what the daemon needs is there, each by its name.
    pub(super) async fn look(&self) -> Report {
        ready::look(self.store.as_ref(), self.lnd.as_ref(), self.relays.get().map(AsRef::as_ref)).await
    }

    /// All series, in Prometheus's text.
    pub(super) async fn metrics(&self) -> String {
        let mut read = metrics::registry();
        metrics::surroundings(&mut read, &self.look().await, self.relays.get().map(AsRef::as_ref));
        metrics::alarms(&mut read, &self.alarms);
        // Without a database its series are missing, and the one above says why.
        let _ = metrics::database(&mut read, self.store.as_ref(), self.clock.now()).await;
        metrics::text(&[&self.counted.lock().unwrap_or_else(PoisonError::into_inner), &read])
    }
}
