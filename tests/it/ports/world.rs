//! One world from its beginning to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bondflow::engine::operator::{Asked as AskedBy, Request as OperatorRequest};
use bondflow::engine::store::{Commit, NewSignal, OutboxEntry, RunFilter};
use bondflow::engine::{Alarms, Run, RunId, Status, Store, Timestamp};
use bondflow::payout::debt::InvoiceSignal;
use bondflow::payout::invariants::{
    Asked, Frozen, Invariant, Outside as Evidence, Records, Told, Violation, check, notices, one_effect, outside,
};
use bondflow::payout::messages::Incoming;
use bondflow::payout::tables::{PAYMENTS, TABLES};
use bondflow::payout::trade_payout;
use bondflow::store::memory::{Dump, MemoryStore};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::clients::Clients;
use super::daemon::{Daemon, Outside};
use super::faults::{Faults, Life, Port};
use super::lnd::{Ledger, Lnd, Own, Serving};
use super::people;
use super::plan::{Answer, Command, Happening, Plan, RETRIED, Which, With};
use super::relays::{PlainSealer, Relays, opened};
use super::time::{Rest, START, Time};

/// How long a daemon takes to be started again.
const RESTART: Duration = Duration::from_secs(2);
/// How long after the last fault, and after the claim window, everything has come to its end.
const LONG_ENOUGH: i64 = 3 * 86_400 * 1_000;
/// More rests than any world needs.
const MOST_RESTS: u32 = 60_000;

/// What has become of a world.
pub struct Ended {
    pub violations: Vec<Violation>,
    pub records: Records,
    pub dump: Dump,
    pub ledger: Ledger,
    pub faults: Faults,
    /// What happened besides commits.
    pub notes: Vec<(Timestamp, String)>,
}

impl Ended {
    /// A number that follows from every commit, call and payment.
    pub fn digest(&self) -> String {
        let said = serde_json::to_string(&self.dump).unwrap();
        let calls = [Port::Commit, Port::Store, Port::Lnd, Port::Relay].map(|port| self.faults.calls(port));
        hex::encode(&Sha256::digest(format!("{said} {calls:?} {:?} {:?}", self.ledger, self.notes))[..8])
    }

    /// Every commit of a run and everything else that happened, in order.
    pub fn story(&self) -> String {
        let mut lines: Vec<(i64, String)> = self.notes.iter().map(|(at, note)| (at.millis(), note.clone())).collect();
        let runs: BTreeMap<i64, String> =
            self.records.runs.iter().map(|run| (run.seq, format!("{} {}", run.pin.workflow, run.key))).collect();
        for entry in &self.dump["history"] {
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
        self.dump["history"]
            .iter()
            .filter_map(|entry| {
                let workflow = workflows.get(&entry["run"].as_i64()?)?;
                Some(((*workflow).to_owned(), text(entry, "step"), text(entry, "outcome")))
            })
            .collect()
    }
}

/// What is still to happen.
enum Act {
    Happen(Happening),
    Start,
    KillFirst,
    Thaw(Life),
    Say(Incoming, u32),
    Answer(usize, bool, u64, Answer),
    LndServes,
    LndSynced,
    BlocksCome,
    RelayReached(u32),
    Calm,
    ResumeAll,
}

struct World<'a> {
    plan: &'a Plan,
    rest: Rest,
    outside: Outside,
    daemons: Vec<Daemon>,
    started: u32,
    starting: bool,
    clients: Clients,
    agenda: BTreeMap<(Timestamp, u64), Act>,
    acts: u64,
    frozen: Frozen,
    looked_at: u32,
    calm: bool,
    wiped: bool,
    found: Vec<Violation>,
    notes: Vec<(Timestamp, String)>,
}

