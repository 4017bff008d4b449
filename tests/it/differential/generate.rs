//! Operations that are likely to meet each other: few keys, few values, much that is stale.

use bondflow::engine::store::{
    Commit, Guard, Lease, NewRun, NewSignal, Nudge, OutboxMessage, OutboxState, Page, Row, RowChange, RowWrite,
    RunFilter, StepCommit,
};
use bondflow::engine::{HistoryEntry, Pin, Run, RunId, Signal, Status, Timestamp};
use serde_json::{Value, json};

use super::operation::Operation;
use crate::dice::Dice;

const OWNERS: [&str; 3] = ["daemon-a", "daemon-b", "daemon-c"];
const WORKFLOWS: [&str; 2] = ["flow", "other"];
const STEPS: [&str; 3] = ["first", "wait", "pay"];
const SIGNALS: [&str; 3] = ["invoice", "note", "@resume"];
/// How long a lease holds, in ms.
const LEASE: i64 = 60;

/// What the operations are chosen from.
pub struct World {
    pub dice: Dice,
    pub now: Timestamp,
    /// The runs as they are, with the signals that they have not consumed.
    pub runs: Vec<(Run, Vec<Signal>)>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), now: Timestamp(1_700_000_000_000), runs: Vec::new() }
    }

    /// Lets some time pass; now and then somebody sets the clock back.
    pub fn pass(&mut self) {
        let by = if self.dice.chance(5) { self.dice.between(-100, 0) } else { self.dice.between(0, 30) };
        self.now.0 += by;
    }

    /// Calls that are made at once: mostly one.
    pub fn at_once(&mut self) -> Vec<Operation> {
        let count = if self.dice.chance(70) { 1 } else { self.dice.between(2, 4) };
        (0..count).map(|_| if self.dice.chance(85) { self.writing() } else { self.reading() }).collect()
    }

    fn writing(&mut self) -> Operation {
        let (now, until) = (self.now, Timestamp(self.now.0 + LEASE));
        let owner = self.dice.pick(&OWNERS).to_owned();
        match self.dice.between(1, 100) {
            1..=60 => self.commit(),
            61..=80 => Operation::Claim { owner, now, until, limit: self.dice.between(0, 4) as u32 },
            81..=85 => Operation::Renew { owner, now, until },
            86..=87 => Operation::ReleaseOthers { owner, now },
            93..=94 => Operation::Hold { part: self.dice.pick(&["outbox", "other"]).to_owned(), owner, now, until },
            95..=96 => self.retire(),
            97 => Operation::ForgetMessages(self.soon(), self.dice.between(0, 5) as u32),
            88..=92 => Operation::Wake { run: self.run_id(), at: self.soon() },
            _ => Operation::Deliver(self.deliveries()),
        }
    }

    /// A call that changes nothing.
    pub fn reading(&mut self) -> Operation {
        match self.dice.between(0, 18) {
            0 => Operation::NextDue,
            1 => Operation::Run(self.run_id()),
            2 | 3 => Operation::Runs(self.filter()),
            4 => Operation::Pins,
            5 if self.dice.chance(50) => Operation::Mailbox(self.run_id()),
            5 => Operation::Mailboxes(self.run_id()),
            6 => Operation::History(self.run_id()),
            7 if self.dice.chance(50) => Operation::Row("facts", self.row_key()),
            7 => Operation::Row("cursors", self.row_key()),
            8 => Operation::Rows("cursors", self.dice.pick(&["read_until", "complete_at"]), self.small()),
            9 if self.dice.chance(50) => Operation::Seen(self.inbox()),
            9 if self.dice.chance(50) => Operation::OutboxNext,
            9 => Operation::OutboxDepth,
            10 => Operation::OutboxDue(self.soon(), self.dice.between(0, 5) as u32),
            11 => Operation::Newest("cursors", self.dice.pick(&["read_until", "complete_at"])),
            12 => Operation::Holds(self.guard()),
            13 => Operation::OutboxTopic(self.topic()),
            14 if self.dice.chance(50) => {
                let after = self.dice.chance(50).then(|| self.run_id());
                Operation::Ended(self.soon(), after, self.dice.between(0, 5) as u32)
            }
            14 => Operation::Tally(self.dice.chance(50)),
            15 => Operation::Page("cursors", self.page()),
            16 => Operation::Sum("cursors", self.dice.pick(&["read_until", "complete_at"]), self.some_columns()),
            17 => Operation::LastCommit,
            _ => Operation::Outbox(self.message_id()),
        }
    }

    /// Some of the runs, whatever they are doing; now and then at another revision.
    fn retire(&mut self) -> Operation {
        let mut runs: Vec<(RunId, i64, String)> = Vec::new();
        for _ in 0..self.dice.between(0, 4) {
            if !self.runs.is_empty() {
                let (run, _) = self.dice.pick(&self.runs);
                let revision = run.revision - i64::from(self.dice.chance(10));
                if runs.iter().all(|(known, ..)| *known != run.id) {
                    let keeps = format!("{{\"of\":\"{}\"}}", run.id);
                    runs.push((run.id, revision, keeps));
                }
            }
        }
        Operation::Retire(runs, self.now)
    }

    fn soon(&mut self) -> Timestamp {
        Timestamp(self.now.0 + self.dice.between(-20, 60))
    }

    fn key(&mut self) -> String {
        format!("key_{}", self.dice.between(0, 14))
    }

    fn run_id(&mut self) -> RunId {
        let key = self.key();
        RunId::of(self.dice.pick(&WORKFLOWS), &key)
    }

    fn row_key(&mut self) -> String {
        self.dice.pick(&["a", "A", "b", "it's"]).to_owned()
    }

    fn inbox(&mut self) -> String {
        format!("message-{}", self.dice.between(0, 25))
    }

    fn message_id(&mut self) -> String {
        format!("event-{}", self.dice.between(0, 80))
    }

    fn topic(&mut self) -> String {
        format!("topic-{}", self.dice.between(0, 2))
    }

    /// A value of a row that others are likely to have too.
    fn small(&mut self) -> Value {
        if self.dice.chance(25) { Value::Null } else { json!(self.dice.between(0, 2)) }
    }

    fn text(&mut self) -> Value {
        json!(self.dice.pick(&["x", "X", "it's", "{\"a\":\"ü\"}"]))
    }

    fn filter(&mut self) -> RunFilter {
        let dice = &mut self.dice;
        let mut filter = RunFilter { open: dice.chance(30), ..RunFilter::default() };
        if dice.chance(25) {
            filter.status = Some(dice.pick(&Status::ALL));
        }
        if dice.chance(25) {
            filter.step = Some(dice.pick(&STEPS).into());
        }
        if dice.chance(25) {
            filter.workflow = Some(dice.pick(&WORKFLOWS).into());
        }
        if dice.chance(25) {
            filter.prefix = Some(dice.pick(&["key_1", "KEY", "key%", "0", "a"]).into());
        }
        if dice.chance(20) {
            filter.limit = Some(dice.between(0, 5) as u32);
        }
        if self.dice.chance(15) {
            filter.keys = Some((0..self.dice.between(0, 3)).map(|_| self.key()).collect());
        }
        if self.dice.chance(15) {
            filter.stuck = Some(self.soon());
        }
        if self.dice.chance(15) {
            filter.since = Some(self.soon());
        }
        filter
    }

    fn page(&mut self) -> Page {
        let prefix = self.dice.pick(&["", "", "a", "it"]).to_owned();
        let after = self.dice.chance(40).then(|| self.row_key());
        Page { prefix, after, descending: self.dice.chance(50), limit: self.dice.between(0, 4) as u32 }
    }

    fn deliveries(&mut self) -> Vec<(String, OutboxState, Timestamp)> {
        let states = [OutboxState::Pending, OutboxState::Acknowledged, OutboxState::Expired];
        let count = self.dice.between(0, 6);
        (0..count).map(|_| (self.message_id(), self.dice.pick(&states), self.soon())).collect()
    }

    fn commit(&mut self) -> Operation {
        let mut commit = Commit { at: self.now, ..Commit::default() };
        let mut run = None;
        if !self.runs.is_empty() && self.dice.chance(55) {
            let (id, step) = self.step();
            run = Some(id);
            commit.step = Some(step);
        }
        if self.dice.chance(15) {
            commit.guards = (0..self.dice.between(1, 2)).map(|_| self.guard()).collect();
        }
        if self.dice.chance(15) {
            commit.inbox = Some(self.inbox());
        }
        if self.dice.chance(25) {
            commit.rows = (0..self.dice.between(1, 3)).map(|_| self.row_write()).collect();
        }
        if self.dice.chance(25) {
            commit.starts = (0..self.dice.between(1, 3)).map(|_| self.new_run()).collect();
        }
        if self.dice.chance(35) {
            commit.signals = (0..self.dice.between(1, 3)).map(|_| self.new_signal()).collect();
        }
        if self.dice.chance(12) {
            commit.nudges = (0..self.dice.between(1, 2)).map(|_| self.nudge()).collect();
        }
        if self.dice.chance(20) {
            commit.outbox = (0..self.dice.between(1, 3)).map(|_| self.message()).collect();
        }
        Operation::Commit(Box::new(commit), run)
    }

    /// A step of some run as it is, or as it was or might have been.
    fn step(&mut self) -> (RunId, StepCommit) {
        let dice = &mut self.dice;
        let (run, mail) = dice.pick(&self.runs);
        let stale = |dice: &mut Dice| if dice.chance(7) { dice.between(-1, 1) } else { 0 };
        let status = dice.pick(&[
            Status::Running,
            Status::Waiting,
            Status::Waiting,
            Status::Waiting,
            Status::BackingOff,
            Status::InDoubt,
            Status::Paused,
            Status::Completed,
            Status::Failed,
        ]);
        // What is retired has ended for good: of it the engine writes no other status.
        let status = if run.retired_at.is_some() { run.status } else { status };
        let keep = !status.is_final() && dice.chance(35);
        let step = dice.pick(&STEPS).to_owned();
        let step = StepCommit {
            seq: 0,
            revision: run.revision + stale(dice),
            token: run.token + stale(dice),
            mailbox: dice.chance(50).then(|| run.signals - i64::from(dice.chance(25))),
            known_signals: run.signals - i64::from(dice.chance(25)),
            consumed: mail.iter().map(|signal| signal.number).filter(|_| dice.chance(50)).collect(),
            status,
            step: step.clone(),
            attempt: dice.between(0, 3) as u32,
            state: dice.chance(60).then(|| format!("{{\"n\":{}}}", dice.between(0, 99))),
            error: dice.chance(25).then(|| "it's not so".to_owned()),
            lease: if keep {
                Lease::Keep
            } else {
                Lease::Release(dice.chance(60).then(|| Timestamp(self.now.0 + dice.between(-20, 90))))
            },
            history: HistoryEntry {
                revision: run.revision + 1,
                step: run.step.clone(),
                attempt: run.attempt,
                outcome: "done".into(),
                to: step,
                status,
                detail: dice.chance(30).then(|| "why".to_owned()),
                at: self.now,
            },
        };
        (run.id, step)
    }

    fn guard(&mut self) -> Guard {
        let table = "cursors";
        let limit = self.dice.between(0, 3) as u64;
        match self.dice.between(0, 4) {
            0 => match self.runs.is_empty() {
                false => {
                    let (run, _) = self.dice.pick(&self.runs);
                    let (run, revision) = (run.id, run.revision);
                    Guard::Revision { run, revision: revision - i64::from(self.dice.chance(20)) }
                }
                true => Guard::Revision { run: self.run_id(), revision: 0 },
            },
            1 => Guard::NoRun { run: self.run_id() },
            2 => Guard::Row { table, key: self.row_key(), expect: self.some_columns() },
            3 => Guard::Absent { table, key: self.row_key() },
            _ => {
                let at_least = self.dice.chance(50).then(|| ("complete_at", self.dice.between(0, 2)));
                Guard::Fewer { table, matching: self.some_columns(), at_least, limit }
            }
        }
    }

    fn some_columns(&mut self) -> Row {
        let mut row = Row::new();
        for column in ["read_until", "complete_at"] {
            if self.dice.chance(50) {
                row.insert(column.into(), self.small());
            }
        }
        row
    }

    fn row_write(&mut self) -> RowWrite {
        let key = self.row_key();
        if self.dice.chance(30) {
            let mut value = || Row::from_iter([("value".to_owned(), self.text())]);
            let (set, expect) = (value(), value());
            let change = match self.dice.between(0, 2) {
                0 => RowChange::Insert(set),
                1 => RowChange::Upsert(set),
                _ => RowChange::Update { set, expect },
            };
            return RowWrite { table: "facts", key, change };
        }
        let change = match self.dice.between(0, 6) {
            0 => RowChange::Insert(self.some_columns()),
            1..=4 => RowChange::Upsert(self.some_columns()),
            _ => RowChange::Update { set: self.some_columns(), expect: self.some_columns() },
        };
        RowWrite { table: "cursors", key, change }
    }

    fn new_run(&mut self) -> NewRun {
        let version = self.dice.between(1, 2) as u32;
        let workflow = self.dice.pick(&WORKFLOWS).to_owned();
        NewRun {
            pin: Pin { workflow, version, hash: format!("hash-{version}") },
            key: self.key(),
            step: "first".into(),
            state: "{}".into(),
            due_at: self.soon(),
        }
    }

    fn new_signal(&mut self) -> NewSignal {
        NewSignal {
            run: self.run_id(),
            name: self.dice.pick(&SIGNALS).into(),
            payload: format!("{{\"n\":{}}}", self.dice.between(0, 99)),
            dedup: format!("dedup-{}", self.dice.between(0, 30)),
        }
    }

    fn nudge(&mut self) -> Nudge {
        Nudge {
            workflow: self.dice.pick(&WORKFLOWS).into(),
            step: self.dice.pick(&STEPS).into(),
            limit: self.dice.between(0, 3) as u32,
        }
    }

    fn message(&mut self) -> OutboxMessage {
        OutboxMessage {
            id: self.message_id(),
            lane: format!("lane-{}", self.dice.between(0, 1)),
            topic: self.topic(),
            slot: self.dice.chance(60).then(|| format!("slot-{}", self.dice.between(0, 3))),
            body: format!("{{\"n\":{}}}", self.dice.between(0, 99)),
            expires_at: self.dice.chance(40).then(|| self.soon()),
        }
    }
}
