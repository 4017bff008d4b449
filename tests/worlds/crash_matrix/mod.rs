//! The crash matrix: each scenario, killed at each commit and at each effect, in every way, and
//! once more at a second place. The end is the same, and nothing that must hold is ever broken.
//!
//! It is a loop over scenarios and definitions: a step that is added to a definition fails
//! `every_step_and_outcome_is_visited` until a scenario leads through it, and is then killed at
//! without a line being written.

mod on_postgres;
mod scenarios;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use bondflow::engine::{Clock, Definition, SystemClock};
use bondflow::payout::{bond_payout, bond_release, order_resolution, trade_payout};

use crate::dice::Dice;
use crate::ports::faults::{CallFault, Fault, Port};
use crate::ports::plan::{Happening, Plan};
use crate::ports::world::{Ended, live};
use on_postgres::Databases;
use scenarios::{Scenario, scenarios};

/// How often the daemon dies twice in each scenario: in `make crash-matrix`, there on a server, and in the ordinary
/// run.
const PAIRS: usize = 500;
const PAIRS_ON_POSTGRES: usize = 50;
const FEW_PAIRS: usize = 8;

/// In the ordinary run one of so many kills of short scenarios is made on a server, too.
const ONE_OF: usize = 97;

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

/// Lives a plan through; what is wrong beside the end that it comes to, if anything.
type Lives<'a> = &'a (dyn Fn(&Plan) -> (Ended, Option<String>) + Sync);

fn in_memory(plan: &Plan) -> (Ended, Option<String>) {
    (live(plan), None)
}

/// Lives a scenario through with these faults; what is wrong with its end.
fn wrong(
    lives: Lives<'_>,
    scenario: &Scenario,
    what: &str,
    faults: &[CallFault],
    every_step_twice: bool,
) -> Option<String> {
    // Whatever was killed needs as long again.
    let plan = Plan { faults: faults.to_vec(), every_step_twice, ..scenario.plan.clone() };
    let Ok((ended, differs)) = std::panic::catch_unwind(AssertUnwindSafe(|| lives(&plan))) else {
        return Some(format!("{}: {what}: {faults:?}: it panicked", scenario.name));
    };
    let mut wrong = scenario.wrong(&ended);
    wrong.extend(differs);
    (!wrong.is_empty())
        .then(|| format!("{}: {what}: {faults:?}:\n{}\n{}", scenario.name, wrong.join("\n"), ended.story()))
}

/// The scenarios as they go without a fault.
fn undisturbed(lives: Lives<'_>, scenarios: Vec<Scenario>) -> Vec<(Scenario, Ended)> {
    let mut failed = Vec::new();
    let all = scenarios
        .into_iter()
        .map(|scenario| {
            let (ended, differs) = lives(&scenario.plan);
            let mut wrong = scenario.wrong(&ended);
            wrong.extend(differs);
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
    for (scenario, ended) in undisturbed(&in_memory, scenarios()) {
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
    let all = undisturbed(&in_memory, scenarios());
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
    undisturbed(&in_memory, scenarios()).into_iter().filter(|(_, ended)| is_short(ended) == short).collect()
}

#[test]
fn killed_at_each_commit_and_at_each_effect_everything_ends_the_same() {
    killed_everywhere(&in_memory, &of_length(true), 1);
}

#[test]
#[ignore = "takes minutes: make crash-matrix"]
fn killed_at_each_commit_and_at_each_effect_of_the_long_ones_everything_ends_the_same() {
    killed_everywhere(&in_memory, &of_length(false), 1);
}

/// One of so many ways to kill each of them.
fn killed_everywhere(lives: Lives<'_>, all: &[(Scenario, Ended)], one_of: usize) {
    let mut work = Vec::new();
    for (scenario, ended) in all {
        for (what, port, fault) in MODES {
            work.extend((0..ended.faults.calls(port)).map(|at| (scenario, what, CallFault { port, at, fault })));
        }
    }
    let work: Vec<_> = work.into_iter().step_by(one_of).collect();
    on_all_cores(&work, |(scenario, what, fault)| wrong(lives, scenario, what, &[*fault], false));
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
    every_step_twice(&in_memory, &scenarios());
}

fn every_step_twice(lives: Lives<'_>, scenarios: &[Scenario]) {
    on_all_cores(scenarios, |scenario| wrong(lives, scenario, "every step twice", &[], true));
}

fn pairs(lives: Lives<'_>, all: &[(Scenario, Ended)], each: usize) {
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
    on_all_cores(&work, |(scenario, faults)| wrong(lives, scenario, "two faults", faults, false));
    println!("crash matrix: {} pairs of faults in {} scenarios", work.len(), all.len());
}

#[test]
fn killed_twice_everything_ends_the_same() {
    pairs(&in_memory, &of_length(true), FEW_PAIRS);
}

#[test]
#[ignore = "takes minutes: make crash-matrix"]
fn killed_twice_in_very_many_ways_everything_ends_the_same() {
    pairs(&in_memory, &undisturbed(&in_memory, scenarios()), PAIRS);
}

/// The calls that are killed at are counted in memory, where a daemon is alone: that some of them may be missing where
/// others may come is as good.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[test]
fn on_postgres_a_share_of_it_is_the_same() {
    let databases = Databases::default();
    let mut all = of_length(true);
    all.retain(|(scenario, _)| !puts_back(scenario));
    killed_everywhere(&|plan| databases.live(plan), &all, ONE_OF);
}

#[test]
#[ignore = "takes more than an hour: make crash-matrix STORE=postgres"]
fn on_postgres_all_of_it_is_the_same() {
    let databases = Databases::default();
    let lives = |plan: &Plan| databases.live(plan);
    let of_server = || scenarios().into_iter().filter(|scenario| !puts_back(scenario)).collect::<Vec<_>>();
    let all = undisturbed(&lives, of_server());
    killed_everywhere(&lives, &all, 1);
    every_step_twice(&lives, &of_server());
    pairs(&lives, &all, PAIRS_ON_POSTGRES);
}

/// Whether an old copy of the database is put back, which is no call of the store.
fn puts_back(scenario: &Scenario) -> bool {
    scenario.plan.happenings.iter().any(|(_, happening)| *happening == Happening::PutBack)
}
