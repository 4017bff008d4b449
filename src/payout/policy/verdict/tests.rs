use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const NOW: i64 = 1_800_000_000;
const VALID: i64 = 60;
const EXPIRES: i64 = NOW + 100_000;
const PREIMAGE: [u8; 32] = [5; 32];

fn hash() -> [u8; 32] {
    Sha256::digest(PREIMAGE).into()
}

/// A hash that was never sent.
fn fresh() -> HashRecord {
    HashRecord::new(hash(), EXPIRES)
}

/// One failed attempt was judged under index 4.
fn judged() -> HashRecord {
    HashRecord { sends: 1, judged_index: 4, ..fresh() }
}

/// After that attempt a second send has left at `NOW`.
fn sent() -> HashRecord {
    judged().begin_send(NOW + VALID).unwrap()
}

fn refused(refusal: Refusal) -> HashRecord {
    sent().judge(Observation::Refused(refusal), &at(NOW)).0
}

fn at(asked_at: i64) -> Circumstances {
    Circumstances { asked_at, ledger: Ledger::Intact, skew_margin_secs: SKEW_MARGIN_SECS }
}

fn with(ledger: Ledger, asked_at: i64) -> Circumstances {
    Circumstances { ledger, ..at(asked_at) }
}

fn payment(index: u64, status: PaymentStatus) -> Observation {
    Observation::Payment { index, status }
}

fn failed(index: u64, reason: FailureReason) -> Observation {
    payment(index, PaymentStatus::Failed(reason))
}

fn succeeded(byte: u8) -> PaymentStatus {
    PaymentStatus::Succeeded { preimage: Preimage([byte; 32]), fee_msat: 1_001 }
}

const LAST_CHANCE: i64 = NOW + VALID + SKEW_MARGIN_SECS;
const FRESH: Verdict = Verdict::Rejected { next: Next::FreshInvoice, attempted: false };
const FRESH_ATTEMPTED: Verdict = Verdict::Rejected { next: Next::FreshInvoice, attempted: true };
const RETRY: Verdict = Verdict::Rejected { next: Next::Retry, attempted: true };
const IN_FLIGHT: Verdict = Verdict::InDoubt(Doubt::InFlight);
const MAY_ARRIVE: Verdict = Verdict::InDoubt(Doubt::MayArrive);
const NO_ANSWER: Verdict = Verdict::InDoubt(Doubt::NoAnswer);
const UNREAD: Verdict = Verdict::InDoubt(Doubt::LedgerUnread);

