//! The database: the file, the daemon on it, and what its rows say.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bondflow::config::DatabaseUrl;
use bondflow::engine::store::RunFilter;
use bondflow::engine::{Status, Store, Timestamp};
use bondflow::payout::invariants::{Records, check};
use bondflow::payout::risk;
use bondflow::store::Survey;
use bondflow::store::postgres::PostgresStore;
use bondflow::store::sqlite::{self, daemon_lives};
use bondflow::store::wake::{socket_beside, wake};

use crate::failure::Failure;
use crate::graph::definitions;
use crate::list::late;
use crate::when::{Since, span};

use super::Finding;

/// The file, its schema, and the daemon on it.
pub(super) async fn file(path: &Path, quick: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let survey = match sqlite::survey(path).await {
        Ok(survey) => survey,
        Err(error) => {
            let to_do = "name the daemon's database; a damaged one is put aside whole before a backup is restored";
            return vec![Finding::fail("database", error.to_string(), to_do)];
        }
    };
    let name = path.display();
    findings.push(schema(&name.to_string(), &survey));
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        let found = format!("{name} can be read by others than its owner");
        findings.push(Finding::fail("database", found, "chmod 600: it holds preimages"));
    }
    if !quick {
        findings.push(match sqlite::inspect(path).await {
            Ok(wrong) if wrong.is_empty() => Finding::ok("database", "SQLite finds the file sound"),
            Ok(wrong) => {
                let to_do = "stop the daemon, keep the file, and restore as the runbook says";
                Finding::fail("database", format!("{} faults: {}", wrong.len(), wrong[0]), to_do)
            }
            Err(error) => Finding::fail("database", error.to_string(), "look at the disk"),
        });
    }
    findings.push(known(&survey));
    findings.push(if !daemon_lives(path) {
        absent()
    } else if wake(&socket_beside(path)).await.is_err() {
        let to_do = "requests are seen late; when it goes on, look at its log, and restart it";
        Finding::warn("daemon", "it runs, and does not answer on its socket", to_do)
    } else {
        Finding::ok("daemon", "it runs and answers")
    });
    findings
}

/// The schema of a database on a server, and what its runs follow.
pub(super) async fn server(url: &DatabaseUrl) -> Vec<Finding> {
    match PostgresStore::survey(url.expose()).await {
        Ok(survey) => vec![schema(&format!("{url:?}"), &survey), known(&survey)],
        Err(error) => {
            let to_do = "look at the server and at `database.url`: nothing is paid, asked or answered meanwhile";
            vec![Finding::fail("database", error.to_string(), to_do)]
        }
    }
}

/// Whether a daemon is at work on a database of a server.
pub(super) async fn attended(server: &PostgresStore) -> Result<Finding, Failure> {
    Ok(if server.attended().await? { Finding::ok("daemon", "one is at work") } else { absent() })
}

fn absent() -> Finding {
    Finding::warn("daemon", "none is at work", "start it: nothing is paid, asked or answered meanwhile")
}

fn schema(name: &str, survey: &Survey) -> Finding {
    let Survey { version, known, .. } = survey;
    if version < known {
        let found = format!("{name}: schema {version}, this build has {known}");
        Finding::warn("database", found, "back it up, then start this build's daemon: it brings the schema up to date")
    } else {
        Finding::ok("database", format!("{name}: schema {version}"))
    }
}

fn known(survey: &Survey) -> Finding {
    let missing = survey.pins.iter().filter(|(pin, _)| !definitions().any(|known| known.pin() == *pin)).count();
    if missing > 0 {
        let found = format!("this build lacks {missing} that open runs follow");
        return Finding::fail("definitions", found, "`check-upgrade` names them: go on with the build that has them");
    }
    let runs: u64 = survey.pins.iter().map(|(_, runs)| runs).sum();
    Finding::ok("definitions", format!("this build has those of all {runs} open runs"))
}

/// How long a message may wait for the relays before it is worth a word.
const LONG: Duration = Duration::from_secs(600);
/// Most kinds of trouble, and violations, that are told one by one.
const MOST: usize = 10;

/// What the rows say.
pub(super) async fn rows(store: &dyn Store, now: Timestamp, quick: bool) -> Result<Vec<Finding>, Failure> {
    let mut findings = alarms(store, now).await?;
    let in_doubt = RunFilter { status: Some(Status::InDoubt), ..RunFilter::default() };
    let in_doubt = store.runs(&in_doubt).await?.len();
    findings.push(if in_doubt == 0 {
        Finding::ok("payments", "none is in doubt")
    } else {
        let to_do = "they are looked up until lnd tells; `list --in-doubt`, and the runbook for those that stay";
        Finding::warn("payments", format!("{in_doubt} in doubt"), to_do)
    });
    let at_risk = risk::at_risk(store).await?;
    findings.push(Finding::ok("sats at risk", at_risk.total().to_string()));
    let pending = store.outbox_due(Timestamp(i64::MAX), 1).await?;
    findings.push(match pending.first() {
        Some(oldest) if oldest.created_at < Since::Ago(LONG).before(now) => Finding::warn(
            "messages",
            format!("the oldest has waited for {}", span(oldest.created_at.until(now))),
            "look at the relays: it is offered until more than half of them have it",
        ),
        Some(_) => Finding::ok("messages", "some are on their way"),
        None => Finding::ok("messages", "all are delivered"),
    });
    if !quick {
        let violations = check(&Records::read(store).await?);
        let to_do = "stop the daemon, keep the file, and report it: this must never be";
        findings.extend(
            violations.iter().take(MOST).map(|violation| Finding::fail("invariants", violation.to_string(), to_do)),
        );
        findings.push(if violations.is_empty() {
            Finding::ok("invariants", "all hold")
        } else {
            Finding::fail("invariants", format!("{} are broken", violations.len()), to_do)
        });
    }
    Ok(findings)
}

/// The alarms that last: runs that don't get on, by their reason.
async fn alarms(store: &dyn Store, now: Timestamp) -> Result<Vec<Finding>, Failure> {
    let stuck = store.runs(&RunFilter { stuck: Some(late(now)), ..RunFilter::default() }).await?;
    let mut reasons: BTreeMap<(bool, String), usize> = BTreeMap::new();
    for run in &stuck {
        let paused = run.status == Status::Paused;
        let what = run.error.as_deref().unwrap_or(if paused { "paused by an operator" } else { "overdue" });
        *reasons.entry((!paused, what.to_owned())).or_default() += 1;
    }
    if reasons.is_empty() {
        return Ok(vec![Finding::ok("alarms", "all runs get on")]);
    }
    let more = reasons.len().saturating_sub(MOST);
    let mut findings: Vec<Finding> = reasons
        .into_iter()
        .take(MOST)
        .map(|((moves, what), runs)| {
            let found = format!("{runs} {}: {what}", if runs == 1 { "run" } else { "runs" });
            let to_do = if moves {
                "they go on by themselves when the cause is gone: `list --stuck`"
            } else {
                "mend the cause, then `resume`: `list --status paused`, `why ID`"
            };
            Finding::warn("alarms", found, to_do)
        })
        .collect();
    if more > 0 {
        findings.push(Finding::warn("alarms", format!("{more} reasons more"), "`list --stuck` shows all"));
    }
    Ok(findings)
}
