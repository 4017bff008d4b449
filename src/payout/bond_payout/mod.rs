//! The payout of a slashed bond. `workflows/bond_payout.toml` has the flow; this is what it means.
//!
//! ```text
//! settle ─► request_invoice ─► await_invoice ─► intend ─► pay ─► finalize ─► slashed
//!    │            ▲                  │  │          ▲        │
//!    │            └── ask again ─────┘  │          └────────┤ another attempt
//!    ▼            └─────────────────────┼───────────────────┘ the invoice is spent
//! unclaimable                           ▼
//!                                   forfeited
//! ```
//!
//! **What each transaction makes true, and what a crash around it means.**
//!
//! | commit | makes true | a crash before it | a crash after it |
//! |---|---|---|---|
//! | ruling | the run exists, recipient and split are frozen | the solver's message is read again | `settle` runs |
//! | `settle` | bond `pending-payout`, `slashed_at`, share; `bond-slashed` | settled again: lnd says yes | the request goes out |
//! | `request_invoice` | the request is in the outbox, counters bumped | the same decision again, nothing was said | the outbox publishes it |
//! | `await_invoice` | one invoice is taken, the others are answered | the mailbox still has them | the payment is intended |
//! | `intend` | which hash may reach lnd, until when | lnd is tracked again | `pay` looks, and sends nothing |
//! | `pay` | lnd's verdict on that send | looked up again | the verdict stands |
//! | `finalize` | bond `slashed` with its proof; `bond-payout-completed` | decided again from the proof | the run has ended |
//!
//! The send itself lies between the commits of `intend` and `pay`. It happens in the first run of
//! `pay` after the intent's commit, by the same worker, and lnd refuses it once the intent's time
//! is over; any later run of `pay` only looks. So there is no moment at which a crash, a lost
//! answer or a frozen process makes two sends of one intent.
//!
//! **The bond's row is a projection.** The run's state is the truth; every transition writes the
//! row from it, so that operators and their scripts read what the run knows.
//!
//! **`failed` is not an end.** A bond whose invoice is spent is `failed`, and is asked for another
//! invoice while the window is open: the run waits. Past the window it pauses for a person.

mod await_invoice;
mod finalize;
mod request_invoice;
mod retry;
mod settle;

pub use await_invoice::{AwaitInvoice, Awaited};
pub use finalize::{Finalize, Finalized};
pub use request_invoice::{Request, RequestInvoice};
pub use retry::rule as retry;
pub use settle::{Settle, Settled};

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::store::RowWrite;
use crate::engine::{Bound, Definition, DefinitionError, Effects, Timestamp, erase};

use super::books::{BondState, columns, update};
use super::debt::{AwaitSlot, Debt, Intend, Owing, Pay, cancel};
use super::messages::OrderSummary;
use super::policy::{ClaimWindow, Split, SplitError};
use super::tables::BONDS;
use super::terms::Terms;
use super::world::World;

/// The workflow's name.
pub const NAME: &str = "bond_payout";

/// Its definition.
pub const DEFINITION: &str = include_str!("../../../workflows/bond_payout.toml");
/// The definition as it was read: once, however often it is bound.
static READ: LazyLock<Result<Definition, DefinitionError>> = LazyLock::new(|| Definition::parse(DEFINITION));

/// What a payout run knows. All but the counters is frozen when it is started, `slashed_at` when
/// the bond is claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondPayout {
    /// The order, as messages about it carry it; the amount is filled in by the message.
    pub order: OrderSummary,
    /// The trade key of the slashed party.
    pub slashed: String,
    /// The trade key of the party that is owed the share.
    pub recipient: Option<String>,
    /// The bond, sats.
    pub amount_sats: u64,
    /// The node's share, sats.
    pub node_share_sats: Option<i64>,
    /// When the bond was claimed, Unix seconds.
    pub slashed_at: Option<i64>,
    /// The bond's state.
    pub bond: BondView,
    /// How often an invoice was asked for since the last one was taken.
    pub requests: u32,
    /// When it was asked for last, Unix seconds.
    pub last_request_at: Option<i64>,
    /// When an accepted invoice was found to have expired without a try.
    pub reopened_at: Option<i64>,
    /// The debt to the recipient.
    pub debt: Debt,
}

/// What the bond's row says of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondView {
    /// Not claimed yet.
    Locked,
    /// Claimed, and owed.
    PendingPayout,
    /// Paid, or nothing was owed.
    Slashed,
    /// Nobody claimed the share.
    Forfeited,
    /// The last invoice is spent, or the bond could not be claimed.
    Failed,
}

