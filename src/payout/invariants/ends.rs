//! No end without its evidence.

use crate::engine::{Run, Status};
use crate::payout::bond_payout::{BondPayout, BondView};
use crate::payout::bond_release;
use crate::payout::messages::Ruling;
use crate::payout::order_resolution::{Escrow, OrderResolution};
use crate::payout::trade_payout::{self, TradePayout};

use super::records::{State, named, number, text};
use super::{Found, Invariant, Records};

/// The shortest claim window that there can be, seconds.
const SHORTEST_WINDOW: i64 = 86_400;

pub(super) fn check(records: &Records, found: &mut Found) {
    for run in &records.runs {
        match &*records.state(run) {
            State::Bond(state) => bond(records, run, state, found),
            State::Trade(state) => trade(records, run, state, found),
            State::Resolution(state) => resolution(records, run, state, found),
            State::Other if run.pin.workflow == bond_release::NAME => release(records, run, found),
            State::Other | State::Unreadable => {}
        }
    }
}

/// A run that a person ended has that person's word for evidence.
fn ended_by_itself(run: &Run) -> bool {
    run.status.is_final() && run.status != Status::Canceled
}

fn bond(records: &Records, run: &Run, state: &BondPayout, found: &mut Found) {
    let (row, bond) = (format_args!("bonds {}", run.key), records.bonds.get(&run.key));
    let kept = bond.and_then(|bond| text(bond, "state"));
    let known = view(state.bond);
    found.unless(kept == Some(known), Invariant::RowsFollowRuns, row, || {
        format!("its state is {kept:?}, and its run has `{known}`")
    });
    let preimage = bond.and_then(|bond| text(bond, "payout_preimage"));
    let proof = state.debt.paid.as_ref().map(|proof| proof.preimage.as_str());
    found.unless(preimage == proof, Invariant::RowsFollowRuns, row, || "its proof is not its run's".to_owned());
    if !ended_by_itself(run) {
        return;
    }
    let row = named(run);
    let evidence = match (run.step.as_str(), state.bond) {
        ("slashed", BondView::Slashed) => {
            state.slashed_at.is_some() && (state.debt.owed_sats == 0 || state.debt.is_proven())
        }
        ("forfeited", BondView::Forfeited) => {
            let closed = state.slashed_at.is_some_and(|at| run.updated_at.secs() >= at.saturating_add(SHORTEST_WINDOW));
            closed && state.debt.is_free() && state.debt.owed_sats > 0
        }
        ("unclaimable", BondView::Failed) => {
            let reason = bond.and_then(|bond| text(bond, "failed_reason"));
            reason == Some("htlc-canceled") && state.debt.paid.is_none()
        }
        _ => false,
    };
    found.unless(evidence, Invariant::Evidence, row, || {
        format!("ended as {}: slashed at {:?}, {} sats owed", run.step, state.slashed_at, state.debt.owed_sats)
    });
}

const fn view(view: BondView) -> &'static str {
    match view {
        BondView::Locked => "locked",
        BondView::PendingPayout => "pending-payout",
        BondView::Slashed => "slashed",
        BondView::Forfeited => "forfeited",
        BondView::Failed => "failed",
    }
}

fn trade(records: &Records, run: &Run, state: &TradePayout, found: &mut Found) {
    if ended_by_itself(run) {
        let status = records.orders.get(&run.key).and_then(|order| text(order, "status"));
        let evidence = state.debt.is_proven() && status == Some("settled-by-admin");
        found.unless(evidence, Invariant::Evidence, named(run), || {
            format!("ended as {}, the order being {status:?}", run.step)
        });
    }
}

fn resolution(records: &Records, run: &Run, state: &OrderResolution, found: &mut Found) {
    let order = records.orders.get(&run.key);
    let status = order.and_then(|order| text(order, "status"));
    let row = format_args!("orders {}", run.key);
    if !run.status.is_final() {
        // No status claims what lnd has not confirmed.
        return found.unless(status == Some("dispute"), Invariant::Evidence, row, || {
            format!("its status is {status:?}, and the ruling is not carried out")
        });
    }
    if !ended_by_itself(run) {
        return;
    }
    let evidence = match (state.ruling, state.escrow) {
        (Ruling::Cancel, Some(Escrow::Canceled | Escrow::None)) => status == Some("canceled-by-admin"),
        (Ruling::Settle, Some(Escrow::None)) => status == Some("settled-by-admin"),
        (Ruling::Settle, Some(Escrow::Settled)) => {
            matches!(status, Some("settled-hold-invoice" | "settled-by-admin"))
        }
        _ => false,
    };
    found.unless(evidence, Invariant::Evidence, row, || {
        format!("its status is {status:?}, and its escrow {:?}, ruled {:?}", state.escrow, state.ruling)
    });
    if state.escrow == Some(Escrow::Settled) {
        let payout = records.run(trade_payout::NAME, &run.key).is_some();
        // Retention may have removed both, never the payout alone while the buyer is owed.
        found.unless(payout || status != Some("settled-hold-invoice"), Invariant::NothingForgotten, row, || {
            "nobody pays the buyer".to_owned()
        });
    }
}

fn release(records: &Records, run: &Run, found: &mut Found) {
    let bond = records.bonds.get(&run.key);
    let state = bond.and_then(|bond| text(bond, "state"));
    let evidence = match (run.status.is_final(), ended_by_itself(run)) {
        (_, true) => state == Some("released") && bond.and_then(|bond| number(bond, "released_at")).is_some(),
        (false, _) => state == Some("locked"),
        (true, false) => true,
    };
    found.unless(evidence, Invariant::Evidence, format_args!("bonds {}", run.key), || {
        format!("its state is {state:?}, and its release is {} at {}", run.status, run.step)
    });
}
