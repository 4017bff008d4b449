//! How fast the engine is, beside the limit of the store that it stands on.
//!
//! `make bench` runs all of it; `make bench ROWS=latency,load STORES=sqlite` some. The load generator uses the
//! engine's public API only, on real databases with the engine's own numbers; every commit is synced. What each figure means is told in `docs/performance.md`.

mod bed;
mod finished;
mod flow;
mod latency;
mod load;
mod machine;
mod payout;
mod raw;
mod report;
mod syncs;
mod waiting;

use std::path::Path;

use anyhow::bail;

use bed::{Ground, POSTGRES, SQLITE};
use report::Report;

/// The daemon's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The parts in the order in which they run: ratios need the raw store's figures.
const PARTS: [&str; 7] = ["raw", "load", "latency", "waiting", "finished", "syncs", PAYOUT];

/// The part that measures the daemon and not the engine alone: only where it is asked for.
const PAYOUT: &str = "payout";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [waiting::DAEMON, database, first] => return waiting::be_daemon(&database.parse()?, first.parse()?).await,
        [syncs::LOAD, database] => return syncs::be_load(&database.parse()?).await,
        [] => {}
        _ => bail!("no arguments; ROWS={} chooses what is measured", PARTS.join(",")),
    }
    let asked = std::env::var_os("ROWS").is_some_and(|rows| !rows.is_empty());
    let mut parts = chosen("ROWS", &PARTS)?;
    let daemon = parts.pop_if(|part| *part == PAYOUT).is_some() && asked;
    let mut report = Report::default();
    if daemon {
        payout::measure(&mut report).await?;
    }
    let grounds = if parts.is_empty() { vec![] } else { Ground::all(&chosen("STORES", &[SQLITE, POSTGRES])?).await? };
    for ground in &grounds {
        for part in &parts {
            match *part {
                "raw" => raw::measure(ground, &mut report).await?,
                "load" => load::measure(ground, &mut report).await?,
                "latency" => latency::measure(ground, &mut report).await?,
                "waiting" => waiting::measure(ground, &mut report).await?,
                "finished" => finished::measure(ground, &mut report).await?,
                _ => syncs::measure(ground, &mut report).await?,
            }
        }
    }
    println!("{}", report.table());
    report.write(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("summary.json"))
}

/// What an environment variable chooses of all that there is, in the order of all.
fn chosen(variable: &str, all: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
    let named = std::env::var(variable).unwrap_or_default();
    let named: Vec<&str> = named.split(',').filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        bail!("{variable}: there is no `{unknown}`, but {}", all.join(", "));
    }
    Ok(all.iter().copied().filter(|name| named.is_empty() || named.contains(name)).collect())
}
