//! What is read from the tables.

use std::collections::BTreeMap;

use super::tables::Tables;
use crate::engine::store::{OutboxEntry, OutboxState, RunFilter, Tally};
use crate::engine::{HistoryEntry, Pin, Run, RunId, Signal, Status, Timestamp};

/// Whether a run does not get on.
fn is_stuck(run: &Run, late: Timestamp) -> bool {
    let overdue = run.owner.is_none() && run.due_at.is_some_and(|due| due < late);
    !run.status.is_final() && (run.status == Status::Paused || run.error.is_some() || overdue)
}

impl Tables {
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.runs.values().filter_map(|run| run.due_at).min()
    }

    pub(super) fn last_commit(&self) -> Option<Timestamp> {
        let queued = self.outbox.last().map(|(_, entry)| entry.created_at);
        self.runs.values().map(|run| run.updated_at).chain(queued).max()
    }

    pub(super) fn run(&self, id: &RunId) -> Option<&Run> {
        self.runs.values().find(|run| run.id == *id)
    }

    pub(super) fn runs(&self, filter: &RunFilter) -> Vec<Run> {
        let lets_through = |run: &&Run| {
            (run.retired_at.is_none() || filter.names_runs())
                && (!filter.open || !run.status.is_final())
                && filter.status.is_none_or(|status| run.status == status)
                && filter.step.as_ref().is_none_or(|step| run.step == *step)
                && filter.workflow.as_ref().is_none_or(|workflow| run.pin.workflow == *workflow)
                && filter.prefix.as_ref().is_none_or(|start| run.id.0.starts_with(start) || run.key.starts_with(start))
                && filter.keys.as_ref().is_none_or(|keys| keys.contains(&run.key))
                && filter.since.is_none_or(|since| run.created_at >= since)
                && filter.stuck.is_none_or(|late| is_stuck(run, late))
        };
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        self.runs.values().rev().filter(lets_through).take(limit).cloned().collect()
    }

    pub(super) fn ended(&self, before: Timestamp, after: i64, limit: u32) -> Vec<Run> {
        let later = self.runs.values().filter(|run| run.seq > after && run.retired_at.is_none());
        let ended = later.filter(|run| run.status.is_final() && run.updated_at < before);
        ended.take(limit as usize).cloned().collect()
    }

    pub(super) fn tally(&self, open: bool) -> Vec<Tally> {
        let mut groups: BTreeMap<(&str, &str, &str), Tally> = BTreeMap::new();
        for run in self.runs.values().filter(|run| run.retired_at.is_none() && !(open && run.status.is_final())) {
            let group = groups.entry((&run.pin.workflow, run.status.as_str(), &run.step)).or_insert_with(|| Tally {
                workflow: run.pin.workflow.clone(),
                status: run.status,
                step: run.step.clone(),
                runs: 0,
                oldest: run.created_at,
            });
            group.runs += 1;
        }
        groups.into_values().collect()
    }

    pub(super) fn pins(&self) -> Vec<(Pin, u64)> {
        let mut pins = BTreeMap::new();
        for run in self.runs.values().filter(|run| !run.status.is_final()) {
            *pins.entry(run.pin.clone()).or_default() += 1;
        }
        pins.into_iter().collect()
    }

    pub(super) fn mailbox(&self, run: i64) -> Vec<Signal> {
        let mail = self.signals.range((run, 0)..=(run, i64::MAX));
        mail.filter(|(_, stored)| stored.taken.is_none()).map(|(_, stored)| stored.signal.clone()).collect()
    }

    pub(super) fn history(&self, run: i64) -> Vec<HistoryEntry> {
        self.history.range((run, 0)..=(run, i64::MAX)).map(|(_, entry)| entry.clone()).collect()
    }

    pub(super) fn seen(&self, inbox: &str) -> bool {
        self.inbox.contains_key(inbox)
    }

    fn pending(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.outbox.values().filter(|entry| entry.state == OutboxState::Pending)
    }

    pub(super) fn outbox_due(&self, now: Timestamp, limit: u32) -> Vec<OutboxEntry> {
        self.pending().filter(|entry| entry.due_at <= now).take(limit as usize).cloned().collect()
    }

    pub(super) fn outbox_next(&self) -> Option<Timestamp> {
        self.pending().map(|entry| entry.due_at).min()
    }

    pub(super) fn outbox_depth(&self) -> (u64, Option<Timestamp>) {
        (self.pending().map(|_| 1).sum(), self.pending().map(|entry| entry.created_at).min())
    }

    pub(super) fn message(&self, id: &str) -> Option<&OutboxEntry> {
        self.outbox.values().find(|entry| entry.message.id == id)
    }
}
