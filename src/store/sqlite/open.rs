//! Opening: who may, on what file, at which version of the schema. A file that is refused is left
//! as it is.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlStr, SqliteConnection};

use super::failure;

/// For what a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To drive its runs: there is one daemon at most, which makes the file if there is none and
    /// brings its schema up to date.
    Daemon,
    /// To look and to leave requests, whether a daemon is up or not. The file must be there, at
    /// the version of the schema that this build knows.
    Tool,
}

/// Why a database was not opened. Each is one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The folder in which it should lie is not there.
    #[error("{}: the folder does not exist", .0.display())]
    NoFolder(PathBuf),
    /// A tool makes no database.
    #[error("{}: there is no database; the daemon makes it at its first start", .0.display())]
    Missing(PathBuf),
    /// The file is something else.
    #[error("{}: not a SQLite database", .0.display())]
    NotADatabase(PathBuf),
    /// It is a database of something else.
    #[error("{}: the database of another program", .0.display())]
    Foreign(PathBuf),
    /// SQLite finds it damaged.
    #[error("{}: the database is damaged, restore a backup: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first thing that was found.
        what: String,
    },
    /// Another program holds it locked.
    #[error("{}: the database is locked by another program", .0.display())]
    Locked(PathBuf),
    /// A daemon runs on it.
    #[error("{}: another daemon runs on this database", .0.display())]
    SecondDaemon(PathBuf),
    /// A later build has been at work on it.
    #[error("{}: the schema is at version {found}, this build knows {known} at most: use the newer build's programs", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
    /// No daemon of this build has been started on it.
    #[error("{}: the schema is at version {found}, start the daemon to bring it to {known}", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this build needs.
        known: i64,
    },
    /// Anything else.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// How long a connection waits for another one's transaction.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// `PRAGMA application_id` of a database of this program, set by the first migration.
const APPLICATION: i64 = 0x626f_6e64;

/// What every SQLite database that is not empty begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// An open database that nothing is wrong with.
pub(super) struct Opened {
    pub(super) options: SqliteConnectOptions,
    pub(super) db: SqliteConnection,
    /// A daemon's right to be the only one, for as long as the file is open.
    pub(super) lock: Option<File>,
}

/// Opens the file for writing. `busy` is how long to wait for another's transaction.
pub(super) async fn open(path: &Path, mode: OpenMode, busy: Duration) -> Result<Opened, OpenError> {
    let there = look(path)?;
    if !there && mode == OpenMode::Tool {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let lock = match mode {
        OpenMode::Daemon => Some(lock(path).await?),
        OpenMode::Tool => None,
    };
    let migrations = migrations();
    let known = known(&migrations);
    if there {
        let found = inspect(path, busy).await?;
        if found > known {
            return Err(OpenError::Newer { path: path.to_owned(), found, known });
        }
        if found < known && mode == OpenMode::Tool {
            return Err(OpenError::Older { path: path.to_owned(), found, known });
        }
    } else {
        make(path).map_err(|error| unusable(path, &error.to_string()))?;
    }
    let options = options(path, busy)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-32768")
        // Fewer and larger checkpoints: each one syncs the main file while commits wait.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        .statement_cache_capacity(256)
        .row_buffer_size(1024);
    let mut db = options.connect().await.map_err(|error| refused(path, &error))?;
    if mode == OpenMode::Daemon {
        migrations.run_direct(None, &mut db, false).await.map_err(|error| unusable(path, &error.to_string()))?;
    }
    Ok(Opened { options, db, lock })
}

/// For reading only, whatever the statement. Several of these are open side by side and read a few
/// rows at a time: they leave it to the operating system to keep pages.
pub(super) fn read_only(options: &SqliteConnectOptions) -> SqliteConnectOptions {
    options.clone().pragma("query_only", "ON").pragma("cache_size", "-2048")
}

/// Whether a daemon runs on the database at `path`: it holds the operating system's lock, which
/// is released with its life however that ends.
pub fn daemon_lives(path: &Path) -> bool {
    let Ok(file) = File::open(lock_path(path)) else { return false };
    // Shared, so that two who ask don't take each other for a daemon.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

pub(super) fn options(path: &Path, busy: Duration) -> SqliteConnectOptions {
    // Statements carry preimages: they are never logged.
    SqliteConnectOptions::new().filename(path).busy_timeout(busy).disable_statement_logging()
}

/// Whether there is something in the file; an error when it can't be a database.
fn look(path: &Path) -> Result<bool, OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(OpenError::NoFolder(folder.to_owned()));
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unusable(path, &error.to_string())),
    };
    let mut start = [0; MAGIC.len()];
    match file.metadata().and_then(|metadata| if metadata.len() == 0 { Ok(0) } else { file.read(&mut start) }) {
        Ok(0) => Ok(false),
        Ok(_) if start == *MAGIC => Ok(true),
        Ok(_) => Err(OpenError::NotADatabase(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::IsADirectory => Err(OpenError::NotADatabase(path.to_owned())),
        Err(error) => Err(unusable(path, &error.to_string())),
    }
}

/// Makes an empty file that only its owner can read: it will hold preimages.
fn make(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".lock");
    name.into()
}

