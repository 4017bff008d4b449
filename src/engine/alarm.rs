//! Alarms: what an operator must see. One is an ERROR line with `alarm=<kind>`, a counter, and a
//! line in the doctor's report.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::error;

/// Raises and counts alarms. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Alarms {
    /// Raises an alarm of that kind; the text is one line without secrets.
    pub fn raise(&self, kind: &'static str, text: &str) {
        error!(alarm = kind, "{text}");
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// How many of each kind were raised since the start.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
