//! That a commit which was answered was synced: the system calls of a whole load, counted.

use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::bed::{Database, Ground, SQLITE};
use crate::load;
use crate::machine::has;
use crate::report::{Report, Target};

/// The argument by which this program is told to be the process that is watched.
pub const LOAD: &str = "--load";

const RUNS: u64 = 1_000;

/// The watched side: one load, and how many transactions the store says it wrote.
pub async fn be_load(database: &Database) -> anyhow::Result<()> {
    println!("{}", load::on_new(database, RUNS).await?.batches.context("it does not count")?);
    Ok(())
}

/// Counts. PostgreSQL's syncs are the server's: [`Ground::all`] looks at its settings.
pub async fn measure(ground: &Ground, report: &mut Report) -> anyhow::Result<()> {
    if ground.store() != SQLITE {
        return Ok(());
    }
    let (kept, database) = ground.place().await?;
    let row = "transactions for 1,000 runs of 5 steps";
    if !has("strace") {
        eprintln!("no strace here: the store's own count of its transactions stands alone");
        let batches = load::on_new(&database, RUNS).await?.batches.context("it does not count")?;
        report.add(row, SQLITE, batches as f64, "", Target::None);
        return Ok(());
    }
    let folder = kept.context("no folder")?;
    let trace = folder.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe()?)
        .arg(LOAD)
        .arg(database.to_string())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "the watched process failed");
    let batches: u64 = String::from_utf8(output.stdout)?.trim().parse().context("it told no number")?;
    let synced = |line: &&str| line.contains("sync(") && line.trim_end().ends_with("= 0");
    let resumed = |line: &&str| line.contains("sync resumed>") && line.trim_end().ends_with("= 0");
    let trace = std::fs::read_to_string(trace)?;
    let syncs = trace.lines().filter(|line| synced(line) || resumed(line)).count() as u64;
    report.add(row, SQLITE, batches as f64, "", Target::None);
    report.add("syncs for 1,000 runs of 5 steps, by strace", SQLITE, syncs as f64, "", Target::None);
    report.add("syncs for each transaction", SQLITE, syncs as f64 / batches as f64, "x", Target::AtLeast(1.0));
    Ok(())
}
