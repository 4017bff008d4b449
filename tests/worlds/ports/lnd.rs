//! A Lightning node behind the port: no gRPC, and time stands still unless the world moves it.
//!
//! It keeps the port's contract as the adapter does over a real lnd (`contract::port` is run on
//! both), and its own books of what really happened, which no fault falsifies.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bondflow::engine::Timestamp;
use bondflow::payout::policy::Preimage;
use bondflow::payout::policy::verdict::{FailureReason, Observation, PaymentStatus, Refusal};
use bondflow::payout::ports::{Hash, HoldAnswer, HoldState, Made, NodeInfo, Send, Unavailable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::time::Time;

/// What becomes of one payment of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fate {
    /// It arrives after so many milliseconds.
    Paid(u32),
    /// The payee holds it, and claims it after so many milliseconds.
    HeldThenPaid(u32),
    /// The payee holds it, and gives it back after so many milliseconds.
    HeldThenGivenBack(u32),
    /// The payee turns it down, for good.
    Rejected,
    /// There is no way to the payee.
    Unroutable,
    /// The node's channels hold too little.
    Short,
}

/// One of the node's own hold invoices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Own {
    Open,
    Accepted,
    Settled,
    Canceled,
}

/// An invoice of somebody, as the network knows it.
#[derive(Debug, Clone)]
pub struct Payable {
    pub preimage: [u8; 32],
    /// None: the payer names it.
    pub sats: Option<u64>,
    /// The last second at which the node sends it, Unix time.
    pub expires_at: i64,
    pub final_cltv: u32,
    /// It pays the node itself.
    pub own: bool,
    /// What becomes of its payments, one after the other; after the last it is paid at once.
    pub fates: VecDeque<Fate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Free,
    Held,
    Paid,
    GivenBack,
}

#[derive(Debug, Clone)]
struct Payment {
    index: u64,
    sats: u64,
    made_at: Timestamp,
    status: PaymentStatus,
    /// The database was wiped since.
    forgotten: bool,
}

/// What the network does later.
#[derive(Debug, Clone)]
enum Deed {
    Arrive(Box<Send>),
    Claim(Hash),
    GiveBack(Hash),
    Fail(Hash, u64, FailureReason),
}

/// What really became of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// The payee has the sats; here is the preimage.
    Paid([u8; 32]),
    UnderWay,
    Nothing,
}

/// Whether the node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    Yes,
    Locked,
    Gone,
}

/// A send that arrived, whatever came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub hash: Hash,
    pub fee_limit_sats: u64,
    pub cltv_limit: u32,
    /// The payment's index, if it was taken.
    pub taken: Option<u64>,
}

/// What really happened.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub paid: Vec<(Hash, u64)>,
    pub sends: Vec<Arrived>,
    pub settles: usize,
    pub cancels: usize,
}

struct Books {
    serving: Serving,
    synced: bool,
    /// How far its clock is ahead of the world's, milliseconds.
    skew: i64,
    /// Its chain has stood still since then.
    no_block_since: Option<Timestamp>,
    height: u32,
    own: BTreeMap<Hash, Own>,
    payable: BTreeMap<Hash, (Payable, Standing)>,
    payments: BTreeMap<Hash, Vec<Payment>>,
    last_index: u64,
    deeds: BTreeMap<(Timestamp, u64), Deed>,
    deed: u64,
    ledger: Ledger,
}

/// The node. Clones are the same.
#[derive(Clone)]
pub struct Lnd {
    books: Arc<Mutex<Books>>,
    time: Time,
    /// Wakes those who watch payments in the order in which they came, as a `watch` channel does not.
    changed: Arc<Notify>,
}

/// The blocks between an accepted HTLC's expiry and the present height.
const HTLC_BLOCKS: u32 = 144;
/// What lnd adds to the payee's final CLTV.
const BLOCK_PADDING: u32 = 3;
/// lnd hands out payment indexes in blocks of this size and skips the rest of a block at a restart.
const INDEX_BLOCK: u64 = 1_000;
/// What a route costs, sats.
const ROUTING_FEE: u64 = 1;

pub fn hash_of(preimage: [u8; 32]) -> Hash {
    Sha256::digest(preimage).into()
}

fn unavailable() -> String {
    "lnd does not answer".to_owned()
}

