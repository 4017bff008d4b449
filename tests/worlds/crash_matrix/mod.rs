//! The crash matrix: each scenario, killed at each commit and at each effect, in every way, and
//! once more at a second place. The end is the same, and nothing that must hold is ever broken.
//!
//! It is a loop over scenarios and definitions: a step that is added to a definition fails
//! `every_step_and_outcome_is_visited` until a scenario leads through it, and is then killed at
//! without a line being written.

mod scenarios;

use std::collections::BTreeSet;
use std::sync::Mutex;

use bondflow::engine::{Clock, Definition, SystemClock};
use bondflow::payout::{bond_payout, bond_release, order_resolution, trade_payout};

use crate::dice::Dice;
use crate::ports::faults::{CallFault, Fault, Port};
use crate::ports::plan::Plan;
use crate::ports::world::{Ended, live};
use scenarios::{Scenario, scenarios};

/// How often the daemon dies twice in each scenario: in `make crash-matrix`, and in the ordinary
/// run.
const PAIRS: usize = 500;
const FEW_PAIRS: usize = 8;

/// A scenario with more calls of one port is left to `make crash-matrix`.
const MANY_CALLS: u32 = 60;

/// What goes wrong, once for each call of the port.
const MODES: [(&str, Port, Fault); 9] = [
    ("dies before the commit", Port::Commit, Fault::DiesBefore),
    ("dies after the commit", Port::Commit, Fault::DiesAfter),
    ("the step is run twice", Port::Commit, Fault::Refused),
    ("the commit's answer is lost", Port::Commit, Fault::LostAfter),
    ("the commit is lost", Port::Commit, Fault::LostBefore),
    ("dies before lnd acts", Port::Lnd, Fault::DiesBefore),
    ("lnd acts, and the daemon dies unheard", Port::Lnd, Fault::DiesAfter),
    ("a relay has it, and the daemon dies unheard", Port::Relay, Fault::DiesAfter),
    ("dies before it publishes", Port::Relay, Fault::DiesBefore),
];

