//! Slashed bonds through the whole daemon: a relay, an lnd stand-in and the winners on real
//! sockets, the daemon a process of its own.

use std::path::Path;
use std::time::Duration;

use bondflow::sandbox::load::{self, Latency, Plan};

use crate::report::{Report, Target};

const STORE: &str = "sqlite";

/// How many lone bonds are settled one after the other on an idle daemon.
const LONE: usize = 30;

/// What an idle daemon may take from an invoice to its payment, and from a slash to the request.
const SOON: f64 = 50.0;

/// What the payments of a thousand bonds may take whose payments take 50 ms each: nothing is serial.
const AT_ONCE: f64 = 5_000.0;

/// A thousand bonds at once, then lone ones.
pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    let all = settled(1_000).await?;
    report.add("1,000 bonds slashed at once, paid", STORE, all.bonds_per_second(), "bonds/s", Target::None);
    report.add("1,000 bonds: last one paid after", STORE, ms(all.paid), "ms", Target::AtMost(AT_ONCE));
    report.add("1,000 bonds: last one asked for its invoice after", STORE, ms(all.asked), "ms", Target::None);
    report.add("1,000 bonds: invoice to payment, p50", STORE, ms(all.to_send.p50), "ms", Target::None);
    report.add("1,000 bonds: invoice to payment, p99", STORE, ms(all.to_send.p99), "ms", Target::None);
    let each = ms(all.spent.processor) / all.bonds as f64;
    report.add("1,000 bonds: processor time of a bond", STORE, each, "ms", Target::None);
    report.add("1,000 bonds: peak memory", STORE, all.spent.peak_kib as f64 / 1_024.0, "MB", Target::None);

    let (mut asked, mut sent) = (Vec::with_capacity(LONE), Vec::with_capacity(LONE));
    for _ in 0..LONE {
        let lone = settled(1).await?;
        asked.push(lone.asked);
        sent.push(lone.to_send.p50);
    }
    for (row, latency) in [("slash to request", Latency::of(asked)), ("invoice to payment", Latency::of(sent))] {
        report.add(format!("lone bond: {row}, p50"), STORE, ms(latency.p50), "ms", Target::None);
        report.add(format!("lone bond: {row}, p99"), STORE, ms(latency.p99), "ms", Target::AtMost(SOON));
    }
    Ok(())
}

async fn settled(bonds: usize) -> anyhow::Result<load::Report> {
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let plan = Plan { bonds, ..Plan::default() };
    load::run(Path::new(env!("CARGO_BIN_EXE_bondflowd")), folder.path().to_owned(), &plan).await
}
