//! Tracks, then decides to send: the commit of this step is the intent.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use crate::engine::store::{Guard, Row};
use crate::engine::{Cause, Context, Step, StepError, Timestamp, Transition};
use crate::payout::books::{columns, upsert};
use crate::payout::policy::{HashRecord, Verdict};
use crate::payout::tables::PAYMENTS;
use crate::payout::terms::Terms;
use crate::payout::world::World;

use super::cancel::payee_of;
use super::{Debt, Invoice, Owing};

/// How long after its intent lnd may take a send. Long enough for a slow commit and call, short
/// enough that a lost send is soon known to be one.
const SEND_WINDOW: Duration = Duration::from_secs(20);

crate::outcomes! {
    /// What came of wanting to send.
    pub enum Intended {
        /// Nothing is under way and nothing can arrive: this record has one send more.
        Send(Box<HashRecord>, Timestamp) => "intended",
        /// Something of this debt may be under way: look at it, send nothing.
        UnderWay(Box<HashRecord>) => "under_way",
        /// There is no invoice that may be paid.
        NoInvoice => "no_invoice",
        /// As many payments are in flight as there may be.
        Full => "full",
        /// The invoice has expired, and nothing of it is under way.
        Expired(Box<HashRecord>) => "invoice_spent",
    }
}

/// Tracks before every send, and commits the intent under both caps.
pub struct Intend(pub World);

#[async_trait]
impl<S: Owing> Step<S> for Intend {
    const NAME: &'static str = "intend";
    type Outcome = Intended;

    async fn act(&self, cx: &Context<'_, S>) -> Result<Intended, StepError> {
        let debt = cx.state.debt();
        if debt.paid.is_some() {
            return Err(StepError::pause("paid-already", "the debt is paid: nothing may be sent"));
        }
        if let Some(record) = debt.hashes.iter().find(|record| record.undecided.is_some() || record.paid) {
            return Ok(Intended::UnderWay(Box::new(*record)));
        }
        let (Some(invoice), Some(record), false) = (&debt.invoice, debt.record(), debt.spent) else {
            return Ok(Intended::NoInvoice);
        };
        let (info, looked) = tokio::join!(self.0.lightning.info(), self.0.look(record, cx.now));
        if !info.map_err(|error| away(&error.to_string()))?.synced_to_chain {
            return Err(away("lnd is not synced to its chain"));
        }
        let (seen, verdict) = looked.map_err(|error| StepError::retry(error.to_string()))?;
        match verdict {
            Verdict::SafeToSend | Verdict::RetryLater => {}
            Verdict::Rejected { .. } | Verdict::Refused => return Ok(Intended::Expired(Box::new(seen))),
            Verdict::Unavailable => return Err(away("lnd can't say whether the invoice was ever tried")),
            // A found end is not taken here: the step that looks takes it, under its own rules.
            Verdict::Paid { .. } | Verdict::InDoubt(_) | Verdict::Operator => {
                let kept = if seen.undecided.is_some() { seen } else { *record };
                return Ok(Intended::UnderWay(Box::new(kept)));
            }
        }
        for cap in caps(&self.0.terms(), invoice, cx.now) {
            if !self.0.store.holds(&cap).await.map_err(|error| StepError::retry(error.to_string()))? {
                return Ok(Intended::Full);
            }
        }
        let valid_until = cx.lease_until.min(cx.now.after(SEND_WINDOW));
        let next = seen
            .begin_send(valid_until.secs())
            .map_err(|error| StepError::pause("send-forbidden", error.to_string()))?;
        let witness = self.0.newest_judged().await.map_err(|error| StepError::retry(error.to_string()))?;
        Ok(Intended::Send(Box::new(next.witnessed(witness)), valid_until))
    }

    fn transition(&self, outcome: Intended, tx: &mut Transition<'_, S>) {
        let terms = self.0.terms();
        match outcome {
            Intended::Send(record, valid_until) => {
                let debt = tx.state.debt_mut();
                debt.keep(*record);
                debt.send_now = true;
                if let Some(invoice) = &debt.invoice {
                    tx.effects.guards = caps(&terms, invoice, tx.now);
                    tx.effects.rows.push(payment_row(debt, invoice, &record, tx.key, tx.now, valid_until, &terms));
                    tx.effects.notes.push(format!(
                        "sending {} sats to {}, hash {}, send {}, fee limit {} sats",
                        debt.owed_sats,
                        invoice.payee,
                        invoice.hash,
                        record.sends,
                        terms.fees.limit_sats(debt.owed_sats)
                    ));
                }
            }
            Intended::UnderWay(record) => {
                let debt = tx.state.debt_mut();
                debt.keep(*record);
                debt.send_now = false;
                tx.effects.rows.push(found_row(debt, &record, tx.key));
            }
            Intended::Full | Intended::NoInvoice => {}
            Intended::Expired(record) => {
                tx.state.debt_mut().keep(*record);
                tx.state.spent("the invoice has expired", tx.now, &mut tx.effects);
            }
        }
        let rows = tx.state.project(tx.key);
        tx.effects.rows.extend(rows);
    }
}

/// lnd gives no answer to build on: wait, spend no attempt.
fn away(reason: &str) -> StepError {
    StepError::Retry(Cause::alarming("lnd-unavailable", reason))
}

/// The two caps, counted in the database over all daemons. A payment that is held for longer than
/// lnd looks for routes leaves the node-wide one, so that held ones never starve the rest.
fn caps(terms: &Terms, invoice: &Invoice, now: Timestamp) -> Vec<Guard> {
    let undecided = |more: Row| {
        let mut matching = columns(json!({ "verdict": null }));
        matching.extend(more);
        matching
    };
    let recent = now.secs().saturating_sub(i64::from(terms.payment_timeout_secs));
    let node_wide = Guard::Fewer {
        table: PAYMENTS.name,
        matching: undecided(Row::new()),
        at_least: Some(("last_send_at", recent)),
        limit: u64::from(terms.max_inflight),
    };
    let per_payee = terms.max_inflight_per_destination.map(|limit| Guard::Fewer {
        table: PAYMENTS.name,
        matching: undecided(columns(json!({ "destination": invoice.payee }))),
        at_least: None,
        limit: u64::from(limit),
    });
    std::iter::once(node_wide).chain(per_payee).collect()
}

fn payment_row(
    debt: &Debt,
    invoice: &Invoice,
    record: &HashRecord,
    run: &str,
    now: Timestamp,
    valid_until: Timestamp,
    terms: &Terms,
) -> crate::engine::store::RowWrite {
    upsert(
        PAYMENTS,
        &invoice.hash,
        json!({
            "run": run,
            "destination": invoice.payee,
            "amount_sats": debt.owed_sats,
            "fee_limit_sats": terms.fees.limit_sats(debt.owed_sats),
            "sends": record.sends,
            "last_send_at": now.secs(),
            "valid_until": valid_until.secs(),
            "judged_index": record.newest_judged(),
            "verdict": null,
        }),
    )
}

/// The row of a payment that is looked at without an intent of this run: one that was taken over,
/// or that somebody else had lnd make. From now on it counts under the caps, and its verdict has a
/// row to be written to.
pub fn found_row(debt: &Debt, record: &HashRecord, run: &str) -> crate::engine::store::RowWrite {
    let hash = hex::encode(record.payment_hash);
    let payee = payee_of(debt, &hash);
    let row = json!({ "run": run, "destination": payee, "amount_sats": debt.owed_sats, "verdict": null });
    upsert(PAYMENTS, &hash, row)
}
