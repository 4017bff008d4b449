//! The records against what the outside has seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Status;
use crate::engine::store::{OutboxEntry, OutboxState};
use crate::payout::bond_payout::BondView;
use crate::payout::order_resolution::Escrow;

use super::records::{State, named, text};
use super::{Found, Invariant, Records, Violation};

/// What the Lightning node's own books say, whatever the daemon believes.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The sats of each payment that really arrived, by payment hash, hex.
    pub paid: BTreeMap<String, Vec<u64>>,
    /// The hashes of the node's invoices that are settled, hex.
    pub settled: BTreeSet<String>,
}

/// Holds lnd's books against the records.
pub fn outside(records: &Records, outside: &Outside) -> Vec<Violation> {
    let mut found = Found::default();
    let mut explained = BTreeSet::new();
    for run in &records.runs {
        let (state, row) = (records.state(run), named(run));
        let (claim, claimed) = match &*state {
            State::Bond(state) => (hash_of(records, "bonds", &run.key), state.bond != BondView::Locked),
            State::Trade(_) => (hash_of(records, "orders", &run.key), true),
            State::Resolution(state) => (hash_of(records, "orders", &run.key), state.escrow == Some(Escrow::Settled)),
            State::Other | State::Unreadable => continue,
        };
        let settled = claim.is_some_and(|hash| outside.settled.contains(hash));
        let lost = matches!(&*state, State::Bond(_)) && run.step == "unclaimable";
        found.unless(!claimed || lost || settled, Invariant::ClaimedFirst, row, || {
            "it counts as claimed, and lnd has not settled it".to_owned()
        });
        found.unless(!lost || !settled, Invariant::Evidence, row, || {
            "it counts as lost, and lnd has settled it".to_owned()
        });
        let Some(debt) = state.debt() else { continue };
        let mut paid = Vec::new();
        for record in &debt.hashes {
            let hash = hex::encode(record.payment_hash);
            paid.extend(outside.paid.get(&hash).into_iter().flatten().copied());
            explained.insert(hash);
        }
        found.unless(paid.len() <= 1, Invariant::PaidOnce, row, || format!("lnd has paid {paid:?} sats for it"));
        let sats: u64 = paid.iter().sum();
        found.unless(sats <= debt.owed_sats, Invariant::PaidOnce, row, || {
            format!("lnd has paid {sats} sats for it, and {} are owed", debt.owed_sats)
        });
        found.unless(paid.is_empty() || settled, Invariant::ClaimedFirst, row, || {
            format!("lnd has paid {sats} sats for it, and not settled what they come from")
        });
        if let Some(proof) = &debt.paid {
            found.unless(outside.paid.contains_key(&proof.hash), Invariant::Evidence, row, || {
                format!("it counts as paid by {}, and lnd has paid no such thing", proof.hash)
            });
        }
        // A person who insists ends a run whatever becomes of its payment.
        let ended = run.status.is_final() && run.status != Status::Canceled;
        let unpaid_end = ended && debt.paid.is_none();
        found.unless(paid.is_empty() || !unpaid_end, Invariant::Evidence, row, || {
            format!("it has ended as {}, and lnd has paid {sats} sats for it", run.step)
        });
    }
    for (hash, sats) in outside.paid.iter().filter(|(hash, _)| !explained.contains(*hash)) {
        found.add(
            Invariant::PaidOnce,
            format_args!("payments {hash}"),
            format!("lnd has paid {sats:?} sats for no debt"),
        );
    }
    for (id, bond) in &records.bonds {
        let settled = text(bond, "hash").is_some_and(|hash| outside.settled.contains(hash));
        found.unless(
            text(bond, "state") != Some("released") || !settled,
            Invariant::Evidence,
            format_args!("bonds {id}"),
            || "it counts as released, and lnd has settled it".to_owned(),
        );
    }
    found.0
}

fn hash_of<'a>(records: &'a Records, table: &str, key: &str) -> Option<&'a str> {
    let rows = if table == "bonds" { &records.bonds } else { &records.orders };
    text(rows.get(key)?, "hash")
}

/// Holds the outbox against the ids that relays have: nothing is said that no commit decided, and
/// what counts as acknowledged is there.
pub fn notices(outbox: &[OutboxEntry], published: &BTreeSet<String>) -> Vec<Violation> {
    let mut found = Found::default();
    let known: BTreeSet<&str> = outbox.iter().map(|entry| entry.message.id.as_str()).collect();
    for id in published.iter().filter(|id| !known.contains(id.as_str())) {
        found.add(Invariant::Notices, format_args!("outbox {id}"), "a relay has it, and no commit decided it");
    }
    for OutboxEntry { message, state, .. } in outbox {
        let told = *state != OutboxState::Acknowledged || published.contains(&message.id);
        found.unless(told, Invariant::Notices, format_args!("outbox {}", message.id), || {
            format!("`{}` counts as acknowledged, and no relay has it", message.topic)
        });
    }
    found.0
}

/// A request that a client made, and that the node has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The event's id.
    pub event: String,
    /// Who asked.
    pub sender: String,
    /// The client's own number for it; each of its requests has another.
    pub request_id: u64,
}

/// What the node said in answer to something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The event's id.
    pub event: String,
    /// To whom.
    pub to: String,
    /// The number that it answers.
    pub request_id: u64,
}

/// Each request has one answer: not two, and, once nothing is under way any more, not none.
pub fn one_effect(asked: &[Asked], told: &[Told], at_rest: bool) -> Vec<Violation> {
    let mut found = Found::default();
    for Asked { event, sender, request_id } in asked {
        let answers: BTreeSet<&str> = told
            .iter()
            .filter(|told| told.to == *sender && told.request_id == *request_id)
            .map(|told| told.event.as_str())
            .collect();
        let row = format_args!("inbox {event}");
        found.unless(answers.len() <= 1, Invariant::OneEffect, row, || format!("answered by {answers:?}"));
        found.unless(!at_rest || !answers.is_empty(), Invariant::OneEffect, row, || "not answered".to_owned());
    }
    found.0
}
