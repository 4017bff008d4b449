//! A copy of a database as it is at one moment, made while others read and write.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, Row as _};

use super::open::{self, BUSY, OpenError};
use super::survey;

/// A copy that was made and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// How many runs are in it.
    pub runs: i64,
    /// Its size.
    pub bytes: u64,
    /// How many of the daemon's transactions are in it.
    pub batch: i64,
    /// The timeline that they are counted on.
    pub timeline: String,
}

/// Why no copy was made. Whatever was begun of it is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The database can't be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// There is a file of that name.
    #[error("{}: there is such a file, and no backup overwrites one: name another", .0.display())]
    Exists(PathBuf),
    /// The copy can't be written.
    #[error("{}: {reason}", path.display())]
    Unwritten {
        /// The copy.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// What was written does not hold what it should.
    #[error("{}: the copy is not sound, it was removed: {what}", path.display())]
    Unsound {
        /// The copy.
        path: PathBuf,
        /// The first thing that was found.
        what: String,
    },
}

/// Copies the database at `from` to the new file `to`, which only its owner can read.
///
/// # Errors
/// See [`BackupError`].
pub async fn backup(from: &Path, to: &Path) -> Result<Copy, BackupError> {
    let unwritten = |reason: String| BackupError::Unwritten { path: to.to_owned(), reason };
    // SQLite writes into an empty file that is there; made here, nobody else can ever read it.
    open::version(from, BUSY).await?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => unwritten(error.to_string()),
    })?;
    let copied = copy(from, to, &file).await;
    if copied.is_err() {
        // What is left of it would only be taken for a copy.
        let _ = std::fs::remove_file(to);
    }
    copied
}

async fn copy(from: &Path, to: &Path, file: &File) -> Result<Copy, BackupError> {
    let unwritten = |reason: String| BackupError::Unwritten { path: to.to_owned(), reason };
    let Some(name) = to.to_str() else { return Err(unwritten("its name is no UTF-8".to_owned())) };
    let mut db = open::options(from, BUSY).connect().await.map_err(|error| open::refused(from, &error))?;
    let written = sqlx::query("VACUUM INTO ?1").bind(name).execute(&mut db).await;
    // Whether it closes in good order changes nothing in what was copied.
    let _ = db.close().await;
    written.map_err(|error| unwritten(error.to_string()))?;
    file.sync_all().map_err(|error| unwritten(error.to_string()))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| unwritten(error.to_string()))?;

    let unsound = |what: String| BackupError::Unsound { path: to.to_owned(), what };
    let wrong = survey::inspect(to).await.map_err(|error| unsound(error.to_string()))?;
    if let Some(what) = wrong.into_iter().next() {
        return Err(unsound(what));
    }
    let read = async {
        let mut db = survey::connect(to).await?;
        let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(&mut db).await?;
        let journal = sqlx::query("SELECT batch, timeline FROM journal").fetch_one(&mut db).await?;
        let _ = db.close().await;
        Ok::<_, sqlx::Error>((runs, journal.try_get(0)?, journal.try_get(1)?))
    };
    let (runs, batch, timeline) = read.await.map_err(|error| unsound(error.to_string()))?;
    let bytes = file.metadata().map_err(|error| unwritten(error.to_string()))?.len();
    Ok(Copy { runs, bytes, batch, timeline })
}
