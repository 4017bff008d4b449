//! One run at a time on an idle engine.

use std::time::Duration;

use bondflow::engine::Status;

use crate::bed::{Bed, Ground, SQLITE};
use crate::machine::{Stopwatch, percentile};
use crate::raw;
use crate::report::{Report, Target};

/// How many runs are measured, after some that only warm up.
const RUNS: u64 = 500;
const WARM_UP: u64 = 50;

/// Lone runs, each signalled as soon as its start is committed.
pub async fn measure(ground: &Ground, report: &mut Report) -> anyhow::Result<()> {
    let (_kept, database) = ground.place().await?;
    let bed = Bed::open(&database).await?;
    let mut took = Vec::new();
    for run in 0..WARM_UP + RUNS {
        let elapsed = lone(&bed, &format!("lone-{run}")).await?;
        if run >= WARM_UP {
            took.push(elapsed);
        }
        // The engine is to be idle again.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bed.close().await?;
    took.sort();
    let targets = if ground.store() == SQLITE { [(50, 3.0), (99, 10.0)] } else { [(50, 5.0), (99, 15.0)] };
    for (percent, most) in targets {
        let value = percentile(&took, percent).as_secs_f64() * 1_000.0;
        let row = format!("lone run of 5 steps, p{percent}");
        report.add(row.as_str(), ground.store(), value, "ms", Target::AtMost(most));
        let (ratio, raw) =
            (format!("{row}, to the raw store's lone transaction"), format!("{}, p{percent}", raw::PAUSED));
        report.add_ratio(ratio, ground.store(), &row, &raw);
    }
    Ok(())
}

async fn lone(bed: &Bed, key: &str) -> anyhow::Result<Duration> {
    let watch = Stopwatch::start();
    let before = bed.acted.billed();
    bed.start(key).await?;
    bed.signal(key).await?;
    bed.acted.until_billed(before + 1).await;
    let id = bed.id(key);
    while bed.store.run(&id).await?.is_none_or(|run| run.status != Status::Completed) {}
    Ok(watch.elapsed())
}
