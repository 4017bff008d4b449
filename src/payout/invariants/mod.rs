//! What always holds of a database, and of what lnd and the relays have seen, as pure checks.
//!
//! [`check`] reads nothing: it judges [`Records`], all rows of one moment. [`Frozen`] judges two
//! moments. [`outside`] holds the records against evidence that the daemon can't have written
//! itself: what lnd settled and paid, what the relays have.
//!
//! A violation is a defect of this program, or a database that somebody else has written to.

mod debts;
mod ends;
mod frozen;
mod open;
mod outside;
mod records;

#[cfg(test)]
mod tests;

use std::fmt;

pub use frozen::Frozen;
pub use outside::{Asked, Outside, Told, notices, one_effect, outside};
pub use records::Records;

/// What always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A debt is paid by one payment at most, of no more than is owed.
    PaidOnce,
    /// Nothing is spent for a bond or a trade whose HTLC the node has not claimed.
    ClaimedFirst,
    /// The node's share and the counterparty's are the bond.
    SharesAddUp,
    /// The time of the slash, the recipient and the split never change, and revisions only grow.
    Frozen,
    /// No end without its evidence.
    Evidence,
    /// A message that was taken has one effect.
    OneEffect,
    /// What is said was decided in a commit, and is said until somebody has it.
    Notices,
    /// Every open run has a timer, a signal, a lease or a person to wait for.
    NothingForgotten,
    /// While a payment of a debt is undecided nothing else is done about the debt.
    UndecidedBlocks,
    /// A row of the workflow's tables says what the run knows.
    RowsFollowRuns,
}

impl Invariant {
    /// The name, for reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaidOnce => "paid-once",
            Self::ClaimedFirst => "claimed-first",
            Self::SharesAddUp => "shares-add-up",
            Self::Frozen => "frozen",
            Self::Evidence => "evidence",
            Self::OneEffect => "one-effect",
            Self::Notices => "notices",
            Self::NothingForgotten => "nothing-forgotten",
            Self::UndecidedBlocks => "undecided-blocks",
            Self::RowsFollowRuns => "rows-follow-runs",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that must never be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// What it breaks.
    pub invariant: Invariant,
    /// The table and the key of the row where it shows.
    pub row: String,
    /// What was found there: one line, no secrets.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.invariant, self.row, self.found)
    }
}

/// Violations under collection.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, invariant: Invariant, row: impl fmt::Display, found: impl Into<String>) {
        self.0.push(Violation { invariant, row: row.to_string(), found: found.into() });
    }

    /// Notes a violation unless `holds`; nothing is put into words before.
    fn unless(&mut self, holds: bool, invariant: Invariant, row: impl fmt::Display, found: impl FnOnce() -> String) {
        if !holds {
            self.add(invariant, row, found());
        }
    }
}

/// Everything in these rows that must never be; nothing, if all is well.
pub fn check(records: &Records) -> Vec<Violation> {
    let mut found = Found::default();
    debts::check(records, &mut found);
    ends::check(records, &mut found);
    open::check(records, &mut found);
    found.0
}