impl BondView {
    const fn state(self) -> BondState {
        match self {
            Self::Locked => BondState::Locked,
            Self::PendingPayout => BondState::PendingPayout,
            Self::Slashed => BondState::Slashed,
            Self::Forfeited => BondState::Forfeited,
            Self::Failed => BondState::Failed,
        }
    }
}

impl BondPayout {
    /// A payout as a ruling starts it.
    pub fn decided(order: OrderSummary, slashed: String, recipient: Option<String>, split: Split) -> Self {
        Self {
            order,
            slashed,
            recipient,
            amount_sats: split.amount_sats(),
            node_share_sats: i64::try_from(split.node_sats()).ok(),
            slashed_at: None,
            bond: BondView::Locked,
            requests: 0,
            last_request_at: None,
            reopened_at: None,
            debt: Debt::of(split.counterparty_sats()),
        }
    }

    /// The split as it was frozen.
    ///
    /// # Errors
    /// When the share is missing or out of range: then nothing may be spent or closed.
    pub fn split(&self) -> Result<Split, SplitError> {
        Split::frozen(self.amount_sats, self.node_share_sats)
    }

    /// The claim window under the present terms; none before the bond is claimed.
    pub fn window(&self, terms: &Terms) -> Option<ClaimWindow> {
        Some(ClaimWindow {
            slashed_at: self.slashed_at?,
            window_days: terms.window_days,
            request_interval_secs: terms.request_interval_secs,
            reopened_at: self.reopened_at,
        })
    }

    fn summary(&self, amount_sats: u64) -> OrderSummary {
        OrderSummary { amount_sats, ..self.order.clone() }
    }
}

impl Owing for BondPayout {
    const WORKFLOW: &'static str = NAME;

    fn order_id(&self) -> &str {
        &self.order.id
    }

    fn debt(&self) -> &Debt {
        &self.debt
    }

    fn debt_mut(&mut self) -> &mut Debt {
        &mut self.debt
    }

    fn project(&self, bond: &str) -> Vec<RowWrite> {
        let mut set = columns(json!({
            "state": self.bond.state().as_str(),
            "payout_attempts": self.debt.attempts,
            "invoice_request_attempts": self.requests,
            "last_invoice_request_at": self.last_request_at,
        }));
        if let Some(slashed_at) = self.slashed_at {
            set.extend(columns(json!({
                "slashed_at": slashed_at,
                "node_share_sats": self.node_share_sats,
                "payout_recipient": self.recipient,
            })));
        }
        if let Some(invoice) = &self.debt.invoice {
            set.extend(columns(json!({ "payout_invoice": invoice.bolt11, "payout_payment_hash": invoice.hash })));
        }
        if let Some(proof) = &self.debt.paid {
            set.extend(columns(json!({
                "payout_payment_hash": proof.hash,
                "payout_preimage": proof.preimage,
                "payout_routing_fee_sats": proof.fee_sats,
            })));
        }
        vec![update(BONDS, bond, serde_json::Value::Object(set), json!({}))]
    }

    fn spent(&mut self, why: &str, now: Timestamp, effects: &mut Effects) {
        let expired_untried = self.debt.attempts == 0
            && self.debt.invoice.as_ref().is_some_and(|invoice| invoice.expires_at <= now.secs());
        if expired_untried {
            self.reopened_at = Some(now.secs());
        }
        (self.bond, self.debt.spent) = (BondView::Failed, true);
        let owed = self.debt.owed_sats;
        effects.alarms.push(("payout-failed", format!("{why}; {owed} sats are still owed")));
    }
}

/// Binds the definition to its steps.
///
/// # Errors
/// When they differ.
pub fn bind(world: &World) -> Result<Arc<Bound>, DefinitionError> {
    let steps = vec![
        erase::<BondPayout, _>(Settle(world.clone())),
        erase::<BondPayout, _>(RequestInvoice(world.clone())),
        erase::<BondPayout, _>(AwaitInvoice(world.clone())),
        erase::<BondPayout, _>(Intend(world.clone())),
        erase::<BondPayout, _>(AwaitSlot(world.clone())),
        erase::<BondPayout, _>(Pay(world.clone())),
        erase::<BondPayout, _>(Finalize),
    ];
    let bound = Bound::new(READ.clone()?, steps)?;
    Ok(Arc::new(bound.with_retry(retry).with_cancel(cancel::<BondPayout>)))
}
