//! One world from its beginning to its end.

mod acts;
mod ended;
mod operator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bondflow::engine::{Alarms, Run, Store, Timestamp};
use bondflow::payout::invariants::{Frozen, Outside as Evidence, Records, Violation, check, outside};
use bondflow::payout::messages::Incoming;
use bondflow::payout::tables::TABLES;
use bondflow::store::memory::{MemoryStore, Snapshot};
use tokio::sync::watch;

use super::clients::Clients;
use super::daemon::{Daemon, Outside};
use super::faults::{Faults, Life, Port};
use super::journal::Journal;
use super::lnd::Lnd;
use super::people;
use super::plan::{Answer, Happening, Plan, TermsPlan, With};
use super::relays::{PlainSealer, Relays};
use super::restored::PutBack;
use super::time::{Rest, START, Time};

pub use ended::Ended;

/// How long a daemon takes to be started again.
const RESTART: Duration = Duration::from_secs(2);
/// How long after the last fault, and after the claim window, everything has come to its end.
const LONG_ENOUGH: i64 = 3 * 86_400 * 1_000;
/// More rests than any world needs.
const MOST_RESTS: u32 = 60_000;

/// What is still to happen.
enum Act {
    Happen(Happening),
    Start,
    KillFirst,
    Thaw(Life),
    Say(Incoming, u32),
    Deliver(Incoming, u32),
    Answer(usize, bool, u64, Answer),
    LndServes,
    LndSynced,
    BlocksCome,
    RelayReached(u32),
    Calm,
    /// All that is paused goes on; once more later, for what was away from its database meanwhile.
    ResumeAll {
        again: bool,
    },
    ResolveAll,
}

struct World<'a> {
    plan: &'a Plan,
    rest: Rest,
    outside: Outside,
    daemons: Vec<Daemon>,
    started: u32,
    starting: bool,
    clients: Clients,
    /// How many things clients have said.
    spoken: usize,
    agenda: BTreeMap<(Timestamp, u64), Act>,
    acts: u64,
    frozen: Frozen,
    records: Records,
    looked_at: u32,
    calm: bool,
    wiped: bool,
    backup: Option<Snapshot>,
    put_back: Option<PutBack>,
    /// What relays have of messages that the database has forgotten.
    forgotten: BTreeSet<String>,
    found: Vec<Violation>,
    notes: Vec<(Timestamp, String)>,
}

/// Lives a plan through.
pub fn live(plan: &Plan) -> Ended {
    live_on(plan, MemoryStore::new(TABLES), &Journal::default())
}

/// Lives a plan through on that database, and has what is written to it kept there.
pub fn live_on(plan: &Plan, store: MemoryStore, journal: &Journal) -> Ended {
    let (runtime, rest) = Rest::runtime();
    runtime.block_on(async { World::new(plan, rest, store, journal.clone()).live().await })
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, rest: Rest, store: MemoryStore, journal: Journal) -> Self {
        let people = journal.clone();
        store.on_call(move |call| {
            people.keep(call, None);
            None
        });
        let time = Time::new();
        let lnd = Lnd::new(&time);
        lnd.set_skew(plan.skew);
        let outside = Outside {
            time: time.clone(),
            store: Arc::new(store),
            journal,
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
            spoken: 0,
            agenda: BTreeMap::new(),
            acts: 0,
            frozen: Frozen::default(),
            records: Records::default(),
            looked_at: 0,
            calm: false,
            wiped: false,
            backup: None,
            put_back: None,
            forgotten: BTreeSet::new(),
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
                Some(With::Invoice(fates)) => {
                    Some(self.clients.invoice((at, false), people::trade_sats(plan), 86_400, fates))
                }
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
        let put_back = self.put_back.clone().filter(|put_back| !put_back.is_mended());
        self.daemons.push(Daemon::start(&self.outside, &owner, put_back));
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

    /// For how long somebody may be asked, milliseconds: an invoice that expired before it was tried reopens
    /// the asking for twelve intervals.
    fn longest_window(&self) -> i64 {
        let reloads = self.plan.happenings.iter().filter_map(|(_, happening)| match happening {
            Happening::Reload(terms) => Some(*terms),
            _ => None,
        });
        let asking = |terms: TermsPlan| i64::from(terms.window_days * 86_400 + terms.interval_secs * 12) * 1_000;
        reloads.chain([self.plan.terms]).map(asking).max().unwrap_or(0)
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
        let working = store.snapshot().runs().any(|run| !run.status.is_final() && run.owner.is_some());
        let retrying = self.daemons.iter().any(|daemon| daemon.life.is_retrying());
        let mending = self.put_back.as_ref().is_some_and(|put_back| !put_back.is_mended());
        let idle = !working && !retrying && !mending && timers.is_none_or(|at| at > self.now());
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
            self.records = Records::read_after(self.outside.store.as_ref(), &self.records).await.unwrap();
            self.found.extend(self.frozen.look(&self.records));
            self.found.extend(check(&self.records));
            // Before that, lnd knows of payments that the database has forgotten.
            if self.put_back.as_ref().is_none_or(PutBack::is_mended) {
                self.found.extend(outside(&self.records, &self.evidence()));
            }
        }
    }

    fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::default();
        for (hash, sats) in self.outside.lnd.paid() {
            evidence.paid.entry(hex::encode(hash)).or_default().push(sats);
        }
        evidence.settled = self.outside.lnd.settled().iter().map(hex::encode).collect();
        evidence
    }

    async fn is_over(&self) -> bool {
        let store = &self.outside.store;
        self.agenda.is_empty()
            && self.put_back.as_ref().is_none_or(PutBack::is_mended)
            && self.outside.lnd.next().is_none()
            && store.outbox_next().await.unwrap().is_none()
            && store.snapshot().runs().all(|run| self.may_stay(run))
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn order_of(run: &Run) -> Option<usize> {
    run.key.split('-').nth(1)?.parse().ok()
}
