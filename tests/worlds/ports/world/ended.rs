//! How a world ends, and what must be so then.

use std::collections::{BTreeMap, BTreeSet};

use bondflow::engine::store::{OutboxEntry, RunFilter};
use bondflow::engine::{Run, Status, Store, Timestamp};
use bondflow::payout::debt::InvoiceSignal;
use bondflow::payout::invariants::{Asked, Invariant, Records, Told, Violation, notices, one_effect};
use bondflow::payout::trade_payout;
use bondflow::store::memory::Snapshot;
use sha2::{Digest, Sha256};

use super::super::faults::{Faults, Port};
use super::super::lnd::{Ledger, Own};
use super::super::people;
use super::super::plan::Happening;
use super::super::relays::opened;
use super::super::time::START;
use super::{World, order_of};

/// What has become of a world.
pub struct Ended {
    pub violations: Vec<Violation>,
    pub records: Records,
    pub database: Snapshot,
    pub ledger: Ledger,
    pub faults: Faults,
    /// How often which alarm was raised.
    pub alarms: BTreeMap<&'static str, u64>,
    /// What happened besides commits.
    pub notes: Vec<(Timestamp, String)>,
}

impl Ended {
    /// A number that follows from every commit, call and payment.
    pub fn digest(&self) -> String {
        let said = serde_json::to_string(&self.database.dump()).unwrap();
        let calls = [Port::Commit, Port::Store, Port::Lnd, Port::Relay].map(|port| self.faults.calls(port));
        hex::encode(&Sha256::digest(format!("{said} {calls:?} {:?} {:?}", self.ledger, self.notes))[..8])
    }

    /// Every commit of a run and everything else that happened, in order.
    pub fn story(&self) -> String {
        let mut lines: Vec<(i64, String)> = self.notes.iter().map(|(at, note)| (at.millis(), note.clone())).collect();
        let runs: BTreeMap<i64, String> =
            self.records.runs.iter().map(|run| (run.seq, format!("{} {}", run.pin.workflow, run.key))).collect();
        for entry in &self.database.dump()["history"] {
            let run = entry["run"].as_i64().and_then(|seq| runs.get(&seq).cloned()).unwrap_or_default();
            let text = |column: &str| entry[column].as_str().unwrap_or_default().to_owned();
            let line = format!(
                "{run}: {} {} → {} {} {}",
                text("step"),
                text("outcome"),
                text("target"),
                text("status"),
                text("detail")
            );
            lines.push((entry["at"].as_i64().unwrap_or_default(), line));
        }
        lines.sort_by_key(|line| line.0);
        let lines = lines.into_iter().map(|(at, line)| format!("{:>12} ms  {line}", at - START.millis()));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Workflow, step and outcome of each commit.
    pub fn visited(&self) -> BTreeSet<(String, String, String)> {
        let workflows: BTreeMap<i64, &str> =
            self.records.runs.iter().map(|run| (run.seq, run.pin.workflow.as_str())).collect();
        let text =
            |entry: &bondflow::engine::store::Row, column: &str| entry[column].as_str().unwrap_or_default().to_owned();
        self.database.dump()["history"]
            .iter()
            .filter_map(|entry| {
                let workflow = workflows.get(&entry["run"].as_i64()?)?;
                Some(((*workflow).to_owned(), text(entry, "step"), text(entry, "outcome")))
            })
            .collect()
    }
}

impl World<'_> {
    /// Why a run may stay open for ever.
    pub(super) fn may_stay(&self, run: &Run) -> bool {
        let error = run.error.as_deref().unwrap_or_default();
        let order = self.plan.orders.get(order_of(run).unwrap_or(usize::MAX));
        match run.status {
            Status::Completed | Status::Failed | Status::Canceled => true,
            // A person has to look, since the books of lnd and the daemon's don't fit together, or
            // because a debt is left over that nobody takes any more.
            Status::Paused => {
                let odd_bonds = order.is_some_and(|order| order.bonds.iter().any(|own| *own != Some(Own::Accepted)));
                let turned = |(_, happening): &(_, Happening)| matches!(happening, Happening::RulesAgain(_, true));
                let odd_escrow = order.is_some_and(|order| order.escrow != Some(Own::Accepted))
                    // Of two rulings that contradict each other a database that was put back hears in any order.
                    || self.put_back.is_some() && self.plan.happenings.iter().any(turned);
                error.contains("the claim window is closed and the last payment failed")
                    || odd_bonds && (error.starts_with("lnd") || error.starts_with("the bond is settled"))
                    || odd_escrow && error.starts_with("ruled")
            }
            Status::Waiting => {
                let vanished = order.is_some_and(|order| order.vanishes);
                vanished && run.pin.workflow == trade_payout::NAME && run.step == "await_invoice"
            }
            Status::InDoubt | Status::Running | Status::BackingOff => false,
        }
    }

