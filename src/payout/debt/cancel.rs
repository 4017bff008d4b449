//! What it means for a debt that an operator ends its run.

use serde_json::json;

use crate::engine::operator::Ending;
use crate::engine::{Effects, Signal};
use crate::payout::books::upsert;
use crate::payout::tables::PAYMENTS;

use super::invoice::unwanted;
use super::pay::next_in_line;
use super::{Debt, Owing};

/// The verdict on a payment that nobody will look at any more.
const ABANDONED: &str = "abandoned";

/// The rule; see [`crate::engine::operator::CancelRule`]. Whoever sent an invoice is told that none is wanted,
/// and a payment without a verdict leaves its payee's cap, since no verdict will ever come.
///
/// # Errors
/// When the state can't be read.
pub fn cancel<S: Owing>(key: &str, state: &str, mail: &[Signal]) -> Result<Ending, String> {
    let state: S = serde_json::from_str(state).map_err(|error| format!("the run's state can't be read: {error}"))?;
    let mut effects = Effects::default();
    effects.drafts.extend(unwanted(mail).refusals(state.order_id()).map(|refusal| refusal.draft("cant-do")));
    let debt = state.debt();
    let undecided = debt.hashes.iter().filter(|record| record.undecided.is_some());
    effects.rows.extend(undecided.map(|record| {
        let hash = hex::encode(record.payment_hash);
        let row = json!({ "run": key, "destination": payee_of(debt, &hash), "amount_sats": debt.owed_sats,
            "verdict": ABANDONED });
        upsert(PAYMENTS, &hash, row)
    }));
    if debt.paid.is_none() {
        effects.notes.push(format!("{} sats are paid by nobody any more: a person ended the run", debt.owed_sats));
    }
    let hindrance = (!effects.rows.is_empty()).then(|| {
        effects.nudges.extend(next_in_line());
        "a payment of this debt is undecided, and nobody would look at it any more".to_owned()
    });
    Ok(Ending { hindrance, effects })
}

/// Whom a payment of that hash goes to, hex; empty when it is not the present invoice's.
pub(super) fn payee_of<'a>(debt: &'a Debt, hash: &str) -> &'a str {
    debt.invoice.as_ref().filter(|invoice| invoice.hash == hash).map_or("", |invoice| invoice.payee.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Timestamp;
    use crate::engine::store::RowChange;
    use crate::payout::bond_payout::BondPayout;
    use crate::payout::debt::InvoiceSignal;

    fn state(sent: bool) -> String {
        let mut debt = Debt::of(500);
        debt.adopt([7; 32], Timestamp::from_secs(1_800_000_000));
        if !sent {
            debt.hashes[0].undecided = None;
        }
        let payout = json!({
            "order": { "id": "o", "kind": "sell", "status": null, "amount_sats": 0, "fiat_code": "USD",
                "fiat_amount": 1, "payment_method": "bank", "premium": 0 },
            "slashed": "aa", "recipient": "bb", "amount_sats": 1000, "node_share_sats": 500,
            "slashed_at": 1_800_000_000, "bond": "pending-payout", "requests": 0, "last_request_at": null,
            "reopened_at": null, "debt": debt,
        });
        payout.to_string()
    }

    fn invoice(by_operator: bool) -> Signal {
        let said = InvoiceSignal {
            bolt11: "lnbc".into(),
            from: "bb".into(),
            request_id: Some(9),
            made_at: None,
            by_operator,
            insists: false,
        };
        Signal { number: 1, name: "invoice".into(), payload: json!(said).to_string(), at: Timestamp(0) }
    }

    #[test]
    fn an_undecided_payment_leaves_its_cap_when_somebody_insists() {
        let ending = cancel::<BondPayout>("b", &state(true), &[]).unwrap();
        assert!(ending.hindrance.is_some_and(|why| why.contains("undecided")));
        let [row] = ending.effects.rows.as_slice() else { panic!("{:?}", ending.effects.rows) };
        assert_eq!((row.table, row.key.as_str()), ("payments", hex::encode([7; 32]).as_str()));
        assert!(matches!(&row.change, RowChange::Upsert(set) if set["verdict"] == "abandoned"), "{row:?}");
        assert_eq!(ending.effects.nudges.len(), 2, "another may go in its place");
    }

    #[test]
    fn whoever_sent_an_invoice_is_answered() {
        let mail = [invoice(false), invoice(true)];
        let ending = cancel::<BondPayout>("b", &state(false), &mail).unwrap();
        assert_eq!((ending.hindrance, ending.effects.rows.len()), (None, 0));
        let [answer] = ending.effects.drafts.as_slice() else { panic!("{:?}", ending.effects.drafts) };
        assert!(answer.content.contains("not_allowed_by_status") || answer.content.contains("not-allowed-by-status"));
        assert!(cancel::<BondPayout>("b", "{}", &[]).is_err());
    }
}
