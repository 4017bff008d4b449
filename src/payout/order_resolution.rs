//! What follows from a ruling on the trade itself: the escrow, the statuses, the notices.
//!
//! The ruling's own transaction (see [`super::intake`]) starts this run together with the payout
//! of each slashed bond and the release of each other one, so no part waits for another. Here the
//! escrow is settled or canceled first; only what lnd has confirmed is written and told.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::engine::operator::Reentry;
use crate::engine::{
    Bound, Cause, Context, Definition, DefinitionError, Step, StepError, Timestamp, Transition, erase,
};

use super::books::{self, Dispute, Order, secret32, update};
use super::debt::reentry;
use super::messages::{Outgoing, Ruling, Said};
use super::ports::HoldAnswer;
use super::tables::{DISPUTES, ORDERS};
use super::trade_payout::TradePayout;
use super::world::World;

/// The workflow's name.
pub const NAME: &str = "order_resolution";

/// Its definition.
pub const DEFINITION: &str = include_str!("../../workflows/order_resolution.toml");
/// The definition as it was read: once, however often it is bound.
static READ: LazyLock<Result<Definition, DefinitionError>> = LazyLock::new(|| Definition::parse(DEFINITION));

/// What a resolution knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderResolution {
    /// Which way the solver ruled.
    pub ruling: Ruling,
    /// The key that the ruling came from.
    pub solver: String,
    /// What lnd has confirmed of the escrow.
    pub escrow: Option<Escrow>,
}

/// Where the trade's escrow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escrow {
    /// The node has the sats.
    Settled,
    /// The seller has them back.
    Canceled,
    /// The trade never had one.
    None,
}

crate::outcomes! {
    /// What came of the escrow.
    pub enum EscrowDone {
        /// Settled.
        Settled => "settled",
        /// Canceled.
        Canceled => "canceled",
        /// There was none.
        None => "no_escrow",
    }
}

/// Settles or cancels the escrow.
struct EscrowStep(World);

#[async_trait]
impl Step<OrderResolution> for EscrowStep {
    const NAME: &'static str = "escrow";
    type Outcome = EscrowDone;

    async fn act(&self, cx: &Context<'_, OrderResolution>) -> Result<EscrowDone, StepError> {
        let order = order_of(&self.0, cx.key).await?;
        let Some(hash) = &order.hash else { return Ok(EscrowDone::None) };
        let malformed = |what| StepError::pause("escrow", format!("the escrow's {what} is missing or malformed"));
        let answer = match cx.state.ruling {
            Ruling::Settle => {
                let preimage = order.preimage.as_deref().and_then(secret32).ok_or_else(|| malformed("preimage"))?;
                self.0.lightning.settle(preimage).await
            }
            Ruling::Cancel => self.0.lightning.cancel(secret32(hash).ok_or_else(|| malformed("hash"))?).await,
        };
        let wrong =
            |what: &str| StepError::pause("escrow", format!("ruled {:?}, but the escrow {what}", cx.state.ruling));
        match (cx.state.ruling, answer) {
            (Ruling::Settle, HoldAnswer::Settled) => Ok(EscrowDone::Settled),
            // Nothing is held at lnd, which is what a cancellation is for.
            (Ruling::Cancel, HoldAnswer::Canceled | HoldAnswer::Unknown) => Ok(EscrowDone::Canceled),
            (_, HoldAnswer::Settled) => Err(wrong("is settled")),
            (_, HoldAnswer::Canceled) => Err(wrong("is canceled")),
            (_, HoldAnswer::StillOpen) => Err(wrong("was never paid")),
            (_, HoldAnswer::Unknown) => Err(wrong("is unknown to lnd")),
            (_, HoldAnswer::Refused(text)) => Err(wrong(&format!("is not touched by lnd: {text}"))),
            (_, HoldAnswer::Unavailable(text)) => Err(StepError::Retry(Cause::alarming("lnd-unavailable", text))),
        }
    }

    fn transition(&self, outcome: EscrowDone, tx: &mut Transition<'_, OrderResolution>) {
        let escrow = match outcome {
            EscrowDone::Settled => Escrow::Settled,
            EscrowDone::Canceled => Escrow::Canceled,
            EscrowDone::None => Escrow::None,
        };
        tx.effects.notes.push(format!("the trade's escrow: {escrow:?}"));
        tx.state.escrow = Some(escrow);
    }
}

/// What is known when the end is announced.
#[derive(Debug, Clone)]
pub struct Known {
    order: Order,
    row: Map<String, Value>,
    dispute: Dispute,
    initiator: &'static str,
}

crate::outcomes! {
    /// The announcement.
    pub enum Announced {
        /// Everything that is to be told was read.
        Announced(Box<Known>) => "announced",
    }
}

/// Writes the statuses and tells everybody.
struct Announce(World, Arc<Bound>);

