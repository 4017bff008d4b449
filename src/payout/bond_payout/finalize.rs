//! Closes the bond on its evidence.

use async_trait::async_trait;

use crate::engine::{Context, Step, StepError, Transition};
use crate::payout::debt::Owing;
use crate::payout::messages::{Outgoing, Said};

use super::{BondPayout, BondView};

crate::outcomes! {
    /// How a bond ended.
    pub enum Finalized {
        /// The share is paid, and here is whom to tell.
        PaidOut(String) => "paid_out",
        /// Nothing was owed.
        KeptByNode => "kept_by_node",
    }
}

/// Checks the evidence once more and writes the end.
pub struct Finalize;

#[async_trait]
impl Step<BondPayout> for Finalize {
    const NAME: &'static str = "finalize";
    type Outcome = Finalized;

    async fn act(&self, cx: &Context<'_, BondPayout>) -> Result<Finalized, StepError> {
        let state = cx.state;
        let split = state.split().map_err(|error| StepError::pause("split", error.to_string()))?;
        if state.slashed_at.is_none() {
            return Err(StepError::pause("slashed-at", "nobody knows when the bond was slashed"));
        }
        if split.counterparty_sats() == 0 {
            return Ok(Finalized::KeptByNode);
        }
        match &state.recipient {
            Some(recipient) if state.debt.is_proven() => Ok(Finalized::PaidOut(recipient.clone())),
            _ => Err(StepError::pause("evidence", "there is no proof that the share was paid")),
        }
    }

    fn transition(&self, outcome: Finalized, tx: &mut Transition<'_, BondPayout>) {
        tx.state.bond = BondView::Slashed;
        let (amount, owed) = (tx.state.amount_sats, tx.state.debt.owed_sats);
        tx.effects.notes.push(format!("closed a bond of {amount} sats: {owed} are paid, the node keeps the rest"));
        if let Finalized::PaidOut(recipient) = outcome {
            let completed = Outgoing::Direct {
                to: recipient,
                about: Some(tx.state.order.id.clone()),
                request_id: None,
                said: Said::BondPayoutCompleted(tx.state.summary(tx.state.debt.owed_sats)),
            };
            tx.effects.drafts.push(completed.draft("bond-payout-completed"));
        }
        tx.effects.rows.extend(tx.state.project(tx.key));
    }
}