#[test]
fn every_row_of_the_table() {
    use FailureReason::*;
    let arrived = sent().judge(payment(5, PaymentStatus::InFlight), &at(NOW)).0;
    let paid = Verdict::Paid { preimage: Preimage(PREIMAGE), fee_sats: 2 };
    let past = LAST_CHANCE + 1;
    for (row, (record, seen, at, verdict, undecided)) in [
        // Succeeded, with and without the proof.
        (sent(), payment(5, succeeded(5)), at(NOW), paid, false),
        (sent(), payment(4, succeeded(5)), at(NOW), paid, false),
        (fresh(), payment(1, succeeded(5)), at(EXPIRES + 1), paid, false),
        (sent(), payment(5, succeeded(0)), at(NOW), Verdict::InDoubt(Doubt::PreimageMismatch), true),
        (sent(), payment(5, succeeded(6)), at(past), Verdict::InDoubt(Doubt::PreimageMismatch), true),
        // Failed under a new index.
        (sent(), failed(5, IncorrectPaymentDetails), at(NOW), FRESH_ATTEMPTED, false),
        (sent(), failed(5, Other), at(NOW), RETRY, false),
        (sent(), failed(5, Other), at(EXPIRES - 1), RETRY, false),
        (sent(), failed(5, Other), at(EXPIRES), FRESH_ATTEMPTED, false),
        (sent(), failed(5, InsufficientBalance), at(NOW), Verdict::RetryLater, false),
        (sent(), failed(5, InsufficientBalance), at(EXPIRES), FRESH, false),
        (arrived, failed(5, Other), at(NOW), RETRY, false),
        // Failed under a new index that no send of the database explains.
        (judged(), failed(5, Other), at(NOW), Verdict::SafeToSend, false),
        (judged(), failed(5, IncorrectPaymentDetails), at(NOW), FRESH, false),
        // Failed under an index that was judged before.
        (judged(), failed(4, Other), at(NOW), Verdict::SafeToSend, false),
        (judged(), failed(4, IncorrectPaymentDetails), at(NOW), Verdict::SafeToSend, false),
        (judged(), failed(4, Other), at(EXPIRES), FRESH, false),
        (sent(), failed(4, Other), at(NOW), MAY_ARRIVE, true),
        (sent(), failed(4, IncorrectPaymentDetails), at(LAST_CHANCE), MAY_ARRIVE, true),
        (sent(), failed(0, Other), at(LAST_CHANCE), MAY_ARRIVE, true),
        (sent(), failed(4, Other), at(past), Verdict::SafeToSend, false),
        (sent(), failed(4, Other), with(Ledger::Unread, past), UNREAD, true),
        (sent(), failed(4, Other), with(Ledger::Gap, past), Verdict::Operator, true),
        (refused(Refusal::Invoice), failed(4, Other), at(NOW), MAY_ARRIVE, true),
        (refused(Refusal::Invoice), failed(4, Other), at(past), FRESH, false),
        (refused(Refusal::Other), failed(4, Other), at(past), Verdict::Refused, false),
        (arrived, failed(4, Other), at(past), Verdict::Operator, true),
        // In flight, whatever the send record says.
        (sent(), payment(5, PaymentStatus::InFlight), at(past), IN_FLIGHT, true),
        (sent(), payment(5, PaymentStatus::Unknown), at(past), IN_FLIGHT, true),
        (fresh(), payment(1, PaymentStatus::InFlight), at(NOW), IN_FLIGHT, true),
        // No answer.
        (sent(), Observation::Silent, at(past), NO_ANSWER, true),
        (fresh(), Observation::Silent, at(NOW), Verdict::Unavailable, false),
        (sent(), Observation::Unavailable, at(past), Verdict::Unavailable, true),
        (judged(), Observation::Unavailable, at(NOW), Verdict::Unavailable, false),
        // Refused by lnd itself, then not found.
        (sent(), Observation::Refused(Refusal::Invoice), at(NOW), NO_ANSWER, true),
        (refused(Refusal::Invoice), Observation::NotFound, at(NOW), FRESH, false),
        (refused(Refusal::Other), Observation::NotFound, at(NOW), Verdict::Refused, false),
        (refused(Refusal::Other), Observation::NotFound, at(EXPIRES), FRESH, false),
        (refused(Refusal::Other), Observation::NotFound, with(Ledger::Gap, NOW), MAY_ARRIVE, true),
        (refused(Refusal::Other), Observation::NotFound, with(Ledger::Gap, past), Verdict::Operator, true),
        // Not found.
        (fresh(), Observation::NotFound, with(Ledger::Gap, NOW), Verdict::SafeToSend, false),
        (fresh(), Observation::NotFound, at(EXPIRES - 1), Verdict::SafeToSend, false),
        (fresh(), Observation::NotFound, at(EXPIRES), FRESH, false),
        (judged(), Observation::NotFound, at(NOW), Verdict::SafeToSend, false),
        (judged(), Observation::NotFound, with(Ledger::Unread, NOW), UNREAD, false),
        (judged(), Observation::NotFound, with(Ledger::Gap, NOW), Verdict::Operator, false),
        (sent(), Observation::NotFound, at(NOW), MAY_ARRIVE, true),
        (sent(), Observation::NotFound, at(LAST_CHANCE), MAY_ARRIVE, true),
        (sent(), Observation::NotFound, at(past), Verdict::SafeToSend, false),
        (sent(), Observation::NotFound, with(Ledger::Unread, past), UNREAD, true),
        (sent(), Observation::NotFound, with(Ledger::Gap, past), Verdict::Operator, true),
        (arrived, Observation::NotFound, at(past), Verdict::Operator, true),
    ]
    .into_iter()
    .enumerate()
    {
        let (after, judged) = record.judge(seen, &at);
        assert_eq!((judged, after.undecided.is_some()), (verdict, undecided), "row {row}: {seen:?}");
        assert!(!undecided || after.begin_send(i64::MAX).is_err(), "row {row}");
        assert!(verdict != Verdict::SafeToSend || after.begin_send(NOW).is_ok(), "row {row}");
    }
}

