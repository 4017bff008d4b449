//! From which step an operator may have a bond's payout go on.

use crate::engine::Timestamp;
use crate::engine::operator::Reentry;
use crate::payout::debt;

use super::{BondPayout, BondView};

/// The rule; see [`crate::engine::operator::RetryRule`].
///
/// # Errors
/// Why the run may not go on from there.
pub fn rule(bond: &str, state: &str, step: &str, now: Timestamp) -> Result<Reentry, String> {
    debt::reentry_owing::<BondPayout>(bond, state, |payout| {
        payout.split().map_err(|error| error.to_string())?;
        if step != "settle" && payout.slashed_at.is_none() {
            return Err("the bond is not claimed yet: only `settle` may follow".to_owned());
        }
        if payout.debt.owed_sats == 0 && !["settle", "finalize"].contains(&step) {
            return Err("nothing is owed to anybody: only `settle` and `finalize` may follow".to_owned());
        }
        let said = debt::reenter(&mut payout.debt, step, now)?;
        if payout.debt.has_work() && payout.bond == BondView::Failed {
            payout.bond = BondView::PendingPayout;
        }
        Ok(if step == "settle" {
            "settles the bond's hold invoice; settling a settled one changes nothing".into()
        } else {
            said
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::payout::policy::HashRecord;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn state(change: impl FnOnce(&mut BondPayout)) -> String {
        let hash = [7; 32];
        let mut payout: BondPayout = serde_json::from_value(json!({
            "order": { "id": "o", "kind": "sell", "status": null, "amount_sats": 0, "fiat_code": "USD",
                "fiat_amount": 1, "payment_method": "bank", "premium": 0 },
            "slashed": "aa", "recipient": "bb", "amount_sats": 1000, "node_share_sats": 500,
            "slashed_at": NOW.secs() - 60, "bond": "failed", "requests": 0, "last_request_at": null,
            "reopened_at": null,
            "debt": { "owed_sats": 500, "spent": true, "attempts": 3, "hashes": [], "send_now": false, "paid": null,
                "invoice": { "bolt11": "lnbc", "hash": hex::encode(hash), "payee": "cc", "amountless": false,
                    "expires_at": NOW.secs() + 1 } }
        }))
        .unwrap();
        payout.debt.hashes.push(HashRecord::new(hash, NOW.secs() + 1));
        change(&mut payout);
        serde_json::to_string(&payout).unwrap()
    }

    fn refused(state: &str, step: &str) -> String {
        rule("b", state, step, NOW).unwrap_err()
    }

    #[test]
    fn a_spent_invoice_is_paid_again_if_it_is_still_valid() {
        let reentry = rule("b", &state(|_| {}), "intend", NOW).unwrap();
        let after: Value = serde_json::from_str(&reentry.state).unwrap();
        assert_eq!((&after["debt"]["spent"], &after["debt"]["attempts"]), (&json!(false), &json!(0)));
        assert_eq!(after["bond"], "pending-payout");
        assert!(!reentry.rows.is_empty(), "the bond's row follows");
        let expired = state(|payout| payout.debt.invoice.as_mut().unwrap().expires_at = NOW.secs());
        assert!(refused(&expired, "intend").contains("has expired"));
        let none = state(|payout| payout.debt.invoice = None);
        assert!(refused(&none, "intend").contains("no invoice"));
    }

    #[test]
    fn nothing_but_looking_follows_while_a_payment_is_undecided() {
        let undecided = state(|payout| {
            let record = payout.debt.hashes[0].begin_send(NOW.secs()).unwrap();
            payout.debt.hashes[0] = record;
        });
        for step in ["settle", "request_invoice", "await_invoice", "intend", "await_slot"] {
            assert!(refused(&undecided, step).contains("undecided"), "{step}");
        }
    }

    #[test]
    fn a_paid_debt_is_only_closed() {
        use sha2::{Digest, Sha256};
        let paid = state(|payout| {
            let (preimage, hash) = ([1; 32], Sha256::digest([1; 32]));
            payout.debt.paid =
                Some(debt::Proof { hash: hex::encode(hash), preimage: hex::encode(preimage), fee_sats: None });
        });
        for step in ["settle", "request_invoice", "await_invoice", "intend", "await_slot"] {
            assert!(refused(&paid, step).contains("never paid again"), "{step}");
        }
        assert!(rule("b", &paid, "finalize", NOW).is_ok());
        assert!(refused(&state(|_| {}), "finalize").contains("no proof"));
    }

    #[test]
    fn what_is_not_claimed_is_never_paid() {
        let unclaimed = state(|payout| payout.slashed_at = None);
        for step in ["request_invoice", "await_invoice", "intend", "await_slot", "finalize"] {
            assert!(refused(&unclaimed, step).contains("not claimed"), "{step}");
        }
        assert!(rule("b", &unclaimed, "settle", NOW).is_ok());
        let shareless = state(|payout| payout.node_share_sats = None);
        assert!(rule("b", &shareless, "settle", NOW).is_err(), "a missing share is an error");
    }

    #[test]
    fn no_other_invoice_is_asked_for_while_one_is_in() {
        let pending = state(|payout| payout.debt.spent = false);
        for step in ["request_invoice", "await_invoice"] {
            assert!(refused(&pending, step).contains("an invoice is in"), "{step}");
            assert!(rule("b", &state(|_| {}), step, NOW).is_ok(), "{step}");
        }
    }
}
