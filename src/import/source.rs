//! `mostro.db` itself: opened so that nobody else can write it, its schema checked, its rows read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteLockingMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};

use super::ImportError;
use super::columns::{BLOB, BONDS, DAEMON_STATE, DISPUTES, Foreign, ORDERS, Raw, TABLES, USERS};
use super::mark::{Mark, SEALED, VERSION};

/// The newest migration of mostrod 0.20.2. A newer one is accepted while the tables that are read
/// have the columns that are known, no more and no fewer.
const NEWEST_KNOWN: i64 = 20_261_020_130_000;

/// Another connection of a mostrod that is shutting down may hold the lock this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// The raw rows of each table; a row that is not even text is the error's place in the table.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) orders: Vec<Result<Raw, i64>>,
    pub(super) disputes: Vec<Result<Raw, i64>>,
    pub(super) users: Vec<Result<Raw, i64>>,
    pub(super) bonds: Vec<Result<Raw, i64>>,
    pub(super) state: Vec<Result<Raw, i64>>,
}

/// The file under our exclusive lock, which lasts until this is closed or dropped.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    connection: SqliteConnection,
}

impl Source {
    pub(super) async fn open(path: &Path) -> Result<Self, ImportError> {
        let shown = path.display().to_string();
        let unreadable = |problem: String| ImportError::Unreadable { path: shown.clone(), problem };
        let path = std::fs::canonicalize(path).map_err(|error| unreadable(error.to_string()))?;
        if let Some(process) = user_of(&path) {
            return Err(ImportError::InUse { path: shown, by: format!(" by process {process}") });
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(false)
            .locking_mode(SqliteLockingMode::Exclusive)
            .busy_timeout(PATIENCE);
        let connection = options.connect().await.map_err(|error| failure(&shown, &error))?;
        let mut source = Self { path, connection };
        // The exclusive locking mode keeps the lock after the transaction, up to the end of the
        // connection.
        for statement in ["BEGIN EXCLUSIVE", "COMMIT"] {
            source.run(statement).await?;
        }
        source.check_schema().await?;
        Ok(source)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn failure(&self, error: &sqlx::Error) -> ImportError {
        failure(&self.path.display().to_string(), error)
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), ImportError> {
        let done = sqlx::raw_sql(statement).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.failure(&error))
    }

    async fn check_schema(&mut self) -> Result<(), ImportError> {
        let path = self.path.display().to_string();
        let refuse = |problem: String| Err(ImportError::Schema { path: path.clone(), problem });
        if self.columns("_sqlx_migrations").await?.is_empty() {
            return refuse("it is not a mostrod database, it has no `_sqlx_migrations`".into());
        }
        let newest = "SELECT version, success FROM _sqlx_migrations WHERE version <> ? ORDER BY version DESC LIMIT 1";
        let newest = sqlx::query(newest).bind(VERSION).fetch_optional(&mut self.connection).await;
        let newest = newest.map_err(|error| failure(&path, &error))?;
        let (version, success) = newest.map_or((0, true), |row| (row.get::<i64, _>(0), row.get::<bool, _>(1)));
        if version < NEWEST_KNOWN {
            let problem = format!(
                "its newest migration is {version}, older than {NEWEST_KNOWN}: let mostrod 0.20.2 \
                                   start on it once, then import again"
            );
            return refuse(problem);
        }
        if !success {
            return refuse(format!("mostrod's migration {version} did not end well: repair it with mostrod first"));
        }
        for table in TABLES {
            let found = self.columns(table.name).await?;
            let known: BTreeSet<_> = table.columns().map(str::to_owned).collect();
            if found != known {
                let differing: Vec<_> = found.symmetric_difference(&known).map(String::as_str).collect();
                let problem = format!(
                    "its table `{}` differs from mostrod 0.20.2's in {}: a newer bondflow is needed",
                    table.name,
                    differing.join(", ")
                );
                return refuse(problem);
            }
        }
        Ok(())
    }

    async fn columns(&mut self, table: &str) -> Result<BTreeSet<String>, ImportError> {
        let query = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)").bind(table);
        let names: Vec<String> = query.fetch_all(&mut self.connection).await.map_err(|error| self.failure(&error))?;
        Ok(names.into_iter().collect())
    }

    /// All rows of all tables that are read.
    pub(super) async fn books(&mut self) -> Result<Books, ImportError> {
        Ok(Books {
            orders: self.rows(ORDERS).await?,
            disputes: self.rows(DISPUTES).await?,
            users: self.rows(USERS).await?,
            bonds: self.rows(BONDS).await?,
            state: self.rows(DAEMON_STATE).await?,
        })
    }

