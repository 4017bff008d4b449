//! Many runs at once.

use std::time::Duration;

use anyhow::{Context, ensure};
use bondflow::engine::Status;
use bondflow::engine::store::RunFilter;
use futures_util::future::try_join_all;

use crate::bed::{Bed, Database, Ground, SQLITE};
use crate::flow::STEPS;
use crate::machine::{Stopwatch, busiest_thread, processor_time, written};
use crate::raw;
use crate::report::{Report, Target};

/// What a load cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From the first start until the database has all runs completed.
    pub elapsed: Duration,
    /// Of the whole process, the load generator included.
    pub processor: Duration,
    /// Of the one thread in which SQLite works.
    pub store: Duration,
    /// Bytes that the process had written to the disk.
    pub written: u64,
    /// Transactions that the store has written, if it counts them.
    pub batches: Option<u64>,
}

impl Cost {
    /// Step commits in a second.
    pub fn steps_per_second(&self, runs: u64) -> f64 {
        (runs * STEPS) as f64 / self.elapsed.as_secs_f64()
    }
}

/// What the driver calls the threads of its connections: the one that writes has most to do.
const STORE_THREAD: &str = "sqlx-sqlite";

/// How often it is asked whether all runs have come as far as the load generator expects.
const LOOK: Duration = Duration::from_millis(1);

/// Starts runs at once, each by a commit of its own, and waits until all wait.
pub async fn start_all(bed: &Bed, name: &str, runs: std::ops::Range<u64>) -> anyhow::Result<()> {
    let before = bed.acted.packed();
    let expected = runs.end - runs.start;
    let keys: Vec<String> = runs.map(|run| format!("{name}-{run}")).collect();
    try_join_all(keys.iter().map(|key| bed.start(key))).await?;
    // None of them has a timer: what is due is still to be taken up, or is being worked on.
    while bed.acted.packed() - before < expected || bed.store.next_due().await?.is_some() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Signals runs at once, each by a commit of its own, and waits until none is open any more.
pub async fn signal_all(bed: &Bed, name: &str, runs: std::ops::Range<u64>) -> anyhow::Result<()> {
    let before = bed.acted.billed();
    let expected = runs.end - runs.start;
    let keys: Vec<String> = runs.map(|run| format!("{name}-{run}")).collect();
    try_join_all(keys.iter().map(|key| bed.signal(key))).await?;
    let open = || RunFilter { open: true, ..RunFilter::default() };
    while bed.acted.billed() - before < expected || bed.any(open()).await? {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Runs all of a load.
pub async fn run(bed: &Bed, name: &str, runs: u64) -> anyhow::Result<Cost> {
    let (batches, before) = (bed.batches(), written()?);
    let (store, processor, watch) = (busiest_thread(STORE_THREAD)?, processor_time()?, Stopwatch::start());
    start_all(bed, name, 0..runs).await?;
    signal_all(bed, name, 0..runs).await?;
    Ok(Cost {
        elapsed: watch.elapsed(),
        processor: processor_time()?.saturating_sub(processor),
        store: busiest_thread(STORE_THREAD)?.saturating_sub(store),
        written: written()? - before,
        batches: bed.batches().zip(batches).map(|(after, before)| after - before),
    })
}

/// On a new database.
pub async fn on_new(database: &Database, runs: u64) -> anyhow::Result<Cost> {
    let bed = Bed::open(database).await?;
    let cost = run(&bed, "parcel", runs).await?;
    let completed = RunFilter { status: Some(Status::Completed), ..RunFilter::default() };
    let completed = bed.store.runs(&completed).await?;
    ensure!(completed.len() as u64 == runs, "{} of {runs} runs are completed", completed.len());
    for run in [completed.first(), completed.last()].into_iter().flatten() {
        let steps = bed.store.history(run.seq).await?.len() as u64;
        ensure!(steps == STEPS, "run {} has {steps} lines in its history", run.key);
    }
    bed.close().await?;
    Ok(cost)
}

/// How often a load is measured; the middle one of the figures counts.
const TIMES: usize = 3;

/// 1,000 and 10,000 runs.
pub async fn measure(ground: &Ground, report: &mut Report) -> anyhow::Result<()> {
    let store = ground.store();
    let least = if store == SQLITE { 40_000.0 } else { 12_000.0 };
    for (runs, target) in [(1_000_u64, Target::None), (10_000, Target::AtLeast(least))] {
        let mut costs = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let (_kept, database) = ground.place().await?;
            costs.push(on_new(&database, runs).await?);
        }
        costs.sort_by_key(|cost| cost.elapsed);
        let cost = *costs.get(TIMES / 2).context("nothing was measured")?;
        report.add(format!("step commits, {runs} runs at once"), store, cost.steps_per_second(runs), "1/s", target);
        if let Some(batches) = cost.batches {
            let each = (runs * STEPS) as f64 / batches as f64;
            report.add(format!("step commits per transaction, {runs} runs at once"), store, each, "", Target::None);
        }
        if runs >= 10_000 {
            let each = cost.processor.as_secs_f64() * 1_000.0 / runs as f64;
            // PostgreSQL's own processes are not in it.
            let target = if store == SQLITE { Target::AtMost(0.25) } else { Target::None };
            report.add("processor time of a run", store, each, "ms", target);
            if store == SQLITE {
                let busy = cost.store.as_secs_f64() / cost.elapsed.as_secs_f64();
                report.add("share of the time that SQLite's thread works", store, busy, "", Target::None);
            }
        }
    }
    let commits = "step commits, 10000 runs at once";
    report.add_ratio("step commits to the raw store's lone transactions", store, commits, raw::ALONE);
    report.add_ratio("step commits to the raw store's rows in large transactions", store, commits, raw::MANY);
    Ok(())
}
