//! The figures.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;

use super::Plan;
use super::stage::Stage;
use super::winner::Winner;
use crate::engine::{Clock as _, SystemClock, Timestamp};

/// What came of a [`Plan`].
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Bonds that were slashed at once and paid.
    pub bonds: usize,
    /// Bonds whose payments were held all the while.
    pub held: usize,
    /// From the first ruling until the last winner was asked.
    pub asked: Duration,
    /// From the first ruling until the last winner was told of its sats.
    pub paid: Duration,
    /// From a winner's invoice to lnd's being asked to pay it.
    pub to_send: Latency,
    /// From a winner's invoice to its being told of the sats.
    pub to_sats: Latency,
    /// What the daemon needed for it.
    pub spent: Spent,
}

/// How long something took, over all bonds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: Duration,
    /// All but one in a hundred took no longer.
    pub p99: Duration,
}

/// What a process has needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Processor time, of all processors together.
    pub processor: Duration,
    /// The most memory that it ever had, KiB.
    pub peak_kib: u64,
}

impl Latency {
    /// The percentiles of what was measured; zero of nothing.
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |percent: usize| all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Self { p50: at(50).unwrap_or_default(), p99: at(99).unwrap_or_default() }
    }
}

impl Spent {
    /// Of a process, as Linux tells it.
    pub(super) fn by(pid: u32) -> anyhow::Result<Self> {
        /// The unit of `/proc/PID/stat`, which Linux fixes for programs at a hundredth of a second.
        const TICK: Duration = Duration::from_millis(10);
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{file}")).context("the system does not tell what it needs")
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
        // After the name, which may hold anything, come the fields from the third on.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("no processor time")?;
        Ok(Self {
            processor: TICK * (user + system),
            peak_kib: peak.and_then(|text| text.trim().parse().ok()).context("no peak memory")?,
        })
    }

    /// What was needed since then; the peak is the whole life's.
    pub(super) fn since(self, before: &Self) -> Self {
        Self { processor: self.processor.saturating_sub(before.processor), ..self }
    }
}

/// When a winner was asked, answering at once, and when it was told of its sats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) asked_at: Timestamp,
    pub(super) told_at: Timestamp,
}

impl Report {
    pub(super) fn of(
        plan: &Plan,
        stage: &Stage,
        winners: &[Winner],
        timings: &[Timing],
        (begun, ended): (Timestamp, Timestamp),
        spent: Spent,
    ) -> Self {
        let ledger = stage.lnd.node.ledger();
        // lnd's ledger counts from the node's own beginning.
        let born = SystemClock.now().millis() - i64::try_from(stage.lnd.node.elapsed_ms()).unwrap_or_default();
        let sent_at = |winner: &Winner| {
            let send = ledger.sends_of(winner.hash).into_iter().map(|send| send.received_ms).min();
            Timestamp(born + send.and_then(|ms| i64::try_from(ms).ok()).unwrap_or_default())
        };
        let to_send = winners.iter().zip(timings).map(|(winner, timing)| timing.asked_at.until(sent_at(winner)));
        let last_asked = timings.iter().map(|timing| timing.asked_at).max().unwrap_or(begun);
        Self {
            bonds: plan.bonds,
            held: plan.held,
            asked: begun.until(last_asked),
            paid: begun.until(ended),
            to_send: Latency::of(to_send.collect()),
            to_sats: Latency::of(timings.iter().map(|timing| timing.asked_at.until(timing.told_at)).collect()),
            spent,
        }
    }

    /// Bonds that were paid in a second.
    pub fn bonds_per_second(&self) -> f64 {
        self.bonds as f64 / self.paid.as_secs_f64().max(f64::EPSILON)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_millis();
        writeln!(
            f,
            "{} bonds slashed at once, {} more held: all asked after {} ms, all paid after {} ms, {:.0} bonds/s",
            self.bonds,
            self.held,
            ms(self.asked),
            ms(self.paid),
            self.bonds_per_second()
        )?;
        writeln!(f, "invoice to send: p50 {} ms, p99 {} ms", ms(self.to_send.p50), ms(self.to_send.p99))?;
        writeln!(f, "invoice to sats: p50 {} ms, p99 {} ms", ms(self.to_sats.p50), ms(self.to_sats.p99))?;
        write!(
            f,
            "the daemon: {:.1} ms of processor time for a bond, {:.1} MiB at its peak",
            self.spent.processor.as_secs_f64() * 1_000.0 / self.bonds.max(1) as f64,
            self.spent.peak_kib as f64 / 1_024.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let of = |all: std::ops::RangeInclusive<u64>| Latency::of(all.rev().map(Duration::from_millis).collect());
        let ms = |p50, p99| Latency { p50: Duration::from_millis(p50), p99: Duration::from_millis(p99) };
        assert_eq!((of(1..=100), of(1..=1_000), of(7..=7)), (ms(50, 99), ms(500, 990), ms(7, 7)));
        assert_eq!(Latency::of(Vec::new()), ms(0, 0));
    }

    #[test]
    fn a_process_is_known_by_what_it_needed() {
        let spent = Spent::by(std::process::id()).unwrap();
        assert!(spent.peak_kib > 100, "{spent:?}");
        assert_eq!(spent.since(&spent).processor, Duration::ZERO);
    }
}
