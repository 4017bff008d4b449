//! Who may open what. A refusal is one line, and leaves the file as it was.

use std::fs;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::*;

async fn refusal(path: &Path, mode: OpenMode) -> OpenError {
    let before = fs::read(path).ok();
    let error = SqliteStore::open_within(path, TABLES, mode, BUSY).await.err().expect("it is refused");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert_eq!(fs::read(path).ok(), before, "{error}");
    error
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).busy_timeout(BUSY).connect().await.unwrap()
}

/// A database of this program, closed, on which a statement was run.
async fn made(path: &Path, statement: &str) {
    daemon(path).await.close().await;
    let mut db = raw(path).await;
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn one_daemon_and_many_tools() {
    let (_folder, path) = place();
    assert!(!daemon_lives(&path));
    let first = daemon(&path).await;
    assert!(daemon_lives(&path));
    assert_eq!(refusal(&path, OpenMode::Daemon).await, OpenError::SecondDaemon(path.clone()));
    let tool = SqliteStore::open(&path, TABLES, OpenMode::Tool).await.unwrap();
    first.commit(starting(&keys(1))).await.unwrap();
    assert_eq!(tool.runs(&RunFilter::default()).await.unwrap().len(), 1);
    first.close().await;
    assert!(!daemon_lives(&path));
    assert!(matches!(first.commit(Commit::default()).await, Err(CommitError::Unavailable(_))));
    tool.commit(signal("key-0", "@pause")).await.unwrap();
    let next = daemon(&path).await;
    assert_eq!(next.run(&RunId::of("flow", "key-0")).await.unwrap().unwrap().signals, 1);
}

#[tokio::test]
async fn a_daemon_hears_what_a_tool_has_left() {
    let (_folder, path) = place();
    let daemon = daemon(&path).await;
    daemon.commit(starting(&keys(1))).await.unwrap();
    let tool = SqliteStore::open(&path, TABLES, OpenMode::Tool).await.unwrap();
    let mut changes = daemon.changes();
    tool.commit(signal("key-0", "@pause")).await.unwrap();
    assert_eq!(changes.recv().await, Ok(Change::Runs));
}

#[tokio::test]
async fn a_schema_of_another_build_is_refused() {
    let (_folder, path) = place();
    const NEWEST: &str = "WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    let mut versions: Vec<i64> = super::super::open::migrations().iter().map(|migration| migration.version).collect();
    versions.sort_unstable();
    let (known, before) = (versions[versions.len() - 1], versions[versions.len() - 2]);
    made(&path, &format!("UPDATE _sqlx_migrations SET version = 99 {NEWEST}")).await;
    for mode in [OpenMode::Daemon, OpenMode::Tool] {
        assert_eq!(refusal(&path, mode).await, OpenError::Newer { path: path.clone(), found: 99, known });
    }
    let (_folder, path) = place();
    made(&path, &format!("DELETE FROM _sqlx_migrations {NEWEST}")).await;
    assert_eq!(refusal(&path, OpenMode::Tool).await, OpenError::Older { path: path.clone(), found: before, known });
    let (_folder, path) = place();
    made(&path, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    assert!(matches!(refusal(&path, OpenMode::Daemon).await, OpenError::Unusable { .. }));
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused() {
    let (folder, path) = place();
    let nowhere = folder.path().join("none").join("bonds.db");
    for mode in [OpenMode::Daemon, OpenMode::Tool] {
        assert_eq!(refusal(&nowhere, mode).await, OpenError::NoFolder(folder.path().join("none")));
        assert_eq!(refusal(folder.path(), mode).await, OpenError::NotADatabase(folder.path().into()));
    }
    assert_eq!(refusal(&path, OpenMode::Tool).await, OpenError::Missing(path.clone()));
    assert!(!path.exists());
    fs::write(&path, "a letter to a friend").unwrap();
    assert_eq!(refusal(&path, OpenMode::Daemon).await, OpenError::NotADatabase(path.clone()));
    assert_eq!(refusal(&path, OpenMode::Tool).await, OpenError::NotADatabase(path.clone()));

    let (_folder, path) = place();
    let mut db = raw(&path).await;
    sqlx::query("CREATE TABLE orders (id)").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    assert_eq!(refusal(&path, OpenMode::Daemon).await, OpenError::Foreign(path.clone()));
}

#[tokio::test]
async fn a_shortened_file_is_refused_and_a_damaged_page_is_never_read_as_sound() {
    let (_folder, path) = place();
    let store = daemon(&path).await;
    for n in 0..50 {
        store.commit(fact(&format!("fact-{n}"), json!("x".repeat(2_000)))).await.unwrap();
    }
    store.close().await;
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(refusal(&path, OpenMode::Daemon).await, OpenError::Damaged { .. }));
    let mut holed = whole.clone();
    // The pages after the schema's, the last ones to be filled.
    let from = whole.len() - 16 * 4096;
    holed[from..].fill(0x5a);
    fs::write(&path, &holed).unwrap();
    let store = daemon(&path).await;
    let read = store.rows("facts", "value", &json!("x")).await;
    assert!(read.is_err_and(|error| error.0.contains("malformed")));
    store.close().await;
    fs::write(&path, &whole).unwrap();
    daemon(&path).await;
}

#[tokio::test]
async fn a_locked_file_is_refused() {
    let (_folder, path) = place();
    daemon(&path).await.close().await;
    let mut other = raw(&path).await;
    sqlx::query("PRAGMA locking_mode = EXCLUSIVE").execute(&mut other).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    assert_eq!(refusal(&path, OpenMode::Daemon).await, OpenError::Locked(path.clone()));
    assert_eq!(refusal(&path, OpenMode::Tool).await, OpenError::Locked(path.clone()));
}

#[tokio::test]
async fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = place();
    let store = daemon(&path).await;
    store.commit(fact("a", json!("x"))).await.unwrap();
    for end in ["", "-wal", ".lock"] {
        let file = format!("{}{end}", path.display());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{file}");
    }
}

#[test]
fn all_migrations_of_the_folder_are_known() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let known = super::super::open::migrations();
    let names: Vec<_> = known.iter().map(|one| format!("{:04}_{}.sql", one.version, one.description)).collect();
    assert_eq!(files, names);
}