#[test]
fn what_is_judged_once_is_not_judged_again() {
    let (after, _) = sent().judge(failed(9, FailureReason::Other), &at(NOW));
    assert_eq!(after.judged_index, 9);
    let again = after.begin_send(NOW + VALID).unwrap();
    assert_eq!(again.judge(failed(9, FailureReason::Other), &at(NOW)).1, MAY_ARRIVE);
    assert_eq!(again.judge(failed(10, FailureReason::Other), &at(NOW)).1, RETRY);
    // An old stream's late word on the judged attempt doesn't prove that the new send arrived.
    let (stale, verdict) = again.judge(payment(9, PaymentStatus::InFlight), &at(NOW));
    assert_eq!((stale, verdict), (again, IN_FLIGHT));
}

#[test]
fn a_payment_found_under_way_blocks_the_debt() {
    let (found, _) = fresh().judge(payment(3, PaymentStatus::InFlight), &at(NOW));
    assert!(!all_decided([&fresh(), &found]) && all_decided([&fresh(), &judged()]));
    assert_eq!(found.begin_send(NOW), Err(SendForbidden::Undecided { intent: 0 }));
    assert_eq!(found.judge(Observation::NotFound, &at(LAST_CHANCE * 2)).1, Verdict::Operator);
    assert_eq!(found.judge(failed(3, FailureReason::Other), &at(NOW)).1, RETRY);
}

#[test]
fn a_paid_hash_is_never_sent_again() {
    let (paid, _) = sent().judge(payment(5, succeeded(5)), &at(NOW));
    assert_eq!(paid.begin_send(i64::MAX), Err(SendForbidden::Paid));
    assert!(!all_decided([&paid]));
    for seen in [Observation::NotFound, failed(9, FailureReason::Other), payment(9, PaymentStatus::InFlight)] {
        assert_eq!(paid.judge(seen, &at(LAST_CHANCE + 1)), (paid, Verdict::Operator));
    }
    assert!(matches!(paid.judge(payment(5, succeeded(5)), &at(NOW)).1, Verdict::Paid { .. }));
}

#[test]
fn refusals_are_counted_apart_and_preimages_never_shown() {
    let (after, _) = refused(Refusal::Other).judge(Observation::NotFound, &at(NOW));
    assert_eq!((after.refusals, after.sends, after.judged_index), (1, 2, 4));
    assert!(!format!("{:?}", succeeded(5)).contains("5, 5"));
}

#[test]
fn alarms_name_their_kind() {
    assert_eq!(Verdict::RetryLater.alarm(), Some("insufficient-balance"));
    assert_eq!(Verdict::Operator.alarm(), Some("payments-forgotten"));
    assert_eq!(Verdict::InDoubt(Doubt::PreimageMismatch).alarm(), Some("preimage-mismatch"));
    assert_eq!((Verdict::SafeToSend.alarm(), IN_FLIGHT.alarm()), (None, None));
}

/// A debt, its hashes, a network that delays and loses, and an lnd whose clock is off by up to the margin.
struct World {
    now: i64,
    lnd_ahead: i64,
    /// The hashes of the debt, oldest first; sends go to the last.
    records: Vec<HashRecord>,
    /// Sends that have left and not arrived: hash and validity.
    underway: Vec<(usize, i64)>,
    /// lnd's newest payment for each hash.
    payments: Vec<Option<(u64, PaymentStatus)>>,
    /// Payments that lnd has forgotten while they were in flight.
    forgotten: Vec<usize>,
    last_index: u64,
    wiped: bool,
    /// Answers to track calls on their way back: hash, clock when asked, answer, ledger.
    answer: Option<(usize, Observation, Circumstances)>,
    successes: u32,
    sends: u32,
}

fn preimage_of(hash: usize) -> Preimage {
    Preimage([hash as u8 + 1; 32])
}

