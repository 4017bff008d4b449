//! Sends once for one intent; ever after it only looks, until lnd gives a verdict.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::engine::operator::Word;
use crate::engine::store::Nudge;
use crate::engine::{Cause, Context, Step, StepError, Timestamp, Transition};
use crate::payout::books::{secret32, update};
use crate::payout::policy::verdict::SKEW_MARGIN_SECS;
use crate::payout::policy::{
    Circumstances, Doubt, HashRecord, Ledger, Next, Observation, PaymentStatus, Preimage, Verdict,
};
use crate::payout::ports::Send;
use crate::payout::tables::PAYMENTS;
use crate::payout::world::World;

use super::{Debt, Owing, Proof};

/// How often lnd may answer a send with an error of its own before the invoice is given up: a
/// counter apart from the attempts, since nothing was sent.
const MAX_REFUSALS: u32 = 5;

/// The verdict on a payment that its payee has.
const PAID: &str = "paid";

crate::outcomes! {
    /// What came of a payment. Each carries the record that the verdict left.
    pub enum Paying {
        /// Paid, and proven.
        Paid(Box<HashRecord>, Proof) => "paid",
        /// Something was learned that does not end the looking: no verdict, or the one that is named here, while another
        /// payment of the debt has none.
        Learned(Box<HashRecord>, Option<&'static str>) => "learned",
        /// The send never reached lnd and can't any more.
        NeverArrived(Box<HashRecord>) => "never_arrived",
        /// lnd failed the send; the same invoice may be tried again.
        AttemptFailed(Box<HashRecord>) => "attempt_failed",
        /// lnd lacks the sats.
        ShortOfLiquidity(Box<HashRecord>) => "short_of_liquidity",
        /// lnd answered the send with an error and made no payment of it.
        Refused(Box<HashRecord>) => "refused",
        /// The invoice is of no use any more; the flag says whether a send of it failed just now.
        Spent(Box<HashRecord>, bool, String) => "invoice_spent",
    }
}

impl Paying {
    /// The verdict on the payment that was looked at, as its row has it.
    const fn verdict(&self) -> Option<&'static str> {
        match self {
            Self::Paid(..) => Some(PAID),
            Self::Learned(_, verdict) => *verdict,
            Self::NeverArrived(_) => Some("never-arrived"),
            Self::AttemptFailed(_) | Self::ShortOfLiquidity(_) | Self::Spent(..) => Some("failed"),
            Self::Refused(_) => Some("refused"),
        }
    }

    const fn record(&self) -> &HashRecord {
        match self {
            Self::Paid(record, _)
            | Self::Learned(record, _)
            | Self::NeverArrived(record)
            | Self::AttemptFailed(record)
            | Self::ShortOfLiquidity(record)
            | Self::Refused(record)
            | Self::Spent(record, ..) => record,
        }
    }

    /// What it means for a debt: a restored database may have several payments in doubt, and until each has a verdict
    /// nothing is sent and no invoice is asked for.
    fn of(self, debt: &Debt) -> Self {
        let record = *self.record();
        let is_another = |other: &HashRecord| other.payment_hash != record.payment_hash && other.undecided.is_some();
        match self.verdict() {
            Some(verdict) if verdict != PAID && debt.hashes.iter().any(is_another) => {
                Self::Learned(Box::new(record), Some(verdict))
            }
            _ => self,
        }
    }
}

/// The payment itself.
pub struct Pay(pub World);

#[async_trait]
impl<S: Owing> Step<S> for Pay {
    const NAME: &'static str = "pay";
    type Outcome = Paying;

    async fn act(&self, cx: &Context<'_, S>) -> Result<Paying, StepError> {
        let debt = cx.state.debt();
        let Some(record) = debt.open_record() else {
            return Err(StepError::pause("no-invoice", "there is no payment to look at"));
        };
        let unread = |error: crate::engine::StoreError| StepError::doubt(error.to_string());
        let (mut kept, mut verdict) = match self.send_of(debt, record, cx) {
            Some(send) => {
                let seen = self.0.lightning.send(&send).await;
                self.0.judge(record, seen, cx.now).await.map_err(unread)?
            }
            None => self.0.look(record, cx.now).await.map_err(unread)?,
        };
        if verdict == Verdict::InDoubt(Doubt::NoAnswer) && kept.undecided.is_some_and(|send| send.refusal.is_some()) {
            (kept, verdict) = self.0.look(&kept, cx.now).await.map_err(unread)?;
        }
        Ok(self.outcome(debt, record, kept, verdict)?.of(debt))
    }

