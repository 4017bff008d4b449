//! What lnd has paid that a restored database does not know of, and how a debt takes such a
//! payment on.
//!
//! lnd may serve others too, so that a payment which is not in the database says nothing by
//! itself. It counts when it was made after the last commit that the database has, and is just as
//! large as something that the database owes, or may come to owe by a ruling that it has lost.

use std::collections::BTreeMap;
use std::str::FromStr;

use lightning_invoice::Bolt11Invoice;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::store::{Lease, StepCommit};
use crate::engine::{Commit, HistoryEntry, Run, RunFilter, RunId, Status, StoreError, Timestamp};

use super::books::{Bond, Order, insert, secret32};
use super::debt::{Debt, InvoiceSignal, SIGNAL, found_row};
use super::policy::Split;
use super::policy::verdict::SKEW_MARGIN_SECS;
use super::ports::{Hash, Made, Unavailable};
use super::tables::{BONDS, HASHES, ORDERS, PAYMENTS};
use super::world::World;
use super::{bond_payout, trade_payout};

/// A payment at lnd that the database doesn't know and that may be one of its debts'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The payment hash, hex.
    pub hash: String,
    /// What the payee gets, sats.
    pub sats: u64,
    /// When lnd took it on, Unix seconds.
    pub made_at: i64,
    /// The payee has it; else it may still be under way.
    pub succeeded: bool,
    /// The open runs that owe just as much.
    pub runs: Vec<RunId>,
    /// What may come to owe as much: `bond ID`, `order ID`.
    pub others: Vec<String>,
}

impl Found {
    fn of(made: &Made, (runs, others): &Owing) -> Self {
        Self {
            hash: hex::encode(made.hash),
            sats: made.amount_msat / 1_000,
            made_at: made.made_at,
            succeeded: made.succeeded,
            runs: runs.clone(),
            others: others.clone(),
        }
    }
}

/// Who owes a sum.
type Owing = (Vec<RunId>, Vec<String>);

/// The part that the states of both payouts have.
#[derive(Deserialize)]
struct WithDebt {
    debt: Debt,
}

fn debt_of(run: &Run) -> Option<Debt> {
    serde_json::from_str::<WithDebt>(&run.state).ok().map(|state| state.debt)
}

/// The payments at lnd since `last_commit` that the database doesn't know and that one of its
/// debts may have been paid by.
///
/// # Errors
/// When lnd or the database can't be read.
pub async fn unknown_payments(world: &World, last_commit: Timestamp) -> Result<Vec<Found>, Unavailable> {
    // The two clocks may be that far apart.
    let since = Timestamp::from_secs(last_commit.secs().saturating_sub(SKEW_MARGIN_SECS));
    let unread = |error: StoreError| Unavailable(error.to_string());
    let mut unknown = Vec::new();
    for made in world.lightning.payments_since(since).await? {
        if !is_known(world, &hex::encode(made.hash)).await.map_err(unread)? {
            unknown.push(made);
        }
    }
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let sums = sums(world).await.map_err(unread)?;
    Ok(unknown.iter().filter_map(|made| Some(Found::of(made, sums.get(&made.amount_msat)?))).collect())
}

async fn is_known(world: &World, hash: &str) -> Result<bool, StoreError> {
    let (hashes, payments) = (world.store.row(HASHES.name, hash), world.store.row(PAYMENTS.name, hash));
    Ok(hashes.await?.is_some() || payments.await?.is_some())
}

