//! Whether the database, lnd and the relays are there.

use std::time::Duration;

use serde_json::Value;

use crate::engine::Store;
use crate::nostr::relays::Relays;
use crate::payout::ports::Lightning;

/// How long each may take to answer. Who does not answer within it is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// `ok`, or why it can't be used: one line without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency(pub(super) Result<(), String>);

impl Dependency {
    fn told(&self) -> &str {
        self.0.as_ref().err().map_or("ok", String::as_str)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) database: Dependency,
    pub(super) lnd: Dependency,
    pub(super) relays: Dependency,
}

impl Report {
    /// All three, by name.
    pub(super) const fn each(&self) -> [(&'static str, &Dependency); 3] {
        [("database", &self.database), ("lnd", &self.lnd), ("relays", &self.relays)]
    }

    /// As it is answered.
    pub(super) fn json(&self) -> String {
        let each = self.each().map(|(name, dependency)| (name.to_owned(), dependency.told().into()));
        format!("{}\n", Value::Object(each.into_iter().collect()))
    }

    /// Whether all are there.
    pub(super) fn is_ready(&self) -> bool {
        self.each().iter().all(|(_, dependency)| dependency.0.is_ok())
    }
}

/// Asks all of them at once; `relays` are none before the daemon connects to any.
pub(super) async fn look(store: &dyn Store, lnd: &dyn Lightning, relays: Option<&Relays>) -> Report {
    let database = within(async { store.next_due().await.map(drop).map_err(|error| error.0) });
    let lightning = within(async {
        match lnd.info().await {
            Ok(info) if info.synced_to_chain => Ok(()),
            Ok(_) => Err("it is not synced to its chain".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    });
    let (database, lnd) = tokio::join!(database, lightning);
    Report { database, lnd, relays: Dependency(connected(relays)) }
}

async fn within(asked: impl Future<Output = Result<(), String>>) -> Dependency {
    let no_answer = || Err(format!("no answer within {} s", PATIENCE.as_secs()));
    Dependency(tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| no_answer()))
}

fn connected(relays: Option<&Relays>) -> Result<(), String> {
    let Some(relays) = relays else { return Err("not connected yet".to_owned()) };
    let (connected, needed) = (relays.connected().len(), relays.quorum());
    if connected >= needed {
        return Ok(());
    }
    Err(format!("{connected} of {} connected, {needed} needed", relays.names().len()))
}
