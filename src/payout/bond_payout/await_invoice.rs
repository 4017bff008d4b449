//! Waits for the invoice, and decides between it and the deadline.

use async_trait::async_trait;
use serde_json::json;

use crate::engine::operator::Offered;
use crate::engine::{Context, Signal, Status, Step, StepError, Timestamp, Transition};
use crate::payout::books::insert;
use crate::payout::debt::{Considered, Owing, consider, given_at, insisted, offered, unwanted};
use crate::payout::messages::{Outgoing, Said};
use crate::payout::policy::{Amountless, Attendance, ClaimWindow, Forfeiture, Hold};
use crate::payout::tables::HASHES;
use crate::payout::world::World;

use super::{BondPayout, BondView};

crate::outcomes! {
    /// What came of waiting.
    pub enum Awaited {
        /// An invoice is taken; the others are answered.
        Accepted(Box<Considered>) => "accepted",
        /// None of the invoices is good; each is answered.
        Refused(Box<Considered>) => "refused",
        /// It is not time yet: the clock, or the settings, have moved.
        Rescheduled => "rescheduled",
        /// The last request is one interval old.
        AskAgain => "ask_again",
        /// Nobody claimed the share in time; invoices that came too late are answered.
        WindowClosed(Box<Considered>) => "window_closed",
    }
}

/// The waiting itself.
pub struct AwaitInvoice(pub World);

#[async_trait]
impl Step<BondPayout> for AwaitInvoice {
    const NAME: &'static str = "await_invoice";
    type Outcome = Awaited;

    async fn act(&self, cx: &Context<'_, BondPayout>) -> Result<Awaited, StepError> {
        if !cx.state.debt.is_free() {
            return Err(StepError::pause("undecided", "a payment of this debt is undecided: no invoice is taken"));
        }
        let terms = self.0.terms();
        let Some(window) = cx.state.window(&terms) else {
            return Err(StepError::pause("slashed-at", "nobody knows when the bond was slashed"));
        };
        let rules = terms.gate(cx.state.debt.owed_sats, Amountless::Refuse);
        let consider = async |signals: &[Signal]| {
            let considered = consider(self.0.store.as_ref(), signals, &rules, cx.now).await;
            considered.map_err(|error| StepError::retry(error.to_string()))
        };
        if window.is_open(cx.now.secs()) {
            if !cx.signals.is_empty() {
                return Ok(judged(consider(cx.signals).await?));
            }
            let due = window.next_request_at(cx.state.last_request_at, cx.now.secs());
            return Ok(if due.is_some_and(|due| due <= cx.now.secs()) {
                Awaited::AskAgain
            } else {
                Awaited::Rescheduled
            });
        }
        // The window is closed. What was given before counts, and all of it while the node can't
        // be sure that it heard everything in time.
        let (in_time, late): (Vec<Signal>, Vec<Signal>) =
            cx.signals.iter().cloned().partition(|signal| insisted(signal) || given_at(signal) < window.closes_at());
        let mut considered = consider(&in_time).await?;
        if considered.accepted.is_none() {
            match self.forfeiture(&window, cx.now).await? {
                Forfeiture::Due => {}
                held if cx.signals.is_empty() => return Err(hold(held)),
                _ => return Ok(judged(consider(cx.signals).await?)),
            }
        }
        considered.refused.extend(unwanted(&late).refused);
        if considered.accepted.is_none() && cx.state.bond != BondView::Failed {
            return Ok(Awaited::WindowClosed(Box::new(considered)));
        }
        if cx.signals.is_empty() {
            let owed = cx.state.debt.owed_sats;
            let reason = format!("the claim window is closed and the last payment failed: {owed} sats are owed");
            return Err(StepError::pause("payout-failed", reason));
        }
        Ok(judged(considered))
    }