/// What is owed, and what may come to be, by millisatoshis.
async fn sums(world: &World) -> Result<BTreeMap<u64, Owing>, StoreError> {
    let mut sums: BTreeMap<u64, Owing> = BTreeMap::new();
    for workflow in [bond_payout::NAME, trade_payout::NAME] {
        let filter = RunFilter { open: true, workflow: Some(workflow.to_owned()), ..RunFilter::default() };
        for run in world.store.runs(&filter).await? {
            if let Some(debt) = debt_of(&run).filter(|debt| debt.paid.is_none()) {
                sums.entry(debt.owed_sats.saturating_mul(1_000)).or_default().0.push(run.id);
            }
        }
    }
    let mut may_owe = |sats: u64, name: String| sums.entry(sats.saturating_mul(1_000)).or_default().1.push(name);
    let share = world.terms().node_share;
    for row in world.store.rows(BONDS.name, "state", &Value::from("locked")).await? {
        let Ok(bond) = serde_json::from_value::<Bond>(Value::Object(row)) else { continue };
        if world.store.run(&RunId::of(bond_payout::NAME, &bond.id)).await?.is_none() {
            may_owe(Split::new(bond.amount_sats, share).counterparty_sats(), format!("bond {}", bond.id));
        }
    }
    for status in ["dispute", "settled-hold-invoice"] {
        for row in world.store.rows(ORDERS.name, "status", &Value::from(status)).await? {
            let Ok(order) = serde_json::from_value::<Order>(Value::Object(row)) else { continue };
            if world.store.run(&RunId::of(trade_payout::NAME, &order.id)).await?.is_none() {
                may_owe(order.amount.saturating_sub(order.fee), format!("order {}", order.id));
            }
        }
    }
    Ok(sums)
}

/// The run in whose mailbox the invoice of that payment lies: so it is that debt's.
///
/// # Errors
/// When the database can't be read.
pub async fn debtor(world: &World, found: &Found) -> Result<Option<RunId>, StoreError> {
    for id in &found.runs {
        let Some(run) = world.store.run(id).await? else { continue };
        for signal in world.store.mailbox(run.seq).await?.iter().filter(|signal| signal.name == SIGNAL) {
            let invoice = serde_json::from_str::<InvoiceSignal>(&signal.payload).ok();
            let invoice = invoice.and_then(|signal| Bolt11Invoice::from_str(&signal.bolt11).ok());
            if invoice.is_some_and(|invoice| hex::encode(AsRef::<[u8]>::as_ref(invoice.payment_hash())) == found.hash) {
                return Ok(Some(run.id));
            }
        }
    }
    Ok(None)
}

/// Why a run can't take a payment on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdopted {
    /// It is not a payout that still owes.
    #[error("run {0} is no open payout that still owes something")]
    NoDebt(RunId),
    /// The hash is none.
    #[error("`{0}` is no payment hash")]
    NoHash(String),
}

/// The commit by which a run takes a payment on as one of its own debt: it looks at lnd, and sends,
/// asks for and accepts nothing until lnd has told that payment's end. The run must not be leased.
///
/// # Errors
/// When the run owes nothing, or the hash is none.
pub fn adopt(run: &Run, hash: &str, why: &str, at: Timestamp) -> Result<Commit, NotAdopted> {
    let no_debt = || NotAdopted::NoDebt(run.id.clone());
    let parsed: Hash = secret32(hash).ok_or_else(|| NotAdopted::NoHash(hash.to_owned()))?;
    let mut debt = debt_of(run).filter(|debt| debt.paid.is_none() && !run.status.is_final()).ok_or_else(no_debt)?;
    let record = debt.adopt(parsed, at);
    let rows = vec![
        insert(HASHES, hash, json!({ "used_by": format!("payout {}", run.key), "created_at": at.secs() })),
        found_row(&debt, &record, &run.key),
    ];
    let mut state: Value = serde_json::from_str(&run.state).map_err(|_| no_debt())?;
    state["debt"] = serde_json::to_value(debt).map_err(|_| no_debt())?;
    // Before the bond is claimed nothing is looked at; from there on the next thing is to look.
    let waits = ["request_invoice", "await_invoice", "await_slot"].contains(&run.step.as_str());
    let step = if waits { "intend" } else { run.step.as_str() };
    let paused = run.status == Status::Paused;
    let status = if paused { Status::Paused } else { Status::Running };
    let history = HistoryEntry {
        revision: run.revision + 1,
        step: run.step.clone(),
        attempt: run.attempt,
        outcome: "@adopt".to_owned(),
        to: step.to_owned(),
        status,
        detail: Some(format!("the payment {hash} was found at lnd: {why}")),
        at,
    };
    Ok(Commit {
        at,
        step: Some(StepCommit {
            seq: run.seq,
            revision: run.revision,
            token: run.token,
            mailbox: None,
            known_signals: run.signals,
            consumed: Vec::new(),
            status,
            step: step.to_owned(),
            attempt: 0,
            state: Some(state.to_string()),
            error: run.error.clone().filter(|_| paused),
            lease: Lease::Release((!paused).then_some(at)),
            history,
        }),
        rows,
        ..Commit::default()
    })
}
