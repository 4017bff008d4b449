//! From a plan that fails to a small one that still does.

use std::collections::BTreeSet;

use bondflow::payout::invariants::Invariant;

use super::{Outcome, outcome};
use crate::ports::plan::{OrderPlan, Plan, Way};

/// More tries than a plan is worth.
const TRIES: usize = 600;

/// What a plan breaks; a world that panics breaks something of its own.
pub fn broken(outcome: &Outcome) -> BTreeSet<Option<Invariant>> {
    match outcome {
        Ok(ended) => ended.violations.iter().map(|violation| Some(violation.invariant)).collect(),
        Err(_) => BTreeSet::from([None]),
    }
}

/// Takes away whatever the failure does not need.
pub fn shrink(plan: &Plan) -> Plan {
    let wanted = broken(&outcome(plan));
    let mut best = plan.clone();
    let mut tries = 0;
    loop {
        let smaller = candidates(&best).into_iter().find(|candidate| {
            tries += 1;
            tries <= TRIES && !wanted.is_disjoint(&broken(&outcome(candidate)))
        });
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

/// Every plan that is smaller by one thing.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        if smaller != *plan {
            all.push(smaller);
        }
    };
    for at in 0..plan.happenings.len() {
        with(&|plan| {
            plan.happenings.remove(at);
        });
    }
    for at in 0..plan.faults.len() {
        with(&|plan| {
            plan.faults.remove(at);
        });
    }
    for at in 0..plan.ways.len() {
        with(&|plan| plan.ways[at] = Way::AtOnce);
    }
    with(&|plan| plan.ways.truncate(plan.ways.len().saturating_sub(1)));
    let standard = Plan::default();
    with(&|plan| plan.every_step_twice = false);
    with(&|plan| plan.skew = 0);
    with(&|plan| plan.relays = 1);
    with(&|plan| plan.terms = standard.terms);
    for at in 0..plan.orders.len() {
        let quiet = OrderPlan { slash_buyer: false, ..OrderPlan::default() };
        with(&|plan| plan.orders[at] = quiet.clone());
        if at + 1 == plan.orders.len() && at > 0 {
            with(&|plan| drop(plan.orders.pop()));
        }
        with(&|plan| (plan.orders[at].escrow, plan.orders[at].bonds) = (quiet.escrow, quiet.bonds));
        with(&|plan| plan.orders[at].rulings = 1);
        with(&|plan| plan.orders[at].takes_first = false);
        with(&|plan| plan.orders[at].buyer_left = None);
        with(&|plan| plan.orders[at].vanishes = false);
        with(&|plan| plan.orders[at].settle = false);
        with(&|plan| drop(plan.orders[at].share_answers.pop()));
        with(&|plan| drop(plan.orders[at].trade_answers.pop()));
    }
    all
}
