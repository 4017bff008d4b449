//! `bondflowd` as a process of its own. Its log tells the demo what it does.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::programs::Programs;
use super::screen::{Screen, Who};

/// A line of the daemon's log.
#[derive(Debug, Clone)]
pub struct Line(Value);

impl Line {
    /// A field of the line, or of the run and the step that it belongs to; its text is `message`.
    pub fn field(&self, name: &str) -> &str {
        let spans = self.0["spans"].as_array().into_iter().flatten();
        let mut places = std::iter::once(&self.0["fields"]).chain(spans);
        places.find_map(|place| place[name].as_str()).unwrap_or_default()
    }

    /// Whether it tells of a step of the workflow that ended so.
    pub fn is_transition(&self, workflow: &str, to: &str, status: &str) -> bool {
        let is = |name, value| self.field(name) == value;
        is("message", "transition") && is("workflow", workflow) && is("to", to) && is("status", status)
    }

    /// The step that it tells of, for people; none for what is not worth a line.
    fn shown(&self) -> Option<String> {
        let field = |name| self.field(name);
        match field("message") {
            "transition" => {
                let mut text = format!("{}: {} → {}", field("workflow"), field("step"), field("to"));
                let because = match (field("outcome"), field("detail")) {
                    // The engine's own outcomes begin so; their detail says it better.
                    (outcome, detail) if outcome.starts_with('@') => detail.to_owned(),
                    (outcome, "") => outcome.to_owned(),
                    (outcome, detail) => format!("{outcome}, {detail}"),
                };
                text.push_str(&format!("  ({because})"));
                Some(text)
            }
            message if matches!(self.0["level"].as_str(), Some("WARN" | "ERROR")) => Some(message.to_owned()),
            _ => None,
        }
    }
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    lines: watch::Receiver<Vec<Line>>,
    reading: JoinHandle<()>,
}

impl Daemon {
    /// Starts it; its log goes to a file and, step by step, to the screen.
    pub async fn start(programs: &Programs, log: &Path, screen: Screen) -> anyhow::Result<Self> {
        let mut child = programs.bondflowd().stdout(Stdio::null()).spawn().context("bondflowd can't be started")?;
        let stderr = child.stderr.take().context("bondflowd has no log")?;
        let log = OpenOptions::new().create(true).append(true).open(log).await?;
        let (said, lines) = watch::channel(Vec::new());
        let reading = tokio::spawn(read(stderr, log, said, screen));
        Ok(Self { child, lines, reading })
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Waits until it has logged such a line.
    pub async fn says(&self, what: &str, deadline: Instant, is: impl Fn(&Line) -> bool) -> anyhow::Result<()> {
        let mut lines = self.lines.clone();
        let said = lines.wait_for(|lines| lines.iter().any(&is));
        self.meanwhile(what, deadline, async move { said.await.map(drop) }).await?.map_err(|_| self.has_ended(what))
    }

    /// Waits for something that comes true only while the daemon lives.
    pub async fn meanwhile<T>(
        &self,
        what: &str,
        deadline: Instant,
        event: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        let mut lines = self.lines.clone();
        let ended = async move { while lines.changed().await.is_ok() {} };
        tokio::select! {
            biased;
            event = timeout_at(deadline, event) => event.map_err(|_| anyhow!("waited in vain for {what}")),
            () = ended => Err(self.has_ended(what)),
        }
    }

    fn has_ended(&self, what: &str) -> anyhow::Error {
        anyhow!("bondflowd has ended, and {what} did not come")
    }

    /// SIGKILL: it gets no chance to finish anything.
    pub async fn kill(mut self) -> anyhow::Result<ExitStatus> {
        self.child.start_kill()?;
        let status = self.child.wait().await?;
        // What it wrote before is still read.
        self.reading.await?;
        Ok(status)
    }

    /// SIGTERM, as an operator or systemd stops it.
    pub async fn stop(mut self, deadline: Instant) -> anyhow::Result<()> {
        // A shell always has `kill`, and an interrupt from the terminal may have come first.
        let kill = format!("kill -TERM {} 2>/dev/null || true", self.pid());
        Command::new("sh").args(["-c", &kill]).status().await?;
        let status = timeout_at(deadline, self.child.wait()).await.context("bondflowd does not stop")??;
        if !status.success() {
            bail!("bondflowd stopped with {status}");
        }
        Ok(())
    }
}

/// Keeps what the daemon writes, and shows its steps as they happen.
async fn read(stderr: ChildStderr, mut log: File, said: watch::Sender<Vec<Line>>, screen: Screen) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        let line = serde_json::from_str(&text).map(Line);
        match &line {
            Ok(line) => line.shown().into_iter().for_each(|shown| screen.step(Who::Bondflowd, shown)),
            Err(_) => screen.step(Who::Bondflowd, &text),
        }
        said.send_modify(|all| all.extend(line.ok()));
        // A log that can't be written spoils nothing else.
        let _ = log.write_all(format!("{text}\n").as_bytes()).await;
    }
    let _ = log.flush().await;
}
