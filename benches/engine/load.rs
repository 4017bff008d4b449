//! Many runs at once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bondflow::engine::store::RunFilter;
use bondflow::engine::{Status, Store};
use futures_util::future::try_join_all;

use crate::bed::{self, Bed};
use crate::flow::STEPS;
use crate::machine::{Stopwatch, processor_time};
use crate::report::{Report, Target};

/// What a load cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From the first start until the database has all runs completed.
    pub elapsed: Duration,
    /// Of the whole process, the load generator included.
    pub processor: Duration,
    /// Transactions that the store has written.
    pub batches: u64,
}

impl Cost {
    /// Step commits in a second.
    pub fn steps_per_second(&self, runs: u64) -> f64 {
        (runs * STEPS) as f64 / self.elapsed.as_secs_f64()
    }
}

/// How often it is asked whether all runs have come as far as the load generator expects.
const LOOK: Duration = Duration::from_millis(1);

/// Starts so many runs at once, each by a commit of its own, and waits until all wait.
pub async fn start_all(bed: &Bed, name: &str, runs: u64) -> anyhow::Result<()> {
    let before = bed.acted.packed();
    let keys: Vec<String> = (0..runs).map(|run| format!("{name}-{run}")).collect();
    try_join_all(keys.iter().map(|key| bed.start(key))).await?;
    let running = || RunFilter { status: Some(Status::Running), ..RunFilter::default() };
    while bed.acted.packed() - before < runs || bed.any(running()).await? {
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
    let (batches, processor, watch) = (bed.store.stats().batches, processor_time()?, Stopwatch::start());
    start_all(bed, name, runs).await?;
    signal_all(bed, name, 0..runs).await?;
    Ok(Cost {
        elapsed: watch.elapsed(),
        processor: processor_time()?.saturating_sub(processor),
        batches: bed.store.stats().batches - batches,
    })
}

/// On a new database.
pub async fn on_new(path: &Path, runs: u64) -> anyhow::Result<Cost> {
    let bed = Bed::open(path).await?;
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
pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    for (runs, target) in [(1_000_u64, Target::None), (10_000, Target::AtLeast(40_000.0))] {
        let mut costs = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let (_folder, path) = bed::place()?;
            costs.push(on_new(&path, runs).await?);
        }
        costs.sort_by_key(|cost| cost.elapsed);
        let cost = *costs.get(TIMES / 2).context("nothing was measured")?;
        report.add(format!("step commits, {runs} runs at once"), "sqlite", cost.steps_per_second(runs), "1/s", target);
        report.add(
            format!("step commits per sync, {runs} runs at once"),
            "sqlite",
            (runs * STEPS) as f64 / cost.batches as f64,
            "",
            Target::None,
        );
        if runs >= 10_000 {
            let each = cost.processor.as_secs_f64() * 1_000.0 / runs as f64;
            report.add("processor time of a run", "sqlite", each, "ms", Target::AtMost(0.25));
        }
    }
    report.add_ratio(
        "step commits to rows, the raw store's by 256",
        "sqlite",
        "step commits, 10000 runs at once",
        "raw store, rows by 256 in a transaction",
    );
    Ok(())
}
