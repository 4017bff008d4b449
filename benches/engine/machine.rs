//! What the machine tells: elapsed time, processor time, memory.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Measures elapsed time.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins.
    #[allow(clippy::disallowed_methods, reason = "a measurement is of the machine's time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since it began.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Length of a unit of processor time in `/proc/PID/stat`, on every Linux that Rust runs on.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// Processor time that this process, all its threads, has used: user and system.
pub fn processor_time() -> anyhow::Result<Duration> {
    Ok(used(&std::fs::read_to_string("/proc/self/stat")?)?.1)
}

/// Processor time of the thread of that name that has used most.
pub fn busiest_thread(name: &str) -> anyhow::Result<Duration> {
    let mut most = Duration::ZERO;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let (thread, used) = used(&stat)?;
        if thread.starts_with(name) {
            most = most.max(used);
        }
    }
    Ok(most)
}

/// The name in a `stat` of Linux, and the processor time: user and system.
fn used(stat: &str) -> anyhow::Result<(&str, Duration)> {
    let (name, fields) = stat.rsplit_once(')').context("a stat has no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // utime and stime are the 14th and 15th of all fields, the name being the second.
    let (Some(user), Some(system)) = (fields.get(11), fields.get(12)) else { bail!("a stat is too short") };
    let name = name.split_once('(').map_or(name, |(_, name)| name);
    Ok((name, CLOCK_TICK * (user.parse::<u32>()? + system.parse::<u32>()?)))
}

/// Bytes that this process has had written to disks.
pub fn written() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// Resident memory of this process, bytes.
pub fn resident_memory() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// Whether a program can be run here.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The part of the samples that is below the value, the samples being sorted.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

/// Size of a database, its log included, bytes.
pub fn size(path: &Path) -> u64 {
    let of = |end: &str| std::fs::metadata(format!("{}{end}", path.display())).map_or(0, |file| file.len());
    of("") + of("-wal")
}
