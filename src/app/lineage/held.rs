//! What is told of a database that was restored, and what an operator can say to it. Both lie in
//! the database itself, so that a tool beside the daemon reads and writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::engine::{CommitError, RunId, Store, StoreError, Timestamp};
use crate::payout::restored::Found;

use super::super::facts;

/// The fact that holds a [`Held`]; empty when nothing is held.
pub(super) const HELD: &str = "restored";
/// The fact that holds a [`Word`]; empty once it was heard.
pub(super) const WORD: &str = "restored-word";

/// Why no run is driven, and what would change that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Since when, Unix milliseconds.
    pub since: i64,
    /// The newest commit that the database had then, Unix milliseconds.
    pub last_commit: Option<i64>,
    /// By what it is known, one sentence each.
    pub evidence: Vec<String>,
    /// It takes an operator's word to go on: the part that is missing here may be another daemon's,
    /// which may be at work.
    pub needs_word: bool,
    /// Payments at lnd that must be assigned first.
    pub found: Vec<Found>,
    /// What else it waits for.
    pub waits_for: Vec<String>,
    /// Why the last word was not enough.
    pub refused: Option<String>,
}

impl Held {
    /// All of it in one paragraph.
    pub fn paragraph(&self) -> String {
        let mut said = vec![
            "This database is not the one that was last seen committed: no run asks for, takes or pays an invoice."
                .to_owned(),
        ];
        said.extend(self.evidence.iter().map(|evidence| format!("{evidence}.")));
        for found in &self.found {
            let whose: Vec<String> =
                found.runs.iter().map(|run| format!("run {run}")).chain(found.others.iter().cloned()).collect();
            said.push(format!(
                "lnd {} {} sats under the hash {}, unknown here and just what {} owes.",
                if found.succeeded { "has paid" } else { "is paying" },
                found.sats,
                found.hash,
                whose.join(" or ")
            ));
        }
        said.extend(self.waits_for.iter().map(|wait| format!("It waits for {wait}.")));
        if self.needs_word || !self.found.is_empty() {
            said.push(
                "Make sure that no other daemon works on a copy, then `workflowctl reconcile --reason …`, with \
                 `--paid HASH=RUN` or `--not-ours HASH` for each such payment."
                    .to_owned(),
            );
        }
        said.extend(self.refused.iter().map(|refused| format!("The last word was not enough: {refused}.")));
        said.join(" ")
    }
}

/// An operator's word that a restored database may go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, Unix milliseconds.
    pub at: i64,
    /// Payment hashes, each with the run whose debt it paid.
    pub paid: BTreeMap<String, RunId>,
    /// Payment hashes of payments that paid no debt of this database.
    pub not_ours: BTreeSet<String>,
}

/// What is held; none when the database is as it was seen.
///
/// # Errors
/// When the database can't be read.
pub async fn held(store: &dyn Store) -> Result<Option<Held>, StoreError> {
    read(store, HELD).await
}

/// Asks the daemon to go on; it says in [`held`] why it can't.
///
/// # Errors
/// When the database does not take it.
pub async fn ask(store: &dyn Store, at: Timestamp, word: &Word) -> Result<(), CommitError> {
    write(store, at, WORD, Some(word)).await
}

pub(super) async fn word(store: &dyn Store) -> Result<Option<Word>, StoreError> {
    read(store, WORD).await
}

pub(super) async fn read<T: for<'de> Deserialize<'de>>(store: &dyn Store, name: &str) -> Result<Option<T>, StoreError> {
    let Some(text) = facts::read(store, name).await?.filter(|text| !text.is_empty()) else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| StoreError(format!("the fact `{name}`: {error}")))
}

pub(super) async fn write<T: Serialize>(
    store: &dyn Store,
    at: Timestamp,
    name: &str,
    value: Option<&T>,
) -> Result<(), CommitError> {
    let text = match value.map(serde_json::to_string).transpose() {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => return Err(CommitError::Conflict(error.to_string())),
    };
    facts::write(store, at, name, &text).await
}
