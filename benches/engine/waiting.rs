//! 100,000 runs that wait: what they cost, and how soon a daemon that was killed is back.
//!
//! The daemon is this program itself, started as a process of its own so that it can be killed.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use bondflow::engine::RunId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::bed::{Bed, Database, Ground, SQLITE};
use crate::load;
use crate::machine::{Stopwatch, percentile, resident_memory};
use crate::report::{Report, Target};

/// How many runs wait.
const RUNS: u64 = 100_000;
/// How many are started at once.
const LOT: u64 = 2_000;
const NAME: &str = "waiting";

/// The argument by which this program is told to be the daemon.
pub const DAEMON: &str = "--daemon";

/// How often the daemon is killed and started again, and the list is asked for.
const TIMES: usize = 5;

/// The daemon's side: it tells when it has taken its first signal, and its memory; at a line on
/// its input it signals all runs that were not signalled yet and tells when they are done.
pub async fn be_daemon(database: &Database, first: u64) -> anyhow::Result<()> {
    let bed = Bed::open(database).await?;
    let key = format!("{NAME}-{first}");
    if first == RUNS {
        // Not all at once: what the load generator needs is not to be counted.
        for lot in 0..RUNS / LOT {
            load::start_all(&bed, NAME, lot * LOT..(lot + 1) * LOT).await?;
        }
    } else {
        bed.signal(&key).await?;
        let taken = |step: &str| step != "await_pickup";
        while !bed.store.run(&bed.id(&key)).await?.is_some_and(|run| taken(&run.step)) {}
    }
    tell("ready")?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    tell(&resident_memory()?.to_string())?;
    while tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?.is_some() {
        load::signal_all(&bed, NAME, first + 1..RUNS).await?;
        tell("done")?;
    }
    bed.close().await
}

fn tell(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

struct Daemon {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Daemon {
    fn start(database: &Database, first: u64) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(DAEMON)
            .arg(database.to_string())
            .arg(first.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, lines })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        self.lines.next_line().await?.context("the daemon has ended")
    }

    async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Recovery, memory and list.
pub async fn measure(ground: &Ground, report: &mut Report) -> anyhow::Result<()> {
    let (_kept, database) = ground.place().await?;
    let store = ground.store();
    let (soon, listed) = if store == SQLITE { (0.1, 0.2) } else { (0.2, 0.3) };
    let mut maker = Daemon::start(&database, RUNS)?;
    maker.line().await?;
    let after_start: f64 = maker.line().await?.parse()?;
    maker.kill().await?;

    let mut ready = Vec::with_capacity(TIMES);
    let mut memory = Vec::with_capacity(TIMES);
    for time in 0..TIMES {
        let watch = Stopwatch::start();
        let mut daemon = Daemon::start(&database, time as u64)?;
        daemon.line().await?;
        ready.push(watch.elapsed());
        memory.push(daemon.line().await?.parse::<u64>()?);
        daemon.kill().await?;
    }
    ready.sort();
    memory.sort();
    let seconds = percentile(&ready, 50).as_secs_f64();
    let row = "killed with 100,000 waiting runs: first signal taken";
    report.add(row, store, seconds, "s", Target::AtMost(soon));
    let megabytes = |bytes: f64| bytes / f64::from(1 << 20);
    let most = memory.last().copied().unwrap_or_default() as f64;
    let target = Target::AtMost(64.0);
    report.add("resident memory, 100,000 runs wait", store, megabytes(most), "MB", target);
    let row = "resident memory, 100,000 runs wait, in the process that started them";
    report.add(row, store, megabytes(after_start), "MB", Target::None);

    database.vacuum().await?;
    list(&database, listed, report).await?;

    let watch = Stopwatch::start();
    let mut daemon = Daemon::start(&database, TIMES as u64)?;
    daemon.line().await?;
    daemon.line().await?;
    let command = daemon.child.stdin.as_mut().context("no input")?;
    command.write_all(b"signal all\n").await?;
    daemon.line().await?;
    let row = "killed with 100,000 waiting runs: all signalled and completed";
    report.add(row, store, watch.elapsed().as_secs_f64() - 0.5, "s", Target::None);
    daemon.kill().await
}

/// What the operator's view of them costs.
async fn list(database: &Database, most: f64, report: &mut Report) -> anyhow::Result<()> {
    let id = RunId::of("parcel", &format!("{NAME}-77777")).to_string();
    let rows: [Row; 6] = [
        ("workflowctl list among 100,000 runs", &["list"], Target::AtMost(most)),
        ("workflowctl list --stuck among 100,000 runs", &["list", "--stuck"], Target::AtMost(most)),
        ("workflowctl show among 100,000 runs", &["show", &id[..12]], Target::AtMost(most)),
        ("workflowctl stats among 100,000 runs", &["stats"], Target::AtMost(most)),
        ("workflowctl doctor --quick among 100,000 runs", &["doctor", "--quick"], Target::AtMost(most)),
        ("workflowctl list --limit 0, all of 100,000 runs", &["list", "--limit", "0"], Target::None),
    ];
    commands(database, &rows, report).await
}

/// A row of the report, and the arguments of `workflowctl`.
pub type Row<'a> = (&'a str, &'a [&'a str], Target);

/// How long `workflowctl` takes.
pub async fn commands(database: &Database, rows: &[Row<'_>], report: &mut Report) -> anyhow::Result<()> {
    for (row, arguments, target) in rows {
        let mut took = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let watch = Stopwatch::start();
            let status = Command::new(env!("CARGO_BIN_EXE_workflowctl"))
                .arg("--database")
                .arg(database.to_string())
                .args(*arguments)
                .stdout(Stdio::null())
                .status()
                .await?;
            took.push(watch.elapsed());
            // The doctor finds no settings here.
            let expected = status.success() || arguments[0] == "doctor" && status.code() == Some(1);
            ensure!(expected, "{arguments:?} failed");
        }
        took.sort();
        report.add(*row, database.store(), percentile(&took, 50).as_secs_f64(), "s", *target);
    }
    Ok(())
}