fn record_of(hash: usize, expires: i64) -> HashRecord {
    HashRecord::new(Sha256::digest(preimage_of(hash).0).into(), expires)
}

impl World {
    fn new(lnd_ahead: i64) -> Self {
        Self {
            now: NOW,
            lnd_ahead,
            records: vec![record_of(0, NOW + 600)],
            underway: vec![],
            payments: vec![None],
            forgotten: vec![],
            last_index: 0,
            wiped: false,
            answer: None,
            successes: 0,
            sends: 0,
        }
    }

    fn in_flight(&self, hash: usize) -> bool {
        matches!(self.payments[hash], Some((_, PaymentStatus::InFlight)))
    }

    fn act(&mut self, action: u8, choice: u8) {
        let hash = self.records.len() - 1;
        match action {
            0 => self.now += i64::from(choice),
            1 if !self.underway.is_empty() => self.arrive(choice),
            2 if !self.underway.is_empty() => {
                self.underway.remove(usize::from(choice) % self.underway.len());
            }
            3 => self.finish(usize::from(choice) % self.records.len(), choice),
            4 => self.ask(hash, choice),
            5 => self.hear(),
            6 if choice < 8 => self.wipe(),
            _ => {}
        }
    }

    /// A send reaches lnd, which takes it, refuses it, or finds its macaroon dead.
    fn arrive(&mut self, choice: u8) {
        let (hash, valid_until) = self.underway.remove(usize::from(choice) % self.underway.len());
        if self.now + self.lnd_ahead > valid_until || self.in_flight(hash) {
            return;
        }
        if choice > 200 {
            let refusal = if choice > 230 { Refusal::Invoice } else { Refusal::Other };
            let at = Circumstances { asked_at: self.now, ledger: Ledger::Unread, skew_margin_secs: SKEW_MARGIN_SECS };
            self.answer = Some((hash, Observation::Refused(refusal), at));
            return;
        }
        self.last_index += 1;
        self.payments[hash] = Some((self.last_index, PaymentStatus::InFlight));
    }

    fn finish(&mut self, hash: usize, choice: u8) {
        let Some((index, PaymentStatus::InFlight)) = self.payments[hash] else {
            return;
        };
        let status = match choice % 5 {
            0 => {
                self.successes += 1;
                PaymentStatus::Succeeded { preimage: preimage_of(hash), fee_msat: 1 }
            }
            1 => PaymentStatus::Failed(FailureReason::IncorrectPaymentDetails),
            2 => PaymentStatus::Failed(FailureReason::InsufficientBalance),
            _ => PaymentStatus::Failed(FailureReason::Other),
        };
        self.payments[hash] = Some((index, status));
    }

    /// lnd forgets, when the database knows of a payment to notice it by.
    fn wipe(&mut self) {
        let known = |record: &HashRecord| record.judged_index > 0 || record.undecided.is_some_and(|s| s.arrived);
        if self.records.iter().any(known) {
            let lost = (0..self.records.len()).filter(|hash| self.in_flight(*hash)).collect::<Vec<_>>();
            self.forgotten.extend(lost);
            self.payments.iter_mut().for_each(|payment| *payment = None);
            (self.last_index, self.wiped) = (0, true);
        }
    }

    /// Asks lnd; the answer comes back some other time.
    fn ask(&mut self, hash: usize, choice: u8) {
        let seen = match (choice % 8, self.payments[hash]) {
            (0, _) => Observation::Silent,
            (1, _) => Observation::Unavailable,
            (_, Some((index, status))) => Observation::Payment { index, status },
            (_, None) => Observation::NotFound,
        };
        let ledger = match (choice % 16, self.wiped) {
            (7, _) => Ledger::Unread,
            (_, true) => Ledger::Gap,
            (_, false) => Ledger::Intact,
        };
        let at = Circumstances { asked_at: self.now, ledger, skew_margin_secs: SKEW_MARGIN_SECS };
        self.answer = Some((hash, seen, at));
    }

