//! How fast the engine is, beside the limit of the store that it stands on.
//!
//! `make bench` runs all of it; `make bench ROWS=latency,load` some. The load generator uses the
//! engine's public API only, on a real database file with the engine's own numbers; every commit
//! is synced. What each figure means is told in `docs/performance.md`.

mod bed;
mod finished;
mod flow;
mod latency;
mod load;
mod machine;
mod raw;
mod report;
mod syncs;
mod waiting;

use std::path::Path;

use anyhow::bail;

use report::Report;

/// The parts in the order in which they run: ratios need the raw store's figures.
const PARTS: [&str; 6] = ["raw", "load", "latency", "waiting", "finished", "syncs"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [waiting::DAEMON, path, first] => return waiting::be_daemon(Path::new(path), first.parse()?).await,
        [syncs::LOAD, path] => return syncs::be_load(Path::new(path)).await,
        [] => {}
        _ => bail!("no arguments; ROWS={} chooses what is measured", PARTS.join(",")),
    }
    let rows = std::env::var("ROWS").ok().filter(|rows| !rows.is_empty());
    let chosen: Vec<&str> = rows.as_deref().map_or(PARTS.to_vec(), |rows| rows.split(',').collect());
    if let Some(unknown) = chosen.iter().find(|part| !PARTS.contains(part)) {
        bail!("ROWS: no part `{unknown}`, there are {}", PARTS.join(", "));
    }
    let mut report = Report::default();
    for part in PARTS.into_iter().filter(|part| chosen.contains(part)) {
        match part {
            "raw" => raw::measure(&mut report).await?,
            "load" => load::measure(&mut report).await?,
            "latency" => latency::measure(&mut report).await?,
            "waiting" => waiting::measure(&mut report).await?,
            "finished" => finished::measure(&mut report).await?,
            _ => syncs::measure(&mut report).await?,
        }
    }
    println!("{}", report.table());
    report.write(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("summary.json"))
}
