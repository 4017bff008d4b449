//! `bondflowd demo`: one slashed bond, from the solver's ruling to the payment, with a kill in
//! between.
//!
//! A relay, an lnd stand-in and three clients live in this process, on the machine's clock. The
//! daemon and `workflowctl` are the real programs, run as processes of their own. While the payment
//! is in flight the daemon is killed with SIGKILL; the one that is started then must find the
//! payment and not repeat it. All that was promised is checked at the end, and the demo fails if
//! any of it did not come true.

mod daemon;
mod evidence;
mod programs;
mod screen;
mod stage;
mod story;

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use programs::Programs;
use screen::Screen;
use stage::Stage;

/// How long the demo may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Shows it. With `keep` everything runs on until the demo is interrupted.
///
/// No process outlives the demo: what it started is killed when it ends, also early.
///
/// # Errors
/// When something did not come true, or not in time.
pub async fn show(keep: bool) -> anyhow::Result<()> {
    let mut ends = Ends::listen()?;
    let screen = Screen::stdout();
    let story = async {
        let programs = Programs::find()?;
        let deadline = Instant::now() + LIMIT;
        let stage = Stage::set(programs.folder(), keep, screen).await?;
        story::tell(stage, programs, screen, deadline).await
    };
    let told = tokio::select! {
        told = story => told?,
        () = ends.next() => bail!("interrupted"),
    };
    let came_true = told.came_true;
    if keep {
        let _playing = told.open_another(screen).await?;
        ends.next().await;
    } else {
        told.close(screen).await?;
    }
    if came_true { Ok(()) } else { bail!("not all of it came true") }
}

/// The signals that end the demo.
struct Ends([Signal; 3]);

impl Ends {
    fn listen() -> anyhow::Result<Self> {
        let caught = |kind| signal(kind).context("signals can't be caught");
        Ok(Self([
            caught(SignalKind::interrupt())?,
            caught(SignalKind::terminate())?,
            // The daemon takes a hang-up for "read the settings again" and would live on.
            caught(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
