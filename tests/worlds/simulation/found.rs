//! What random worlds found, each as a plan of its own.

use crate::ports::faults::{CallFault, Fault, Port};
use crate::ports::lnd::Fate;
use crate::ports::plan::{Answer, Happening, OrderPlan, Plan, TermsPlan, With};
use crate::ports::world::live;

/// lnd's clock is ahead by more than a send may take, so that lnd takes none: nobody was told.
#[test]
fn sends_that_come_too_late_by_lnd_s_clock_are_told_of_and_paid_once_the_clocks_agree() {
    let ended = live(&Plan { skew: 60_000, calm_from: 600_000, ..Plan::default() });
    assert!(ended.violations.is_empty(), "{:?}", ended.violations);
    assert!(ended.alarms["send-lost"] >= 3, "{:?}", ended.alarms);
    assert_eq!(ended.ledger.paid.len(), 1);
}

/// lnd loses its payments; days later an invoice is tried and refused, and looked for again: only a person can tell that
/// lnd has no payment of it, whenever that is.
#[test]
fn a_person_is_asked_of_each_payment_that_a_wiped_lnd_may_have_forgotten_however_late() {
    let late = Answer { with: With::Odd, ..Answer::paid() };
    let ended = live(&Plan {
        terms: TermsPlan { interval_secs: 14_400, ..Plan::default().terms },
        orders: vec![
            OrderPlan::default(),
            OrderPlan {
                rules_at: 50_000,
                share_answers: vec![Answer { with: With::NoPayload, ..Answer::paid() }, late],
                ..OrderPlan::default()
            },
        ],
        happenings: vec![(100_000, Happening::LndWiped)],
        calm_from: 300_000,
        ..Plan::default()
    });
    assert!(ended.violations.is_empty(), "{:?}\n{}", ended.violations, ended.story());
    assert!(ended.story().contains("only a person can find out"), "{}", ended.story());
}

/// A send arrives, and its daemon dies; lnd loses its payments, and then pays another debt: it knows the newest payment
/// of the database again, and the lost one was sent a second time.
#[test]
fn a_payment_that_a_wiped_lnd_has_forgotten_is_not_sent_again_once_lnd_has_paid_another() {
    let order = |rules_at| OrderPlan {
        rules_at,
        share_answers: vec![Answer::of(vec![Fate::Unroutable, Fate::Paid(0)])],
        ..OrderPlan::default()
    };
    for at in 0..16 {
        let ended = live(&Plan {
            orders: vec![order(1_000), order(100_000)],
            happenings: vec![(3_000, Happening::LndGone(58_000)), (60_000, Happening::LndWiped)],
            faults: vec![CallFault { port: Port::Lnd, at, fault: Fault::DiesAfter }],
            calm_from: 300_000,
            ..Plan::default()
        });
        assert!(ended.violations.is_empty(), "call {at}: {:?}\n{}", ended.violations, ended.story());
        assert_eq!(ended.ledger.paid.len(), 2, "call {at}");
    }
}

/// Two backups are put back, one after the other: an answer was given twice, since the first of them had not heard of it,
/// and the second one knows of the second answer.
#[test]
fn of_an_answer_given_again_after_a_backup_the_next_backup_knows_once() {
    let ended = live(&Plan {
        orders: vec![OrderPlan { slash_buyer: false, ..OrderPlan::default() }],
        happenings: vec![
            (380_000, Happening::BackedUp),
            (390_000, Happening::Stranger(0)),
            (400_000, Happening::PutBack),
            (500_000, Happening::BackedUp),
            (570_000, Happening::PutBack),
        ],
        calm_from: 700_000,
        ..Plan::default()
    });
    assert!(ended.violations.is_empty(), "{:?}\n{}", ended.violations, ended.story());
}

/// A backup is put back that knows of one payment under way; lnd has another one of that debt, given to the run by hand.
/// When the first was found to have failed, the buyer was to be asked for an invoice, which the second forbids: the run
/// was stuck.
#[test]
fn of_two_payments_in_doubt_the_second_is_looked_at_once_the_first_has_ended() {
    let left = Answer::of(vec![Fate::Unroutable, Fate::HeldThenGivenBack(113_286)]);
    let ended = live(&Plan {
        orders: vec![OrderPlan {
            rules_at: 21_986,
            settle: true,
            slash_seller: true,
            buyer_left: Some(Answer { after: 200, ..left }),
            ..OrderPlan::default()
        }],
        happenings: vec![(251_827, Happening::PutBack), (32_026, Happening::BackedUp)],
        calm_from: 345_578,
        ..Plan::default()
    });
    assert!(ended.violations.is_empty(), "{:?}\n{}", ended.violations, ended.story());
    assert!(ended.story().contains("@adopt"), "{}", ended.story());
}
