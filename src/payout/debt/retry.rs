//! From which step an operator may have the payment of a debt go on.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::Timestamp;
use crate::engine::operator::Reentry;
use crate::payout::policy::all_decided;

use super::{Debt, Owing};

/// What an operator's `retry` needs of a debt before anything else: while a payment is undecided nothing
/// goes on but looking, and what is paid is only closed. Changes the debt to what the step needs, and
/// gives the sentence for people.
///
/// # Errors
/// Why the run may not go on from there.
pub fn reenter(debt: &mut Debt, step: &str, now: Timestamp) -> Result<String, String> {
    if step == "finalize" {
        let closes = debt.is_proven() || (debt.owed_sats == 0 && debt.paid.is_none());
        return if closes {
            Ok("checks the evidence once more and closes; sends nothing".to_owned())
        } else {
            Err("there is no proof of payment, which `finalize` closes on".to_owned())
        };
    }
    if debt.paid.is_some() {
        return Err("the debt is paid, and is never paid again: only `finalize` may follow".to_owned());
    }
    if !all_decided(&debt.hashes) {
        let what = "a payment of this debt is undecided";
        return Err(format!("{what}: `resume` looks at lnd again, `resolve` ends it by your word"));
    }
    match (step, &debt.invoice) {
        ("request_invoice" | "await_invoice", _) if debt.has_work() => {
            Err("an invoice is in, which `--from-step intend` pays: no other is asked for".to_owned())
        }
        ("request_invoice" | "await_invoice", _) => Ok(format!("asks for an invoice over {} sats", debt.owed_sats)),
        ("intend" | "await_slot", None) => Err("there is no invoice to pay".to_owned()),
        ("intend" | "await_slot", Some(_)) if debt.record().is_some_and(|record| record.denied) => {
            let what = "a person has said that this invoice was never paid, and it is not sent again";
            Err(format!("{what}: `--from-step request_invoice` asks for another"))
        }
        ("intend" | "await_slot", Some(invoice)) if invoice.expires_at <= now.secs() => {
            Err("the invoice has expired: `--from-step request_invoice` asks for another".to_owned())
        }
        ("intend" | "await_slot", Some(invoice)) => {
            let said = format!("tracks {} at lnd, then sends {} sats to it again", invoice.hash, debt.owed_sats);
            (debt.spent, debt.attempts, debt.send_now) = (false, 0, false);
            Ok(said)
        }
        _ => Ok(format!("runs `{step}` again")),
    }
}

/// A rule over a workflow's state as one over its text. `judge` changes the state and gives the sentence.
///
/// # Errors
/// Why the run may not go on from there.
pub fn reentry<S: Serialize + DeserializeOwned>(
    state: &str,
    judge: impl FnOnce(&mut S) -> Result<String, String>,
) -> Result<(S, Reentry), String> {
    let mut state: S =
        serde_json::from_str(state).map_err(|error| format!("the run's state can't be read: {error}"))?;
    let says = judge(&mut state)?;
    let text = serde_json::to_string(&state).map_err(|error| format!("the run's state can't be written: {error}"))?;
    Ok((state, Reentry { state: text, rows: Vec::new(), says }))
}

/// The same for a state that holds a debt, with the rows that show it.
///
/// # Errors
/// Why the run may not go on from there.
pub fn reentry_owing<S: Owing>(
    key: &str,
    state: &str,
    judge: impl FnOnce(&mut S) -> Result<String, String>,
) -> Result<Reentry, String> {
    let (state, reentry) = reentry(state, judge)?;
    Ok(Reentry { rows: state.project(key), ..reentry })
}
