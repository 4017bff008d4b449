//! What an import took, and what it did not take and why.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// So many rows, and their sats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Their sats together.
    pub sats: u64,
}

impl Tally {
    pub(super) fn add(&mut self, sats: u64) {
        self.count += 1;
        self.sats = self.sats.saturating_add(sats);
    }
}

/// A row that is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// `bond`, `order`, `dispute` or `user`.
    pub what: &'static str,
    /// Its id; where that can't be read, its place in the table.
    pub id: String,
    /// Its state or status, where it can be read.
    pub state: Option<String>,
    /// Its sats, where they can be read.
    pub sats: Option<u64>,
    /// Why it is not taken over.
    pub why: String,
}

/// Counts and sats of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The mostrod database.
    pub path: String,
    /// Every bond that can be read, taken or not, by state.
    pub bonds: BTreeMap<String, Tally>,
    /// Bonds that are taken over, by state.
    pub bonds_taken: BTreeMap<String, Tally>,
    /// Orders in dispute that are taken over; their sats are the trades'.
    pub orders_in_dispute: Tally,
    /// Orders whose escrow is settled and whose buyer is unpaid; their sats are what he is owed.
    pub unpaid_trades: Tally,
    /// How many disputes, solvers and parties, and payment hashes are taken over.
    pub also_taken: BTreeMap<&'static str, u64>,
    /// Open, but not mostrod's debts yet: listed with their sats, not taken over.
    pub listed: Vec<Item>,
    /// Range orders and rows that make no sense: left out.
    pub left_out: Vec<Item>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, what: &str, tally: &Tally| {
            writeln!(f, "  {what:<26} {:>6} {:>14} sats", tally.count, tally.sats)
        };
        writeln!(f, "taken over from {}", self.path)?;
        for (state, tally) in &self.bonds_taken {
            line(f, &format!("bonds {state}"), tally)?;
        }
        line(f, "orders in dispute", &self.orders_in_dispute)?;
        line(f, "trades with unpaid buyers", &self.unpaid_trades)?;
        for (what, count) in &self.also_taken {
            writeln!(f, "  {what:<26} {count:>6}")?;
        }
        writeln!(f, "all bonds there")?;
        for (state, tally) in &self.bonds {
            line(f, &format!("bonds {state}"), tally)?;
        }
        for (heading, items) in [("not taken over, still open", &self.listed), ("left out", &self.left_out)] {
            writeln!(f, "{heading}: {}", items.len())?;
            for item in items {
                let state = item.state.as_deref().unwrap_or("?");
                let sats = item.sats.map_or_else(|| "?".into(), |sats| sats.to_string());
                writeln!(f, "  {} {} {state} {sats} sats: {}", item.what, item.id, item.why)?;
            }
        }
        Ok(())
    }
}
