//! What never changes once it is written: judged from one look to the next.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::engine::Run;
use crate::engine::store::Row;

use super::records::{State, named};
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
    decided: BTreeMap<&'static str, Value>,
    owed_sats: Option<u64>,
}

impl Frozen {
    /// Looks at all bonds and runs.
    pub fn look(&mut self, records: &Records) -> Vec<Violation> {
        let mut found: Vec<Violation> = records.bonds.iter().flat_map(|(id, row)| self.bond(id, row)).collect();
        found.extend(records.runs.iter().flat_map(|run| self.run(run)));
        found
    }

    /// Looks at a bond's row.
    pub fn bond(&mut self, id: &str, row: &Row) -> Vec<Violation> {
        let mut found = Found::default();
        let known = self.bonds.entry(id.to_owned()).or_default();
        let claimed = row.get("slashed_at").is_some_and(|at| !at.is_null());
        let recipient = claimed.then_some("payout_recipient");
        for column in WRITTEN_ONCE.into_iter().chain(recipient) {
            let now = row.get(column).cloned().unwrap_or(Value::Null);
            match known.get(column) {
                None if now.is_null() && column != "payout_recipient" => {}
                None => drop(known.insert(column, now)),
                // A secret is not quoted.
                Some(before) => found.unless(*before == now, Invariant::Frozen, &format!("bonds {id}"), || {
                    if column == "payout_preimage" {
                        "its proof of payment has changed".to_owned()
                    } else {
                        format!("{column} was {before} and is {now}")
                    }
                }),
            }
        }
        found.0
    }

    /// Looks at a run's row.
    pub fn run(&mut self, run: &Run) -> Vec<Violation> {
        let mut found = Found::default();
        let row = named(run);
        let state: Option<Row> = serde_json::from_str(&run.state).ok();
        let decided: BTreeMap<&'static str, Value> = DECIDED_AT_START
            .into_iter()
            .filter_map(|field| Some((field, state.as_ref()?.get(field)?.clone())))
            .collect();
        let owed_sats = State::of(run).debt().map(|debt| debt.owed_sats);
        let now = Seen { revision: run.revision, token: run.token, decided, owed_sats };
        if let Some(before) = self.runs.get(&run.seq) {
            found.unless(now.revision >= before.revision, Invariant::Frozen, &row, || {
                format!("its revision was {} and is {}", before.revision, now.revision)
            });
            found.unless(now.token >= before.token, Invariant::Frozen, &row, || {
                format!("its fencing token was {} and is {}", before.token, now.token)
            });
            found.unless(now.decided == before.decided, Invariant::Frozen, &row, || {
                format!("decided was {:?} and is {:?}", before.decided, now.decided)
            });
            found.unless(now.owed_sats == before.owed_sats, Invariant::Frozen, &row, || {
                format!("owed were {:?} sats and are {:?}", before.owed_sats, now.owed_sats)
            });
        }
        self.runs.insert(run.seq, now);
        found.0
    }
}