    fn hear(&mut self) {
        let Some((hash, seen, at)) = self.answer.take() else {
            return;
        };
        let (record, verdict) = self.records[hash].judge(seen, &at);
        self.records[hash] = record;
        match verdict {
            Verdict::SafeToSend if hash + 1 == self.records.len() => self.send(hash),
            Verdict::Rejected { next: Next::FreshInvoice, .. } if hash + 1 == self.records.len() => {
                assert!(all_decided(&self.records), "a fresh invoice is asked for only when all is decided");
                self.assert_nothing_can_pay();
                self.records.push(record_of(hash + 1, self.now + 600));
                self.payments.push(None);
            }
            _ => {}
        }
    }

    fn send(&mut self, hash: usize) {
        self.assert_nothing_can_pay();
        let valid_until = self.now + VALID;
        self.records[hash] = self.records[hash].begin_send(valid_until).expect("a safe send may begin");
        self.underway.push((hash, valid_until));
        self.sends += 1;
    }

    /// The truth that the daemon can't see: nothing was paid, is in flight, or can still arrive.
    fn assert_nothing_can_pay(&self) {
        assert_eq!(self.successes, 0, "already paid");
        assert!((0..self.records.len()).all(|hash| !self.in_flight(hash)), "a former send is in flight");
        assert!(self.forgotten.is_empty(), "a forgotten payment may still be in flight");
        let can_arrive = |(_, valid_until): &(usize, i64)| self.now + self.lnd_ahead <= *valid_until;
        assert!(!self.underway.iter().any(can_arrive), "a former send can still arrive");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_decision_sends_while_a_former_send_is_undecided(
        lnd_ahead in -SKEW_MARGIN_SECS..=SKEW_MARGIN_SECS,
        actions in proptest::collection::vec((0u8..7, any::<u8>()), 0..200),
    ) {
        let mut world = World::new(lnd_ahead);
        for (action, choice) in actions {
            world.act(action, choice);
            prop_assert!(world.successes <= 1);
        }
    }

    #[test]
    fn any_record_and_observation_is_judged_without_opening_a_second_send(
        steps in proptest::collection::vec((any::<u8>(), 0u64..6, any::<i64>()), 0..40),
    ) {
        let mut record = fresh();
        for (kind, index, asked_at) in steps {
            let seen = match kind % 9 {
                0 => payment(index, succeeded(6)),
                1 => payment(index, PaymentStatus::InFlight),
                2 => payment(index, PaymentStatus::Unknown),
                3 => failed(index, FailureReason::Other),
                4 => failed(index, FailureReason::IncorrectPaymentDetails),
                5 => Observation::NotFound,
                6 => Observation::Refused(Refusal::Other),
                7 => Observation::Unavailable,
                _ => Observation::Silent,
            };
            let ledger = [Ledger::Intact, Ledger::Gap, Ledger::Unread][usize::from(kind) % 3];
            let (after, verdict) = record.judge(seen, &with(ledger, asked_at));
            prop_assert!(after.judged_index >= record.judged_index);
            let ends = matches!(
                verdict,
                Verdict::Rejected { .. } | Verdict::RetryLater | Verdict::Refused | Verdict::SafeToSend
            );
            prop_assert!(after.undecided.is_none() || !ends);
            record = after;
            if verdict == Verdict::SafeToSend {
                record = record.begin_send(asked_at.saturating_add(VALID)).unwrap();
            }
        }
    }
}

#[test]
fn the_world_reaches_its_corners() {
    // Without this the property above could hold for a world in which nothing ever happens.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let actions = proptest::collection::vec((0u8..6, any::<u8>()), 200);
    let (mut paid, mut resent, mut renewed) = (0, 0, 0);
    for _ in 0..300 {
        let tree = proptest::strategy::Strategy::new_tree(&actions, &mut runner).unwrap();
        let mut world = World::new(0);
        for (action, choice) in proptest::strategy::ValueTree::current(&tree) {
            world.act(action, choice);
        }
        paid += u32::from(world.records.iter().any(|record| record.paid));
        resent += u32::from(world.sends > 1);
        renewed += u32::from(world.records.len() > 1);
    }
    assert!(paid > 30 && resent > 30 && renewed > 30, "{paid} {resent} {renewed}");
}