/// Lives a plan through.
pub fn live(plan: &Plan) -> Ended {
    let (runtime, rest) = Rest::runtime();
    runtime.block_on(async { World::new(plan, rest).live().await })
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, rest: Rest) -> Self {
        let time = Time::new();
        let lnd = Lnd::new(&time);
        lnd.set_skew(plan.skew);
        let outside = Outside {
            time: time.clone(),
            store: Arc::new(MemoryStore::new(TABLES)),
            relays: Relays::new(plan.relays.max(1) as usize),
            sealer: PlainSealer::default(),
            faults: Faults::of(&plan.faults, plan.every_step_twice),
            terms: watch::Sender::new(Arc::new(people::terms(&plan.terms))),
            alarms: Alarms::default(),
            lnd: lnd.clone(),
        };
        Self {
            plan,
            rest,
            outside,
            daemons: Vec::new(),
            started: 0,
            starting: false,
            clients: Clients::new(&time, &lnd),
            agenda: BTreeMap::new(),
            acts: 0,
            frozen: Frozen::default(),
            looked_at: 0,
            calm: false,
            wiped: false,
            found: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.outside.time.now()
    }

    fn at(&mut self, at: Timestamp, act: Act) {
        self.acts += 1;
        self.agenda.insert((at, self.acts), act);
    }

    fn after(&mut self, delay: Duration, act: Act) {
        self.at(self.now().after(delay), act);
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push((self.now(), note.into()));
    }

    async fn begin(&mut self) {
        let mut left = Vec::new();
        for (at, plan) in self.plan.orders.iter().enumerate() {
            let answer = plan.buyer_left.as_ref().map(|answer| &answer.with);
            left.push(match answer {
                Some(With::Invoice(fates)) => Some(self.clients.invoice(at, people::trade_sats(plan), 86_400, fates)),
                Some(_) => Some("no invoice".to_owned()),
                None => None,
            });
        }
        let books = people::books(&self.plan.orders, &left, &self.outside.lnd);
        self.outside.store.commit(books).await.unwrap();
        for (at, plan) in self.plan.orders.iter().enumerate() {
            let rules = START.after(millis(plan.rules_at));
            if plan.takes_first {
                let takes = self.clients.takes(at);
                self.at(rules, Act::Say(takes, 1));
            }
            for nth in 0..plan.rulings.max(1) {
                self.at(rules.after(millis(500 + nth * 700)), Act::Happen(Happening::RulesAgain(at, false)));
            }
        }
        for (at, happening) in &self.plan.happenings {
            self.at(START.after(millis(*at)), Act::Happen(happening.clone()));
        }
        self.at(START.after(millis(self.plan.calm_from)), Act::Calm);
        self.start();
    }

    fn start(&mut self) {
        self.started += 1;
        self.starting = false;
        let owner = format!("daemon-{}", self.started);
        self.note(format!("{owner} starts"));
        self.daemons.push(Daemon::start(&self.outside, &owner));
    }

    async fn live(mut self) -> Ended {
        self.begin().await;
        let latest = START.after(millis(self.plan.calm_from)).millis() + self.longest_window() + LONG_ENOUGH;
        for rests in 0.. {
            self.rest.come().await;
            self.tend().await;
            if !self.found.is_empty() {
                break;
            }
            let now = self.now();
            if let Some(act) = self.due(now) {
                self.perform(act).await;
                continue;
            }
            if self.outside.lnd.next().is_some_and(|at| at <= now) {
                self.outside.lnd.act();
                continue;
            }
            if self.calm && self.is_over().await {
                break;
            }
            match self.next().await.filter(|at| at.millis() <= latest && rests < MOST_RESTS) {
                Some(at) => self.outside.time.set(at.max(now)),
                None => {
                    self.tell_what_does_not_end(rests).await;
                    break;
                }
            }
        }
        self.end().await
    }

    fn longest_window(&self) -> i64 {
        let reloads = self.plan.happenings.iter().filter_map(|(_, happening)| match happening {
            Happening::Reload(terms) => Some(terms.window_days),
            _ => None,
        });
        i64::from(reloads.chain([self.plan.terms.window_days]).max().unwrap_or(1)) * 86_400 * 1_000
    }

    fn due(&mut self, now: Timestamp) -> Option<Act> {
        let first = self.agenda.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    /// When something happens next. While no daemon is at work on anything the keeping of leases
    /// is no reason to stop.
    async fn next(&self) -> Option<Timestamp> {
        let store = &self.outside.store;
        let own = self.agenda.first_key_value().map(|((at, _), _)| *at).into_iter().chain(self.outside.lnd.next());
        let timers = [store.next_due().await.unwrap(), store.outbox_next().await.unwrap()].into_iter().flatten().min();
        let working = store.runs(&RunFilter::default()).await.unwrap().iter().any(|run| run.owner.is_some());
        let retrying = self.daemons.iter().any(|daemon| daemon.life.is_retrying());
        let idle = !working && !retrying && timers.is_none_or(|at| at > self.now());
        let asleep = if idle { timers } else { self.outside.time.next() };
        own.chain(asleep).min()
    }

    /// Sees to daemons that died or froze, to what clients hear, and to what must hold.
    async fn tend(&mut self) {
        for daemon in &self.daemons {
            if let Some(time) = daemon.life.freezing() {
                let life = daemon.life.clone();
                self.acts += 1;
                self.agenda.insert((self.outside.time.now().after(millis(time)), self.acts), Act::Thaw(life));
            }
        }
        let before = self.daemons.len();
        self.daemons.retain(|daemon| !daemon.life.is_dead());
        if self.daemons.len() < before {
            self.note("a daemon died");
        }
        if self.daemons.is_empty() && !self.starting {
            self.starting = true;
            self.after(RESTART, Act::Start);
        }
        for outgoing in self.outside.relays.fresh() {
            if let Some((order, share, sats, answer)) = self.clients.hear(&outgoing, &self.plan.orders) {
                self.after(millis(answer.after), Act::Answer(order, share, sats, answer));
            }
        }
        let commits = self.outside.faults.calls(Port::Commit);
        if commits != self.looked_at {
            self.looked_at = commits;
            let records = Records::read(self.outside.store.as_ref()).await.unwrap();
            self.found.extend(self.frozen.look(&records));
            self.found.extend(check(&records));
            self.found.extend(outside(&records, &self.evidence()));
        }
    }

    fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::default();
        for (hash, sats) in self.outside.lnd.ledger().paid {
            evidence.paid.entry(hex::encode(hash)).or_default().push(sats);
        }
        evidence.settled = self.outside.lnd.settled().iter().map(hex::encode).collect();
        evidence
    }

    /// Why a run may stay open for ever.
    fn may_stay(&self, run: &Run) -> bool {
        let error = run.error.as_deref().unwrap_or_default();
        let order = self.plan.orders.get(order_of(run).unwrap_or(usize::MAX));
        match run.status {
            Status::Completed | Status::Failed | Status::Canceled => true,
            // A person has to look, since the books of lnd and the daemon's don't fit together, or
            // because a debt is left over that nobody takes any more.
            Status::Paused => {
                let odd_bonds = order.is_some_and(|order| order.bonds.iter().any(|own| *own != Some(Own::Accepted)));
                let odd_escrow = order.is_some_and(|order| order.escrow != Some(Own::Accepted));
                error.contains("the claim window is closed and the last payment failed")
                    || odd_bonds && (error.starts_with("lnd") || error.starts_with("the bond is settled"))
                    || odd_escrow && error.starts_with("ruled")
            }
            Status::InDoubt => self.wiped,
            Status::Waiting => {
                let vanished = order.is_some_and(|order| order.vanishes);
                vanished && run.pin.workflow == trade_payout::NAME && run.step == "await_invoice"
            }
            Status::Running | Status::BackingOff => self.wiped,
        }
    }

    async fn is_over(&self) -> bool {
        let store = &self.outside.store;
        self.agenda.is_empty()
            && self.outside.lnd.next().is_none()
            && store.outbox_next().await.unwrap().is_none()
            && store.runs(&RunFilter::default()).await.unwrap().iter().all(|run| self.may_stay(run))
    }

    async fn tell_what_does_not_end(&mut self, rests: u32) {
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

    async fn end(mut self) -> Ended {
        self.daemons.clear();
        let records = Records::read(self.outside.store.as_ref()).await.unwrap();
        let dump = self.outside.store.snapshot().dump();
        let outbox: Vec<OutboxEntry> = dump["outbox"]
            .iter()
            .map(|row| serde_json::from_value(serde_json::Value::Object(row.clone())).unwrap())
            .collect();
        let published = self.outside.relays.published();
        self.found.extend(notices(&outbox, &published.keys().cloned().collect()));
        let at_rest = self.found.is_empty();
        self.found.extend(one_effect(&self.asked(&records), &self.told(), at_rest));
        Ended {
            violations: self.found,
            records,
            dump,
            ledger: self.outside.lnd.ledger(),
            faults: self.outside.faults,
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

    fn told(&self) -> Vec<Told> {
        let told = |(id, message): (String, bondflow::engine::store::OutboxMessage)| {
            let outgoing = opened(&message.body);
            let (to, request_id) = people::addressed(&outgoing)?;
            Some(Told { event: id, to: to.to_owned(), request_id: request_id? })
        };
        self.outside.relays.published().into_iter().filter_map(told).collect()
    }

    async fn perform(&mut self, act: Act) {
        match act {
            Act::Happen(happening) => self.happen(happening).await,
            Act::Start => self.start(),
            Act::KillFirst => {
                if self.daemons.len() > 1 {
                    self.note("the first of two daemons is killed");
                    self.daemons.remove(0);
                }
            }
            Act::Thaw(life) => {
                self.note("a daemon thaws");
                life.thaw();
            }
            Act::Say(incoming, copies) => {
                if self.outside.relays.say(&incoming, copies) {
                    self.note(format!("{} says {:?} ({})", incoming.sender, short(&incoming), incoming.event));
                } else {
                    self.after(Duration::from_secs(5), Act::Say(incoming, copies));
                }
            }
            Act::Answer(order, share, sats, answer) => self.answer(order, share, sats, &answer),
            Act::LndServes => {
                self.outside.lnd.restart();
            }
            Act::LndSynced => self.outside.lnd.set_synced(true),
            Act::BlocksCome => self.outside.lnd.set_blocks(true),
            Act::RelayReached(relay) => self.reached(relay),
            Act::Calm => self.become_calm(),
            Act::ResumeAll => self.resume_all().await,
        }
    }

    fn answer(&mut self, order: usize, share: bool, sats: u64, answer: &Answer) {
        let plan = &self.plan.orders[order];
        for incoming in self.clients.answer(order, plan, share, sats, &answer.with) {
            self.after(Duration::ZERO, Act::Say(incoming, answer.copies));
        }
    }

    /// What the winner of an order was asked for: the frozen share, if there is one already.
    fn owed(&self, order: usize) -> u64 {
        people::share_of(&self.plan.orders[order], self.plan.terms.share_millionths)
    }

    fn reached(&mut self, relay: u32) {
        self.outside.relays.set_reached(relay as usize, true);
        self.daemons.iter().for_each(Daemon::hurry);
    }

    async fn happen(&mut self, happening: Happening) {
        self.note(format!("{happening:?}"));
        let lnd = self.outside.lnd.clone();
        match happening {
            Happening::Kill(time) => {
                self.daemons.clear();
                if !std::mem::replace(&mut self.starting, true) {
                    self.after(millis(time), Act::Start);
                }
            }
            Happening::Overlap(time) => {
                if self.daemons.len() == 1 {
                    self.start();
                    self.after(millis(time), Act::KillFirst);
                }
            }
            Happening::LndGone(time) | Happening::LndLocked(time) => {
                let locked = matches!(happening, Happening::LndLocked(_));
                lnd.set_serving(if locked { Serving::Locked } else { Serving::Gone });
                self.after(millis(time), Act::LndServes);
            }
            Happening::LndUnsynced(time) => {
                lnd.set_synced(false);
                self.after(millis(time), Act::LndSynced);
            }
            Happening::NoBlocks(time) => {
                lnd.set_blocks(false);
                self.after(millis(time), Act::BlocksCome);
            }
            Happening::LndRestarts => lnd.restart(),
            Happening::LndWiped => {
                // What no database row remembers can't be missed: only such a loss can be noticed.
                let newest = self.outside.store.newest(PAYMENTS.name, "judged_index").await.unwrap();
                if newest.is_some() {
                    self.wiped = true;
                    lnd.wipe();
                }
            }
            Happening::RelayGone(relay, time) => {
                self.outside.relays.set_reached(relay as usize, false);
                self.after(millis(time), Act::RelayReached(relay));
            }
            Happening::ClockSet(by) => {
                let to = Timestamp((self.now().millis() + by).max(START.millis()));
                self.outside.time.set(to);
            }
            Happening::Reload(terms) => drop(self.outside.terms.send_replace(Arc::new(people::terms(&terms)))),
            Happening::Operator(order, which, command, forced) => self.operate(order, which, command, forced).await,
            Happening::Liar(order) => {
                let plan = &self.plan.orders[order];
                let lie = self.clients.lie(order, plan, self.owed(order));
                self.after(Duration::ZERO, Act::Say(lie, 1));
            }
            Happening::Unasked(order) => self.answer(order, true, self.owed(order), &Answer::paid()),
            Happening::RulesAgain(order, turned) => {
                let ruling = self.clients.ruling(order, &self.plan.orders[order], turned);
                self.after(Duration::ZERO, Act::Say(ruling, 1));
            }
            Happening::HoldsEnd => lnd.end_all_holds(),
            Happening::Stranger(order) => {
                let ruling = self.clients.stranger(order);
                self.after(Duration::ZERO, Act::Say(ruling, 1));
            }
        }
    }

    async fn operate(&mut self, order: usize, which: Which, command: Command, forced: bool) {
        let (workflow, key) = people::run_of(order, which);
        let request = match command {
            Command::Resume => OperatorRequest::Resume,
            Command::Pause => OperatorRequest::Pause,
            Command::Cancel => OperatorRequest::Cancel,
            Command::Retry(from) => OperatorRequest::Retry { from: RETRIED[from as usize % RETRIED.len()].to_owned() },
        };
        self.ask(RunId::of(workflow, &key), request, forced).await;
    }

    /// As `workflowctl` does: a signal in the database, and a nudge.
    async fn ask(&mut self, run: RunId, request: OperatorRequest, force: bool) {
        self.acts += 1;
        let ticket = format!("request-{}", self.acts);
        let name = request.signal();
        let asked =
            AskedBy { ticket: ticket.clone(), by: "operator".into(), reason: Some("a reason".into()), force, request };
        let payload = serde_json::to_string(&asked).unwrap();
        let signal = NewSignal { run, name, payload, dedup: ticket };
        let commit = Commit { at: self.now(), signals: vec![signal], ..Commit::default() };
        self.outside.store.commit(commit).await.unwrap();
        self.outside.store.announce();
    }

    async fn resume_all(&mut self) {
        let paused = RunFilter { status: Some(Status::Paused), ..RunFilter::default() };
        for run in self.outside.store.runs(&paused).await.unwrap() {
            self.ask(run.id, OperatorRequest::Resume, false).await;
        }
    }

    /// From now on everything works.
    fn become_calm(&mut self) {
        self.note("calm");
        self.calm = true;
        self.outside.faults.end();
        let lnd = &self.outside.lnd;
        lnd.restart();
        lnd.set_synced(true);
        lnd.set_blocks(true);
        self.outside.relays.reach_all();
        for daemon in &self.daemons {
            daemon.life.thaw();
            daemon.hurry();
        }
        self.after(Duration::from_secs(1), Act::ResumeAll);
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn order_of(run: &Run) -> Option<usize> {
    run.key.split('-').nth(1)?.parse().ok()
}

fn short(incoming: &Incoming) -> String {
    let mut said = format!("{:?}", incoming.request);
    said.truncate(60);
    said
}
