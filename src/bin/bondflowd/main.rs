//! The daemon: starts, runs until it is told to stop, and drains.

mod log;
mod service;
mod traces;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bondflow::app::Daemon;
use bondflow::config::{self, Settings};
use bondflow::engine::SystemClock;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use log::Log;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// "File size limit exceeded", on every Linux but MIPS.
const SIGXFSZ: i32 = 25;

/// Pays what the node owes for slashed bonds.
#[derive(Parser)]
#[command(version, after_help = "Examples:\n  bondflowd run --config /etc/bondflow/settings.toml\n  bondflowd demo")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon until SIGTERM or SIGINT; SIGHUP reads the settings again.
    #[command(after_help = "Examples:\n  bondflowd run\n  RUST_LOG=bondflow=debug bondflowd run --log json")]
    Run {
        /// The settings file.
        #[arg(long, default_value = config::DEFAULT_PATH)]
        config: PathBuf,
        /// How the log looks.
        #[arg(long, value_enum, default_value_t = Log::Text)]
        log: Log,
    },
    /// Shows one slashed bond from the ruling to the payment, with a relay and an lnd stand-in of its own.
    Demo {
        /// Leaves everything running afterwards, to play with.
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bondflowd: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match arguments.command {
            Command::Run { config, log } => run(&config, log).await,
            Command::Demo { keep } => bondflow::sandbox::demo::show(keep).await,
        }
    });
    // All is written that is to be written: what some library still waits for, such as a name server, is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bondflowd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(path: &Path, log: Log) -> anyhow::Result<()> {
    let settings = Settings::load(path, config::variables())?;
    let traces = log::start(log, settings.telemetry.otlp_endpoint.as_deref())?;
    let ended = work(settings, path).await;
    traces.end().await;
    ended
}

/// Works until it is told to stop, or can't.
async fn work(settings: Settings, path: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be caught")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP can't be caught")?;
    // A file that may not grow any more shall be a write that fails, with its reason, and not the
    // end of the process without a word.
    let _no_room = signal(SignalKind::from_raw(SIGXFSZ)).context("SIGXFSZ can't be caught")?;
    let mut daemon = tokio::select! {
        started = Daemon::start(settings, Arc::new(SystemClock)) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    info!(version = env!("CARGO_PKG_VERSION"), "bondflowd works");
    service::ready();
    // It goes on while the daemon drains.
    let _alive = service::alive(daemon.store());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                service::reloading();
                reload(&mut daemon, path).await;
                service::ready();
            }
            failed = daemon.failed() => {
                error!("{failed}");
                service::stopping();
                daemon.stop().await;
                return Err(failed.into());
            }
        }
    }
    info!("finishing what is under way");
    service::stopping();
    daemon.stop().await;
    info!("stopped");
    Ok(())
}

/// Reads the settings again; bad ones change nothing.
async fn reload(daemon: &mut Daemon, path: &Path) {
    let reloaded = match Settings::load(path, config::variables()) {
        Ok(settings) => daemon.reload(settings).await.map_err(anyhow::Error::from),
        Err(error) => Err(error.into()),
    };
    match reloaded {
        Ok(changes) if changes.is_empty() => info!("the settings are as before"),
        Ok(changes) => {
            for change in changes {
                let takes_effect = if change.needs_restart { "at the next start" } else { "now" };
                info!(key = change.key, takes_effect, "setting changed");
            }
        }
        Err(error) => warn!("the settings stay as they were: {error:#}"),
    }
}
