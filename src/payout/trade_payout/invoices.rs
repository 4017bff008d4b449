//! The buyer's invoice: the one he left, and those that he is asked for.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use crate::engine::operator::Offered;
use crate::engine::store::OutboxState;
use crate::engine::{Context, Status, Step, StepError, Timestamp, Transition};
use crate::payout::books::{insert, upsert};
use crate::payout::debt::{Considered, Owing, consider, offered};
use crate::payout::messages::{Outgoing, Said};
use crate::payout::policy::{AcceptedInvoice, Amountless, admit};
use crate::payout::tables::HASHES;
use crate::payout::world::World;

use super::TradePayout;

crate::outcomes! {
    /// What came of looking at the invoice that the buyer left.
    pub enum Reviewed {
        /// It can be paid.
        Usable(Box<AcceptedInvoice>) => "usable",
        /// Something may be under way already: a trade that was taken over from another daemon.
        TriedBefore => "tried_before",
        /// It can't, or there is none.
        Unusable(String) => "unusable",
    }
}

/// Holds the invoice that the buyer left against the gate.
pub struct Review(pub World);

#[async_trait]
impl Step<TradePayout> for Review {
    const NAME: &'static str = "review";
    type Outcome = Reviewed;

    async fn act(&self, cx: &Context<'_, TradePayout>) -> Result<Reviewed, StepError> {
        if cx.state.debt.has_work() {
            return Ok(Reviewed::TriedBefore);
        }
        let Some(left) = &cx.state.left_invoice else { return Ok(Reviewed::Unusable("the buyer left none".into())) };
        let rules = self.0.terms().gate(cx.state.debt.owed_sats, Amountless::Allow);
        let invoice = match admit(left, &rules, cx.now.secs()) {
            Ok(invoice) => invoice,
            Err(defect) => return Ok(Reviewed::Unusable(defect.to_string())),
        };
        let used = self.0.store.row(HASHES.name, &hex::encode(invoice.payment_hash)).await;
        let used = used.map_err(|error| StepError::retry(error.to_string()))?;
        let others = used.is_some_and(|row| row.get("used_by") != Some(&json!(owner(cx.key))));
        Ok(if others {
            Reviewed::Unusable("its payment hash was used before".into())
        } else {
            Reviewed::Usable(Box::new(invoice))
        })
    }

    fn transition(&self, outcome: Reviewed, tx: &mut Transition<'_, TradePayout>) {
        match outcome {
            Reviewed::Usable(invoice) => take(tx, &invoice, true),
            Reviewed::TriedBefore => {}
            Reviewed::Unusable(why) => {
                tx.effects.notes.push(format!("the invoice that the buyer left can't be paid: {why}"));
                tx.detail = Some(why);
            }
        }
        tx.state.left_invoice = None;
    }
}

/// Who uses a hash, as the table of hashes says it.
fn owner(order: &str) -> String {
    format!("trade {order}")
}

fn take(tx: &mut Transition<'_, TradePayout>, invoice: &AcceptedInvoice, own: bool) {
    tx.state.debt.accept(invoice);
    tx.state.requests = 0;
    let hash = hex::encode(invoice.payment_hash);
    let row = json!({ "used_by": owner(tx.key), "created_at": tx.now.secs() });
    tx.effects.rows.push(if own { upsert(HASHES, &hash, row) } else { insert(HASHES, &hash, row) });
    tx.effects.notes.push(format!("took an invoice over {} sats, hash {hash}", invoice.amount_sats));
    let rows = tx.state.project(tx.key);
    tx.effects.rows.extend(rows);
}

crate::outcomes! {
    /// What came of wanting to ask.
    pub enum Request {
        /// Asked.
        Asked(String) => "asked",
        /// The request before this one is still on its way: one at a time.
        StillUnacknowledged => "still_unacknowledged",
    }
}

/// Puts the request into the outbox; the world is not touched.
pub struct RequestInvoice(pub World);

fn topic(order: &str) -> String {
    format!("add-invoice {order}")
}

#[async_trait]
impl Step<TradePayout> for RequestInvoice {
    const NAME: &'static str = "request_invoice";
    type Outcome = Request;

    async fn act(&self, cx: &Context<'_, TradePayout>) -> Result<Request, StepError> {
        if !cx.state.debt.is_free() {
            return Err(StepError::pause("undecided", "a payment of this debt is undecided: no invoice is asked for"));
        }
        let Some(buyer) = cx.state.buyer.clone() else {
            return Err(StepError::pause("recipient", "nobody knows who the buyer is"));
        };
        let last = self.0.store.outbox_topic(&topic(cx.key)).await;
        let last = last.map_err(|error| StepError::retry(error.to_string()))?;
        Ok(match last {
            Some(entry) if entry.state == OutboxState::Pending => Request::StillUnacknowledged,
            _ => Request::Asked(buyer),
        })
    }

