//! What surrounds the database: settings, lnd, relays, the clock.

use std::path::Path;
use std::time::Duration;

use bondflow::config::{ConfigError, Settings};
use bondflow::engine::store::RunFilter;
use bondflow::engine::{Store, Timestamp};
use bondflow::import::LND_FACT;
use bondflow::lnd::{self, startup};
use bondflow::nostr::health;
use bondflow::payout::policy::window::clock_mistrusted;
use bondflow::payout::ports::NodeInfo;
use bondflow::payout::tables::FACTS;

use crate::failure::Failure;
use crate::when::relative;

use super::{Finding, State};

/// How long lnd is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether the daemon would take its settings.
pub(super) fn settings(path: &Path, settings: Result<&Settings, &ConfigError>) -> Finding {
    match settings {
        Ok(_) => Finding::ok("settings", format!("{} is good", path.display())),
        Err(error) => Finding::fail(
            "settings",
            error.to_string(),
            "mend the key that is named, or give --config FILE; without settings lnd and relays are not checked",
        ),
    }
}

/// lnd, the relays, and the clock by lnd's chain.
pub(super) async fn outside(
    settings: &Settings,
    store: Option<&dyn Store>,
    now: Timestamp,
) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let info = lightning(settings, store, &mut findings).await?;
    findings.push(clock(info.as_ref(), store, now).await?);
    let relays: Vec<String> = settings.nostr.relays.iter().map(ToString::to_string).collect();
    let reached = health::reachable(&relays).await;
    for (relay, problem) in &reached {
        findings.push(match problem {
            None => Finding::ok("relay", format!("{relay} answers")),
            Some(problem) => Finding {
                check: "relay",
                state: State::Warn,
                found: format!("{relay}: {problem}"),
                to_do: Some("look at the relay; messages wait until more than half of the relays have them"),
            },
        });
    }
    let quorum = relays.len() / 2 + 1;
    let there = reached.iter().filter(|(_, problem)| problem.is_none()).count();
    if there < quorum {
        findings.push(Finding::fail(
            "relays",
            format!("{there} of {} answer, {quorum} are needed", relays.len()),
            "until a quorum is back nothing is published, and nobody forfeits",
        ));
    }
    Ok(findings)
}

async fn lightning(
    settings: &Settings,
    store: Option<&dyn Store>,
    findings: &mut Vec<Finding>,
) -> Result<Option<NodeInfo>, Failure> {
    let lightning = &settings.lightning;
    let away = "payouts wait, and spend no attempt, until it is back; see the runbook, lnd away";
    if let Err(error) = startup::check_files(&lightning.lnd_cert_file, &lightning.lnd_macaroon_file).await {
        findings.push(Finding::fail("lnd", error.to_string(), "mend `lightning` in the settings"));
        return Ok(None);
    }
    let (cert, macaroon) = (lightning.lnd_cert_file.clone(), lightning.lnd_macaroon_file.clone());
    let node = match lnd::Node::new(&lightning.lnd_grpc_host, cert, macaroon) {
        Ok(node) => node,
        Err(error) => {
            findings.push(Finding::fail("lnd", error.to_string(), "mend `lightning.lnd_grpc_host`"));
            return Ok(None);
        }
    };
    let info = match tokio::time::timeout(PATIENCE, startup::check(&node, None)).await {
        Ok(Ok(info)) => info,
        Ok(Err(error)) => {
            findings.push(Finding::fail("lnd", error.to_string(), away));
            return Ok(None);
        }
        Err(_) => {
            findings.push(Finding::fail("lnd", format!("no answer within {} s", PATIENCE.as_secs()), away));
            return Ok(None);
        }
    };
    let found = format!("{} {} on {}, block {}", info.version, info.identity, info.network, info.block_height);
    let known = match store {
        Some(store) => store.row(FACTS.name, LND_FACT).await?,
        None => None,
    };
    let known = known.and_then(|row| row.get("value")?.as_str().map(str::to_owned));
    findings.push(match known.filter(|known| *known != info.identity) {
        Some(known) => Finding::fail(
            "lnd",
            format!("{found}; the open bonds are held by {known}"),
            "point `lightning.lnd_grpc_host` at that one",
        ),
        None => Finding::ok("lnd", found),
    });
    Ok(Some(info))
}

/// The clock against lnd's best block, and against what was written last.
async fn clock(info: Option<&NodeInfo>, store: Option<&dyn Store>, now: Timestamp) -> Result<Finding, Failure> {
    let ahead = "set the clock by NTP: while it is hours ahead nobody forfeits, and sends look as if they had expired";
    let newest = match store {
        Some(store) => store.runs(&RunFilter { limit: Some(1), ..RunFilter::default() }).await?.pop(),
        None => None,
    };
    if let Some(run) = newest.filter(|run| run.created_at > now.after(Duration::from_secs(60))) {
        let found = format!("it is behind: the newest run was started {}", relative(run.created_at, now));
        return Ok(Finding::fail("clock", found, "set the clock by NTP: it was set back"));
    }
    Ok(match info {
        None => Finding::warn("clock", "nothing to compare it with: lnd gave no block", "see lnd"),
        Some(info) if clock_mistrusted(now.secs(), Some(info.best_block_time)) => {
            let block = Timestamp::from_secs(info.best_block_time);
            Finding::fail("clock", format!("lnd's best block is from {}", relative(block, now)), ahead)
        }
        Some(info) => {
            let block = Timestamp::from_secs(info.best_block_time);
            Finding::ok("clock", format!("lnd's best block is from {}", relative(block, now)))
        }
    })
}