    fn transition(&self, outcome: Paying, tx: &mut Transition<'_, S>) {
        let max = self.0.terms().max_retries;
        let (record, verdict) = (*outcome.record(), outcome.verdict());
        let debt = tx.state.debt_mut();
        debt.send_now = false;
        debt.keep(record);
        match outcome {
            Paying::Paid(_, proof) => {
                let fee = proof.fee_sats.map_or_else(|| "unknown".to_owned(), |sats| format!("{sats} sats"));
                tx.effects.notes.push(format!("paid, hash {}, routing fee {fee}", proof.hash));
                debt.paid = Some(proof);
            }
            Paying::Learned(..) => {}
            Paying::NeverArrived(_) => {
                let text = "lnd did not take a send in its time, and can't any more: the payment is sent again";
                tx.effects.alarms.push(("send-lost", text.to_owned()));
            }
            Paying::AttemptFailed(_) => {
                debt.attempts += 1;
                tx.attempt = Some(debt.attempts);
                tx.detail = Some(format!("attempt {} of {max} failed", debt.attempts));
            }
            Paying::ShortOfLiquidity(_) => {
                // A shortage may last: each send that meets it waits longer than the one before.
                tx.attempt = Some(record.sends);
                tx.effects.alarms.push(("insufficient-balance", "lnd lacks the sats for this payment".to_owned()));
            }
            Paying::Refused(_) => tx.attempt = Some(record.refusals),
            Paying::Spent(_, attempted, why) => {
                debt.attempts += u32::from(attempted);
                tx.state.spent(&why, tx.now, &mut tx.effects);
            }
        }
        if let Some(verdict) = verdict {
            let hash = hex::encode(record.payment_hash);
            if verdict != PAID {
                tx.effects.notes.push(format!("the payment has ended: {verdict}, hash {hash}, send {}", record.sends));
            }
            tx.effects.rows.push(update(
                PAYMENTS,
                &hash,
                json!({ "verdict": verdict, "judged_index": record.newest_judged() }),
                json!({}),
            ));
            tx.effects.nudges.extend(next_in_line());
        }
        let rows = tx.state.project(tx.key);
        tx.effects.rows.extend(rows);
    }

    /// A preimage is verified; a denial counts only when no send can reach lnd any more and lnd, asked
    /// now, knows none. A denied invoice is never sent again: the debt goes on with another.
    async fn resolve(&self, cx: &Context<'_, S>, word: &Word) -> Result<Paying, String> {
        let Some(record) = cx.state.debt().open_record() else {
            return Err("there is no payment to speak of".to_owned());
        };
        let seen = self.0.lightning.track(record.payment_hash).await;
        match word {
            Word::Happened { evidence } => {
                let preimage = secret32(evidence.trim()).ok_or("a preimage has 64 hex digits")?;
                let paid = record.affirmed(&Preimage(preimage)).map_err(|refused| refused.to_string())?;
                let fee_sats = match seen {
                    Observation::Payment { status: PaymentStatus::Succeeded { fee_msat, .. }, .. } => {
                        Some(fee_msat.div_ceil(1_000))
                    }
                    _ => None,
                };
                let hash = hex::encode(record.payment_hash);
                Ok(Paying::Paid(Box::new(paid), Proof { hash, preimage: hex::encode(preimage), fee_sats }))
            }
            Word::DidNot => {
                let at = Circumstances {
                    asked_at: cx.now.secs(),
                    ledger: Ledger::Unread,
                    skew_margin_secs: SKEW_MARGIN_SECS,
                };
                let denied = record.denied(seen, &at).map_err(|refused| refused.to_string())?;
                let why = "an operator says that it was not paid".to_owned();
                Ok(Paying::Spent(Box::new(denied), false, why).of(cx.state.debt()))
            }
        }
    }

    fn wake_at(&self, state: &S, now: Timestamp) -> Option<Timestamp> {
        // A send that lnd has not shown yet is decided soon after it can't arrive any more.
        let pending = state.debt().open_record().and_then(|record| record.undecided).filter(|send| !send.arrived);
        let look = now.after(Duration::from_secs(u64::from(self.0.terms().look_again_secs)));
        let past = pending.map(|send| {
            let past = send.send_valid_until.saturating_add(SKEW_MARGIN_SECS + 1);
            Timestamp::from_secs(past)
        });
        Some(past.filter(|past| *past > now).map_or(look, |past| past.min(look)))
    }

