//! The tables, and what each write of the port does to them.

use std::collections::BTreeMap;

use super::map::Map;
use crate::engine::store::{
    Change, Commit, CommitError, Committed, Delivery, Lease, NewRun, NewSignal, Nudge, OutboxEntry, OutboxMessage,
    OutboxState, Retirement, Row, Standing, StepCommit, Table,
};
use crate::engine::{HistoryEntry, Run, RunId, Signal, Status, Timestamp};

/// A signal with what only the store knows of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredSignal {
    pub(super) signal: Signal,
    pub(super) dedup: String,
    /// The revision of the run's commit that consumed it.
    pub(super) taken: Option<i64>,
}

/// One of the workflow's own tables with its rows by key.
pub(super) type OwnTable = (Table, Map<String, Row>);

/// All tables, by primary key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tables {
    pub(super) runs: Map<i64, Run>,
    pub(super) history: Map<(i64, i64), HistoryEntry>,
    pub(super) signals: Map<(i64, i64), StoredSignal>,
    pub(super) outbox: Map<i64, OutboxEntry>,
    pub(super) inbox: Map<String, Timestamp>,
    /// Who plays which part, and until when.
    pub(super) owners: Map<String, (String, Timestamp)>,
    pub(super) own: BTreeMap<&'static str, OwnTable>,
    pub(super) standing: Standing,
}

/// The number after the last one, which is never removed, so that none is used twice.
fn next<T>(table: &Map<i64, T>) -> i64 {
    table.last().map_or(1, |(last, _)| last + 1)
}

impl Tables {
    pub(super) fn new(own: &'static [Table]) -> Self {
        Self {
            runs: Map::default(),
            history: Map::default(),
            signals: Map::default(),
            outbox: Map::default(),
            inbox: Map::default(),
            owners: Map::default(),
            own: own.iter().map(|table| (table.name, (*table, Map::default()))).collect(),
            standing: Standing { timeline: "first".into(), count: 0 },
        }
    }

    /// A table of the workflow's own and its rows.
    pub(super) fn own_table(&self, name: &str) -> Result<(Table, &Map<String, Row>), CommitError> {
        let (table, rows) = self.own.get(name).ok_or_else(|| no_table(name))?;
        Ok((*table, rows))
    }

    /// The same, to be written.
    pub(super) fn own_table_mut(&mut self, name: &str) -> Result<(Table, &mut Map<String, Row>), CommitError> {
        let (table, rows) = self.own.get_mut(name).ok_or_else(|| no_table(name))?;
        Ok((*table, rows))
    }

    /// What there is to tell when these tables become `changed`. A lease's end is no news: whoever
    /// took the lease knows it.
    pub(super) fn news(&self, changed: &Self) -> Vec<Change> {
        let timer = |run: &Run| run.due_at.filter(|_| run.owner.is_none());
        let moved = changed.runs.values().any(|run| {
            let before = self.runs.get(&run.seq).and_then(timer);
            timer(run).is_some_and(|due| before != Some(due))
        });
        let queued = changed.outbox.len() > self.outbox.len();
        [moved.then_some(Change::Runs), queued.then_some(Change::Outbox)].into_iter().flatten().collect()
    }

