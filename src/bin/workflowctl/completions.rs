//! `completions`

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::Cli;
use crate::failure::Failure;

/// Writes the completions of a shell to stdout.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl completions bash > /usr/share/bash-completion/completions/workflowctl
  workflowctl completions zsh > \"${fpath[1]}/_workflowctl\"
  workflowctl completions fish > ~/.config/fish/completions/workflowctl.fish")]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Writes them.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "workflowctl", &mut script);
        Ok(std::io::stdout().write_all(&script)?)
    }
}