    async fn rows(&mut self, table: Foreign) -> Result<Vec<Result<Raw, i64>>, ImportError> {
        let pairs: Vec<_> = table
            .read
            .iter()
            .map(|(name, _)| {
                format!("'{name}', CASE typeof({name}) WHEN 'blob' THEN '{BLOB}' || hex({name}) ELSE {name} END")
            })
            .collect();
        let query = format!("SELECT rowid, json_object({}) FROM {} ORDER BY rowid", pairs.join(", "), table.name);
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| self.failure(&error))?;
        Ok(rows
            .iter()
            .map(|row| {
                let text = row.try_get::<String, _>(1).ok();
                match text.and_then(|text| serde_json::from_str(&text).ok()) {
                    Some(Value::Object(raw)) => Ok(raw),
                    _ => Err(row.get(0)),
                }
            })
            .collect())
    }

    /// What an earlier import left.
    pub(super) async fn mark(&mut self) -> Result<Option<Mark>, ImportError> {
        let query = sqlx::query_scalar("SELECT description FROM _sqlx_migrations WHERE version = ?").bind(VERSION);
        let text: Option<String> =
            query.fetch_optional(&mut self.connection).await.map_err(|error| self.failure(&error))?;
        let Some(text) = text else { return Ok(None) };
        let problem = || format!("its migration {VERSION} is a bondflow mark that can't be read: {text:?}");
        let schema = || ImportError::Schema { path: self.path.display().to_string(), problem: problem() };
        Mark::read(&text).map(Some).ok_or_else(schema)
    }

    /// Writes or replaces our mark, and the triggers that keep rows as they are.
    pub(super) async fn write_mark(&mut self, mark: &Mark) -> Result<(), ImportError> {
        let written = async {
            let mut transaction = self.connection.begin().await?;
            let insert = "INSERT OR REPLACE INTO _sqlx_migrations \
                          (version, description, success, checksum, execution_time) VALUES (?, ?, TRUE, zeroblob(48), 0)";
            sqlx::query(insert).bind(VERSION).bind(mark.to_string()).execute(&mut *transaction).await?;
            for (trigger, change, table) in triggers() {
                let create = format!(
                    "CREATE TRIGGER IF NOT EXISTS {trigger} BEFORE {change} ON {table} \
                     BEGIN SELECT RAISE(ABORT, '{SEALED}'); END"
                );
                sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        written.await.map_err(|error| self.failure(&error))
    }

    /// Undoes [`Self::write_mark`].
    pub(super) async fn remove_mark(&mut self) -> Result<(), ImportError> {
        let removed = async {
            let mut transaction = self.connection.begin().await?;
            let delete = sqlx::query("DELETE FROM _sqlx_migrations WHERE version = ?").bind(VERSION);
            delete.execute(&mut *transaction).await?;
            for (trigger, ..) in triggers() {
                let drop = format!("DROP TRIGGER IF EXISTS {trigger}");
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        removed.await.map_err(|error| self.failure(&error))
    }

    /// Lets go of the file.
    pub(super) async fn close(self) -> Result<(), ImportError> {
        let path = self.path.display().to_string();
        self.connection.close().await.map_err(|error| failure(&path, &error))
    }
}

/// The name of each trigger of the mark, the change that it forbids, and the table.
fn triggers() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    let changes = ["INSERT", "UPDATE", "DELETE"];
    let pairs = [ORDERS.name, BONDS.name].into_iter().flat_map(move |table| changes.map(|change| (change, table)));
    pairs.map(|(change, table)| (format!("bondflow_keeps_{table}_from_{change}"), change, table))
}

fn failure(path: &str, error: &sqlx::Error) -> ImportError {
    const BUSY: &str = "5";
    let code = error.as_database_error().and_then(|error| error.code());
    if code.is_some_and(|code| code == BUSY) {
        return ImportError::InUse { path: path.to_owned(), by: String::new() };
    }
    let problem = error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    ImportError::Unreadable { path: path.to_owned(), problem }
}

/// Another process that has the file open: an idle mostrod holds no lock between its
/// transactions. Where the system doesn't tell (no `/proc`, another user's process), nobody is
/// found, and only the lock speaks.
fn user_of(path: &Path) -> Option<u32> {
    let own = std::process::id();
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|process| {
        *process != own
            && std::fs::read_dir(format!("/proc/{process}/fd")).is_ok_and(|files| {
                files.filter_map(Result::ok).any(|file| std::fs::read_link(file.path()).is_ok_and(|open| open == path))
            })
    })
}
