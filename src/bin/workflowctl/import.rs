//! `import`

use std::path::PathBuf;

use bondflow::import::{Imported, Takeover};
use clap::Args;
use serde_json::{Value, json};

use crate::Shared;
use crate::failure::Failure;
use crate::open::{Access, open};

/// Takes the open debts of a mostrod 0.20 database over, once, with mostrod and the daemon stopped.
///
/// Orders in dispute and their locked bonds, bonds that are owed, and trades whose buyers are unpaid
/// become this database's. Afterwards no mostrod starts on the file. Importing again changes nothing.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl import /var/lib/mostro/mostro.db --plan
  workflowctl import /var/lib/mostro/mostro.db")]
pub struct Import {
    /// mostrod's database.
    file: PathBuf,
    /// Only shows what would be taken over; changes nothing.
    #[arg(long)]
    plan: bool,
}

impl Import {
    /// Imports it, and writes the report to stdout.
    pub async fn run(self, mut shared: Shared) -> Result<(), Failure> {
        let refused = |error: bondflow::import::ImportError| Failure::Error(error.to_string());
        let takeover = Takeover::read(&self.file).await.map_err(refused)?;
        let path = self.file.display().to_string();
        if self.plan {
            let report = takeover.report();
            let json = json!({ "imported": "not yet", "report": report });
            shared.output.text(&path, &report.to_string(), &json)?;
            shared.output.tell("nothing was changed: import without --plan takes it over");
            return Ok(());
        }
        let opened = open(&shared, Access::Exclusive).await?;
        let now = shared.clock.now();
        let starts = takeover.starts(now).map_err(refused)?;
        let imported = takeover.into_store(opened.store.as_ref(), &opened.name, starts, now).await.map_err(refused)?;
        match imported {
            Imported::Now(report) => {
                let json = json!({ "imported": "now", "at": now.to_string(), "report": report });
                shared.output.text(&path, &report.to_string(), &json)?;
                shared.output.tell(format_args!("taken over; no mostrod starts on {path} any more"));
            }
            Imported::Before(fact) => {
                let at = fact["at"]
                    .as_i64()
                    .map_or(Value::Null, |at| bondflow::engine::Timestamp::from_secs(at).to_string().into());
                let json = json!({ "imported": "before", "at": at, "report": fact["report"] });
                let text = format!("already imported at {}, nothing was changed", at.as_str().unwrap_or("?"));
                shared.output.text(&path, &text, &json)?;
            }
        }
        Ok(())
    }
}
