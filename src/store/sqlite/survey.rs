//! A look at a database file, of whatever version, that opens nothing for writing.

use std::path::Path;

use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::open::{self, BUSY, OpenError};
use super::sql;
use crate::store::{Survey, columns};

/// Looks at the database at `path`.
///
/// # Errors
/// When there is none, it is not this program's, or a later build's.
pub async fn survey(path: &Path) -> Result<Survey, OpenError> {
    let (version, known) = open::version(path, BUSY).await?;
    let refused = |error: sqlx::Error| open::refused(path, &error);
    let mut db = connect(path).await.map_err(refused)?;
    let rows =
        if version == 0 { Vec::new() } else { sqlx::query(sql::PINS).fetch_all(&mut db).await.map_err(refused)? };
    let pins = rows.iter().map(columns::pin).collect::<Result<_, _>>().map_err(refused)?;
    // Whether it closes in good order changes nothing in what was read.
    let _ = db.close().await;
    Ok(Survey { version, known, pins })
}

/// Reads the whole file and looks whether it is sound: what is wrong, a line each. It takes its time.
///
/// # Errors
/// When it can't be read.
pub async fn inspect(path: &Path) -> Result<Vec<String>, OpenError> {
    let refused = |error: sqlx::Error| open::refused(path, &error);
    let mut db = connect(path).await.map_err(refused)?;
    let mut wrong: Vec<String> = Vec::new();
    let lines: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check(20)").fetch_all(&mut db).await.map_err(refused)?;
    wrong.extend(lines.into_iter().filter(|line| line != "ok"));
    let dangling: i64 = sqlx::query_scalar("SELECT count(*) FROM pragma_foreign_key_check")
        .fetch_one(&mut db)
        .await
        .map_err(refused)?;
    if dangling > 0 {
        wrong.push(format!("{dangling} rows belong to runs that are not there"));
    }
    let _ = db.close().await;
    Ok(wrong)
}

pub(super) async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    open::options(path, BUSY).read_only(true).connect().await
}