    pub(super) async fn tell_what_does_not_end(&mut self, rests: u32) {
        let runs = self.outside.store.runs(&RunFilter::default()).await.unwrap();
        let found = format!("not at its end, {rests} rests after the beginning");
        let open = runs.iter().filter(|run| !self.may_stay(run)).map(|run| Violation {
            invariant: Invariant::NothingForgotten,
            row: format!("runs {} ({} {})", run.id, run.pin.workflow, run.key),
            found: format!("{found}: {} at {}, {:?}, due {:?}", run.status, run.step, run.error, run.due_at),
        });
        let open: Vec<Violation> = open.collect();
        self.found.extend(open);
        if let Some(at) = self.outside.store.outbox_next().await.unwrap() {
            let row = "outbox".to_owned();
            let found = format!("{found}: a message waits until {at}");
            self.found.push(Violation { invariant: Invariant::Notices, row, found });
        }
        if self.found.is_empty() {
            let found = format!("{found}: {} things to do", self.agenda.len());
            self.found.push(Violation { invariant: Invariant::NothingForgotten, row: "world".to_owned(), found });
        }
    }

    pub(super) async fn end(mut self) -> Ended {
        self.daemons.clear();
        let records = Records::read_after(self.outside.store.as_ref(), &self.records).await.unwrap();
        let database = self.outside.store.snapshot();
        let outbox: Vec<OutboxEntry> = database.outbox().cloned().collect();
        let known: BTreeSet<&str> = outbox.iter().map(|entry| entry.message.id.as_str()).collect();
        let counts = |id: &String| known.contains(id.as_str()) || !self.forgotten.contains(id);
        let published: BTreeSet<String> = self.outside.relays.published().into_keys().filter(counts).collect();
        self.found.extend(notices(&outbox, &published));
        if self.put_back.is_none() {
            self.found.extend(sends(&records, &self.outside.lnd.ledger()));
        }
        let at_rest = self.found.is_empty();
        self.found.extend(one_effect(&self.asked(&records), &self.told(), at_rest));
        Ended {
            violations: self.found,
            records,
            database,
            ledger: self.outside.lnd.ledger(),
            faults: self.outside.faults,
            alarms: self.outside.alarms.counts(),
            notes: self.notes,
        }
    }

    /// The requests that must have been answered: a run that a person has stopped keeps what lies
    /// in its mailbox.
    fn asked(&self, records: &Records) -> Vec<Asked> {
        let waiting: BTreeSet<Option<u64>> = records
            .mail
            .values()
            .flatten()
            .filter_map(|signal| serde_json::from_str::<InvoiceSignal>(&signal.payload).ok())
            .map(|signal| signal.request_id)
            .collect();
        let said = self.outside.relays.said().into_iter().filter(|said| !waiting.contains(&said.request_id));
        said.map(|said| Asked { event: said.event, sender: said.sender, request_id: said.request_id.unwrap_or(0) })
            .collect()
    }

    /// The answers; of one that the database has forgotten only the second counts, if there is one.
    fn told(&self) -> Vec<Told> {
        let mut told = self.all_told();
        let answered = |told: &Told| (told.to.clone(), told.request_id);
        let remembered: BTreeSet<_> =
            told.iter().filter(|told| !self.forgotten.contains(&told.event)).map(answered).collect();
        told.retain(|told| !self.forgotten.contains(&told.event) || !remembered.contains(&answered(told)));
        told
    }

    fn all_told(&self) -> Vec<Told> {
        let told = |(id, message): (String, bondflow::engine::store::OutboxMessage)| {
            let outgoing = opened(&message.body);
            let (to, request_id) = people::addressed(&outgoing)?;
            Some(Told { event: id, to: to.to_owned(), request_id: request_id? })
        };
        self.outside.relays.published().into_iter().filter_map(told).collect()
    }
}

/// lnd sees no send that was not intended, and each once at most.
fn sends(records: &Records, ledger: &Ledger) -> Vec<Violation> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for send in &ledger.sends {
        *seen.entry(hex::encode(send.hash)).or_default() += 1;
    }
    let intended = |hash: &str| records.payments.get(hash).and_then(|row| row["sends"].as_u64()).unwrap_or(0);
    let more = seen.into_iter().filter(|(hash, seen)| *seen > intended(hash));
    more.map(|(hash, seen)| Violation {
        invariant: Invariant::PaidOnce,
        found: format!("lnd saw {seen} sends, and {} were intended", intended(&hash)),
        row: format!("payments {hash}"),
    })
    .collect()
}
