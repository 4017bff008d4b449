//! What is going to happen in a trade: all of it is drawn before it begins, so that a seed says it.

use std::time::Duration;

use bondflow::sandbox::mostrod::{Bond, Trade};
use mostro_core::message::Action;
use nostr_sdk::Keys;
use uuid::Uuid;

use crate::dice::Dice;

/// A bond, sats; half of it is the winner's.
pub const BOND_SATS: u64 = 1_000;
/// What is traded, sats; no fee is taken.
pub const TRADE_SATS: u64 = 20_000;
/// How long a winner has to claim the share, seconds: the shortest that the settings allow.
pub const WINDOW: i64 = 86_400;

/// How a creditor goes about getting paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Sends a good invoice at once.
    Prompt,
    /// Takes some time, so that the request is repeated.
    Late(Duration),
    /// Sends what is no invoice, or the wrong one, before the good one.
    Wrong,
    /// Publishes the very same event again and again.
    Repeating,
    /// Sends two good invoices at a time.
    Racing,
    /// Holds the payment for a while, and claims it.
    Holding(Duration),
    /// Holds the payment for a while, and gives it back.
    GivingBack(Duration),
    /// Sends an invoice that can't be reached, and a good one when it is asked again.
    Unreachable,
    /// Never answers.
    Silent,
    /// Answers so long before (or, negative, after) the end of the window, milliseconds.
    AtDeadline(i64),
}

/// How a trade comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// A solver rules, and perhaps says it once more.
    Ruled { settles: bool, slash_seller: bool, slash_buyer: bool, twice: bool },
    /// It was ruled before the node was taken over: a bond is claimed, and its window ends so long after the start.
    TakenOver { closes_after: Duration },
}

/// A trade and what its people will do.
#[derive(Debug, Clone)]
pub struct Plot {
    pub trade: Trade,
    pub seller: Keys,
    pub buyer: Keys,
    pub beginning: Beginning,
    /// How the winner of the bond behaves.
    pub winner: Habit,
    /// How the buyer behaves who is owed the trade's sats.
    pub creditor: Habit,
    /// How long after its turn it begins.
    pub delay: Duration,
}

impl Plot {
    /// Draws one. `spell` is how long all of it may take about.
    pub fn draw(dice: &mut Dice, solver: &Keys, spell: Duration, now: i64) -> Self {
        let (seller, buyer) = (Keys::generate(), Keys::generate());
        let taken_over = dice.chance(12);
        let kind = dice.pick(&["sell", "buy"]);
        let escrow = !taken_over && dice.chance(80);
        let trade = Trade {
            order: Uuid::new_v4(),
            dispute: Uuid::new_v4(),
            kind,
            amount_sats: TRADE_SATS,
            fee_sats: 0,
            seller: seller.public_key().to_hex(),
            buyer: buyer.public_key().to_hex(),
            solver: Some(solver.public_key().to_hex()),
            escrow: escrow.then(secret),
            buyer_invoice: None,
            bonds: [true, false]
                .map(|maker| bond(maker, if taken_over && maker { "released" } else { "locked" }))
                .into(),
            at: now,
        };
        let millis = |dice: &mut Dice, most: i64| Duration::from_millis(dice.between(0, most).unsigned_abs());
        let beginning = if taken_over {
            Beginning::TakenOver { closes_after: Duration::from_secs(5) + millis(dice, spell.as_millis() as i64) }
        } else {
            let (slash_seller, slash_buyer) = match dice.between(1, 100) {
                1..=40 => (true, false),
                41..=80 => (false, true),
                81..=88 => (true, true),
                _ => (false, false),
            };
            Beginning::Ruled { settles: dice.chance(45), slash_seller, slash_buyer, twice: dice.chance(20) }
        };
        let winner = if taken_over && dice.chance(60) {
            Habit::Silent
        } else if taken_over {
            Habit::AtDeadline(dice.between(-2_000, 2_000))
        } else {
            habit(dice)
        };
        Self { trade, seller, buyer, beginning, winner, creditor: habit(dice), delay: millis(dice, 1_500) }
    }

    /// Who is owed the share of a slashed bond.
    pub fn wins(&self) -> Option<&Keys> {
        match self.beginning {
            Beginning::Ruled { slash_seller: true, slash_buyer: false, .. } => Some(&self.buyer),
            Beginning::Ruled { slash_seller: false, slash_buyer: true, .. } => Some(&self.seller),
            Beginning::Ruled { .. } => None,
            // The taker's bond is the one that was claimed.
            Beginning::TakenOver { .. } if self.trade.kind == "sell" => Some(&self.seller),
            Beginning::TakenOver { .. } => Some(&self.buyer),
        }
    }

    /// Whether the buyer is owed the trade's sats.
    pub fn owes_the_buyer(&self) -> bool {
        matches!(self.beginning, Beginning::Ruled { settles: true, .. }) && self.trade.escrow.is_some()
    }

    /// The solver's word.
    pub fn ruling(&self) -> Option<Action> {
        match self.beginning {
            Beginning::Ruled { settles: true, .. } => Some(Action::AdminSettle),
            Beginning::Ruled { .. } => Some(Action::AdminCancel),
            Beginning::TakenOver { .. } => None,
        }
    }

    /// The runs that there must be in the end: workflow and key.
    pub fn runs(&self) -> Vec<(&'static str, String)> {
        let order = self.trade.order.to_string();
        let bond = |maker: bool| self.trade.bonds[usize::from(!maker)].id.to_string();
        let Beginning::Ruled { slash_seller, slash_buyer, .. } = self.beginning else {
            return vec![("bond_payout", bond(false))];
        };
        let (maker_slashed, taker_slashed) =
            if self.trade.kind == "sell" { (slash_seller, slash_buyer) } else { (slash_buyer, slash_seller) };
        let of = |slashed| if slashed { "bond_payout" } else { "bond_release" };
        let mut runs = vec![
            ("order_resolution", order.clone()),
            (of(maker_slashed), bond(true)),
            (of(taker_slashed), bond(false)),
        ];
        if self.owes_the_buyer() {
            runs.push(("trade_payout", order));
        }
        runs
    }
}

fn habit(dice: &mut Dice) -> Habit {
    let while_ = |dice: &mut Dice| Duration::from_millis(dice.between(200, 8_000).unsigned_abs());
    match dice.between(1, 100) {
        1..=25 => Habit::Prompt,
        26..=34 => Habit::Late(while_(dice)),
        35..=54 => Habit::Wrong,
        55..=64 => Habit::Repeating,
        65..=76 => Habit::Racing,
        77..=86 => Habit::Holding(while_(dice)),
        87..=92 => Habit::GivingBack(while_(dice)),
        _ => Habit::Unreachable,
    }
}

fn bond(maker: bool, state: &'static str) -> Bond {
    Bond { id: Uuid::new_v4(), maker, amount_sats: BOND_SATS, preimage: secret(), state }
}

fn secret() -> [u8; 32] {
    let halves = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
    std::array::from_fn(|at| halves[at / 16][at % 16])
}
