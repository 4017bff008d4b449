//! Hostile inputs by the million, `make fuzz`: a program of its own, since a release build of all tests takes half an hour.

#![allow(clippy::unwrap_used, reason = "a bad input is told by panicking")]
#![allow(dead_code, unused_imports, reason = "what only the tests beside it use")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bondflow::engine::{Clock as _, SystemClock};

#[path = "../tests/it/dice.rs"]
mod dice;
#[path = "../tests/it/fuzz/mod.rs"]
mod inputs;

/// What `make fuzz` is told to do, or else what it does.
fn told(variable: &str) -> Option<u64> {
    let told = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(told.parse().unwrap_or_else(|_| panic!("{variable}={told} is no number")))
}

/// Memory that is in use, KiB.
fn in_use() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    line.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0)
}

/// `make fuzz`
fn main() {
    /// What a million inputs may add to the memory in use once all kinds of them were read.
    const GROWTH_KIB: u64 = 32 * 1_024;
    let seed = told("FUZZ_SEED").unwrap_or_else(|| SystemClock.now().millis() as u64);
    let count = told("FUZZ_N").unwrap_or(1_000_000);
    let numbers = told("FUZZ_ONLY").map_or(0..count, |only| only..only + 1);
    println!("seed {seed}, {} inputs", numbers.end - numbers.start);
    let begun = SystemClock.now();
    let warm = AtomicU64::new(0);
    inputs::read(seed, numbers, Duration::from_secs(1), |number| {
        let every = (count / 10).max(1);
        if number % every == every - 1 {
            let used = in_use();
            println!("{:>9} inputs after {:?}, {used} KiB in use", number + 1, begun.until(SystemClock.now()));
            let _ = warm.compare_exchange(0, used, Ordering::Relaxed, Ordering::Relaxed);
            let before = warm.load(Ordering::Relaxed);
            assert!(used < before + GROWTH_KIB, "memory grows: {before} KiB at first, {used} KiB now");
        }
    });
}
