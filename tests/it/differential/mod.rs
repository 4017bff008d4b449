//! The same random operations on the oracle and on another store: answers and tables must agree
//! after each.
//!
//! Operations that are asked for at once may take effect in any order; the oracle tries all of
//! them, and the other store must have behaved like one.
//!
//! Each seed makes a small world of its own. `OPS=100000` asks for so many operations in new
//! worlds, `SEED=7` for the one world of that seed.

mod generate;
mod operation;

use std::collections::BTreeMap;

use bondflow::engine::Store;
use bondflow::engine::store::RunFilter;
use bondflow::payout::tables::TABLES;
use bondflow::store::memory::{Dump, MemoryStore};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use crate::conformance::subject::{Memory, Postgres, Sqlite, StoreUnderTest, difference, ranked};
use generate::World;
use operation::{Numbers, Operation};

/// How many operations are made in one world: more of them meet nothing new.
const WORLD: u64 = 200;
/// How many operations are made unless asked for more.
const OPERATIONS: u64 = 600;
/// How many worlds are under way at a time: while one waits for its store another one goes on.
const SIDE_BY_SIDE: usize = 4;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value}")))
}

async fn agrees<S: StoreUnderTest>() {
    let seeds: Vec<u64> = match (asked("SEED"), asked("OPS").unwrap_or(OPERATIONS)) {
        (Some(seed), _) => vec![seed],
        (None, operations) => (1..=operations.div_ceil(WORLD)).collect(),
    };
    let all = seeds.len();
    let mut worlds = stream::iter(seeds)
        .map(|seed| async move { (seed, compare(&S::fresh().await, seed).await) })
        .buffer_unordered(SIDE_BY_SIDE);
    let mut lived = 0;
    while let Some((seed, compared)) = worlds.next().await {
        if let Err(difference) = compared {
            panic!("replay with SEED={seed}: {difference}");
        }
        lived += 1;
        if lived % 500 == 0 || lived == all {
            println!("differential: {} agrees after {} operations", std::any::type_name::<S>(), lived as u64 * WORLD);
        }
    }
}

/// Makes the operations of that seed; an error tells of the first on which the stores differ.
async fn compare<S: StoreUnderTest>(subject: &S, seed: u64) -> Result<(), String> {
    let oracle = S::oracle();
    let mut world = World::new(seed);
    let mut numbers = Numbers::of(&subject.dump().await);
    let mut oracles = Numbers::of(&oracle.snapshot().dump());
    let mut made = 0;
    while made < WORLD {
        world.pass();
        world.runs = runs_of(&oracle).await;
        let calls = world.at_once();
        made += calls.len() as u64;
        let answers = join_all(calls.iter().map(|call| call.clone().ask(subject.store(), &numbers))).await;
        let tables = subject.dump().await;
        numbers = Numbers::of(&tables);
        let found = Found { answers, tables: ranked(tables) };
        let fitting = found.fits(&oracle, &oracles, &calls).await;
        oracles = fitting.map_err(|difference| format!("operation {made}: {difference}"))?;
        for call in [world.reading(), world.reading()] {
            let found = call.clone().ask(subject.store(), &numbers).await;
            let expected = call.clone().ask(&oracle, &oracles).await;
            if found != expected {
                return Err(format!("after operation {made}: {call:?}\n  found    {found}\n  expected {expected}"));
            }
        }
    }
    Ok(())
}

async fn runs_of(oracle: &MemoryStore) -> Vec<(bondflow::engine::Run, Vec<bondflow::engine::Signal>)> {
    let mut runs = vec![];
    for run in oracle.runs(&RunFilter::default()).await.unwrap() {
        let mail = oracle.mailbox(run.seq).await.unwrap();
        runs.push((run, mail));
    }
    runs
}

/// What a store answered to some calls, and its tables afterwards.
#[derive(PartialEq)]
struct Found {
    answers: Vec<Value>,
    tables: Dump,
}

