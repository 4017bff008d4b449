//! Closes the trade on its evidence.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::engine::{Context, Step, StepError, Transition};
use crate::payout::books::update;
use crate::payout::messages::{Outgoing, Said};
use crate::payout::tables::ORDERS;
use crate::payout::world::World;

use super::TradePayout;

crate::outcomes! {
    /// How the payout ended.
    pub enum Finalized {
        /// Paid; the order's row, for its public event.
        Completed(Map<String, Value>) => "completed",
    }
}

/// Checks the evidence once more and writes the end.
pub struct Finalize(pub World);

#[async_trait]
impl Step<TradePayout> for Finalize {
    const NAME: &'static str = "finalize";
    type Outcome = Finalized;

    async fn act(&self, cx: &Context<'_, TradePayout>) -> Result<Finalized, StepError> {
        if !cx.state.debt.is_proven() {
            return Err(StepError::pause("evidence", "there is no proof that the buyer was paid"));
        }
        let row = self.0.store.row(ORDERS.name, cx.key).await;
        let row = row.map_err(|error| StepError::retry(error.to_string()))?;
        row.map(Finalized::Completed).ok_or_else(|| StepError::pause("books", "the order's row is missing"))
    }

    fn transition(&self, outcome: Finalized, tx: &mut Transition<'_, TradePayout>) {
        let Finalized::Completed(mut order) = outcome;
        let status = "settled-by-admin";
        tx.effects.notes.push(format!("closed a trade: {} sats are paid to the buyer", tx.state.debt.owed_sats));
        tx.effects.rows.push(update(ORDERS, tx.key, json!({ "status": status }), json!({})));
        order.insert("status".to_owned(), Value::from(status));
        let event = Outgoing::OrderEvent { order, status: "success".to_owned() };
        tx.effects.drafts.push(event.draft("order event"));
        if let Some(buyer) = &tx.state.buyer {
            let completed = Outgoing::Direct {
                to: buyer.clone(),
                about: Some(tx.state.order.id.clone()),
                request_id: None,
                said: Said::PurchaseCompleted,
            };
            tx.effects.drafts.push(completed.draft("purchase-completed"));
        }
    }
}
