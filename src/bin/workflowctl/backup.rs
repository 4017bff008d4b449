//! `backup`

use std::path::PathBuf;

use bondflow::store::sqlite;
use clap::Args;
use serde_json::json;

use crate::Shared;
use crate::failure::Failure;
use crate::open;

/// Writes a copy of the database as it is at one moment, also while the daemon works.
///
/// The copy is checked before it counts: SQLite finds it sound, and it has the runs. It holds preimages: mode 600.
/// A file that is there is never overwritten. Before you ever start a daemon on an old copy, read about restored
/// backups in docs/operations.md.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl backup /var/backups/bondflow-$(date +%F).db
  workflowctl backup copy.db && workflowctl --database sqlite://copy.db stats")]
pub struct Backup {
    /// The file to write.
    file: PathBuf,
}

impl Backup {
    /// Writes it.
    pub async fn run(self, mut shared: Shared) -> Result<(), Failure> {
        let from = open::file(&shared)?;
        let refused = |error: sqlite::BackupError| Failure::Error(error.to_string());
        let copy = sqlite::backup(&from, &self.file).await.map_err(refused)?;
        let file = self.file.display().to_string();
        let text = format!("{file}: {} runs, {} bytes, checked", copy.runs, copy.bytes);
        let json = json!({ "file": file, "runs": copy.runs, "bytes": copy.bytes, "batch": copy.batch, "timeline": copy.timeline });
        shared.output.text(&file, &text, &json)?;
        Ok(())
    }
}