    fn transition(&self, outcome: Request, tx: &mut Transition<'_, TradePayout>) {
        tx.state.last_request_at = Some(tx.now.secs());
        if let Request::Asked(buyer) = outcome {
            tx.state.requests += 1;
            let request = Outgoing::Direct {
                to: buyer,
                about: Some(tx.state.order.id.clone()),
                request_id: None,
                said: Said::InvoiceWanted(tx.state.order.clone()),
            };
            tx.effects.drafts.push(request.draft(topic(tx.key)));
        }
    }
}

crate::outcomes! {
    /// What came of waiting.
    pub enum Awaited {
        /// An invoice is taken; the others are answered.
        Accepted(Box<Considered>) => "accepted",
        /// None of the invoices is good; each is answered.
        Refused(Box<Considered>) => "refused",
        /// It is not time yet.
        Rescheduled => "rescheduled",
        /// The last request is one interval old.
        AskAgain => "ask_again",
    }
}

/// The waiting itself.
pub struct AwaitInvoice(pub World);

#[async_trait]
impl Step<TradePayout> for AwaitInvoice {
    const NAME: &'static str = "await_invoice";
    type Outcome = Awaited;

    async fn act(&self, cx: &Context<'_, TradePayout>) -> Result<Awaited, StepError> {
        if !cx.state.debt.is_free() {
            return Err(StepError::pause("undecided", "a payment of this debt is undecided: no invoice is taken"));
        }
        if cx.signals.is_empty() {
            let due = self.wake_at(cx.state, cx.now);
            return Ok(if due.is_none_or(|due| due <= cx.now) { Awaited::AskAgain } else { Awaited::Rescheduled });
        }
        let rules = self.0.terms().gate(cx.state.debt.owed_sats, Amountless::Allow);
        let considered = consider(self.0.store.as_ref(), cx.signals, &rules, cx.now).await;
        let considered = Box::new(considered.map_err(|error| StepError::retry(error.to_string()))?);
        Ok(if considered.accepted.is_some() { Awaited::Accepted(considered) } else { Awaited::Refused(considered) })
    }

    fn transition(&self, outcome: Awaited, tx: &mut Transition<'_, TradePayout>) {
        let (Awaited::Accepted(considered) | Awaited::Refused(considered)) = outcome else { return };
        tx.take_all();
        let order = tx.state.order.id.clone();
        tx.effects.drafts.extend(considered.refusals(&order).map(|refusal| refusal.draft("cant-do")));
        for (_, _, why) in &considered.refused {
            tx.effects.notes.push(format!("refused an invoice: {why}"));
        }
        if let Some((signal, invoice)) = &considered.accepted {
            take(tx, invoice, false);
            let updated = Outgoing::Direct {
                to: signal.from.clone(),
                about: Some(order),
                request_id: signal.request_id,
                said: Said::InvoiceUpdated,
            };
            tx.effects.drafts.push(updated.draft("invoice-updated"));
        }
    }

    /// An invoice that an operator got from the buyer some other way; this debt never lapses.
    async fn admit(&self, cx: &Context<'_, TradePayout>, signal: Offered<'_>) -> Result<String, String> {
        let debt = &cx.state.debt;
        if debt.paid.is_some() {
            return Err("the buyer is paid".to_owned());
        }
        if !debt.is_free() {
            return Err("a payment of this debt is undecided: no invoice is taken before it is decided".to_owned());
        }
        if debt.has_work() {
            return Err("another invoice is in".to_owned());
        }
        let Some(buyer) = &cx.state.buyer else { return Err("nobody knows who the buyer is".to_owned()) };
        if !["request_invoice", Self::NAME].contains(&signal.at) || signal.status.is_final() {
            return Err(format!("it is {} at `{}`, where no invoice is wanted", signal.status, signal.at));
        }
        if signal.status == Status::Paused && !signal.insists {
            return Err("the run is paused: only --force with --reason takes an invoice now".to_owned());
        }
        let rules = self.0.terms().gate(debt.owed_sats, Amountless::Allow);
        offered(self.0.store.as_ref(), signal, &rules, buyer, cx.now).await
    }

    fn wake_at(&self, state: &TradePayout, now: Timestamp) -> Option<Timestamp> {
        let interval = Duration::from_secs(u64::from(self.0.terms().request_interval_secs));
        Some(state.last_request_at.map_or(now, |last| Timestamp::from_secs(last).after(interval)))
    }
}