impl Found {
    /// Asks the oracle for one after the other, in that order; what it answered, and its numbers afterwards.
    async fn in_oracle(
        oracle: &MemoryStore,
        numbers: &Numbers,
        calls: &[Operation],
        order: &[usize],
    ) -> (Self, Numbers) {
        let mut answers = vec![Value::Null; calls.len()];
        for &place in order {
            answers[place] = calls[place].clone().ask(oracle, numbers).await;
        }
        let tables = oracle.snapshot().dump();
        let numbers = Numbers::of(&tables);
        (Self { answers, tables: ranked(tables) }, numbers)
    }

    /// Finds an order in which the oracle, whose numbers are those, does the same, and leaves the oracle so; its numbers
    /// then.
    async fn fits(&self, oracle: &MemoryStore, numbers: &Numbers, calls: &[Operation]) -> Result<Numbers, String> {
        let before = oracle.snapshot();
        let mut first = None;
        for order in orders(calls.len()) {
            oracle.restore(&before);
            let (expected, after) = Self::in_oracle(oracle, numbers, calls, &order).await;
            if expected == *self {
                return Ok(after);
            }
            first.get_or_insert(expected);
        }
        Err(self.against(&first.unwrap(), calls))
    }

    fn against(&self, expected: &Self, calls: &[Operation]) -> String {
        let mut text = String::from("in no order does the oracle do the same; in the order asked:\n");
        for (call, (found, expected)) in calls.iter().zip(self.answers.iter().zip(&expected.answers)) {
            text += &format!("{call:?}\n  found    {found}\n  expected {expected}\n");
        }
        text += &difference(&self.tables, &expected.tables);
        text
    }
}

/// Each order of `count` things, the natural one first.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for _ in 0..count {
        let longer = |order: Vec<usize>| {
            let rest = (0..count).filter(|place| !order.contains(place)).collect::<Vec<_>>();
            rest.into_iter().map(move |place| order.iter().copied().chain([place]).collect())
        };
        orders = orders.into_iter().flat_map(longer).collect();
    }
    orders
}

#[tokio::test]
async fn a_lost_write_is_found_out() {
    // Half way a store falls back to what it was some calls before.
    let subject = Memory::fresh().await;
    let data = subject.0.reopen();
    let (mut calls, mut early) = (0, None);
    subject.0.on_call(move |_| {
        calls += 1;
        match calls {
            100 => early = Some(data.snapshot()),
            120 => data.restore(early.as_ref().unwrap()),
            _ => {}
        }
        None
    });
    let difference = compare(&subject, 1).await.unwrap_err();
    assert!(!difference.starts_with("operation 1:"), "{difference}");
}

#[tokio::test]
async fn operations_meet_each_other() {
    // The random operations are worth something only when they come across each answer.
    let mut met = BTreeMap::<String, u32>::new();
    for seed in 1..=OPERATIONS / WORLD {
        let store = MemoryStore::new(TABLES);
        let mut world = World::new(seed);
        for _ in 0..WORLD {
            world.pass();
            world.runs = runs_of(&store).await;
            for call in world.at_once() {
                let commit = matches!(call, Operation::Commit(..));
                let answer = call.ask(&store, &Numbers::of(&store.snapshot().dump())).await;
                if commit {
                    *met.entry(answer.as_str().unwrap_or("done").to_owned()).or_default() += 1;
                }
            }
        }
    }
    for (answer, times) in [("done", 100), ("fenced", 10), ("mail", 10), ("seen", 10), ("conflict", 10)] {
        assert!(met.get(answer).is_some_and(|met| *met >= times), "{answer} in {met:?}");
    }
}

#[tokio::test]
async fn memory_agrees_with_itself() {
    agrees::<Memory>().await;
}

#[tokio::test]
async fn sqlite_agrees_with_the_oracle() {
    agrees::<Sqlite>().await;
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn postgres_agrees_with_the_oracle() {
    agrees::<Postgres>().await;
}
