//! Which finished runs may be retired, and what stays of them.
//!
//! The rows of bonds, orders, payments and of all hashes ever used stay whatever becomes of their runs.
//! A run that may still be needed to know what was paid, or whether, is never retired.

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::engine::{Run, Status, Store, StoreError};

use super::bond_payout::{self, BondPayout};
use super::debt::{Debt, Owing};
use super::tables::HASHES;
use super::trade_payout::{self, TradePayout};
use super::{bond_release, order_resolution};

/// What stays of a run, JSON text: the hashes under which its debt was to be paid, and the proof of the
/// payment. None: it may not be retired.
///
/// # Errors
/// When the database can't be read.
pub async fn remains(store: &dyn Store, run: &Run) -> Result<Option<String>, StoreError> {
    if !run.status.is_final() || run.retired_at.is_some() {
        return Ok(None);
    }
    let debt = match run.pin.workflow.as_str() {
        bond_payout::NAME => debt::<BondPayout>(run),
        trade_payout::NAME => debt::<TradePayout>(run),
        order_resolution::NAME | bond_release::NAME => return Ok(Some("{}".to_owned())),
        _ => None,
    };
    let Some(debt) = debt.filter(|debt| is_over(run, debt)) else { return Ok(None) };
    let hashes: Vec<String> = debt.hashes.iter().map(|record| hex::encode(record.payment_hash)).collect();
    for hash in &hashes {
        if store.row(HASHES.name, hash).await?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(json!({ "owed_sats": debt.owed_sats, "hashes": hashes, "paid": debt.paid }).to_string()))
}

fn debt<T: Owing + DeserializeOwned>(run: &Run) -> Option<Debt> {
    serde_json::from_str::<T>(&run.state).ok().map(|state| state.debt().clone())
}

/// Whether nobody will ever ask again what became of a debt: no payment of it is undecided, and what a
/// person left unpaid stays in sight.
fn is_over(run: &Run, debt: &Debt) -> bool {
    let decided = debt.hashes.iter().all(|record| record.undecided.is_none());
    let paid = debt.is_proven();
    let proof_holds = paid || debt.paid.is_none();
    let left_unpaid = run.status == Status::Canceled && debt.owed_sats > 0 && !paid;
    decided && proof_holds && !left_unpaid
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::engine::{Commit, Pin, RunId, Timestamp};
    use crate::payout::books::insert;
    use crate::payout::debt::Proof;
    use crate::payout::messages::OrderSummary;
    use crate::payout::policy::{HashRecord, NodeShare, Split};
    use crate::payout::tables::TABLES;
    use crate::store::memory::MemoryStore;

    const PREIMAGE: [u8; 32] = [7; 32];

    fn hash() -> [u8; 32] {
        Sha256::digest(PREIMAGE).into()
    }

    fn paid() -> Debt {
        let record = HashRecord { sends: 1, paid: true, ..HashRecord::new(hash(), 99) };
        let proof = Proof { hash: hex::encode(hash()), preimage: hex::encode(PREIMAGE), fee_sats: Some(1) };
        Debt { hashes: vec![record], paid: Some(proof), ..Debt::of(500) }
    }

    fn run(workflow: &str, state: String, status: Status) -> Run {
        Run {
            seq: 1,
            id: RunId::of(workflow, "k"),
            pin: Pin { workflow: workflow.into(), version: 1, hash: "hash".into() },
            key: "k".into(),
            status,
            step: "end".into(),
            attempt: 0,
            state,
            revision: 5,
            token: 5,
            owner: None,
            due_at: None,
            signals: 0,
            heard: 0,
            error: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            retired_at: None,
        }
    }

    fn of_bond(debt: Debt, status: Status) -> Run {
        let order = OrderSummary {
            id: "order".into(),
            kind: "sell".into(),
            status: None,
            amount_sats: 0,
            fiat_code: "EUR".into(),
            fiat_amount: 1,
            payment_method: "cash".into(),
            premium: 0,
        };
        let half = Split::new(1_000, NodeShare::new(500_000).unwrap());
        let payout = BondPayout { debt, ..BondPayout::decided(order, "slashed".into(), Some("winner".into()), half) };
        run(bond_payout::NAME, serde_json::to_string(&payout).unwrap(), status)
    }

    async fn kept(run: &Run) -> Option<String> {
        let store = MemoryStore::new(TABLES);
        let rows = vec![insert(HASHES, &hex::encode(hash()), json!({ "used_by": "payout k" }))];
        store.commit(Commit { rows, ..Commit::default() }).await.unwrap();
        remains(&store, run).await.unwrap()
    }

    #[tokio::test]
    async fn hash_and_proof_stay_of_a_paid_debt() {
        let kept: Value = serde_json::from_str(&kept(&of_bond(paid(), Status::Completed)).await.unwrap()).unwrap();
        let proof = json!({ "hash": hex::encode(hash()), "preimage": hex::encode(PREIMAGE), "fee_sats": 1 });
        assert_eq!(kept, json!({ "owed_sats": 500, "hashes": [hex::encode(hash())], "paid": proof }));
        assert_eq!(super::remains(&MemoryStore::new(TABLES), &of_bond(paid(), Status::Completed)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_never_paid_goes_when_it_is_over() {
        let tried = Debt { hashes: vec![HashRecord::new(hash(), 99)], ..Debt::of(500) };
        assert!(kept(&of_bond(tried.clone(), Status::Completed)).await.is_some(), "forfeited");
        assert!(kept(&of_bond(Debt::of(0), Status::Canceled)).await.is_some(), "nothing was owed");
        assert!(kept(&of_bond(paid(), Status::Canceled)).await.is_some(), "it was paid before");
        assert_eq!(kept(&of_bond(tried, Status::Canceled)).await, None, "a person has taken the debt over");
        for workflow in [order_resolution::NAME, bond_release::NAME] {
            assert_eq!(kept(&run(workflow, "{}".into(), Status::Completed)).await.as_deref(), Some("{}"));
        }
    }

    #[tokio::test]
    async fn what_may_still_be_needed_stays() {
        let undecided = HashRecord::new(hash(), 99).begin_send(99).unwrap();
        let undecided = Debt { hashes: vec![undecided], ..paid() };
        let mut forged = paid();
        forged.paid.as_mut().unwrap().preimage = hex::encode([8; 32]);
        for (why, run) in [
            ("a payment without a verdict", of_bond(undecided, Status::Completed)),
            ("a proof that proves nothing", of_bond(forged, Status::Completed)),
            ("a state that can't be read", run(bond_payout::NAME, "{}".into(), Status::Completed)),
            ("another workflow", run("other", "{}".into(), Status::Completed)),
            ("an open run", of_bond(paid(), Status::Waiting)),
            ("a retired one", Run { retired_at: Some(Timestamp(1)), ..of_bond(paid(), Status::Completed) }),
        ] {
            assert_eq!(kept(&run).await, None, "{why}");
        }
    }
}
