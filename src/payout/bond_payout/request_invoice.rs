//! Asks the recipient for an invoice.

use async_trait::async_trait;

use crate::engine::store::OutboxState;
use crate::engine::{Context, Step, StepError, Transition};
use crate::payout::debt::Owing;
use crate::payout::messages::{Outgoing, Said};
use crate::payout::world::World;

use super::{BondPayout, BondView};

crate::outcomes! {
    /// What came of wanting to ask.
    pub enum Request {
        /// Asked.
        Asked => "asked",
        /// The request before this one is still on its way: one at a time.
        StillUnacknowledged => "still_unacknowledged",
        /// It is too late to ask.
        WindowClosed => "window_closed",
    }
}

/// Puts the request into the outbox; the world is not touched.
pub struct RequestInvoice(pub World);

/// What the requests of a bond's payout are called in the outbox.
pub fn topic(bond: &str) -> String {
    format!("add-bond-invoice {bond}")
}

#[async_trait]
impl Step<BondPayout> for RequestInvoice {
    const NAME: &'static str = "request_invoice";
    type Outcome = Request;

    async fn act(&self, cx: &Context<'_, BondPayout>) -> Result<Request, StepError> {
        if !cx.state.debt.is_free() {
            return Err(StepError::pause("undecided", "a payment of this debt is undecided: no invoice is asked for"));
        }
        let Some(window) = cx.state.window(&self.0.terms()) else {
            return Err(StepError::pause("slashed-at", "nobody knows when the bond was slashed"));
        };
        if !window.is_open(cx.now.secs()) {
            return Ok(Request::WindowClosed);
        }
        let last = self.0.store.outbox_topic(&topic(cx.key)).await;
        let last = last.map_err(|error| StepError::retry(error.to_string()))?;
        Ok(match last {
            Some(entry) if entry.state == OutboxState::Pending => Request::StillUnacknowledged,
            _ => Request::Asked,
        })
    }

    fn transition(&self, outcome: Request, tx: &mut Transition<'_, BondPayout>) {
        let (Some(recipient), Some(slashed_at)) = (tx.state.recipient.clone(), tx.state.slashed_at) else { return };
        match outcome {
            Request::Asked => {
                tx.state.requests += 1;
                tx.state.last_request_at = Some(tx.now.secs());
                let request = Outgoing::Direct {
                    to: recipient,
                    about: Some(tx.state.order.id.clone()),
                    request_id: None,
                    said: Said::BondInvoiceWanted { order: tx.state.summary(tx.state.debt.owed_sats), slashed_at },
                };
                tx.effects.drafts.push(request.draft(topic(tx.key)));
            }
            // The cadence goes on: the next look is one interval away.
            Request::StillUnacknowledged => tx.state.last_request_at = Some(tx.now.secs()),
            Request::WindowClosed => {}
        }
        debug_assert!(matches!(tx.state.bond, BondView::PendingPayout | BondView::Failed));
        tx.effects.rows.extend(tx.state.project(tx.key));
    }
}
