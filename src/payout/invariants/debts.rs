//! What holds of a debt from its first moment to its last.

use std::collections::BTreeMap;

use crate::engine::{Run, Status};
use crate::payout::bond_payout::{BondPayout, BondView};
use crate::payout::debt::Debt;
use crate::payout::order_resolution::{self, Escrow};

use super::records::{State, named, number, text};
use super::{Found, Invariant, Records};

/// Steps in which an invoice is asked for or taken.
const ASKING: [&str; 2] = ["request_invoice", "await_invoice"];

pub(super) fn check(records: &Records, found: &mut Found) {
    let mut users: BTreeMap<[u8; 32], &Run> = BTreeMap::new();
    for run in &records.runs {
        let (state, row) = (records.state(run), named(run));
        if let State::Unreadable = *state {
            found.add(Invariant::RowsFollowRuns, row, "its state is not what its workflow writes");
        }
        if let State::Bond(state) = &*state {
            shares(records, run, state, found);
        }
        let Some(debt) = state.debt() else { continue };
        paid_once(records, run, debt, found);
        claimed_first(records, run, &state, found);
        undecided_blocks(run, debt, found);
        for record in &debt.hashes {
            let hash = hex::encode(record.payment_hash);
            if let Some(other) = users.insert(record.payment_hash, run) {
                found.add(Invariant::PaidOnce, row, format!("the hash {hash} is {}'s, too", named(other)));
            }
            found.unless(records.hashes.contains_key(&hash), Invariant::PaidOnce, row, || {
                format!("the hash {hash} is not among those ever used")
            });
        }
    }
}

fn shares(records: &Records, run: &Run, state: &BondPayout, found: &mut Found) {
    let row = named(run);
    let owed = state.debt.owed_sats;
    match state.split() {
        Err(error) => found.add(Invariant::SharesAddUp, row, error.to_string()),
        Ok(split) => found.unless(split.counterparty_sats() == owed, Invariant::SharesAddUp, row, || {
            format!("{owed} sats are owed of {}, the node's share being {}", state.amount_sats, split.node_sats())
        }),
    }
    found.unless(state.recipient.is_some() == (owed > 0), Invariant::SharesAddUp, row, || {
        format!("{owed} sats are owed to {}", if state.recipient.is_some() { "somebody" } else { "nobody" })
    });
    let Some(bond) = records.bonds.get(&run.key) else {
        return found.add(Invariant::RowsFollowRuns, row, "its bond has no row");
    };
    let row = format_args!("bonds {}", run.key);
    let amount = i64::try_from(state.amount_sats).ok();
    found.unless(number(bond, "amount_sats") == amount, Invariant::SharesAddUp, row, || {
        format!("{:?} sats, and its payout is of {}", number(bond, "amount_sats"), state.amount_sats)
    });
    let claimed = !matches!(state.bond, BondView::Locked) && text(bond, "failed_reason").is_none();
    if claimed {
        let kept = (number(bond, "node_share_sats"), number(bond, "slashed_at"), text(bond, "payout_recipient"));
        let known = (state.node_share_sats, state.slashed_at, state.recipient.as_deref());
        found.unless(kept == known && state.slashed_at.is_some(), Invariant::RowsFollowRuns, row, || {
            format!("share, time and recipient are {kept:?}, and its run has {known:?}")
        });
    }
}

fn paid_once(records: &Records, run: &Run, debt: &Debt, found: &mut Found) {
    let row = named(run);
    let mut paid: Vec<&String> = Vec::new();
    for (hash, payment) in records.payments_of(&run.key) {
        if text(payment, "verdict") == Some("paid") {
            paid.push(hash);
        }
        let amount = number(payment, "amount_sats");
        found.unless(
            amount == i64::try_from(debt.owed_sats).ok(),
            Invariant::PaidOnce,
            format_args!("payments {hash}"),
            || format!("{amount:?} sats, and {} are owed", debt.owed_sats),
        );
    }
    found.unless(paid.len() <= 1, Invariant::PaidOnce, row, || format!("paid by {} payments", paid.len()));
    let proven: Vec<String> =
        debt.hashes.iter().filter(|record| record.paid).map(|record| hex::encode(record.payment_hash)).collect();
    let proof: Vec<&String> = debt.paid.iter().map(|proof| &proof.hash).collect();
    found.unless(proven.iter().eq(proof.iter().copied()), Invariant::PaidOnce, row, || {
        format!("proven of the hashes {proof:?}, paid by {proven:?}")
    });
    found.unless(proof.is_empty() || debt.is_proven(), Invariant::Evidence, row, || {
        "its proof of payment proves nothing".to_owned()
    });
}

/// The rows of payments that this daemon intended: those of payments that it only found have no
/// limit of the fee.
fn claimed_first(records: &Records, run: &Run, state: &State, found: &mut Found) {
    let mut intended = records.payments_of(&run.key).filter(|(_, row)| number(row, "fee_limit_sats").is_some());
    let Some((hash, _)) = intended.next() else { return };
    let row = format_args!("payments {hash}");
    match state {
        State::Bond(state) => {
            let claimed = state.slashed_at.is_some() && state.bond != BondView::Locked;
            found.unless(claimed, Invariant::ClaimedFirst, row, || format!("the bond {} is not claimed", run.key));
        }
        _ => {
            let escrow = records.run(order_resolution::NAME, &run.key).map(|run| records.state(run));
            if let Some(State::Resolution(resolution)) = escrow.as_deref() {
                found.unless(resolution.escrow == Some(Escrow::Settled), Invariant::ClaimedFirst, row, || {
                    format!("the escrow of {} is {:?}", run.key, resolution.escrow)
                });
            }
        }
    }
}

fn undecided_blocks(run: &Run, debt: &Debt, found: &mut Found) {
    let Some(undecided) = debt.hashes.iter().find(|record| record.undecided.is_some()) else { return };
    let hash = hex::encode(undecided.payment_hash);
    let asks = ASKING.contains(&run.step.as_str());
    // Only a person who insists ends such a run.
    let ended = run.status.is_final() && run.status != Status::Canceled;
    found.unless(!asks && !ended, Invariant::UndecidedBlocks, named(run), || {
        format!("{} at {}, and the payment {hash} has no verdict", run.status, run.step)
    });
}
