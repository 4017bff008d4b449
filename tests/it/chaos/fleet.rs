//! The daemons, as processes, and what is done to them.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a daemon may take to end in good order.
const DRAIN: Duration = Duration::from_secs(30);

/// Daemons on one database, each with a log of its own that all its lives write to.
pub struct Fleet {
    settings: PathBuf,
    folder: PathBuf,
    daemons: Vec<Option<Child>>,
}

impl Fleet {
    pub fn new(settings: &Path, folder: &Path, daemons: usize) -> Self {
        let mut fleet = Self {
            settings: settings.to_owned(),
            folder: folder.to_owned(),
            daemons: std::iter::repeat_with(|| None).take(daemons).collect(),
        };
        for which in 0..daemons {
            fleet.start(which);
        }
        fleet
    }

    pub fn start(&mut self, which: usize) {
        let log = OpenOptions::new().append(true).create(true).open(self.log(which)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bondflowd"))
            .args(["run", "--config"])
            .arg(&self.settings)
            .env("RUST_LOG", "bondflow=info,bondflowd=info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.daemons[which] = Some(child);
    }

    /// SIGKILL. It must have lived until then: a daemon that ends by itself has failed.
    pub async fn kill(&mut self, which: usize) {
        let mut child = self.daemons[which].take().unwrap();
        child.start_kill().unwrap();
        let status = child.wait().await.unwrap();
        assert_eq!(status.signal(), Some(9), "daemon {which} ended by itself, {status}: {}", self.last_words(which));
    }

    /// SIGSTOP or SIGCONT: it stands still and knows nothing of it, or goes on.
    pub async fn freeze(&mut self, which: usize, frozen: bool) {
        let id = self.daemons[which].as_ref().unwrap().id().unwrap().to_string();
        let signal = if frozen { "STOP" } else { "CONT" };
        assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
    }

    /// Whether one has ended by itself, and its last words.
    pub fn ended(&mut self) -> Option<String> {
        for which in 0..self.daemons.len() {
            if let Some(child) = &mut self.daemons[which]
                && let Some(status) = child.try_wait().unwrap()
            {
                return Some(format!("daemon {which} ended by itself, {status}: {}", self.last_words(which)));
            }
        }
        None
    }

    /// SIGTERM to all, and their ends in good order.
    pub async fn stop(&mut self) {
        for which in 0..self.daemons.len() {
            let Some(mut child) = self.daemons[which].take() else { continue };
            let id = child.id().unwrap().to_string();
            assert!(Command::new("kill").args(["-s", "TERM", &id]).status().await.unwrap().success());
            let ended = timeout(DRAIN, child.wait()).await;
            let status = ended.unwrap_or_else(|_| panic!("daemon {which} does not end: {}", self.last_words(which)));
            assert!(status.unwrap().success(), "daemon {which} ended badly: {}", self.last_words(which));
        }
    }

    /// Where a daemon's log is.
    pub fn log(&self, which: usize) -> PathBuf {
        self.folder.join(format!("daemon-{which}.log"))
    }

    /// Lines of all logs that contain a text.
    pub fn said(&self, what: &str) -> Vec<String> {
        let logs = (0..self.daemons.len()).map(|which| std::fs::read_to_string(self.log(which)).unwrap_or_default());
        logs.flat_map(|log| log.lines().filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn last_words(&self, which: usize) -> String {
        let log = std::fs::read_to_string(self.log(which)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}