async fn lock(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(lock_path(path));
    let file = file.map_err(|error| unusable(path, &error.to_string()))?;
    // Whoever asks if a daemon lives holds the lock for an instant, and a daemon that is being
    // stopped may be at its last commit: one moment of patience.
    for _ in 0..20 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(25)).await,
            Err(TryLockError::Error(error)) => return Err(unusable(path, &format!("can't be locked: {error}"))),
        }
    }
    Err(OpenError::SecondDaemon(path.to_owned()))
}

/// The version of the schema in the file, and the one that this build works with; a later one is refused.
pub(super) async fn version(path: &Path, busy: Duration) -> Result<(i64, i64), OpenError> {
    if !look(path)? {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let known = known(&migrations());
    let found = inspect(path, busy).await?;
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok((found, known))
}

fn known(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The version of the schema in a file of ours, 0 when it has none; an error when it is not ours,
/// or shorter than it says. Writes nothing, and reads no more than it needs: looking through all
/// pages would take longer than everything else at a start, and SQLite refuses a damaged page
/// whenever one is read.
async fn inspect(path: &Path, busy: Duration) -> Result<i64, OpenError> {
    let connected = options(path, busy).read_only(true).connect().await;
    let mut db = connected.map_err(|error| refused(path, &error))?;
    let found = async {
        let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut db).await?;
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
                .fetch_all(&mut db)
                .await?;
        // A daemon that died in its first migration leaves the list of migrations only.
        if application != APPLICATION && tables.iter().any(|table| table != "_sqlx_migrations") {
            return Ok(Err(OpenError::Foreign(path.to_owned())));
        }
        if tables.is_empty() {
            return Ok(Ok(0));
        }
        let version = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations");
        version.fetch_one(&mut db).await.map(Ok)
    };
    let found = found.await.map_err(|error| refused(path, &error));
    // Whether it closes in good order changes nothing in what was read.
    let _ = db.close().await;
    found?
}

pub(super) fn migrations() -> Migrator {
    let migration = |version, name, sql| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "engine", include_str!("../../../migrations/sqlite/0001_engine.sql")),
        migration(2, "payout", include_str!("../../../migrations/sqlite/0002_payout.sql")),
        migration(3, "audit", include_str!("../../../migrations/sqlite/0003_audit.sql")),
        migration(4, "retention", include_str!("../../../migrations/sqlite/0004_retention.sql")),
        migration(5, "tally", include_str!("../../../migrations/sqlite/0005_tally.sql")),
        migration(6, "counts", include_str!("../../../migrations/sqlite/0006_counts.sql")),
    ])
}

pub(super) fn refused(path: &Path, error: &sqlx::Error) -> OpenError {
    match failure::code(error) {
        Some(failure::BUSY) => OpenError::Locked(path.to_owned()),
        Some(failure::NOT_A_DATABASE) => OpenError::NotADatabase(path.to_owned()),
        Some(failure::DAMAGED) => OpenError::Damaged { path: path.to_owned(), what: one_line(&error.to_string()) },
        _ => unusable(path, &error.to_string()),
    }
}

fn unusable(path: &Path, reason: &str) -> OpenError {
    OpenError::Unusable { path: path.to_owned(), reason: one_line(reason) }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
