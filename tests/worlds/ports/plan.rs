//! What a world is made of and what happens in it, decided beforehand: the same plan is the same
//! world to the last call.

use serde::{Deserialize, Serialize};

use super::faults::CallFault;
use super::lnd::{Fate, Own};

/// A world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub terms: TermsPlan,
    pub relays: u32,
    /// How far lnd's clock is ahead of the daemon's, milliseconds.
    pub skew: i64,
    pub orders: Vec<OrderPlan>,
    /// How one thing after the other that clients say comes to the node; what is beyond the list
    /// comes at once.
    pub ways: Vec<Way>,
    /// What happens when, milliseconds from the beginning.
    pub happenings: Vec<(u32, Happening)>,
    /// Calls that go wrong.
    pub faults: Vec<CallFault>,
    /// Each commit is refused once before it is taken, so that each step is run twice.
    pub every_step_twice: bool,
    /// When the last fault is over, milliseconds from the beginning: from then on everything works,
    /// and all that is open must come to its end.
    pub calm_from: u32,
}

/// How what was said comes to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    AtOnce,
    /// After so many milliseconds: something that is said later may be there first.
    Late(u32),
    /// Twice, the second time so many milliseconds after the first.
    Twice(u32),
    /// Not before a relay is reached anew, or is read again: the relay has it.
    Missed,
}

/// The terms that differ from world to world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermsPlan {
    pub share_millionths: u32,
    pub interval_secs: u32,
    pub max_retries: u32,
    pub window_days: u32,
    pub max_inflight: u32,
    pub max_per_payee: Option<u32>,
}

impl Default for TermsPlan {
    fn default() -> Self {
        Self {
            share_millionths: 500_000,
            interval_secs: 300,
            max_retries: 5,
            window_days: 1,
            max_inflight: 100,
            max_per_payee: Some(10),
        }
    }
}

/// A trade in dispute, and what its people do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlan {
    pub buy: bool,
    pub bond_sats: u32,
    pub amount_sats: u32,
    pub fee_sats: u32,
    /// The escrow as lnd has it; none: the trade has none.
    pub escrow: Option<Own>,
    /// The bonds as lnd has them: the maker's and the taker's; none: lnd knows nothing of it.
    pub bonds: [Option<Own>; 2],
    /// When the solver rules, milliseconds from the beginning, how, and how often he says it.
    pub rules_at: u32,
    pub settle: bool,
    pub slash_seller: bool,
    pub slash_buyer: bool,
    pub rulings: u32,
    /// The solver takes the dispute first.
    pub takes_first: bool,
    /// The buyer's invoice that is there from the beginning.
    pub buyer_left: Option<Answer>,
    /// What the winner answers to one request for his share after the other.
    pub share_answers: Vec<Answer>,
    /// What the buyer answers to one request for the trade's sats after the other.
    pub trade_answers: Vec<Answer>,
    /// What those do whose answers are used up: nothing at all, or send an invoice that is paid.
    pub vanishes: bool,
}

impl Default for OrderPlan {
    fn default() -> Self {
        Self {
            buy: false,
            bond_sats: 1_000,
            amount_sats: 100_000,
            fee_sats: 600,
            escrow: Some(Own::Accepted),
            bonds: [Some(Own::Accepted); 2],
            rules_at: 1_000,
            settle: false,
            slash_seller: false,
            slash_buyer: true,
            rulings: 1,
            takes_first: false,
            buyer_left: None,
            share_answers: Vec::new(),
            trade_answers: Vec::new(),
            vanishes: false,
        }
    }
}

/// One answer to a request for an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Milliseconds after the request was heard.
    pub after: u32,
    pub with: With,
    /// How often the event comes, under one id.
    pub copies: u32,
}

/// What an answer has in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum With {
    /// A fresh invoice, and what becomes of its payments one after the other.
    Invoice(Vec<Fate>),
    /// One that expires before it can be paid unless it is paid at once: so many seconds from now.
    Short(u32, Vec<Fate>),
    /// Two fresh ones at the same moment.
    Race(Vec<Fate>, Vec<Fate>),
    /// The last one again, in a message of its own.
    Again,
    /// One over another amount.
    WrongAmount,
    /// One whose sends lnd refuses with an error of its own.
    Odd,
    /// No invoice at all.
    Garbage,
    /// A message without a payload.
    NoPayload,
    /// Nothing is said.
    Silence,
}

impl Answer {
    pub fn paid() -> Self {
        Self::of(vec![])
    }

    /// A fresh invoice with these fates.
    pub fn of(fates: Vec<Fate>) -> Self {
        Self::with(With::Invoice(fates))
    }

    pub fn with(with: With) -> Self {
        Self { after: 200, with, copies: 1 }
    }
}

/// Which request an operator makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Resume,
    Pause,
    Cancel,
    /// Goes on from one of these steps: `settle`, `request_invoice`, `intend`, `pay`, `escrow`.
    Retry(u8),
    /// Says of a payment in doubt what became of it; or, if not true, proves it by a wrong preimage.
    Resolve(bool),
    /// Gives an invoice that came some other way, with what becomes of its payments.
    Signal(Vec<Fate>),
}

/// The steps that an operator may want to go on from.
pub const RETRIED: [&str; 5] = ["settle", "request_invoice", "intend", "pay", "escrow"];

/// Which run of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    MakerPayout,
    TakerPayout,
    Trade,
    Resolution,
}

/// What happens at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// The daemon is killed, and started again after so many milliseconds.
    Kill(u32),
    /// A second daemon starts on the database while the first is still there, and the first is
    /// killed after so many milliseconds.
    Overlap(u32),
    /// lnd is gone, or its wallet locked, for so many milliseconds.
    LndGone(u32),
    LndLocked(u32),
    /// lnd is not synced to its chain for so many milliseconds.
    LndUnsynced(u32),
    /// No block comes for so many milliseconds.
    NoBlocks(u32),
    LndRestarts,
    /// lnd's payment database is lost.
    LndWiped,
    /// Somebody keeps a copy of the database.
    BackedUp,
    /// Somebody stops the daemon and puts the last copy of the database in its place.
    PutBack,
    /// A relay is not reached for so many milliseconds.
    RelayGone(u32, u32),
    /// The clock is set forward, or back, by so many milliseconds.
    ClockSet(i64),
    Reload(TermsPlan),
    /// The flag says whether the operator insists.
    Operator(usize, Which, Command, bool),
    /// The other party of an order sends an invoice for the winner's share.
    Liar(usize),
    /// The winner of an order sends an invoice that nobody has asked for.
    Unasked(usize),
    /// The solver says his ruling again, or its opposite.
    RulesAgain(usize, bool),
    /// All that is held is claimed, or given back, as its fate has it.
    HoldsEnd,
    /// Somebody who knows nothing of the order rules on it.
    Stranger(usize),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            terms: TermsPlan::default(),
            relays: 1,
            skew: 0,
            orders: vec![OrderPlan::default()],
            ways: Vec::new(),
            happenings: Vec::new(),
            faults: Vec::new(),
            every_step_twice: false,
            calm_from: 0,
        }
    }
}
