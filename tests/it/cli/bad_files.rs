//! What is no database to work on, and what is no settings: each is refused in one line that says what is
//! so and what to do, and left as it is.

use std::fs;

use bondflow::store::sqlite::{OpenMode, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{Answer, Place};

fn refused(answer: &Answer, because: &str) {
    assert_eq!((answer.code, answer.data.as_str()), (Some(1), ""), "{answer:?}");
    assert!(answer.told.contains(because) && answer.told.lines().count() == 1, "{because}: {answer:?}");
}

#[tokio::test]
async fn a_database_of_a_newer_build_is_named_and_left() {
    let place = Place::with_runs(&[]).await;
    let mut db = SqliteConnectOptions::new().filename(place.file("bondflow.db")).connect().await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 99 WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    for args in [&["list"][..], &["resume", "1111"], &["check-upgrade"], &["backup", "copy.db"]] {
        refused(&place.ctl(args), "the schema is at version 99");
    }
    assert!(!place.file("copy.db").exists());
}

#[tokio::test]
async fn what_is_no_database_is_named_and_left() {
    let place = Place::new();
    refused(&place.ctl(&["list"]), "there is no database");
    refused(&place.ctl(&["backup", "copy.db"]), "there is no database");
    fs::write(place.file("bondflow.db"), "certainly no database, but text that is long enough").unwrap();
    for args in [&["list"][..], &["cancel", "1111", "--reason", "x"], &["check-upgrade"], &["backup", "copy.db"]] {
        refused(&place.ctl(args), "not a SQLite database");
    }
    assert!(!place.file("copy.db").exists());
    let doctor = place.ctl(&["doctor", "--offline", "--quick"]);
    assert_eq!(doctor.code, Some(1));
    assert!(doctor.data.contains("fail   database"), "{doctor:?}");
}

#[tokio::test]
async fn missing_settings_are_named() {
    let place = Place::new();
    let answer = place.bare(&["list"], "");
    refused(&answer, "settings.toml");
    assert!(answer.told.contains("--config FILE"), "{answer:?}");
    fs::write(place.file("settings.toml"), "[engine]\nworker = 3\n").unwrap();
    refused(&place.bare(&["list"], ""), "`engine.worker`");
}

#[tokio::test]
async fn a_copy_is_whole_and_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_runs(&["11111111-0000-4000-8000-000000000000"]).await;
    let made = place.ctl(&["backup", "copy.db", "-o", "json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let said: serde_json::Value = serde_json::from_str(&made.data).unwrap();
    assert_eq!(said["runs"], 1);
    let copy = place.file("copy.db");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&copy).unwrap();
    refused(&place.ctl(&["backup", "copy.db"]), "no backup overwrites");
    refused(&place.ctl(&["backup", "nowhere/copy.db"]), "nowhere/copy.db");
    assert_eq!(fs::read(&copy).unwrap(), before);
    // A daemon starts on it.
    let restored = SqliteStore::open(&copy, bondflow::payout::tables::TABLES, OpenMode::Daemon).await.unwrap();
    restored.close().await;
}

#[test]
fn completions_and_man_pages_are_made_of_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let made = place.bare(&["completions", shell], "");
        assert!(made.code == Some(0) && made.data.contains("check-upgrade"), "{shell}: {made:?}");
    }
    let made = place.bare(&["man", "pages"], "");
    assert_eq!((made.code, made.told.as_str()), (Some(0), ""));
    let page = fs::read_to_string(place.file("pages/workflowctl-resolve.1")).unwrap();
    assert!(page.contains("preimage"), "{page}");
    assert!(place.file("pages/workflowctl.1").exists());
}
