//! A plan for each seed.

use crate::dice::Dice;
use crate::ports::faults::{CallFault, Fault, Port};
use crate::ports::lnd::{Fate, Own};
use crate::ports::plan::{Answer, Command, Happening, OrderPlan, Plan, RETRIED, TermsPlan, Way, Which, With};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The plan that follows from a seed.
pub fn plan(seed: u64) -> Plan {
    let mut world = Draw(Dice::new(seed));
    let calm_from =
        if world.0.chance(15) { world.millis(HOUR, 40 * HOUR) } else { world.millis(20 * SECOND, 15 * MINUTE) };
    let orders: Vec<OrderPlan> = (0..world.0.between(1, 3)).map(|_| world.order(calm_from)).collect();
    // Those who never answer are asked for days: not too often, or the world gets long.
    let patient = calm_from > 2 * 3_600_000 || orders.iter().any(|order| order.vanishes);
    let terms = world.terms(patient);
    let relays = u32::try_from(world.0.pick(&[1, 1, 2, 3])).unwrap();
    let happenings = (0..world.0.between(0, 7))
        .map(|_| (world.millis(0, i64::from(calm_from)), world.happening(orders.len(), patient)))
        .collect();
    let faults = (0..world.0.between(0, 7)).map(|_| world.fault()).collect();
    let (skew, every_step_twice) = (world.0.between(-60 * SECOND, 15 * SECOND), world.0.chance(10));
    let ways = (0..world.0.pick(&[0, 0, 2, 5])).map(|_| world.way()).collect();
    Plan { terms, relays, skew, orders, ways, happenings, faults, every_step_twice, calm_from }
}

struct Draw(Dice);

impl Draw {
    fn millis(&mut self, least: i64, most: i64) -> u32 {
        u32::try_from(self.0.between(least, most)).unwrap()
    }

    /// Short as a rule, long at times.
    fn delay(&mut self) -> u32 {
        let most = self.0.pick(&[50, SECOND, SECOND, 20 * SECOND, 3 * MINUTE, HOUR]);
        self.millis(0, most)
    }

    fn terms(&mut self, patient: bool) -> TermsPlan {
        let intervals: &[u32] = if patient { &[14_400, 28_800] } else { &[60, 300, 1_800, 14_400] };
        TermsPlan {
            share_millionths: self.0.pick(&[0, 1, 300_000, 500_000, 500_000, 500_000, 999_999, 1_000_000]),
            interval_secs: self.0.pick(intervals),
            max_retries: self.0.pick(&[1, 2, 3, 5]),
            window_days: self.0.pick(&[1, 1, 2]),
            max_inflight: self.0.pick(&[1, 2, 100, 100]),
            max_per_payee: self.0.pick(&[None, Some(1), Some(10)]),
        }
    }

    fn order(&mut self, calm_from: u32) -> OrderPlan {
        let dice = &mut self.0;
        let escrow = match dice.between(1, 20) {
            1 => None,
            2 => Some(dice.pick(&[Own::Open, Own::Canceled, Own::Settled])),
            _ => Some(Own::Accepted),
        };
        let mut bond = || match dice.between(1, 20) {
            1 => Some(Own::Canceled),
            2 => dice.pick(&[None, Some(Own::Open), Some(Own::Settled)]),
            _ => Some(Own::Accepted),
        };
        let bonds = [bond(), bond()];
        let (slash_seller, slash_buyer) =
            dice.pick(&[(true, false), (true, false), (false, true), (false, true), (true, true), (false, false)]);
        let rules_at = self.millis(0, i64::from(calm_from) / 2);
        OrderPlan {
            buy: self.0.chance(50),
            bond_sats: self.0.pick(&[1, 2, 999, 1_000, 1_000, 1_001, 250_000]),
            amount_sats: 100_000,
            fee_sats: 600,
            escrow,
            bonds,
            rules_at,
            settle: self.0.chance(50),
            slash_seller,
            slash_buyer,
            rulings: self.0.pick(&[1, 1, 2, 3]),
            takes_first: self.0.chance(20),
            buyer_left: self.0.chance(60).then(|| Answer::of(self.fates())),
            share_answers: (0..self.0.between(0, 4)).map(|_| self.answer()).collect(),
            trade_answers: (0..self.0.between(0, 3)).map(|_| self.answer()).collect(),
            vanishes: self.0.chance(20),
        }
    }

