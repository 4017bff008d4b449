//! The rows that the invariants speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::engine::store::{Row, RunFilter, Table};
use crate::engine::{Run, Signal, Store, StoreError};
use crate::payout::bond_payout::{self, BondPayout};
use crate::payout::books::BondState;
use crate::payout::debt::Debt;
use crate::payout::order_resolution::{self, OrderResolution};
use crate::payout::tables::{BONDS, HASHES, ORDERS, PAYMENTS};
use crate::payout::trade_payout::{self, TradePayout};

/// The rows of one moment. The fields are public so that a test can break what it likes.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// All runs.
    pub runs: Vec<Run>,
    /// The signals that a run has not consumed, by the run's number.
    pub mail: BTreeMap<i64, Vec<Signal>>,
    /// Bonds by id.
    pub bonds: BTreeMap<String, Row>,
    /// Orders by id: those of the bonds and of the runs.
    pub orders: BTreeMap<String, Row>,
    /// Payments of the runs, by hash.
    pub payments: BTreeMap<String, Row>,
    /// The rows of the hashes that the runs' debts name, by hash.
    pub hashes: BTreeMap<String, Row>,
    states: States,
}

/// The states that were read last, by the run's number, with the texts that they were read from.
#[derive(Debug, Clone, Default)]
struct States(Arc<Mutex<BTreeMap<i64, Read>>>);

#[derive(Debug)]
struct Read {
    workflow: String,
    text: String,
    state: Arc<State>,
}

/// A run's state, read.
#[derive(Debug)]
pub(super) enum State {
    Bond(Box<BondPayout>),
    Trade(Box<TradePayout>),
    Resolution(OrderResolution),
    /// A workflow without a debt.
    Other,
    /// It is not what its workflow writes.
    Unreadable,
}

impl State {
    fn of(run: &Run) -> Self {
        fn read<T: serde::de::DeserializeOwned>(run: &Run, state: impl FnOnce(T) -> State) -> State {
            serde_json::from_str(&run.state).map_or(State::Unreadable, state)
        }
        match run.pin.workflow.as_str() {
            bond_payout::NAME => read(run, |state| Self::Bond(Box::new(state))),
            trade_payout::NAME => read(run, |state| Self::Trade(Box::new(state))),
            order_resolution::NAME => read(run, Self::Resolution),
            _ => Self::Other,
        }
    }

    pub(super) fn debt(&self) -> Option<&Debt> {
        match self {
            Self::Bond(state) => Some(&state.debt),
            Self::Trade(state) => Some(&state.debt),
            Self::Resolution(_) | Self::Other | Self::Unreadable => None,
        }
    }
}

impl Records {
    /// Reads them. A daemon may be at work meanwhile: runs that moved while they were read are left
    /// out, with their rows.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        Self::read_after(store, &Self::default()).await
    }

    /// The same, for who looks again and again: states that are in `earlier` need not be read anew.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn read_after(store: &dyn Store, earlier: &Self) -> Result<Self, StoreError> {
        let runs = store.runs(&RunFilter::default()).await?;
        let mut records = Self { runs, states: earlier.states.clone(), ..Self::default() };
        for state in BondState::ALL {
            for row in store.rows(BONDS.name, "state", &Value::from(state.as_str())).await? {
                records.bonds.insert(key_of(BONDS, &row), row);
            }
        }
        let order_of = |row: &Row| row.get("order_id").and_then(Value::as_str).map(str::to_owned);
        let mut orders: BTreeSet<String> = records.bonds.values().filter_map(order_of).collect();
        let mut hashes = BTreeSet::new();
        for run in &records.runs {
            if run.has_mail() {
                records.mail.insert(run.seq, store.mailbox(run.seq).await?);
            }
            let state = records.state(run);
            if let State::Trade(_) | State::Resolution(_) = *state {
                orders.insert(run.key.clone());
            }
            if let Some(debt) = state.debt() {
                hashes.extend(debt.hashes.iter().map(|record| hex::encode(record.payment_hash)));
                for row in store.rows(PAYMENTS.name, "run", &Value::from(run.key.as_str())).await? {
                    records.payments.insert(key_of(PAYMENTS, &row), row);
                }
            }
        }
        for (table, keys, rows) in [(ORDERS, orders, &mut records.orders), (HASHES, hashes, &mut records.hashes)] {
            for key in keys {
                if let Some(row) = store.row(table.name, &key).await? {
                    rows.insert(key, row);
                }
            }
        }
        records.leave_out_what_moved(&store.runs(&RunFilter::default()).await?);
        Ok(records)
    }

    /// A run's state.
    pub(super) fn state(&self, run: &Run) -> Arc<State> {
        let mut known = self.states.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |read: &&Read| read.text == run.state && read.workflow == run.pin.workflow;
        if let Some(read) = known.get(&run.seq).filter(same) {
            return Arc::clone(&read.state);
        }
        let state = Arc::new(State::of(run));
        let (workflow, text) = (run.pin.workflow.clone(), run.state.clone());
        known.insert(run.seq, Read { workflow, text, state: Arc::clone(&state) });
        state
    }

    fn leave_out_what_moved(&mut self, later: &[Run]) {
        let before: BTreeMap<i64, i64> = self.runs.iter().map(|run| (run.seq, run.revision)).collect();
        let moved: BTreeSet<&str> = later
            .iter()
            .filter(|run| before.get(&run.seq) != Some(&run.revision))
            .map(|run| run.key.as_str())
            .collect();
        let stayed = |key: &str| !moved.contains(key);
        self.runs.retain(|run| stayed(&run.key));
        self.bonds.retain(|id, _| stayed(id));
        self.payments.retain(|_, row| row.get("run").and_then(Value::as_str).is_none_or(stayed));
    }

    /// The run of a workflow with that key.
    pub fn run(&self, workflow: &str, key: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.pin.workflow == workflow && run.key == key)
    }

    /// The payments of a run's key.
    pub(super) fn payments_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a String, &'a Row)> {
        self.payments.iter().filter(move |(_, row)| text(row, "run") == Some(key))
    }
}

fn key_of(table: Table, row: &Row) -> String {
    text(row, table.key).unwrap_or_default().to_owned()
}

pub(super) fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    row.get(column).and_then(Value::as_str)
}

pub(super) fn number(row: &Row, column: &str) -> Option<i64> {
    row.get(column).and_then(Value::as_i64)
}

/// How a report names a run.
pub(super) fn named(run: &Run) -> impl fmt::Display + Copy {
    #[derive(Clone, Copy)]
    struct Named<'a>(&'a Run);
    impl fmt::Display for Named<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Run { id, pin, key, .. } = self.0;
            write!(f, "runs {id} ({} {key})", pin.workflow)
        }
    }
    Named(run)
}
