//! What never changes once it is written: judged from one look to the next.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::engine::Run;
use crate::engine::store::Row;

use super::records::named;
use super::{Found, Invariant, Records, Violation};

/// The columns of a bond that are written once, with what must be there at the latest when the
/// bond is claimed.
const WRITTEN_ONCE: [&str; 4] = ["amount_sats", "slashed_at", "node_share_sats", "payout_preimage"];

/// What a run knows from its beginning.
const DECIDED_AT_START: [&str; 3] = ["amount_sats", "node_share_sats", "recipient"];

/// Remembers what it was shown, and tells what has changed that never may. Values that a bond's
/// payout writes again and again count from the moment that it has claimed the bond.
#[derive(Debug, Default)]
pub struct Frozen {
    bonds: BTreeMap<String, BTreeMap<&'static str, Value>>,
    runs: BTreeMap<i64, Seen>,
}

/// A run as it was seen.
#[derive(Debug)]
struct Seen {
    revision: i64,
    token: i64,
    /// The state as it was written.
    text: String,
    decided: BTreeMap<&'static str, Value>,
    owed_sats: Option<u64>,
}

impl Frozen {
    /// Looks at all bonds and runs.
    pub fn look(&mut self, records: &Records) -> Vec<Violation> {
        let mut found = Found::default();
        for (id, row) in &records.bonds {
            self.bond(id, row, &mut found);
        }
        for run in &records.runs {
            self.run(records, run, &mut found);
        }
        found.0
    }

    fn bond(&mut self, id: &str, row: &Row, found: &mut Found) {
        if !self.bonds.contains_key(id) {
            self.bonds.insert(id.to_owned(), BTreeMap::new());
        }
        let Some(known) = self.bonds.get_mut(id) else { return };
        let claimed = row.get("slashed_at").is_some_and(|at| !at.is_null());
        let recipient = claimed.then_some("payout_recipient");
        for column in WRITTEN_ONCE.into_iter().chain(recipient) {
            let now = row.get(column).unwrap_or(&Value::Null);
            match known.get(column) {
                None if now.is_null() && column != "payout_recipient" => {}
                None => drop(known.insert(column, now.clone())),
                // A secret is not quoted.
                Some(before) => found.unless(before == now, Invariant::Frozen, format_args!("bonds {id}"), || {
                    if column == "payout_preimage" {
                        "its proof of payment has changed".to_owned()
                    } else {
                        format!("{column} was {before} and is {now}")
                    }
                }),
            }
        }
    }

    fn run(&mut self, records: &Records, run: &Run, found: &mut Found) {
        let row = named(run);
        if let Some(before) = self.runs.get_mut(&run.seq) {
            found.unless(run.revision >= before.revision, Invariant::Frozen, row, || {
                format!("its revision was {} and is {}", before.revision, run.revision)
            });
            found.unless(run.token >= before.token, Invariant::Frozen, row, || {
                format!("its fencing token was {} and is {}", before.token, run.token)
            });
            (before.revision, before.token) = (run.revision, run.token);
            if before.text == run.state {
                return;
            }
        }
        let state: Option<Row> = serde_json::from_str(&run.state).ok();
        let decided: BTreeMap<&'static str, Value> = DECIDED_AT_START
            .into_iter()
            .filter_map(|field| Some((field, state.as_ref()?.get(field)?.clone())))
            .collect();
        let owed_sats = records.state(run).debt().map(|debt| debt.owed_sats);
        let now = Seen { revision: run.revision, token: run.token, text: run.state.clone(), decided, owed_sats };
        if let Some(before) = self.runs.get(&run.seq) {
            found.unless(now.decided == before.decided, Invariant::Frozen, row, || {
                format!("decided was {:?} and is {:?}", before.decided, now.decided)
            });
            found.unless(now.owed_sats == before.owed_sats, Invariant::Frozen, row, || {
                format!("owed were {:?} sats and are {:?}", before.owed_sats, now.owed_sats)
            });
        }
        self.runs.insert(run.seq, now);
    }
}
