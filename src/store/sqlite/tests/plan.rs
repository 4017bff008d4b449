//! What grows with the database must not be looked through.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _};

use super::*;

async fn plan(path: &Path, statement: &str) -> String {
    let mut db = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let query = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let lines = sqlx::query(query).fetch_all(&mut db).await.unwrap();
    lines.iter().map(|line| line.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn each_statement_finds_its_rows_by_an_index() {
    let (_folder, path) = place();
    let store = daemon(&path).await;
    let facts = store.tables.get("facts").unwrap();
    let by_index = [
        (sql::DUE, "INDEX runs_due"),
        (sql::NEXT_DUE, "INDEX runs_due"),
        (sql::NUDGE, "INDEX runs_resting (workflow=? AND step=? AND status=?)"),
        (sql::RENEW, "INDEX runs_owner (owner=?)"),
        (sql::RELEASE, "runs_owner"),
        (sql::RETIRE, "SEARCH runs USING INTEGER PRIMARY KEY"),
        (sql::GIVE_UP[0], "SEARCH history USING PRIMARY KEY (run=?)"),
        (sql::GIVE_UP[1], "SEARCH signals USING PRIMARY KEY (run=?)"),
        (sql::ENDED, "SEARCH runs USING INTEGER PRIMARY KEY"),
        (sql::PINS, "runs_open"),
        (sql::TALLY_OPEN, "SCAN runs USING INDEX runs_resting"),
        (sql::TALLY_OPEN, "runs USING INDEX runs_owner"),
        (sql::OUTBOX_DUE, "INDEX outbox_due"),
        (sql::OUTBOX_NEXT, "INDEX outbox_due"),
        (sql::SUPERSEDE, "INDEX outbox_slot (slot=?)"),
        (sql::STANDING, "SEARCH runs USING INTEGER PRIMARY KEY"),
        (sql::LEASE, "SEARCH runs USING INTEGER PRIMARY KEY"),
        (sql::WAKE, "SEARCH runs USING INTEGER PRIMARY KEY"),
        (sql::TOLD, "SEARCH runs USING INTEGER PRIMARY KEY"),
        (sql::DELIVER, "SEARCH outbox USING INTEGER PRIMARY KEY"),
        (sql::TAKE, "SEARCH signals USING PRIMARY KEY (run=? AND number=?)"),
        (sql::SIGNAL, "SEARCH signals USING"),
        (sql::MAILBOXES, "SEARCH signals USING PRIMARY KEY (run=?)"),
        (sql::HISTORY_OF, "SEARCH history USING PRIMARY KEY (run=?)"),
        (facts.statements.read.as_str(), "SEARCH facts USING INDEX sqlite_autoindex_facts_1"),
    ];
    let (on, off) = (sql::STEP_ON.split(&[(); 321]), sql::STEP_OFF.split(&[(); 321]));
    let steps: Vec<_> = on.chain(off).map(|(statement, _)| statement).collect();
    let steps = steps.iter().map(|statement| (*statement, "SEARCH runs USING INTEGER PRIMARY KEY"));
    for (statement, expected) in by_index.into_iter().chain(steps) {
        let plan = plan(&path, statement).await;
        assert!(plan.contains(expected), "{statement}\n{plan}");
        for table in ["runs", "history", "signals", "outbox", "facts"] {
            let through = plan.lines().any(|line| {
                let line = format!("{line} ");
                line.contains(&format!("SCAN {table} "))
                    && !line.contains("INDEX runs_o")
                    && !line.contains("runs_resting")
                    && !line.contains("_due")
            });
            assert!(!through, "{statement}\n{plan}");
        }
    }
    for (statement, sorted) in [(sql::DUE, false), (sql::NUDGE, false), (sql::OUTBOX_DUE, true)] {
        assert_eq!(plan(&path, statement).await.contains("TEMP B-TREE"), sorted, "{statement}");
    }
}