impl Lnd {
    pub fn new(time: &Time) -> Self {
        let books = Books {
            serving: Serving::Yes,
            synced: true,
            skew: 0,
            no_block_since: None,
            height: 500,
            own: BTreeMap::new(),
            payable: BTreeMap::new(),
            payments: BTreeMap::new(),
            last_index: 0,
            deeds: BTreeMap::new(),
            deed: 0,
            ledger: Ledger::default(),
        };
        Self { books: Arc::new(Mutex::new(books)), time: time.clone(), changed: Arc::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn tell(&self) {
        self.changed.notify_waiters();
    }

    pub fn own(&self, preimage: [u8; 32], state: Own) {
        self.books().own.insert(hash_of(preimage), state);
    }

    pub fn offer(&self, payable: Payable) {
        self.books().payable.insert(hash_of(payable.preimage), (payable, Standing::Free));
    }

    pub fn set_serving(&self, serving: Serving) {
        self.books().serving = serving;
        self.tell();
    }

    pub fn set_synced(&self, synced: bool) {
        self.books().synced = synced;
    }

    pub fn set_skew(&self, millis: i64) {
        self.books().skew = millis;
    }

    /// Blocks come again, or not.
    pub fn set_blocks(&self, come: bool) {
        self.books().no_block_since = (!come).then(|| self.time.now());
    }

    pub fn mine(&self, blocks: u32) {
        self.books().height += blocks;
    }

    /// What a restart changes.
    pub fn restart(&self) {
        let mut books = self.books();
        books.last_index = books.last_index.next_multiple_of(INDEX_BLOCK);
        books.serving = Serving::Yes;
        drop(books);
        self.tell();
    }

    /// The payment database is lost; the HTLCs in the channels are not.
    pub fn wipe(&self) {
        let mut books = self.books();
        books.last_index = 0;
        for payment in books.payments.values_mut().flatten() {
            payment.forgotten = true;
        }
    }

    pub fn ledger(&self) -> Ledger {
        self.books().ledger.clone()
    }

    /// The payments that arrived: hash and sats.
    pub fn paid(&self) -> Vec<(Hash, u64)> {
        self.books().ledger.paid.clone()
    }

    /// The hashes of the own invoices that are settled.
    pub fn settled(&self) -> Vec<Hash> {
        let books = self.books();
        books.own.iter().filter(|(_, own)| **own == Own::Settled).map(|(hash, _)| *hash).collect()
    }

    /// Whether somebody holds a payment of that hash.
    pub fn holds(&self, hash: Hash) -> bool {
        self.books().payable.get(&hash).is_some_and(|(_, standing)| *standing == Standing::Held)
    }

    /// What a person finds out about a payment of that hash by looking at channels and payee.
    pub fn truth(&self, hash: Hash) -> Truth {
        match self.books().payable.get(&hash) {
            Some((payable, Standing::Paid)) => Truth::Paid(payable.preimage),
            Some((_, Standing::Held)) => Truth::UnderWay,
            _ => Truth::Nothing,
        }
    }

    /// Whoever holds a payment claims it, or gives it back. An invoice that nobody has paid can be
    /// canceled, too.
    pub fn end_hold(&self, hash: Hash, claims: bool) {
        let mut books = self.books();
        if claims {
            books.claim(hash)
        } else {
            books.give_back(hash)
        }
        drop(books);
        self.tell();
    }

    /// All that is held comes to its end now.
    pub fn end_all_holds(&self) {
        let held: Vec<Hash> = {
            let books = self.books();
            books.payable.iter().filter(|(_, (_, at))| *at == Standing::Held).map(|(hash, _)| *hash).collect()
        };
        for hash in held {
            let claims = self.books().deeds.values().all(|deed| !matches!(deed, Deed::GiveBack(of) if *of == hash));
            self.end_hold(hash, claims);
        }
    }

    /// When the network does something next.
    pub fn next(&self) -> Option<Timestamp> {
        self.books().deeds.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due.
    pub fn act(&self) {
        let now = self.time.now();
        loop {
            let mut books = self.books();
            let Some(first) = books.deeds.first_entry().filter(|first| first.key().0 <= now) else { return };
            match first.remove() {
                Deed::Arrive(send) => drop(books.take(&send, now)),
                Deed::Claim(hash) => books.claim(hash),
                Deed::GiveBack(hash) => books.give_back(hash),
                Deed::Fail(hash, index, reason) => books.fail(hash, index, reason),
            }
            drop(books);
            self.tell();
        }
    }

    /// A send that is on its way for so long.
    pub fn send_later(&self, send: &Send, delay: Duration) {
        let at = self.time.now().after(delay);
        self.books().later(at, Deed::Arrive(Box::new(send.clone())));
    }

    pub fn settle(&self, preimage: [u8; 32]) -> HoldAnswer {
        let mut books = self.books();
        if books.serving != Serving::Yes {
            return HoldAnswer::Unavailable(unavailable());
        }
        let answer = match books.own.get_mut(&hash_of(preimage)) {
            None => HoldAnswer::Unknown,
            Some(Own::Open) => HoldAnswer::StillOpen,
            Some(Own::Canceled) => HoldAnswer::Canceled,
            Some(own) => {
                *own = Own::Settled;
                HoldAnswer::Settled
            }
        };
        books.ledger.settles += usize::from(answer == HoldAnswer::Settled);
        answer
    }

    pub fn cancel(&self, hash: Hash) -> HoldAnswer {
        let mut books = self.books();
        if books.serving != Serving::Yes {
            return HoldAnswer::Unavailable(unavailable());
        }
        let answer = match books.own.get_mut(&hash) {
            None => HoldAnswer::Unknown,
            Some(Own::Settled) => HoldAnswer::Settled,
            Some(own) => {
                *own = Own::Canceled;
                HoldAnswer::Canceled
            }
        };
        books.ledger.cancels += usize::from(answer == HoldAnswer::Canceled);
        answer
    }

    pub fn hold_state(&self, hash: Hash) -> Result<HoldState, Unavailable> {
        let books = self.books();
        if books.serving != Serving::Yes {
            return Err(Unavailable(unavailable()));
        }
        Ok(match books.own.get(&hash) {
            None => HoldState::Unknown,
            Some(Own::Open) => HoldState::Open,
            Some(Own::Accepted) => HoldState::Accepted { expiry_height: books.height + HTLC_BLOCKS },
            Some(Own::Settled) => HoldState::Settled,
            Some(Own::Canceled) => HoldState::Canceled,
        })
    }

    pub fn send(&self, send: &Send) -> Observation {
        let now = self.time.now();
        let observed = self.books().take(send, now);
        self.tell();
        observed
    }

    pub fn track(&self, hash: Hash) -> Observation {
        let books = self.books();
        if books.serving != Serving::Yes {
            return Observation::Unavailable;
        }
        books.payment(hash).map_or(Observation::NotFound, |payment| Observation::Payment {
            index: payment.index,
            status: payment.status,
        })
    }

    pub fn payments_since(&self, since: Timestamp) -> Result<Vec<Made>, Unavailable> {
        let books = self.books();
        if books.serving != Serving::Yes {
            return Err(Unavailable(unavailable()));
        }
        let shown = |payment: &&Payment| {
            let failed = matches!(payment.status, PaymentStatus::Failed(_));
            !payment.forgotten && !failed && payment.made_at.secs() >= since.secs()
        };
        let made = books.payments.iter().flat_map(|(hash, payments)| {
            payments.iter().filter(shown).map(|payment| Made {
                hash: *hash,
                amount_msat: payment.sats * 1_000,
                made_at: payment.made_at.secs(),
                succeeded: matches!(payment.status, PaymentStatus::Succeeded { .. }),
            })
        });
        Ok(made.collect())
    }

    pub fn info(&self) -> Result<NodeInfo, Unavailable> {
        let books = self.books();
        if books.serving != Serving::Yes {
            return Err(Unavailable(unavailable()));
        }
        let newest = books.no_block_since.unwrap_or(self.time.now());
        Ok(NodeInfo {
            identity: "02".repeat(33),
            alias: "node".to_owned(),
            version: "0.20.3-beta".to_owned(),
            network: "simnet".to_owned(),
            synced_to_chain: books.synced,
            block_height: books.height,
            best_block_time: newest.secs(),
        })
    }

    /// As the adapter follows a payment: to its end, or for as long as it can.
    pub async fn watch(self, hash: Hash, seen: bool) {
        const LONGEST: Duration = Duration::from_secs(600);
        const AFTER_OVER: Duration = Duration::from_secs(1);
        const AFTER_FAILURE: Duration = Duration::from_secs(5);
        let is_over = |observed| match observed {
            Observation::Payment { status: PaymentStatus::Succeeded { .. } | PaymentStatus::Failed(_), .. } => {
                Some(true)
            }
            Observation::Payment { .. } => Some(false),
            _ => None,
        };
        let begun = self.time.now();
        match is_over(self.track(hash)) {
            Some(true) if seen => return,
            Some(true) => return self.time.until(begun.after(AFTER_OVER)).await,
            _ => {}
        }
        loop {
            let changed = self.changed.notified();
            match is_over(self.track(hash)) {
                Some(true) => return,
                Some(false) => {}
                None => return self.time.until(self.time.now().after(AFTER_FAILURE)).await,
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.time.until(begun.after(LONGEST)) => return,
            }
        }
    }
}

impl Books {
    fn later(&mut self, at: Timestamp, deed: Deed) {
        self.deed += 1;
        self.deeds.insert((at, self.deed), deed);
    }

    fn payment(&self, hash: Hash) -> Option<&Payment> {
        self.payments.get(&hash)?.last().filter(|payment| !payment.forgotten)
    }

    /// A send arrives: in the order of lnd's own checks.
    fn take(&mut self, send: &Send, world: Timestamp) -> Observation {
        if self.serving != Serving::Yes {
            return Observation::Unavailable;
        }
        let now = Timestamp(world.millis() + self.skew);
        let taken = self.take_at(send, now, world);
        let index = match taken {
            Observation::Payment { index, .. } => Some(index),
            _ => None,
        };
        self.ledger.sends.push(Arrived {
            hash: send.hash,
            fee_limit_sats: send.fee_limit_sats,
            cltv_limit: send.cltv_limit,
            taken: index,
        });
        taken
    }

    fn take_at(&mut self, send: &Send, now: Timestamp, world: Timestamp) -> Observation {
        // The macaroon's caveat names whole seconds.
        if now.secs() >= send.valid_until.secs() {
            return Observation::Silent;
        }
        let payable = self.payable.get(&send.hash).map(|(payable, _)| payable.clone());
        let sats = payable.as_ref().and_then(|payable| payable.sats);
        if let Some(payable) = &payable {
            if now.secs() > payable.expires_at {
                return Observation::Refused(Refusal::Invoice);
            }
            if payable.sats.is_some() == send.amount_sats.is_some() {
                return Observation::Refused(Refusal::Other);
            }
            if send.cltv_limit <= payable.final_cltv + BLOCK_PADDING || payable.own {
                return Observation::Refused(Refusal::Invoice);
            }
        }
        self.last_index += 1;
        let known = self.payment(send.hash);
        if known.is_some_and(|known| !matches!(known.status, PaymentStatus::Failed(_))) {
            return Observation::Silent;
        }
        let (index, sats) = (self.last_index, sats.or(send.amount_sats).unwrap_or(0));
        let payment = Payment { index, sats, made_at: now, status: PaymentStatus::InFlight, forgotten: false };
        self.payments.entry(send.hash).or_default().push(payment);
        self.route(send, index, world);
        Observation::Payment { index, status: PaymentStatus::InFlight }
    }

    fn route(&mut self, send: &Send, index: u64, world: Timestamp) {
        const SOON: Duration = Duration::from_millis(20);
        let hash = send.hash;
        let ends = |reason| (SOON, Deed::Fail(hash, index, reason));
        let after = |millis: u32| Duration::from_millis(u64::from(millis));
        let (delay, deed) = match self.payable.get_mut(&hash) {
            None => ends(FailureReason::Other),
            Some(_) if send.fee_limit_sats < ROUTING_FEE => ends(FailureReason::Other),
            Some((payable, standing)) => match payable.fates.pop_front().unwrap_or(Fate::Paid(0)) {
                Fate::Unroutable => ends(FailureReason::Other),
                Fate::Short => ends(FailureReason::InsufficientBalance),
                Fate::Rejected => ends(FailureReason::IncorrectPaymentDetails),
                _ if *standing != Standing::Free => ends(FailureReason::IncorrectPaymentDetails),
                Fate::Paid(millis) | Fate::HeldThenPaid(millis) => {
                    *standing = Standing::Held;
                    (after(millis), Deed::Claim(hash))
                }
                Fate::HeldThenGivenBack(millis) => {
                    *standing = Standing::Held;
                    (after(millis), Deed::GiveBack(hash))
                }
            },
        };
        self.later(world.after(delay), deed);
    }

    fn claim(&mut self, hash: Hash) {
        let Some((payable, standing)) = self.payable.get_mut(&hash) else { return };
        if *standing != Standing::Held {
            return;
        }
        *standing = Standing::Paid;
        let preimage = Preimage(payable.preimage);
        let Some(payments) = self.payments.get_mut(&hash) else { return };
        let in_flight = |payment: &&mut Payment| payment.status == PaymentStatus::InFlight;
        let Some(payment) = payments.iter_mut().rev().find(in_flight) else { return };
        self.ledger.paid.push((hash, payment.sats));
        payment.status = PaymentStatus::Succeeded { preimage, fee_msat: ROUTING_FEE * 1_000 };
    }

    fn give_back(&mut self, hash: Hash) {
        let Some((_, standing)) = self.payable.get_mut(&hash) else { return };
        let held = *standing == Standing::Held;
        if held || *standing == Standing::Free {
            *standing = Standing::GivenBack;
        }
        let index = self.payments.get(&hash).and_then(|payments| payments.last()).map(|payment| payment.index);
        if let (true, Some(index)) = (held, index) {
            self.fail(hash, index, FailureReason::IncorrectPaymentDetails);
        }
    }

    fn fail(&mut self, hash: Hash, index: u64, reason: FailureReason) {
        let payments = self.payments.get_mut(&hash).into_iter().flatten();
        for payment in payments.filter(|payment| payment.index == index && payment.status == PaymentStatus::InFlight) {
            payment.status = PaymentStatus::Failed(reason);
        }
    }
}
