//! `migrate-store`

use bondflow::app::MOVED_FACT;
use bondflow::config::DatabaseUrl;
use bondflow::engine::{Commit, Store};
use bondflow::payout::books::upsert;
use bondflow::payout::tables::{FACTS, TABLES};
use bondflow::store::moving::Move;
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{self, SqliteStore};
use clap::Args;
use serde_json::json;

use crate::Shared;
use crate::failure::Failure;
use crate::output::Record;

/// Moves a whole installation from SQLite to PostgreSQL, with the daemon stopped.
///
/// Every row is read back and compared before anything becomes so. Afterwards no daemon starts on the
/// SQLite file any more; it stays as it is. Moving again changes nothing. The password may be given as
/// PGPASSWORD or in ~/.pgpass.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl migrate-store sqlite:///var/lib/bondflow/bondflow.db postgres://bondflow@db.example/bondflow?sslmode=verify-full
  PGPASSWORD=… workflowctl migrate-store sqlite://bondflow.db postgres://bondflow@localhost/bondflow")]
pub struct MigrateStore {
    /// The SQLite database, `sqlite://FILE`.
    from: DatabaseUrl,
    /// The PostgreSQL database, `postgres://…`: empty, and not in use.
    to: DatabaseUrl,
}

const HEADINGS: &[&str] = &["table", "rows"];

impl MigrateStore {
    /// Moves it, and writes to stdout how many rows of each table there are.
    pub async fn run(self, mut shared: Shared) -> Result<(), Failure> {
        let (Some(file), None) = (self.from.file(), self.to.file()) else {
            return Err(Failure::Usage("it moves from sqlite://FILE to postgres://…".to_owned()));
        };
        let refused = |error: &dyn std::error::Error| Failure::Error(error.to_string());
        if !file.exists() {
            return Err(Failure::NotFound(format!("{}: there is no database", file.display())));
        }
        // Open, it can't be a daemon's; the other one gets its tables.
        let from = SqliteStore::open(&file, TABLES, sqlite::OpenMode::Daemon).await.map_err(|error| refused(&error))?;
        let to = PostgresStore::open(self.to.expose(), TABLES, postgres::OpenMode::Daemon, Reckoning::Database);
        let to = to.await.map_err(|error| refused(&error))?;
        let name = to.name();
        to.close().await;
        let but = (FACTS.name, FACTS.key, MOVED_FACT);
        let moved = Move::prepare(&file, self.to.expose(), but).await.map_err(|error| refused(&error))?;
        let (rows, before) = (moved.rows.clone(), moved.before);
        // First the mark: between the two no daemon may work on either.
        let mark = vec![upsert(FACTS, MOVED_FACT, json!({ "value": name }))];
        let marked = Store::commit(&from, Commit { at: shared.clock.now(), rows: mark, ..Commit::default() }).await;
        marked.map_err(|error| refused(&error))?;
        moved.commit().await.map_err(|error| refused(&error))?;
        from.close().await;
        let records: Vec<Record> = rows
            .iter()
            .map(|(table, rows)| Record {
                id: table.clone(),
                cells: vec![table.clone(), rows.to_string()],
                json: json!({ "table": table, "rows": rows }),
            })
            .collect();
        shared.output.records(HEADINGS, &records)?;
        match before {
            true => shared.output.tell("moved before, both hold the same: nothing was changed"),
            false => {
                let file = file.display();
                shared
                    .output
                    .tell(format_args!("moved, read back and compared; set database.url, and keep {file} as it is"));
            }
        }
        Ok(())
    }
}
