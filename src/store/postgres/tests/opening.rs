//! Who may open which database.

use sqlx::AssertSqlSafe;
use sqlx::{Connection, PgConnection};

use super::*;

async fn run(url: &str, sql: &str) {
    let mut db = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

/// All that is in the database, tables and rows.
async fn content(url: &str) -> String {
    let mut db = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(
        "SELECT coalesce(string_agg(tablename || ' ' || query_to_xml('SELECT * FROM ' || quote_ident(tablename), true, true, '')::text, ' '
                         ORDER BY tablename), '')
         FROM pg_tables WHERE schemaname = 'public'",
    )
    .fetch_one(&mut db)
    .await
    .unwrap()
}

async fn refused(url: &str, mode: OpenMode) -> OpenError {
    match PostgresStore::open(url, TABLES, mode, Reckoning::Database).await {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn an_address_that_leads_nowhere_is_refused_without_its_password() {
    for (url, told) in [
        ("postgres://u:secret@127.0.0.1:1/x", "no connection"),
        ("postgres://u:secret@127.0.0.1:1/x?sslmode=sure", "database.url"),
        (&format!("{}?password=secret", CLUSTER.url("nowhere")), "does not exist"),
        (&CLUSTER.url("postgres").replace("bondflow@", "nobody:secret@"), "nobody"),
    ] {
        let error = refused(url, OpenMode::Daemon).await.to_string();
        assert!(error.contains(told), "{error}");
        assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
    }
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_tool_makes_nothing() {
    let url = place().await;
    assert!(matches!(refused(&url, OpenMode::Tool).await, OpenError::Missing(_)));
    assert_eq!(content(&url).await, "");
    daemon(&url).await.close().await;
    PostgresStore::open(&url, TABLES, OpenMode::Tool, Reckoning::Database).await.unwrap().close().await;
    run(&url, "DELETE FROM _sqlx_migrations WHERE version > 1").await;
    assert!(matches!(refused(&url, OpenMode::Tool).await, OpenError::Older { found: 1, .. }));
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn the_database_of_another_program_stays_as_it_is() {
    let url = place().await;
    run(&url, "CREATE TABLE customers (name text); INSERT INTO customers VALUES ('Ada')").await;
    let before = content(&url).await;
    for mode in [OpenMode::Daemon, OpenMode::Tool] {
        assert!(matches!(refused(&url, mode).await, OpenError::Foreign(_)));
    }
    assert_eq!(content(&url).await, before);

    let url = place().await;
    daemon(&url).await.close().await;
    run(&url, "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1").await;
    assert!(matches!(refused(&url, OpenMode::Daemon).await, OpenError::Foreign(_)));
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_newer_schema_is_refused() {
    let url = place().await;
    daemon(&url).await.close().await;
    run(
        &url,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, '\\x00', 0)",
    )
    .await;
    let before = content(&url).await;
    for mode in [OpenMode::Daemon, OpenMode::Tool] {
        assert!(matches!(refused(&url, mode).await, OpenError::Newer { found: 9999, .. }));
    }
    assert_eq!(content(&url).await, before);
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_role_without_rights_is_refused_and_told_what_it_lacks() {
    let url = place().await;
    let role = format!("guest_{}", uuid::Uuid::new_v4().simple());
    run(&url, &format!("CREATE ROLE {role} LOGIN")).await;
    let guest = url.replace("bondflow@", &format!("{role}@"));
    let error = refused(&guest, OpenMode::Daemon).await.to_string();
    assert!(error.contains(&role) && error.contains("make tables"), "{error}");
    assert_eq!(content(&url).await, "");

    daemon(&url).await.close().await;
    let before = content(&url).await;
    let error = refused(&guest, OpenMode::Daemon).await.to_string();
    assert!(error.contains("_sqlx_migrations"), "{error}");
    run(&url, &format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let error = refused(&guest, OpenMode::Daemon).await.to_string();
    assert!(error.contains("read and write the table"), "{error}");
    assert_eq!(content(&url).await, before);
    run(&url, &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")).await;
    daemon(&guest).await.close().await;
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_server_that_may_forget_is_refused() {
    let url = place().await;
    let database = url.rsplit_once('/').unwrap().1.to_owned();
    run(&url, &format!("ALTER DATABASE {database} SET synchronous_commit = off")).await;
    let error = refused(&url, OpenMode::Daemon).await.to_string();
    assert!(error.contains("`synchronous_commit` is off"), "{error}");
    assert_eq!(content(&url).await, "");
    for setting in ["fsync", "full_page_writes"] {
        let cluster = Cluster::start(Place::Memory, &format!("-c {setting}=off")).unwrap();
        let url = cluster.database("template1").await.unwrap();
        let error = refused(&url, OpenMode::Tool).await.to_string();
        assert!(error.contains(&format!("`{setting}` is off")), "{error}");
    }
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test]
async fn a_standby_is_refused_until_it_is_promoted() {
    let primary = Cluster::start(Place::Memory, "").unwrap();
    let url = primary.database("template1").await.unwrap();
    let store = daemon(&url).await;
    claimed(&store, "a").await;
    let standby = primary.standby().unwrap();
    let there = standby.url(url.rsplit_once('/').unwrap().1);
    let error = refused(&there, OpenMode::Tool).await;
    assert!(matches!(error, OpenError::Standby(_)), "{error}");
    drop(store);
    primary.stop(crate::sandbox::postgres::Ending::Crash).unwrap();
    standby.promote().unwrap();
    assert!(daemon(&there).await.run(&id("a")).await.unwrap().is_some());
}

/// What a new start finds of a server that has crashed, on a disk.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_keeps_what_was_answered_and_is_waited_for() {
    let cluster = Cluster::start(Place::Disk, "").unwrap();
    let url = cluster.database("template1").await.unwrap();
    let store = daemon(&url).await;
    let run = claimed(&store, "a").await;
    store.commit(stepping(&run)).await.unwrap();
    cluster.stop(crate::sandbox::postgres::Ending::Crash).unwrap();
    let reading = async { store.run(&run.id).await.unwrap().unwrap() };
    let (found, ()) = tokio::join!(reading, async { cluster.again("").unwrap() });
    assert_eq!(found.revision, 1);
    store.wake(run.seq, at(5)).await.unwrap();
    assert_eq!(store.claim("other", at(1_000_000), at(2_000_000), 1).await.unwrap().len(), 1);

    // One that is restarted just when a daemon starts is waited for too.
    cluster.stop(crate::sandbox::postgres::Ending::Fast).unwrap();
    let (again, ()) = tokio::join!(daemon(&url), async {
        tokio::task::yield_now().await;
        cluster.again("").unwrap();
    });
    assert_eq!(again.run(&run.id).await.unwrap().unwrap().revision, 1);
}
