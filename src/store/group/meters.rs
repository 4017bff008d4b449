//! What the writer measures of its transactions.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Bounds in requests of one transaction.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Bounds in seconds: from a write to a fast disk to one that holds everything up.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// Transactions since the start that wrote something. Clones share them.
#[derive(Debug, Clone)]
pub struct CommitMeters {
    size: Histogram,
    seconds: Histogram,
}

impl Default for CommitMeters {
    fn default() -> Self {
        Self { size: Histogram::new(SIZES), seconds: Histogram::new(SECONDS) }
    }
}

impl CommitMeters {
    /// Shows them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests (commits, claims, renewals, deliveries) written by one transaction";
        registry.register("commit_batch_size", help, self.size.clone());
        let help = "How long a transaction took, its sync to the disk or the server included";
        registry.register_with_unit("commit", help, Unit::Seconds, self.seconds.clone());
    }

    pub(super) fn committed(&self, requests: usize, took: Duration) {
        self.size.observe(u32::try_from(requests).map_or(f64::MAX, f64::from));
        self.seconds.observe(took.as_secs_f64());
    }
}