    fn transition(&self, outcome: Awaited, tx: &mut Transition<'_, BondPayout>) {
        let considered = match outcome {
            Awaited::Rescheduled | Awaited::AskAgain => return,
            Awaited::WindowClosed(considered) => {
                tx.state.bond = BondView::Forfeited;
                let owed = tx.state.debt.owed_sats;
                tx.effects.notes.push(format!("nobody claimed {owed} sats in time: the node keeps them"));
                considered
            }
            Awaited::Accepted(considered) | Awaited::Refused(considered) => considered,
        };
        tx.take_all();
        let order = tx.state.order.id.clone();
        for (_, _, why) in &considered.refused {
            tx.effects.notes.push(format!("refused an invoice: {why}"));
        }
        tx.effects.drafts.extend(considered.refusals(&order).map(|refusal| refusal.draft("cant-do")));
        if let Some((signal, invoice)) = &considered.accepted {
            tx.state.debt.accept(invoice);
            (tx.state.bond, tx.state.requests) = (BondView::PendingPayout, 0);
            let hash = hex::encode(invoice.payment_hash);
            tx.effects.rows.push(insert(
                HASHES,
                &hash,
                json!({ "used_by": format!("payout {}", tx.key), "created_at": tx.now.secs() }),
            ));
            tx.effects.notes.push(format!("took an invoice over {} sats, hash {hash}", invoice.amount_sats));
            let accepted = Outgoing::Direct {
                to: signal.from.clone(),
                about: Some(order),
                request_id: signal.request_id,
                said: Said::BondInvoiceAccepted(tx.state.summary(tx.state.debt.owed_sats)),
            };
            tx.effects.drafts.push(accepted.draft("bond-invoice-accepted"));
        }
        tx.effects.rows.extend(tx.state.project(tx.key));
    }

    /// An invoice that an operator got from the recipient some other way. Only insisting takes it after the
    /// window, which reopens what was forfeited or has failed; nothing takes it while a payment is
    /// undecided.
    async fn admit(&self, cx: &Context<'_, BondPayout>, signal: Offered<'_>) -> Result<String, String> {
        let (state, terms) = (cx.state, self.0.terms());
        if state.debt.paid.is_some() {
            return Err("the share is paid".to_owned());
        }
        if !state.debt.is_free() {
            return Err("a payment of this debt is undecided: no invoice is taken before it is decided".to_owned());
        }
        let (Some(window), Some(recipient)) = (state.window(&terms), &state.recipient) else {
            return Err("the bond is not claimed, or all of it is the node's: nothing is owed".to_owned());
        };
        if state.debt.has_work() {
            return Err("another invoice is in".to_owned());
        }
        let forfeited = state.bond == BondView::Forfeited && signal.status == Status::Completed;
        let asks = ["request_invoice", Self::NAME].contains(&signal.at) && !signal.status.is_final();
        if !forfeited && !asks {
            return Err(format!("it is {} at `{}`, where no invoice is wanted", signal.status, signal.at));
        }
        let closed = !window.is_open(cx.now.secs());
        if (forfeited || closed || signal.status == Status::Paused) && !signal.insists {
            let why = if forfeited || closed { "the claim window is closed" } else { "the run is paused" };
            return Err(format!("{why}: only --force with --reason takes an invoice now"));
        }
        let rules = terms.gate(state.debt.owed_sats, Amountless::Refuse);
        offered(self.0.store.as_ref(), signal, &rules, recipient, cx.now).await
    }

    fn wake_at(&self, state: &BondPayout, now: Timestamp) -> Option<Timestamp> {
        let window = state.window(&self.0.terms())?;
        let next = window.next_request_at(state.last_request_at, now.secs());
        Some(Timestamp::from_secs(next.unwrap_or_else(|| window.closes_at())))
    }
}

impl AwaitInvoice {
    /// Whether the window is closed for good: not before the node has heard what was said to it until the
    /// deadline, and not by a clock that runs ahead of the chain.
    async fn forfeiture(&self, window: &ClaimWindow, now: Timestamp) -> Result<Forfeiture, StepError> {
        let info = self.0.lightning.info().await.map_err(|error| StepError::retry(error.to_string()))?;
        let block =
            Attendance { invoice_in: false, caught_up_from: Some(i64::MAX), best_block_at: Some(info.best_block_time) };
        if let held @ Forfeiture::Held(_) = window.forfeiture(now.secs(), &block) {
            return Ok(held);
        }
        let begun = self.0.attendance.catch_up().await.map_err(|error| StepError::retry(error.to_string()))?;
        Ok(window.forfeiture(now.secs(), &Attendance { caught_up_from: Some(begun.secs()), ..block }))
    }
}

fn judged(considered: Considered) -> Awaited {
    let considered = Box::new(considered);
    if considered.accepted.is_some() { Awaited::Accepted(considered) } else { Awaited::Refused(considered) }
}

fn hold(held: Forfeiture) -> StepError {
    use crate::engine::Cause;
    StepError::Retry(match held {
        Forfeiture::Held(Hold::ClockMistrusted) => Cause::alarming(
            "clock-mistrusted",
            "the window has closed by this machine's clock, but lnd's best block is hours older: nobody forfeits by a wrong clock",
        ),
        _ => Cause::new("the window has closed, but not all relays have been read since"),
    })
}