    fn watch(&self, state: &S) -> Option<BoxFuture<'static, ()>> {
        let record = state.debt().open_record()?;
        let arrived = record.undecided.is_some_and(|send| send.arrived);
        Some(self.0.lightning.watch(record.payment_hash, arrived))
    }
}

/// The workflows whose payments share the caps.
const NEXT_IN_LINE: [&str; 2] = ["bond_payout", "trade_payout"];

/// One more payment may be in flight: one of each looks whether it is theirs.
pub(super) fn next_in_line() -> [Nudge; 2] {
    NEXT_IN_LINE.map(|workflow| Nudge { workflow: workflow.to_owned(), step: "await_slot".to_owned(), limit: 1 })
}

impl Pay {
    /// The send of a fresh intent; none when all that may be done is look.
    fn send_of<S: Owing>(&self, debt: &Debt, record: &HashRecord, cx: &Context<'_, S>) -> Option<Send> {
        let invoice = debt.invoice.as_ref()?;
        let valid_until = Timestamp::from_secs(record.undecided?.send_valid_until);
        let terms = self.0.terms();
        (cx.first && debt.send_now && cx.now < valid_until && hex::encode(record.payment_hash) == invoice.hash).then(
            || Send {
                bolt11: invoice.bolt11.clone(),
                hash: record.payment_hash,
                amount_sats: invoice.amountless.then_some(debt.owed_sats),
                fee_limit_sats: terms.fees.limit_sats(debt.owed_sats),
                cltv_limit: terms.cltv_limit,
                timeout_secs: terms.payment_timeout_secs,
                valid_until,
            },
        )
    }

    fn outcome(
        &self,
        debt: &Debt,
        before: &HashRecord,
        kept: HashRecord,
        verdict: Verdict,
    ) -> Result<Paying, StepError> {
        let record = Box::new(kept);
        let attempts_left = debt.attempts + 1 < self.0.terms().max_retries;
        Ok(match verdict {
            Verdict::Paid { preimage, fee_sats } => {
                let hash = hex::encode(kept.payment_hash);
                Paying::Paid(record, Proof { hash, preimage: hex::encode(preimage.0), fee_sats: Some(fee_sats) })
            }
            Verdict::Rejected { next: Next::Retry, .. } if attempts_left => Paying::AttemptFailed(record),
            Verdict::Rejected { next: Next::Retry, attempted } => {
                Paying::Spent(record, attempted, format!("{} attempts failed", debt.attempts + 1))
            }
            Verdict::Rejected { next: Next::FreshInvoice, attempted } => {
                Paying::Spent(record, attempted, "the invoice can't be paid any more".to_owned())
            }
            Verdict::RetryLater => Paying::ShortOfLiquidity(record),
            Verdict::Refused if kept.refusals >= MAX_REFUSALS => {
                Paying::Spent(record, false, format!("lnd refused the send {} times", kept.refusals))
            }
            Verdict::Refused => Paying::Refused(record),
            Verdict::SafeToSend => Paying::NeverArrived(record),
            // What was learned is kept before anything else, so that a crash does not forget it.
            Verdict::InDoubt(_) | Verdict::Unavailable | Verdict::Operator if kept != *before => {
                Paying::Learned(record, None)
            }
            Verdict::InDoubt(_) | Verdict::Unavailable | Verdict::Operator => {
                let reason = doubt_of(verdict);
                return Err(StepError::Doubt(Cause { reason, alarm: verdict.alarm() }));
            }
        })
    }
}

fn doubt_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::InDoubt(Doubt::InFlight) => "the payment is in flight",
        Verdict::InDoubt(Doubt::MayArrive) => "the send may still reach lnd",
        Verdict::InDoubt(Doubt::NoAnswer) => "lnd gave no answer",
        Verdict::InDoubt(Doubt::LedgerUnread) => "lnd did not say whether it still knows its payments",
        Verdict::InDoubt(Doubt::PreimageMismatch) => "lnd says paid, but its preimage is not the hash's",
        Verdict::Unavailable => "lnd can't serve",
        _ => "lnd has forgotten payments that this database knows of: only a person can find out whether it was paid",
    }
    .to_owned()
}
