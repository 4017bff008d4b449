//! `workflowctl`: what the operator sees of the runs, and asks of them.
//!
//! It reads the database, with the daemon up or down, and writes only requests into the runs'
//! mailboxes, which the daemon applies in its own transactions. Data goes to stdout, everything
//! else to stderr.

mod ask;
mod audit;
mod backup;
mod cancel;
mod check_upgrade;
mod completions;
mod desk;
mod doctor;
mod export;
mod failure;
mod find;
mod graph;
mod history;
mod import;
mod input;
mod list;
mod man;
mod migrate_store;
mod open;
mod order;
mod outbox;
mod output;
mod pause;
mod reconcile;
mod resolve;
mod resume;
mod retry;
mod selection;
mod show;
mod signal;
mod stake;
mod stats;
#[cfg(test)]
mod tests;
mod when;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bondflow::config::{DEFAULT_PATH, DatabaseUrl};
use bondflow::engine::{Clock, SystemClock};
use clap::{Parser, Subcommand};

use desk::Desk;
use failure::Failure;
use input::Input;
use output::{Format, Output};

/// Shows and steers the runs of a bondflow daemon.
///
/// Works on the database, with the daemon up or down. Whatever changes a run is only asked for: the
/// daemon does it, at once when it is up. An id may be shortened while it stays unique; a bond's or
/// an order's id names its runs too.
#[derive(Parser)]
#[command(name = "workflowctl", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
struct Cli {
    /// The daemon's settings: where the database is.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// The database itself, instead of the settings'.
    #[arg(long, global = true, value_name = "URL")]
    database: Option<DatabaseUrl>,
    /// How data is written to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 error, 2 usage, 3 partly done, 4 not found.
NO_COLOR turns colors off.";

#[derive(Subcommand)]
enum Command {
    /// Lists runs, the newest first.
    List(list::List),
    /// Shows all of one run.
    Show(show::Show),
    /// Shows what a run did, step by step.
    History(history::History),
    /// Says in one paragraph what a run waits for and what would move it.
    Why(why::Why),
    /// Draws a workflow, or a run's position in it.
    Graph(graph::Graph),
    /// Asks for the present step to be run now: ends a back-off or a pause.
    Resume(resume::Resume),
    /// Asks for runs to be stopped until they are resumed.
    Pause(pause::Pause),
    /// Asks for runs to be ended for good.
    Cancel(cancel::Cancel),
    /// Shows why a restored database is held, or says that it may go on.
    Reconcile(reconcile::Reconcile),
    /// Asks for a run to go on from another step.
    Retry(retry::Retry),
    /// Asks for a payment in doubt to be ended by your word.
    Resolve(resolve::Resolve),
    /// Asks for a signal to be put into a run's mailbox: an invoice got out of band.
    Signal(signal::Signal),
    /// Shows what operators asked, who, when and why.
    Audit(audit::Audit),
    /// Counts runs, ages and sats at risk.
    Stats(stats::Stats),
    /// Checks settings, database, daemon, lnd, relays, clock and invariants.
    Doctor(doctor::Doctor),
    /// Writes all that is known about a run as JSON, secrets masked.
    Export(export::Export),
    /// Writes a checked copy of the database, also while the daemon works.
    Backup(backup::Backup),
    /// Says whether this build's daemon would start on the database.
    CheckUpgrade(check_upgrade::CheckUpgrade),
    /// Takes the open debts of a mostrod database over, once.
    Import(import::Import),
    /// Moves a whole installation from SQLite to PostgreSQL.
    MigrateStore(migrate_store::MigrateStore),
    /// Writes the completions of a shell.
    Completions(completions::Completions),
    /// Writes the man pages.
    Man(man::Man),
}

impl Command {
    async fn run(self, mut cli: Shared) -> Result<(), Failure> {
        // A graph of a workflow needs no database.
        if let Self::Graph(graph) = &self
            && let Some(drawn) = graph.of_workflow(&mut cli.output)
        {
            return drawn;
        }
        match self {
            Self::Import(import) => import.run(cli).await,
            Self::Doctor(doctor) => doctor.run(cli).await,
            Self::MigrateStore(moving) => moving.run(cli).await,
            Self::Backup(backup) => backup.run(cli).await,
            Self::CheckUpgrade(check) => check.run(cli).await,
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
            command => {
                let mut desk = Desk::open(cli).await?;
                let done = command.on(&mut desk).await;
                desk.store.close().await;
                done
            }
        }
    }

    /// Runs a command on an open database.
    async fn on(self, desk: &mut Desk) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(desk).await,
            Self::Show(show) => show.run(desk).await,
            Self::History(history) => history.run(desk).await,
            Self::Why(why) => why.run(desk).await,
            Self::Graph(graph) => graph.run(desk).await,
            Self::Resume(resume) => resume.run(desk).await,
            Self::Pause(pause) => pause.run(desk).await,
            Self::Cancel(cancel) => cancel.run(desk).await,
            Self::Reconcile(reconcile) => reconcile.run(desk).await,
            Self::Retry(retry) => retry.run(desk).await,
            Self::Resolve(resolve) => resolve.run(desk).await,
            Self::Signal(signal) => signal.run(desk).await,
            Self::Audit(audit) => audit.run(desk).await,
            Self::Stats(stats) => stats.run(desk).await,
            Self::Export(export) => export.run(desk).await,
            Self::Import(_)
            | Self::Doctor(_)
            | Self::MigrateStore(_)
            | Self::Backup(_)
            | Self::CheckUpgrade(_)
            | Self::Completions(_)
            | Self::Man(_) => Err(Failure::Usage("this command opens the database itself, if any".to_owned())),
        }
    }
}

/// What all commands are given.
struct Shared {
    config: PathBuf,
    database: Option<DatabaseUrl>,
    output: Output,
    input: Input,
    clock: Arc<dyn Clock>,
    /// Who asks, as the machine knows him.
    operator: String,
}

/// Who asks: the user, and who he was before `sudo`.
fn operator() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let shared = Shared {
        config: cli.config,
        database: cli.database,
        output: Output::stdout(cli.output),
        input: Input::stdin(),
        clock: Arc::new(SystemClock),
        operator: operator(),
    };
    match cli.command.run(shared).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