/// Does it all on every core; each failure is one text.
fn on_all_cores<T: Sync>(work: &[T], does: impl Fn(&T) -> Option<String> + Sync) {
    let (next, failed) = (Mutex::new(0_usize), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        *next - 1
                    };
                    let Some(one) = work.get(at) else { return };
                    if let Some(text) = does(one) {
                        failed.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed; the first:\n{}", failed.len(), work.len(), failed[0]);
}

/// Lives a scenario through with these faults; what is wrong with its end.
fn wrong(scenario: &Scenario, what: &str, faults: &[CallFault], every_step_twice: bool) -> Option<String> {
    // Whatever was killed needs as long again.
    let plan = Plan { faults: faults.to_vec(), every_step_twice, ..scenario.plan.clone() };
    let ended = match std::panic::catch_unwind(|| live(&plan)) {
        Ok(ended) => ended,
        Err(_) => return Some(format!("{}: {what}: {faults:?}: it panicked", scenario.name)),
    };
    let wrong = scenario.wrong(&ended);
    (!wrong.is_empty())
        .then(|| format!("{}: {what}: {faults:?}:\n{}\n{}", scenario.name, wrong.join("\n"), ended.story()))
}

/// The scenarios as they go without a fault.
fn undisturbed() -> Vec<(Scenario, Ended)> {
    let mut failed = Vec::new();
    let all = scenarios()
        .into_iter()
        .map(|scenario| {
            let ended = live(&scenario.plan);
            let wrong = scenario.wrong(&ended);
            if !wrong.is_empty() {
                failed.push(format!("{}:\n{}\n{}", scenario.name, wrong.join("\n"), ended.story()));
            }
            (scenario, ended)
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    all
}

#[test]
fn every_scenario_ends_as_it_must_and_the_same_each_time() {
    for (scenario, ended) in undisturbed() {
        let begun = SystemClock.now();
        assert_eq!(live(&scenario.plan).digest(), ended.digest(), "{}", scenario.name);
        let took = begun.until(SystemClock.now()).as_millis();
        let [commits, lnd, relays] = [Port::Commit, Port::Lnd, Port::Relay].map(|port| ended.faults.calls(port));
        println!("{}: {commits} commits, {lnd} calls of lnd, {relays} of the relays, {took} ms", scenario.name);
    }
}

/// Outcomes that no scenario leads through, with the reason.
const UNVISITED: [(&str, &str, &str, &str); 3] = [
    ("trade_payout", "review", "tried_before", "only a trade that was taken over from mostrod: `import::tests`"),
    (
        "bond_payout",
        "intend",
        "no_invoice",
        "only after a payment without an invoice, which a restored database took on",
    ),
    (
        "trade_payout",
        "intend",
        "no_invoice",
        "only after a payment without an invoice, which a restored database took on",
    ),
];

/// What no scenario leads through undisturbed is looked for where calls of lnd go wrong, until all is found.
#[test]
#[ignore = "takes minutes: make crash-matrix"]
fn every_step_and_outcome_is_visited() {
    let all = undisturbed();
    let visited = Mutex::new(all.iter().flat_map(|(_, ended)| ended.visited()).collect::<BTreeSet<_>>());
    let mut work = Vec::new();
    for fault in [Fault::DiesAfter, Fault::LostBefore, Fault::Late(60_000)] {
        for (scenario, ended) in &all {
            let calls = 0..ended.faults.calls(Port::Lnd).min(MANY_CALLS);
            work.extend(calls.map(|at| (scenario, CallFault { port: Port::Lnd, at, fault })));
        }
    }
    on_all_cores(&work, |(scenario, fault)| {
        if !missing(&visited.lock().unwrap()).is_empty() {
            let more = live(&Plan { faults: vec![*fault], ..scenario.plan.clone() }).visited();
            visited.lock().unwrap().extend(more);
        }
        None
    });
    let visited = visited.into_inner().unwrap();
    for (workflow, step, outcome, why) in UNVISITED {
        let place = (workflow.to_owned(), step.to_owned(), outcome.to_owned());
        assert!(!visited.contains(&place), "{place:?} is visited, which needs no reason ({why})");
    }
    let missing = missing(&visited);
    assert!(missing.is_empty(), "no scenario leads through {missing:#?}");
}

/// Workflow, step and outcome.
type Place = (String, String, String);

/// The outcomes of all definitions that are not among these, and without a reason for it.
fn missing(visited: &BTreeSet<Place>) -> Vec<Place> {
    let mut missing = Vec::new();
    for text in
        [bond_payout::DEFINITION, bond_release::DEFINITION, order_resolution::DEFINITION, trade_payout::DEFINITION]
    {
        let definition = Definition::parse(text).unwrap();
        for (step, one) in &definition.steps {
            for outcome in one.on.keys() {
                let place = (definition.name.clone(), step.clone(), outcome.clone());
                let excused = UNVISITED
                    .iter()
                    .any(|(workflow, at, said, _)| (*workflow, *at, *said) == (&*place.0, &*place.1, &*place.2));
                if !excused && !visited.contains(&place) {
                    missing.push(place);
                }
            }
        }
    }
    missing
}

/// The scenarios that are short, or all the others.
fn of_length(short: bool) -> Vec<(Scenario, Ended)> {
    let is_short = |ended: &Ended| {
        [Port::Commit, Port::Lnd, Port::Relay].iter().all(|port| ended.faults.calls(*port) <= MANY_CALLS)
    };
    undisturbed().into_iter().filter(|(_, ended)| is_short(ended) == short).collect()
}

#[test]
fn killed_at_each_commit_and_at_each_effect_everything_ends_the_same() {
    killed_everywhere(&of_length(true));
}

#[test]
#[ignore = "takes minutes: make crash-matrix"]
fn killed_at_each_commit_and_at_each_effect_of_the_long_ones_everything_ends_the_same() {
    killed_everywhere(&of_length(false));
}

fn killed_everywhere(all: &[(Scenario, Ended)]) {
    let mut work = Vec::new();
    for (scenario, ended) in all {
        for (what, port, fault) in MODES {
            work.extend((0..ended.faults.calls(port)).map(|at| (scenario, what, CallFault { port, at, fault })));
        }
    }
    on_all_cores(&work, |(scenario, what, fault)| wrong(scenario, what, &[*fault], false));
    let commits: u32 = all.iter().map(|(_, ended)| ended.faults.calls(Port::Commit)).sum();
    println!(
        "crash matrix: {} scenarios × {commits} commits in all × {} modes: {} worlds",
        all.len(),
        MODES.len(),
        work.len()
    );
}

#[test]
fn with_every_step_run_twice_everything_ends_the_same() {
    on_all_cores(&scenarios(), |scenario| wrong(scenario, "every step twice", &[], true));
}

fn pairs(all: &[(Scenario, Ended)], each: usize) {
    let mut work = Vec::new();
    for (at, (scenario, ended)) in all.iter().enumerate() {
        let mut dice = Dice::new(at as u64);
        for _ in 0..each {
            let mut fault = || {
                let (_, port, fault) = dice.pick(&MODES);
                let calls = ended.faults.calls(port).max(1);
                CallFault { port, at: u32::try_from(dice.between(0, i64::from(calls) + 3)).unwrap(), fault }
            };
            work.push((scenario, [fault(), fault()]));
        }
    }
    on_all_cores(&work, |(scenario, faults)| wrong(scenario, "two faults", faults, false));
    println!("crash matrix: {} pairs of faults in {} scenarios", work.len(), all.len());
}

#[test]
fn killed_twice_everything_ends_the_same() {
    pairs(&of_length(true), FEW_PAIRS);
}

#[test]
#[ignore = "takes minutes: make crash-matrix"]
fn killed_twice_in_very_many_ways_everything_ends_the_same() {
    pairs(&undisturbed(), PAIRS);
}