#[async_trait]
impl Step<OrderResolution> for Announce {
    const NAME: &'static str = "announce";
    type Outcome = Announced;

    async fn act(&self, cx: &Context<'_, OrderResolution>) -> Result<Announced, StepError> {
        let order = order_of(&self.0, cx.key).await?;
        let row = self.0.store.row(ORDERS.name, cx.key).await;
        let row = row.map_err(|error| StepError::retry(error.to_string()))?.unwrap_or_default();
        let Some(dispute) = books::dispute_of(self.0.store.as_ref(), cx.key).await? else {
            return Err(StepError::pause("books", "the order's dispute is missing"));
        };
        let Some(initiator) = order.initiator() else {
            return Err(StepError::pause("books", "nobody knows which side opened the dispute"));
        };
        Ok(Announced::Announced(Box::new(Known { order, row, dispute, initiator })))
    }

    fn transition(&self, outcome: Announced, tx: &mut Transition<'_, OrderResolution>) {
        let Announced::Announced(known) = outcome;
        let Known { order, mut row, dispute, initiator } = *known;
        let (status, dispute_status, said) = match tx.state.ruling {
            Ruling::Settle => ("settled-hold-invoice", "settled", Said::AdminSettled),
            Ruling::Cancel => ("canceled-by-admin", "seller-refunded", Said::AdminCanceled),
        };
        // Without an escrow there is nothing to pay the buyer from: a settlement is then complete.
        let buyer_is_owed = tx.state.ruling == Ruling::Settle && tx.state.escrow == Some(Escrow::Settled);
        let status = if tx.state.ruling == Ruling::Settle && !buyer_is_owed { "settled-by-admin" } else { status };
        tx.effects.rows.push(update(ORDERS, tx.key, json!({ "status": status }), json!({ "status": "dispute" })));
        tx.effects.rows.push(update(DISPUTES, &dispute.id, json!({ "status": dispute_status }), json!({})));
        let public = match status {
            "canceled-by-admin" => Some("canceled"),
            "settled-by-admin" => Some("success"),
            _ => None,
        };
        if let Some(public) = public {
            row.insert("status".to_owned(), Value::from(status));
            let event = Outgoing::OrderEvent { order: row, status: public.to_owned() };
            tx.effects.drafts.push(event.draft("order event"));
        }
        let event = Outgoing::DisputeEvent {
            id: dispute.id,
            status: dispute_status.to_owned(),
            initiator: initiator.to_owned(),
            created_at: dispute.created_at.unwrap_or_default(),
        };
        tx.effects.drafts.push(event.draft("dispute event"));
        for party in [&order.seller_pubkey, &order.buyer_pubkey].into_iter().flatten() {
            let notice = Outgoing::Direct {
                to: party.clone(),
                about: Some(order.id.clone()),
                request_id: None,
                said: said.clone(),
            };
            tx.effects.drafts.push(notice.draft("ruling"));
        }
        if buyer_is_owed {
            match self.1.start(&order.id, &TradePayout::owed(&order), tx.now) {
                Ok(start) => tx.effects.starts.push(start),
                Err(error) => {
                    tx.effects.alarms.push(("state", format!("the buyer's payout can't be started: {error}")))
                }
            }
        }
    }
}

async fn order_of(world: &World, id: &str) -> Result<Order, StepError> {
    let order = books::order(world.store.as_ref(), id).await?;
    order.ok_or_else(|| StepError::pause("books", "the order's row is missing"))
}

/// The rule for an operator's `retry`; see [`crate::engine::operator::RetryRule`].
///
/// # Errors
/// Why the run may not go on from there.
pub fn retry(_order: &str, state: &str, step: &str, _now: Timestamp) -> Result<Reentry, String> {
    let judge = |resolution: &mut OrderResolution| match (step, resolution.escrow) {
        ("announce", None) => Err("lnd has confirmed nothing of the escrow yet: only `escrow` may follow".to_owned()),
        ("announce", Some(_)) => Ok("writes and publishes what lnd has confirmed".to_owned()),
        _ => Ok("settles or cancels the escrow as it was ruled; doing it twice changes nothing".to_owned()),
    };
    reentry(state, judge).map(|(_, reentry)| reentry)
}

/// Binds the definition to its steps; `trade_payout` is what it starts for the buyer.
///
/// # Errors
/// When they differ.
pub fn bind(world: &World, trade_payout: Arc<Bound>) -> Result<Arc<Bound>, DefinitionError> {
    let steps = vec![
        erase::<OrderResolution, _>(EscrowStep(world.clone())),
        erase::<OrderResolution, _>(Announce(world.clone(), trade_payout)),
    ];
    Ok(Arc::new(Bound::new(READ.clone()?, steps)?.with_retry(retry)))
}
