//! What happens in a world, one thing after the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bondflow::engine::store::RunFilter;
use bondflow::engine::{Store, Timestamp};
use bondflow::payout::invariants::Frozen;
use bondflow::payout::messages::Incoming;
use bondflow::payout::ports::Hash;
use bondflow::payout::tables::PAYMENTS;

use super::super::daemon::Daemon;
use super::super::lnd::Serving;
use super::super::people;
use super::super::plan::{Answer, Happening, TermsPlan, Way};
use super::super::restored::PutBack;
use super::super::time::START;
use super::operator::is_unwitnessed;
use super::{Act, RESTART, World, millis};

impl World<'_> {
    pub(super) async fn perform(&mut self, act: Act) {
        match act {
            Act::Happen(happening) => self.happen(happening).await,
            Act::Start if self.daemons.is_empty() => self.start(),
            Act::Start => {}
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
            Act::Say(incoming, copies) => self.say(incoming, copies),
            Act::Deliver(incoming, copies) => self.outside.relays.deliver(&incoming, copies),
            Act::Answer(order, share, sats, answer) => self.answer(order, share, sats, &answer),
            Act::LndServes => {
                self.outside.lnd.restart();
            }
            Act::LndSynced => self.outside.lnd.set_synced(true),
            Act::BlocksCome => self.outside.lnd.set_blocks(true),
            Act::RelayReached(relay) => self.reached(relay),
            Act::Calm => self.become_calm(),
            Act::ResumeAll { again } => self.resume_all(again).await,
            Act::ResolveAll => self.resolve_all().await,
        }
    }

    fn say(&mut self, incoming: Incoming, copies: u32) {
        if !self.outside.relays.say(&incoming) {
            return self.after(Duration::from_secs(5), Act::Say(incoming, copies));
        }
        let way = self.plan.ways.get(self.spoken).copied().filter(|_| !self.calm).unwrap_or(Way::AtOnce);
        self.spoken += 1;
        self.note(format!("{} says {:?} ({}), {way:?}", incoming.sender, short(&incoming), incoming.event));
        match way {
            Way::AtOnce => self.outside.relays.deliver(&incoming, copies.max(1)),
            Way::Late(time) => self.after(millis(time), Act::Deliver(incoming, copies.max(1))),
            Way::Twice(time) => {
                self.outside.relays.deliver(&incoming, 1);
                self.after(millis(time), Act::Deliver(incoming, copies.max(1)));
            }
            Way::Missed => {}
        }
    }

    pub(super) fn answer(&mut self, order: usize, share: bool, sats: u64, answer: &Answer) {
        let plan = &self.plan.orders[order];
        for incoming in self.clients.answer(order, plan, share, sats, &answer.with) {
            self.after(Duration::ZERO, Act::Say(incoming, answer.copies));
        }
    }

    /// What the winner of an order was asked for: the frozen share, if there is one already.
    pub(super) fn owed(&self, order: usize) -> u64 {
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
            Happening::LndWiped => self.wipe().await,
            Happening::BackedUp => self.backup = Some(self.outside.store.snapshot()),
            Happening::PutBack => self.put_back().await,
            Happening::RelayGone(relay, time) => {
                self.outside.relays.set_reached(relay as usize, false);
                self.after(millis(time), Act::RelayReached(relay));
            }
            Happening::ClockSet(by) => {
                let to = Timestamp((self.now().millis() + by).max(START.millis()));
                self.outside.time.set(to);
            }
            Happening::Reload(terms) => self.reload(terms),
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

    /// A ruling that a database has forgotten is made anew, of the share of that day: whoever may have to put an old copy
    /// back leaves the share as it is.
    fn reload(&mut self, mut terms: TermsPlan) {
        if self.plan.happenings.iter().any(|(_, happening)| *happening == Happening::PutBack) {
            terms.share_millionths = self.plan.terms.share_millionths;
        }
        self.outside.terms.send_replace(Arc::new(people::terms(&terms)));
    }

    async fn wipe(&mut self) {
        // What no database row remembers can't be missed: only such a loss can be noticed. Of two databases
        // that have forgotten neither tells of what the other lost.
        let newest = self.outside.store.newest(PAYMENTS.name, "judged_index").await.unwrap();
        let runs = self.outside.store.runs(&RunFilter::default()).await.unwrap();
        if newest.is_some() && self.put_back.is_none() && !runs.iter().any(is_unwitnessed) {
            self.wiped = true;
            self.outside.lnd.wipe();
        }
    }

    /// Whether a trade is paid whose payout the database has never heard of. The relays bring back the ruling, and
    /// no run that the payment could be given to: nobody can mend that.
    async fn lacks_a_payout(&self) -> bool {
        let sent: BTreeSet<Hash> = self.outside.lnd.ledger().sends.iter().map(|send| send.hash).collect();
        for (hash, (order, share)) in self.clients.made() {
            let payout = people::payout_of(*order, &self.plan.orders[*order], *share);
            if !share && sent.contains(hash) && self.outside.store.run(&payout).await.unwrap().is_none() {
                return true;
            }
        }
        false
    }

    async fn put_back(&mut self) {
        let Some(backup) = self.backup.clone().filter(|_| !self.wiped) else { return };
        let present = self.outside.store.snapshot();
        self.outside.store.restore(&backup);
        if self.lacks_a_payout().await {
            return self.outside.store.restore(&present);
        }
        self.daemons.clear();
        self.frozen = Frozen::default();
        let known: BTreeSet<String> = backup.outbox().map(|entry| entry.message.id.clone()).collect();
        self.forgotten = self.outside.relays.published().into_keys().filter(|id| !known.contains(id)).collect();
        let whose = |(hash, (order, share)): (&Hash, &(usize, bool))| {
            (*hash, people::payout_of(*order, &self.plan.orders[*order], *share))
        };
        self.put_back = Some(PutBack {
            since: self.now(),
            last_commit: self.outside.store.last_commit().await.unwrap().unwrap_or(START),
            whose: self.clients.made().iter().map(whose).collect(),
            mended: Arc::default(),
        });
        if !std::mem::replace(&mut self.starting, true) {
            self.after(RESTART, Act::Start);
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
        lnd.set_skew(0);
        self.outside.relays.reach_all();
        if self.daemons.is_empty() {
            self.start();
        }
        for daemon in &self.daemons {
            daemon.life.thaw();
            daemon.hurry();
        }
        self.after(Duration::from_secs(1), Act::ResumeAll { again: true });
    }
}

fn short(incoming: &Incoming) -> String {
    let mut said = format!("{:?}", incoming.request);
    said.truncate(60);
    said
}
