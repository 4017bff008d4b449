//! `man`

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};

use crate::Cli;
use crate::failure::Failure;

/// Writes the man pages, one a command, into a folder.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl man /usr/local/share/man/man1
  workflowctl man . && man ./workflowctl-resolve.1")]
pub struct Man {
    /// The folder; it is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    /// Writes them.
    pub fn run(self) -> Result<(), Failure> {
        write(&self.folder).map_err(|error| Failure::Error(format!("{}: {error}", self.folder.display())))
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command().disable_help_flag(true), folder)
}