    /// Applies a commit; on an error these tables are half done and to be dropped.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Committed, CommitError> {
        self.check_all(commit)?;
        self.standing.count += 1;
        let at = commit.at;
        if let Some(step) = &commit.step {
            self.step(step, at);
        }
        for row in &commit.rows {
            self.write_row(row)?;
        }
        for start in &commit.starts {
            self.start(start, at);
        }
        for signal in &commit.signals {
            self.signal(signal, at);
        }
        for nudge in &commit.nudges {
            self.nudge(nudge, at);
        }
        for message in &commit.outbox {
            self.queue(message, at);
        }
        if let Some(id) = &commit.inbox {
            self.inbox.insert(id.clone(), at);
        }
        let run = commit.step.as_ref().and_then(|step| self.runs.get(&step.seq));
        Ok(Committed { signals: run.map_or(0, |run| run.signals) })
    }

    /// The checks that see the tables as they are before the commit.
    fn check_all(&self, commit: &Commit) -> Result<(), CommitError> {
        if let Some(step) = &commit.step {
            let run = self.runs.get(&step.seq).ok_or(CommitError::Fenced)?;
            if run.revision != step.revision || run.token != step.token {
                return Err(CommitError::Fenced);
            }
            if step.mailbox.is_some_and(|read| read != run.signals) {
                return Err(CommitError::Mail);
            }
        }
        if commit.inbox.as_ref().is_some_and(|id| self.inbox.contains_key(id)) {
            return Err(CommitError::Seen);
        }
        commit.guards.iter().try_for_each(|guard| self.check(guard))
    }

    fn step(&mut self, step: &StepCommit, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&step.seq) else { return };
        run.revision += 1;
        run.status = step.status;
        run.step.clone_from(&step.step);
        run.attempt = step.attempt;
        if let Some(state) = &step.state {
            run.state.clone_from(state);
        }
        run.error.clone_from(&step.error);
        run.heard += i64::try_from(step.consumed.len()).unwrap_or(i64::MAX);
        run.updated_at = at;
        if let Lease::Release(due_at) = step.lease {
            run.owner = None;
            run.due_at = if run.signals > step.known_signals { Some(at) } else { due_at };
        }
        if step.status.is_final() {
            let mut mail = self.signals.range((run.seq, step.known_signals + 1)..=(run.seq, i64::MAX));
            run.due_at = mail.any(|(_, stored)| stored.signal.name.starts_with('@')).then_some(at);
        }
        for number in &step.consumed {
            if let Some(signal) = self.signals.get_mut(&(run.seq, *number)) {
                signal.taken = Some(run.revision);
            }
        }
        let entry = HistoryEntry { revision: run.revision, ..step.history.clone() };
        self.history.insert((run.seq, run.revision), entry);
    }

    fn start(&mut self, start: &NewRun, at: Timestamp) {
        let id = RunId::of(&start.pin.workflow, &start.key);
        if self.run(&id).is_some() {
            return;
        }
        let seq = next(&self.runs);
        let run = Run {
            seq,
            id,
            pin: start.pin.clone(),
            key: start.key.clone(),
            status: Status::Running,
            step: start.step.clone(),
            attempt: 0,
            state: start.state.clone(),
            revision: 0,
            token: 0,
            owner: None,
            due_at: Some(start.due_at),
            signals: 0,
            heard: 0,
            error: None,
            created_at: at,
            updated_at: at,
            retired_at: None,
        };
        self.runs.insert(seq, run);
    }

    fn signal(&mut self, signal: &NewSignal, at: Timestamp) {
        let Some(seq) = self.run(&signal.run).map(|run| run.seq) else { return };
        let Some(run) = self.runs.get_mut(&seq) else { return };
        let again = self.signals.range((seq, 0)..=(seq, i64::MAX)).any(|(_, stored)| stored.dedup == signal.dedup);
        let deaf = run.status.is_final() && !signal.name.starts_with('@');
        if deaf || again {
            return;
        }
        run.signals += 1;
        if run.owner.is_none() && (run.status == Status::Waiting || signal.name.starts_with('@')) {
            run.due_at = Some(at);
        }
        let stored = StoredSignal {
            signal: Signal { number: run.signals, name: signal.name.clone(), payload: signal.payload.clone(), at },
            dedup: signal.dedup.clone(),
            taken: None,
        };
        self.signals.insert((run.seq, run.signals), stored);
    }

    fn nudge(&mut self, nudge: &Nudge, at: Timestamp) {
        let waiting = self
            .runs
            .values()
            .filter(|run| run.status == Status::Waiting && run.owner.is_none())
            .filter(|run| run.pin.workflow == nudge.workflow && run.step == nudge.step)
            .filter(|run| run.due_at.is_none_or(|due_at| due_at > at));
        let mut waiting: Vec<_> = waiting.map(|run| (run.due_at.is_none(), run.due_at, run.seq)).collect();
        waiting.sort_unstable();
        for (_, _, seq) in waiting.into_iter().take(nudge.limit as usize) {
            if let Some(run) = self.runs.get_mut(&seq) {
                run.due_at = Some(at);
            }
        }
    }

    fn queue(&mut self, message: &OutboxMessage, at: Timestamp) {
        if self.message(&message.id).is_some() {
            return;
        }
        let replaced = |older: &OutboxEntry| {
            message.slot.is_some() && older.message.slot == message.slot && older.state == OutboxState::Pending
        };
        self.outbox.change(replaced, |older| older.state = OutboxState::Superseded);
        let seq = next(&self.outbox);
        let message = message.clone();
        let state = OutboxState::Pending;
        self.outbox.insert(seq, OutboxEntry { seq, message, state, attempts: 0, due_at: at, created_at: at });
    }

    /// Leases due runs; see the port.
    pub(super) fn claim(&mut self, owner: &str, now: Timestamp, until: Timestamp, limit: u32) -> Vec<Run> {
        self.standing.count += 1;
        let due = self.runs.values().filter(|run| run.due_at.is_some_and(|due| due <= now));
        let mut due: Vec<_> = due.map(|run| (run.due_at, run.seq)).collect();
        due.sort_unstable();
        due.truncate(limit as usize);
        let mut claimed = Vec::with_capacity(due.len());
        for (_, seq) in due {
            let Some(run) = self.runs.get_mut(&seq) else { continue };
            run.owner = Some(owner.to_owned());
            run.token += 1;
            run.due_at = Some(until);
            claimed.push(run.clone());
        }
        claimed
    }

    /// Prolongs leases; see the port.
    pub(super) fn renew(&mut self, owner: &str, now: Timestamp, until: Timestamp) {
        let leased = |run: &Run| run.owner.as_deref() == Some(owner) && run.due_at.is_some_and(|end| end > now);
        self.runs.change(leased, |run| run.due_at = Some(until));
    }

    /// Ends the leases of the dead; see the port.
    pub(super) fn release_others(&mut self, owner: &str, now: Timestamp) -> u64 {
        let mut released = 0;
        let Self { runs, signals, .. } = self;
        let of_another = |run: &Run| run.owner.as_deref().is_some_and(|other| other != owner);
        runs.change(of_another, |run| {
            run.owner = None;
            let mut mail = signals.range((run.seq, 0)..=(run.seq, i64::MAX));
            let asked = mail.any(|(_, stored)| stored.taken.is_none() && stored.signal.name.starts_with('@'));
            run.due_at = (!run.status.is_final() || asked).then_some(now);
            released += 1;
        });
        released
    }

    /// Leases a part; see the port.
    pub(super) fn hold(&mut self, part: &str, owner: &str, now: Timestamp, until: Timestamp) -> bool {
        let free = self.owners.get(part).is_none_or(|(other, end)| other == owner || *end <= now);
        if free {
            self.owners.insert(part.to_owned(), (owner.to_owned(), until));
        }
        free
    }

    /// Retires runs; see the port.
    pub(super) fn retire(&mut self, runs: &[Retirement], at: Timestamp) -> u64 {
        let mut retired = 0;
        for Retirement { seq, revision, keeps } in runs {
            let idle = |run: &&mut Run| run.owner.is_none() && run.due_at.is_none() && run.retired_at.is_none();
            let found = self.runs.get_mut(seq).filter(|run| run.status.is_final() && run.revision == *revision);
            let Some(run) = found.filter(idle) else { continue };
            run.state.clone_from(keeps);
            run.retired_at = Some(at);
            run.token += 1;
            self.history.retain(|(of, _)| of != seq);
            self.signals.retain(|(of, _)| of != seq);
            retired += 1;
        }
        retired
    }

    /// Removes old messages; see the port.
    pub(super) fn forget_messages(&mut self, before: Timestamp, limit: u32) -> u64 {
        let newest = |entry: &OutboxEntry| {
            self.outbox
                .values()
                .filter(|other| other.message.topic == entry.message.topic)
                .all(|other| other.seq <= entry.seq)
        };
        let old = self.outbox.values().take_while(|entry| entry.created_at < before);
        let old = old.filter(|entry| entry.state != OutboxState::Pending && !newest(entry));
        let old: Vec<i64> = old.map(|entry| entry.seq).take(limit as usize).collect();
        self.outbox.retain(|seq| !old.contains(seq));
        old.len() as u64
    }

    /// Makes a run due; see the port.
    pub(super) fn wake(&mut self, run: i64, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&run) else { return };
        if run.owner.is_none() && !run.status.is_final() && run.due_at.is_none_or(|due| due > at) {
            run.due_at = Some(at);
        }
    }

    /// Writes deliveries down; see the port. A message that was replaced or closed meanwhile stays so.
    pub(super) fn delivered(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            let entry = self.outbox.get_mut(&delivery.seq);
            if let Some(entry) = entry.filter(|entry| entry.state == OutboxState::Pending) {
                entry.state = delivery.state;
                entry.attempts += 1;
                entry.due_at = delivery.due_at;
            }
        }
    }
}

fn no_table(name: &str) -> CommitError {
    CommitError::Conflict(format!("no table {name}"))
}
