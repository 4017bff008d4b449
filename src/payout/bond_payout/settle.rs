//! Claims the bond: settles its hold invoice at lnd.

use async_trait::async_trait;
use serde_json::json;

use crate::engine::{Cause, Context, Step, StepError, Transition};
use crate::payout::books::{self, update};
use crate::payout::debt::Owing;
use crate::payout::messages::{Outgoing, Said};
use crate::payout::ports::HoldAnswer;
use crate::payout::tables::BONDS;
use crate::payout::world::World;

use super::{BondPayout, BondView};

crate::outcomes! {
    /// What came of claiming a bond.
    pub enum Settled {
        /// Claimed, and a share of it is owed.
        Claimed => "claimed",
        /// Claimed, and an invoice is in already, or something may be under way: a bond that was
        /// taken over from another daemon.
        ClaimedAndInvoiced => "claimed_and_invoiced",
        /// Claimed, and all of it is the node's.
        ClaimedForNode => "claimed_for_node",
        /// lnd had canceled the HTLC: it can never be claimed.
        HtlcCanceled => "htlc_canceled",
    }
}

/// Settles the hold invoice; settling a settled one is a success.
pub struct Settle(pub World);

#[async_trait]
impl Step<BondPayout> for Settle {
    const NAME: &'static str = "settle";
    type Outcome = Settled;

    async fn act(&self, cx: &Context<'_, BondPayout>) -> Result<Settled, StepError> {
        let split = cx.state.split().map_err(|error| StepError::pause("split", error.to_string()))?;
        if split.counterparty_sats() > 0 && cx.state.recipient.is_none() {
            return Err(StepError::pause("recipient", "nobody knows whom the share is owed to"));
        }
        if cx.state.bond != BondView::Locked && cx.state.slashed_at.is_none() {
            return Err(StepError::pause("slashed-at", "the bond was claimed before, and nobody knows when"));
        }
        let Some(bond) = books::bond(self.0.store.as_ref(), cx.key).await? else {
            return Err(StepError::pause("books", "the bond's row is missing"));
        };
        let Some(preimage) = bond.secret() else {
            return Err(StepError::pause("preimage", "the bond's preimage is missing, malformed or not its hash's"));
        };
        match self.0.lightning.settle(preimage).await {
            HoldAnswer::Settled if split.counterparty_sats() == 0 => Ok(Settled::ClaimedForNode),
            HoldAnswer::Settled if cx.state.debt.has_work() => Ok(Settled::ClaimedAndInvoiced),
            HoldAnswer::Settled => Ok(Settled::Claimed),
            HoldAnswer::Canceled => Ok(Settled::HtlcCanceled),
            HoldAnswer::StillOpen => Err(StepError::pause("settle-refused", "lnd says that nobody has paid the bond")),
            HoldAnswer::Unknown => Err(StepError::pause("settle-refused", "lnd knows no invoice of the bond's hash")),
            HoldAnswer::Refused(text) => Err(StepError::pause("settle-refused", format!("lnd refuses: {text}"))),
            HoldAnswer::Unavailable(text) => Err(StepError::Retry(Cause::alarming("lnd-unavailable", text))),
        }
    }

    fn transition(&self, outcome: Settled, tx: &mut Transition<'_, BondPayout>) {
        if let Settled::HtlcCanceled = outcome {
            tx.state.bond = BondView::Failed;
            let canceled = json!({ "state": "failed", "failed_reason": "htlc-canceled" });
            tx.effects.rows.push(update(BONDS, tx.key, canceled, json!({})));
            let text = format!("lnd had canceled the bond's HTLC: {} sats can't be claimed", tx.state.amount_sats);
            tx.effects.alarms.push(("htlc-canceled", text));
            return;
        }
        // A bond taken over from another daemon was claimed and told of before.
        if tx.state.slashed_at.is_none() {
            tx.state.slashed_at = Some(tx.now.secs());
            tx.effects.rows.push(update(BONDS, tx.key, json!({ "slashed_reason": "lost-dispute" }), json!({})));
            let slashed = Outgoing::Direct {
                to: tx.state.slashed.clone(),
                about: Some(tx.state.order.id.clone()),
                request_id: None,
                said: Said::BondSlashed(tx.state.summary(tx.state.amount_sats)),
            };
            tx.effects.drafts.push(slashed.draft("bond-slashed"));
        }
        if tx.state.bond == BondView::Locked {
            tx.state.bond = BondView::PendingPayout;
        }
        tx.effects.notes.push(format!(
            "claimed a bond of {} sats: {} for the node, {} owed",
            tx.state.amount_sats,
            tx.state.node_share_sats.unwrap_or_default(),
            tx.state.debt.owed_sats
        ));
        tx.effects.rows.extend(tx.state.project(tx.key));
    }
}
