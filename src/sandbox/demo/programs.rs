//! The programs that the demo runs, and the folder that it leaves.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::config::ENV_PREFIX;

/// Where the demo's things are.
#[derive(Debug, Clone)]
pub struct Programs {
    beside: PathBuf,
    folder: PathBuf,
}

impl Programs {
    /// The programs beside this one; the folder is `target/demo`, or a temporary one where there
    /// is no `target`.
    pub fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("this program's file can't be found")?;
        let beside = own.parent().context("this program is in no folder")?.to_owned();
        if !beside.join("workflowctl").is_file() {
            bail!("there is no workflowctl in {}: `cargo build --bins` makes it", beside.display());
        }
        let target = std::env::current_dir()?.join("target");
        let folder = if target.is_dir() { target.join("demo") } else { std::env::temp_dir().join("bondflow-demo") };
        Ok(Self { beside, folder })
    }

    /// The folder; it is the demo's own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `bondflowd run` on the demo's settings. Only they decide what it does.
    pub fn bondflowd(&self) -> Command {
        let mut command = self.program("bondflowd");
        command.args(["run", "--log", "json", "--config"]).arg(self.settings()).stderr(Stdio::piped());
        command.env("RUST_LOG", "info,bondflow::engine::outbox=debug,nostr_relay_pool=error,sqlx=warn,h2=warn");
        command
    }

    /// `workflowctl` on the demo's settings.
    pub fn workflowctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("workflowctl");
        command.arg("--config").arg(self.settings()).args(arguments);
        command
    }

    /// The settings file.
    pub fn settings(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }

    /// A `workflowctl` command as a person would type it.
    pub fn typed(&self, arguments: &str) -> String {
        let program = shown(&self.beside.join("workflowctl"));
        format!("{program} --config {} {arguments}", shown(&self.settings()))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.beside.join(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with(ENV_PREFIX) {
                command.env_remove(variable);
            }
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// A path as it is said from here.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
