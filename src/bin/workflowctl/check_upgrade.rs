//! `check-upgrade`

use bondflow::store::postgres::PostgresStore;
use bondflow::store::sqlite::survey;
use clap::Args;
use serde_json::json;

use crate::Shared;
use crate::failure::Failure;
use crate::graph::definitions;
use crate::open;

/// Says whether this build's daemon would start on the database: run it with the new build before an upgrade.
///
/// Looks at the version of the schema and at the definitions that open runs follow, and changes nothing; the
/// daemon of the old build may go on. Exits with 1 when it would refuse.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl check-upgrade
  ./new/workflowctl check-upgrade --config /etc/bondflow/settings.toml && systemctl stop bondflowd")]
pub struct CheckUpgrade {}

impl CheckUpgrade {
    /// Looks.
    pub async fn run(self, mut shared: Shared) -> Result<(), Failure> {
        let url = open::address(&shared)?;
        let (name, found) = match url.file() {
            Some(file) => {
                let found = survey(&file).await.map_err(|error| Failure::Error(error.to_string()))?;
                (file.display().to_string(), found)
            }
            None => {
                let found = PostgresStore::survey(url.expose()).await;
                (format!("{url:?}"), found.map_err(|error| Failure::Error(error.to_string()))?)
            }
        };
        let missing: Vec<String> = found
            .pins
            .iter()
            .filter(|(pin, _)| !definitions().any(|definition| definition.pin() == *pin))
            .map(|(pin, runs)| {
                let hash = &pin.hash[..pin.hash.len().min(8)];
                format!("{} version {} ({hash}…): {runs} open runs", pin.workflow, pin.version)
            })
            .collect();
        let open: u64 = found.pins.iter().map(|(_, runs)| runs).sum();
        let json = json!({ "version": env!("CARGO_PKG_VERSION"), "schema": found.version, "schema_known": found.known,
            "open_runs": open, "missing": missing, "ok": missing.is_empty() });
        let schema = if found.version < found.known {
            format!("schema {}: the daemon brings it to {}; back it up before", found.version, found.known)
        } else {
            format!("schema {}: as this build has it", found.version)
        };
        let runs = if missing.is_empty() {
            format!("{open} open runs: this build has the definitions of all")
        } else {
            format!("this build lacks definitions that open runs follow:\n  {}", missing.join("\n  "))
        };
        shared.output.text(&name, &format!("{schema}\n{runs}"), &json)?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::Error(
            "this build's daemon would refuse to start: let these runs end under the build that has them".to_owned(),
        ))
    }
}
