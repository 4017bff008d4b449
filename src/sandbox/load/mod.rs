//! Many slashed bonds at once, and what the daemon makes of them.
//!
//! Around a daemon in a process of its own stand a relay, the lnd stand-in, a solver and as many
//! winners as there are bonds. All rulings are given at once; each winner answers the request for
//! an invoice as soon as it hears it. Rulings, invoices and answers are made beforehand and the
//! winners share one connection, so that the figures tell of the daemon more than of its world.

mod report;
mod stage;
mod winner;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;

use crate::engine::{Clock, SystemClock};
use crate::sandbox::lnd::Behaviour;

use report::Timing;
pub use report::{Latency, Report, Spent};
use stage::Stage;

/// How much is asked of the daemon.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Bonds that are slashed at once and paid.
    pub bonds: usize,
    /// Bonds whose payees hold the payment before the others begin, and until they have ended.
    pub held: usize,
    /// What a payment takes at the payee.
    pub payment: Duration,
    /// How long anything may take.
    pub patience: Duration,
    /// Further lines for the settings: section and `key = value`.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            bonds: 1_000,
            held: 0,
            payment: Duration::from_millis(50),
            patience: Duration::from_secs(120),
            settings: Vec::new(),
        }
    }
}

/// Runs it with the daemon `bondflowd` in an empty folder.
///
/// # Errors
/// When a bond is not paid exactly once, or not in time.
pub async fn run(bondflowd: &Path, folder: PathBuf, plan: &Plan) -> anyhow::Result<Report> {
    let stage = Stage::set(folder, plan).await?;
    let daemon = stage.start(bondflowd).await?;
    let (held, paid) = stage.winners.split_at(plan.held);

    for winner in held {
        stage.wallet.next_of(winner.hash, Behaviour::HOLD, 1);
    }
    try_join_all(held.iter().map(|winner| winner.is_ruled(&stage.solver))).await?;
    try_join_all(held.iter().map(|winner| winner.answers(plan.patience))).await?;
    for winner in held {
        let htlc = stage.lnd.node.wait_for_htlc(winner.hash);
        tokio::time::timeout(plan.patience, htlc).await.context("a payment that is to be held does not come")?;
    }

    let before = daemon.spent()?;
    let begun = SystemClock.now();
    let timings = try_join_all(paid.iter().map(|winner| async {
        winner.is_ruled(&stage.solver).await?;
        let asked_at = winner.answers(plan.patience).await?;
        winner.is_told(plan.patience).await?;
        anyhow::Ok(Timing { asked_at, told_at: SystemClock.now() })
    }));
    let timings = timings.await?;
    let ended = SystemClock.now();
    let spent = daemon.spent()?;

    for winner in held {
        if !stage.lnd.node.release(winner.hash) {
            bail!("a held payment was not held to the end");
        }
    }
    try_join_all(held.iter().map(|winner| winner.is_told(plan.patience))).await?;
    stage.check().await?;
    let report = Report::of(plan, &stage, paid, &timings, (begun, ended), spent.since(&before));
    daemon.stop(plan.patience).await?;
    Ok(report)
}
