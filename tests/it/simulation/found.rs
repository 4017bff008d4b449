//! What random worlds found, each as a plan of its own.

use crate::ports::faults::{CallFault, Fault, Port};
use crate::ports::lnd::Fate;
use crate::ports::plan::{Answer, Happening, OrderPlan, Plan};
use crate::ports::world::live;

/// lnd's clock is ahead by more than a send may take, so that lnd takes none: nobody was told.
#[test]
fn sends_that_come_too_late_by_lnd_s_clock_are_told_of_and_paid_once_the_clocks_agree() {
    let ended = live(&Plan { skew: 60_000, calm_from: 600_000, ..Plan::default() });
    assert!(ended.violations.is_empty(), "{:?}", ended.violations);
    assert!(ended.alarms["send-lost"] >= 3, "{:?}", ended.alarms);
    assert_eq!(ended.ledger.paid.len(), 1);
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
