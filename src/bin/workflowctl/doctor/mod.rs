//! `doctor`

mod books;
mod surroundings;

use bondflow::config::{Settings, variables};
use clap::Args;
use serde_json::json;

use crate::Shared;
use crate::desk::DaemonPlace;
use crate::failure::Failure;
use crate::open::{self, Access};
use crate::output::Record;

/// Checks settings, database, daemon, lnd, relays and the clock, and what always holds of the rows.
///
/// Works with the daemon up or down, and changes nothing. Each line says `ok`, `warn` or `fail`, and what to do. Exits
/// with 1 when something fails.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl doctor
  workflowctl doctor --quick -o json | jq '.[] | select(.state != \"ok\")'")]
pub struct Doctor {
    /// Leaves out what reads the whole database: is the file sound, do the invariants hold.
    #[arg(long)]
    quick: bool,
    /// Leaves out what asks lnd and the relays.
    #[arg(long)]
    offline: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    to_do: Option<&'static str>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), to_do: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, to_do: &'static str) -> Self {
        Self { check, state: State::Warn, found: found.into(), to_do: Some(to_do) }
    }

    fn fail(check: &'static str, found: impl Into<String>, to_do: &'static str) -> Self {
        Self { check, state: State::Fail, found: found.into(), to_do: Some(to_do) }
    }

    fn record(&self) -> Record {
        let state = self.state.as_str();
        Record {
            id: self.check.to_owned(),
            cells: vec![
                state.to_owned(),
                self.check.to_owned(),
                self.found.clone(),
                self.to_do.unwrap_or("-").to_owned(),
            ],
            json: json!({ "check": self.check, "state": state, "found": self.found, "to_do": self.to_do }),
        }
    }
}

const HEADINGS: &[&str] = &["state", "check", "found", "what to do"];

impl Doctor {
    /// Checks.
    pub async fn run(self, mut shared: Shared) -> Result<(), Failure> {
        let now = shared.clock.now();
        let mut findings = Vec::new();
        let settings = Settings::load(&shared.config, variables());
        findings.push(surroundings::settings(&shared.config, settings.as_ref()));
        let settings = settings.ok();
        let store = match open::address(&shared) {
            Ok(url) => {
                findings.extend(match url.file() {
                    Some(file) => books::file(&file, self.quick).await,
                    None => books::server(&url).await,
                });
                let opened = open::open(&shared, Access::Beside).await.ok();
                if let Some(DaemonPlace::OnServer(server)) = opened.as_ref().and_then(|opened| opened.daemon.as_ref()) {
                    findings.push(books::attended(server).await?);
                }
                opened.map(|opened| opened.store)
            }
            Err(error) => {
                let to_do = "give --config FILE with the daemon's settings, or --database sqlite://FILE";
                findings.push(Finding::fail("database", error.to_string(), to_do));
                None
            }
        };
        if let Some(store) = &store {
            findings.extend(books::rows(store.as_ref(), now, self.quick).await?);
        }
        if let Some(settings) = settings.filter(|_| !self.offline) {
            findings.extend(surroundings::outside(&settings, store.as_deref(), now).await?);
        }
        let records: Vec<_> = findings.iter().map(Finding::record).collect();
        shared.output.records(HEADINGS, &records)?;
        match findings.iter().filter(|finding| finding.state == State::Fail).count() {
            0 => Ok(()),
            failed => Err(Failure::Error(format!("{failed} of {} checks failed", findings.len()))),
        }
    }
}