    fn fates(&mut self) -> Vec<Fate> {
        (0..self.0.between(0, 4)).map(|_| self.fate()).collect()
    }

    fn fate(&mut self) -> Fate {
        let delay = self.delay();
        self.0.pick(&[
            Fate::Paid(delay),
            Fate::HeldThenPaid(delay),
            Fate::HeldThenGivenBack(delay),
            Fate::Rejected,
            Fate::Unroutable,
            Fate::Unroutable,
            Fate::Short,
        ])
    }

    fn answer(&mut self) -> Answer {
        let with = match self.0.between(1, 14) {
            1 => With::Again,
            2 => With::WrongAmount,
            3 => With::Odd,
            4 => With::Garbage,
            5 => With::NoPayload,
            6 => With::Silence,
            7 => With::Short(self.millis(3_590, 3_700), self.fates()),
            8 | 9 => With::Race(self.fates(), self.fates()),
            _ => With::Invoice(self.fates()),
        };
        Answer { after: self.delay(), with, copies: self.0.pick(&[1, 1, 1, 3]) }
    }

    fn way(&mut self) -> Way {
        let delay = self.delay();
        self.0.pick(&[Way::AtOnce, Way::AtOnce, Way::Late(delay), Way::Late(delay), Way::Twice(delay), Way::Missed])
    }

    fn happening(&mut self, orders: usize, patient: bool) -> Happening {
        let order = usize::try_from(self.0.between(0, orders as i64 - 1)).unwrap();
        let (delay, relay) = (self.delay(), self.millis(0, 2));
        let which = self.0.pick(&[Which::MakerPayout, Which::TakerPayout, Which::Trade, Which::Resolution]);
        match self.0.between(1, 31) {
            1..=3 => Happening::Kill(delay),
            4 | 5 => Happening::Overlap(delay),
            6 => Happening::LndGone(delay),
            7 => Happening::LndLocked(delay),
            8 => Happening::LndUnsynced(delay),
            9 => Happening::NoBlocks(delay),
            10 => Happening::LndRestarts,
            11 => Happening::LndWiped,
            12 | 13 => Happening::RelayGone(relay, delay),
            14 => Happening::ClockSet(self.0.between(-2 * HOUR, 30 * HOUR)),
            15 => Happening::ClockSet(self.0.between(-MINUTE, MINUTE)),
            16 => Happening::Reload(self.terms(patient)),
            17 => Happening::Operator(order, which, Command::Pause, self.0.chance(30)),
            18 => {
                Happening::Operator(order, which, self.0.pick(&[Command::Resume, Command::Cancel]), self.0.chance(30))
            }
            19 => {
                let from = u8::try_from(self.0.between(0, RETRIED.len() as i64 - 1)).unwrap();
                Happening::Operator(order, which, Command::Retry(from), self.0.chance(30))
            }
            20 => Happening::Liar(order),
            21 => Happening::Unasked(order),
            22 => Happening::RulesAgain(order, self.0.chance(50)),
            23 => Happening::HoldsEnd,
            24 | 25 => Happening::Operator(order, which, Command::Resolve(self.0.chance(70)), self.0.chance(30)),
            28 | 29 => Happening::BackedUp,
            30 | 31 => Happening::PutBack,
            26 => Happening::Operator(order, which, Command::Signal(self.fates()), self.0.chance(60)),
            _ => Happening::Stranger(order),
        }
    }

    fn fault(&mut self) -> CallFault {
        let port =
            self.0.pick(&[Port::Commit, Port::Commit, Port::Store, Port::Lnd, Port::Lnd, Port::Lnd, Port::Relay]);
        let most = match port {
            Port::Store => 400,
            Port::Commit | Port::Lnd | Port::Relay => 40,
        };
        let delay = self.millis(0, 4 * MINUTE);
        let fault = self.0.pick(&[
            Fault::Refused,
            Fault::LostBefore,
            Fault::LostAfter,
            Fault::Late(delay),
            Fault::DiesBefore,
            Fault::DiesAfter,
            Fault::Freezes(delay),
        ]);
        CallFault { port, at: self.millis(0, most), fault }
    }
}
