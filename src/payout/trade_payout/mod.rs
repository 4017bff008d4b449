//! The buyer's sats, after a ruling settled the trade's escrow. `workflows/trade_payout.toml` has
//! the flow; it is paid by the very steps that pay a bond's share ([`super::debt`]).
//!
//! It differs from a bond's payout in what surrounds the payment: the buyer left an invoice when
//! he took the trade, it is asked for again by `add-invoice`, and the debt never lapses.

mod finalize;
mod invoices;
mod retry;

pub use finalize::{Finalize, Finalized};
pub use invoices::{AwaitInvoice, Awaited, Request, RequestInvoice, Review, Reviewed};
pub use retry::rule as retry;

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::store::RowWrite;
use crate::engine::{Bound, Definition, DefinitionError, Effects, Timestamp, erase};

use super::books::{Order, update};
use super::debt::{AwaitSlot, Debt, Intend, Owing, Pay, cancel};
use super::messages::OrderSummary;
use super::tables::ORDERS;
use super::world::World;

/// The workflow's name.
pub const NAME: &str = "trade_payout";

/// Its definition.
pub const DEFINITION: &str = include_str!("../../../workflows/trade_payout.toml");
/// The definition as it was read: once, however often it is bound.
static READ: LazyLock<Result<Definition, DefinitionError>> = LazyLock::new(|| Definition::parse(DEFINITION));

/// What the payout of a trade knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradePayout {
    /// The order, as messages about it carry it.
    pub order: OrderSummary,
    /// The buyer's trade key.
    pub buyer: Option<String>,
    /// The invoice that the buyer left, not yet reviewed.
    pub left_invoice: Option<String>,
    /// How often another one was asked for since the last was taken.
    pub requests: u32,
    /// When it was asked for last, Unix seconds.
    pub last_request_at: Option<i64>,
    /// The debt to the buyer.
    pub debt: Debt,
}

impl TradePayout {
    /// What a settled order owes its buyer: the amount less the fee.
    pub fn owed(order: &Order) -> Self {
        let owed_sats = order.amount.saturating_sub(order.fee);
        Self {
            order: order.summary(owed_sats, Some("settled-hold-invoice")),
            buyer: order.buyer_pubkey.clone(),
            left_invoice: order.buyer_invoice.clone(),
            requests: 0,
            last_request_at: None,
            debt: Debt::of(owed_sats),
        }
    }
}

impl Owing for TradePayout {
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

    fn project(&self, order: &str) -> Vec<RowWrite> {
        let Some(invoice) = &self.debt.invoice else { return Vec::new() };
        let fee = self.debt.paid.as_ref().and_then(|proof| proof.fee_sats);
        let set = json!({
            "buyer_invoice": invoice.bolt11, "payout_payment_hash": invoice.hash, "routing_fee": fee.unwrap_or(0),
        });
        vec![update(ORDERS, order, set, json!({}))]
    }

    fn spent(&mut self, why: &str, _now: Timestamp, effects: &mut Effects) {
        self.debt.spent = true;
        let owed = self.debt.owed_sats;
        effects.alarms.push(("payout-failed", format!("{why}; the buyer is still owed {owed} sats")));
    }
}

/// Binds the definition to its steps.
///
/// # Errors
/// When they differ.
pub fn bind(world: &World) -> Result<Arc<Bound>, DefinitionError> {
    let steps = vec![
        erase::<TradePayout, _>(Review(world.clone())),
        erase::<TradePayout, _>(RequestInvoice(world.clone())),
        erase::<TradePayout, _>(AwaitInvoice(world.clone())),
        erase::<TradePayout, _>(Intend(world.clone())),
        erase::<TradePayout, _>(AwaitSlot(world.clone())),
        erase::<TradePayout, _>(Pay(world.clone())),
        erase::<TradePayout, _>(Finalize(world.clone())),
    ];
    let bound = Bound::new(READ.clone()?, steps)?;
    Ok(Arc::new(bound.with_retry(retry).with_cancel(cancel::<TradePayout>)))
}
