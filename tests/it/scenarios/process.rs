//! `bondflowd run` as a process of its own, and the means to end it.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::side::Side;
use super::world::{PATIENCE, World};

/// A daemon's process; it is killed when it is dropped, and what it told is shown when a test fails.
pub struct Process {
    child: Child,
    told: watch::Receiver<Vec<String>>,
    reading: JoinHandle<()>,
}

/// How a process ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub told: Vec<String>,
}

impl Process {
    /// Starts a daemon with a settings file; `log` is what its log says, as `RUST_LOG` has it.
    pub fn spawn(settings: &Path, log: &str) -> Self {
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_bondflowd"));
        Self::of(daemon.args(["run", "--config"]).arg(settings).env("RUST_LOG", log))
    }

    /// Runs a command that becomes a daemon.
    pub fn of(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, told) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                tell.send_modify(|all: &mut Vec<String>| all.push(line));
            }
        });
        Self { child, told, reading }
    }

    /// Starts a daemon in that world, and waits until it works.
    pub async fn start<L: Side>(world: &World<L>) -> Self {
        let process = Self::spawn(&world.settings_file(), "bondflow=info,bondflowd=info");
        process.tells("bondflowd works").await;
        process
    }

    /// Waits until it has told something; the line.
    pub async fn tells(&self, what: &str) -> String {
        let mut told = self.told.clone();
        let is_it = |line: &&String| line.contains(what);
        // What was waited for stays locked for as long as it is looked at.
        match timeout(PATIENCE, told.wait_for(|all| all.iter().any(|line| is_it(&line)))).await {
            Ok(Ok(all)) => all.iter().find(is_it).cloned().unwrap_or_default(),
            _ => panic!("it never said {what:?}"),
        }
    }

    /// How often it has told something so far.
    pub fn told(&self, what: &str) -> usize {
        self.told.borrow().iter().filter(|line| line.contains(what)).count()
    }

    /// Sends it a signal, `TERM` or `HUP`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    /// SIGKILL: it can do nothing about it.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and its end in good order within `patience`.
    pub async fn stop(self, patience: Duration) {
        self.signal("TERM").await;
        let ended = self.ends(patience).await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.told);
    }

    /// Waits until it ends by itself.
    pub async fn ends(mut self, patience: Duration) -> Ended {
        let status: ExitStatus = match timeout(patience, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it does not end"),
        };
        (&mut self.reading).await.unwrap();
        let told: Vec<String> = self.told.borrow().clone();
        assert!(!told.iter().any(|line| line.contains("panicked")), "{told:#?}");
        Ended { code: status.code(), told }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon told {:#?}", self.told.borrow());
        }
    }
}

/// A daemon's process that does not start: its one line.
pub async fn refusal(settings: &Path) -> String {
    let ended = Process::spawn(settings, "off").ends(Duration::from_secs(10)).await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.told);
    let [line] = ended.told.as_slice() else { panic!("not one line: {:#?}", ended.told) };
    assert!(line.starts_with("bondflowd: "), "{line}");
    line.clone()
}
