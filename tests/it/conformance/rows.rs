//! The workflow's own rows, and the conditions that a commit may set.

use bondflow::engine::store::{Guard, Page, RowChange, RowWrite};
use bondflow::engine::{Commit, CommitError, Status, Store};
use serde_json::{Value, json};

use super::StoreUnderTest;
use super::sample::*;

/// That the commit is refused, and that its guard, if it has one, is known not to hold.
async fn conflicts(store: &dyn Store, commit: Commit) {
    for guard in &commit.guards {
        assert!(!store.holds(guard).await.unwrap(), "{guard:?}");
    }
    let answer = refused(store, commit).await;
    assert!(matches!(answer, CommitError::Conflict(_)), "{answer:?}");
}

/// That the guard holds, and that a commit with it passes.
async fn passes(store: &dyn Store, guarded: Commit) {
    for guard in &guarded.guards {
        assert!(store.holds(guard).await.unwrap(), "{guard:?}");
    }
    commit(store, guarded).await;
}

async fn fact(store: &dyn Store, name: &str) -> Option<Value> {
    store.row("facts", name).await.unwrap().map(|row| row["value"].clone())
}

fn update<const N: usize, const M: usize>(
    table: &'static str,
    key: &str,
    set: [(&str, Value); N],
    expect: [(&str, Value); M],
) -> RowWrite {
    write(table, key, RowChange::Update { set: row(set), expect: row(expect) })
}

fn upsert<const N: usize>(table: &'static str, key: &str, values: [(&str, Value); N]) -> RowWrite {
    write(table, key, RowChange::Upsert(row(values)))
}

fn guarded(guard: Guard) -> Commit {
    Commit { guards: vec![guard], ..empty(0) }
}

pub async fn a_new_row_conflicts_with_an_old_one<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, writing(0, [insert("facts", "a", [("value", json!("1"))])])).await;
    conflicts(store, writing(0, [insert("facts", "a", [("value", json!("2"))])])).await;
    conflicts(store, writing(0, ["b", "b"].map(|key| insert("facts", key, [("value", json!("2"))])))).await;
    assert_eq!((fact(store, "a").await, fact(store, "b").await), (Some(json!("1")), None));
}

pub async fn an_upsert_replaces_what_it_names<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let whole = upsert("hashes", "h", [("used_by", json!("run")), ("created_at", json!(5))]);
    commit(store, writing(0, [whole])).await;
    // `used_by` may not be null, and need not be named again.
    commit(store, writing(0, [upsert("hashes", "h", [("created_at", json!(6))])])).await;
    let expected = row([("hash", json!("h")), ("used_by", json!("run")), ("created_at", json!(6))]);
    assert_eq!(store.row("hashes", "h").await.unwrap(), Some(expected));
    commit(store, writing(0, [upsert("hashes", "h", [("created_at", Value::Null)])])).await;
    assert_eq!(store.row("hashes", "h").await.unwrap().unwrap()["created_at"], Value::Null);
}

pub async fn an_update_needs_what_it_expects<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let there = insert("hashes", "h", [("used_by", json!("run"))]);
    commit(store, writing(0, [there])).await;
    let set = [("used_by", json!("other"))];
    conflicts(store, writing(0, [update("hashes", "none", set.clone(), [])])).await;
    conflicts(store, writing(0, [update("hashes", "h", set.clone(), [("used_by", json!("RUN"))])])).await;
    conflicts(store, writing(0, [update("hashes", "h", set.clone(), [("used_by", Value::Null)])])).await;
    conflicts(store, writing(0, [update("hashes", "h", set.clone(), [("created_at", json!(0))])])).await;
    assert_eq!(store.row("hashes", "h").await.unwrap().unwrap()["used_by"], "run");

    let expect = [("used_by", json!("run")), ("created_at", Value::Null)];
    commit(store, writing(0, [update("hashes", "h", set, expect)])).await;
    commit(store, writing(0, [update("hashes", "h", [("created_at", json!(8))], [])])).await;
    let expected = row([("hash", json!("h")), ("used_by", json!("other")), ("created_at", json!(8))]);
    assert_eq!(store.row("hashes", "h").await.unwrap(), Some(expected));
}

pub async fn a_row_is_written_twice_in_one_commit<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let first = insert("facts", "a", [("value", json!("1"))]);
    let second = update("facts", "a", [("value", json!("2"))], [("value", json!("1"))]);
    let third = upsert("facts", "a", [("value", json!("3"))]);
    commit(store, writing(0, [first, second, third])).await;
    assert_eq!(fact(store, "a").await, Some(json!("3")));
    let late = update("facts", "a", [("value", json!("5"))], [("value", json!("3"))]);
    conflicts(store, writing(0, [upsert("facts", "a", [("value", json!("4"))]), late])).await;
    assert_eq!(fact(store, "a").await, Some(json!("3")));
}

pub async fn values_come_back_as_they_were<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (n, text) in
        ["", "it's \"quoted\"", "ünï\u{1F600}", "{\"json\":[1]}", "12", "null", "a\nb\\"].iter().enumerate()
    {
        commit(store, writing(0, [insert("facts", &n.to_string(), [("value", json!(text))])])).await;
        assert_eq!(fact(store, &n.to_string()).await, Some(json!(text)));
    }
    for (n, number) in [0, -1, i64::MAX, i64::MIN, 2_100_000_000_000_000].into_iter().enumerate() {
        let key = n.to_string();
        commit(store, writing(0, [insert("cursors", &key, [("read_until", json!(number))])])).await;
        let expected = row([("relay", json!(key)), ("read_until", json!(number)), ("complete_at", Value::Null)]);
        assert_eq!(store.row("cursors", &key).await.unwrap(), Some(expected));
    }
    // A boolean is 0 or 1, also where it is asked for.
    commit(store, writing(0, [insert("cursors", "yes", [("read_until", json!(true))])])).await;
    assert_eq!(store.row("cursors", "yes").await.unwrap().unwrap()["read_until"], 1);
    commit(
        store,
        writing(0, [update("cursors", "yes", [("complete_at", json!(false))], [("read_until", json!(true))])]),
    )
    .await;
    assert_eq!(store.row("cursors", "yes").await.unwrap().unwrap()["complete_at"], 0);
    assert_eq!(store.rows("cursors", "complete_at", &json!(false)).await.unwrap().len(), 1);
}

pub async fn rows_are_found_by_a_value<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, until) in [("c", json!(1)), ("a", json!(1)), ("b", json!(2)), ("B", json!(1)), ("d", Value::Null)] {
        commit(store, writing(0, [insert("cursors", key, [("read_until", until)])])).await;
    }
    for (column, value, expected) in [
        ("read_until", json!(1), vec!["B", "a", "c"]),
        ("read_until", json!(3), vec![]),
        ("read_until", Value::Null, vec!["d"]),
        ("relay", json!("b"), vec!["b"]),
    ] {
        let found = store.rows("cursors", column, &value).await.unwrap();
        assert_eq!(found.iter().map(|row| row["relay"].as_str().unwrap()).collect::<Vec<_>>(), expected);
        assert!(found.iter().all(|row| row.len() == 3));
    }
}

pub async fn unknown_tables_and_columns_are_refused<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, writing(0, [insert("facts", "a", [("value", json!("1"))])])).await;
    let before = subject.dump().await;
    for commit in [
        writing(0, [insert("runs", "x", [])]),
        writing(0, [insert("nowhere", "x", [])]),
        writing(0, [upsert("facts", "x", [("value", json!("1")), ("nothing", json!(1))])]),
        writing(0, [update("facts", "a", [("nothing", json!(1))], [])]),
        writing(0, [update("facts", "a", [("value", json!("2"))], [("nothing", Value::Null)])]),
        writing(0, [update("facts", "a", [("name", json!("b"))], [])]),
        guarded(Guard::Absent { table: "nowhere", key: "x".into() }),
        guarded(Guard::Row { table: "facts", key: "a".into(), expect: row([("nothing", Value::Null)]) }),
        guarded(Guard::Fewer { table: "facts", matching: row([]), at_least: Some(("nothing", 0)), limit: 9 }),
    ] {
        conflicts(store, commit).await;
    }
    assert_eq!(subject.dump().await, before);
    assert!(store.row("nowhere", "x").await.is_err());
    assert!(store.rows("facts", "nothing", &Value::Null).await.is_err());
}

pub async fn the_newest_row_has_the_greatest_value<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    assert_eq!(store.newest("cursors", "read_until").await.unwrap(), None);
    for (key, until) in [("a", json!(-2)), ("c", json!(10)), ("b", json!(9)), ("d", Value::Null)] {
        commit(store, writing(0, [insert("cursors", key, [("read_until", until)])])).await;
    }
    let expected = row([("relay", json!("c")), ("read_until", json!(10)), ("complete_at", Value::Null)]);
    assert_eq!(store.newest("cursors", "read_until").await.unwrap(), Some(expected));
    assert_eq!(store.newest("cursors", "complete_at").await.unwrap(), None, "no row has a value");
    assert!(store.newest("nowhere", "read_until").await.is_err());
    assert!(store.newest("cursors", "nothing").await.is_err());
}

pub async fn rows_are_read_page_by_page<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for key in ["b2", "a", "b", "B1", "b1", "b%", "c"] {
        commit(store, writing(0, [insert("facts", key, [("value", json!("x"))])])).await;
    }
    let read = async |prefix: &str, after: Option<&str>, descending, limit| {
        let page = Page { prefix: prefix.into(), after: after.map(Into::into), descending, limit };
        let rows = store.page("facts", &page).await.unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(read("", None, false, 99).await, "B1 a b b% b1 b2 c");
    assert_eq!(read("", None, true, 3).await, "c b2 b1");
    assert_eq!(read("", Some("b1"), true, 2).await, "b% b");
    assert_eq!(read("b", Some("b"), false, 2).await, "b% b1");
    assert_eq!(read("b", Some("b1"), false, 9).await, "b2");
    assert_eq!(read("b1", None, true, 9).await, "b1");
    assert_eq!(read("d", None, false, 9).await, "");
    assert!(store.page("nowhere", &Page { limit: 1, ..Page::default() }).await.is_err());
}

pub async fn a_column_is_summed<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    assert_eq!(store.sum("cursors", "read_until", &row([])).await.unwrap(), 0);
    let big = 1_i64 << 50;
    for (key, until, complete) in
        [("a", json!(big), json!(1)), ("b", json!(-2), json!(1)), ("c", json!(7), Value::Null)]
    {
        let values = [("read_until", until), ("complete_at", complete)];
        commit(store, writing(0, [insert("cursors", key, values)])).await;
    }
    commit(store, writing(0, [insert("cursors", "d", [("complete_at", json!(1))])])).await;
    for (matching, sum) in [
        (row([]), big + 5),
        (row([("complete_at", json!(1))]), big - 2),
        (row([("complete_at", Value::Null)]), 7),
        (row([("complete_at", json!(2))]), 0),
    ] {
        assert_eq!(store.sum("cursors", "read_until", &matching).await.unwrap(), sum, "{matching:?}");
    }
    assert!(store.sum("nowhere", "read_until", &row([])).await.is_err());
    assert!(store.sum("cursors", "nothing", &row([])).await.is_err());
    assert!(store.sum("cursors", "read_until", &row([("nothing", json!(1))])).await.is_err());
}

pub async fn guard_on_a_revision<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    rest(store, "a", Status::Waiting).await;
    let guard = |key, revision| guarded(Guard::Revision { run: id(key), revision });
    passes(store, guard("a", 1)).await;
    conflicts(store, guard("a", 0)).await;
    conflicts(store, guard("a", 2)).await;
    conflicts(store, guard("none", 0)).await;
    assert_eq!(read(store, "a").await.revision, 1);
}

pub async fn guard_on_no_run<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    rest(store, "a", Status::Completed).await;
    conflicts(store, guarded(Guard::NoRun { run: id("a") })).await;
    passes(store, guarded(Guard::NoRun { run: id("b") })).await;
}

pub async fn guard_on_a_row<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, writing(0, [insert("cursors", "a", [("read_until", json!(5))])])).await;
    let guard = |key: &str, expect| guarded(Guard::Row { table: "cursors", key: key.into(), expect });
    passes(store, guard("a", row([]))).await;
    passes(store, guard("a", row([("read_until", json!(5)), ("complete_at", Value::Null)]))).await;
    conflicts(store, guard("a", row([("read_until", json!(5)), ("complete_at", json!(0))]))).await;
    conflicts(store, guard("a", row([("read_until", Value::Null)]))).await;
    conflicts(store, guard("b", row([]))).await;
    conflicts(store, guard("b", row([("read_until", Value::Null)]))).await;
}

pub async fn guard_on_an_absent_row<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, writing(0, [insert("cursors", "a", [])])).await;
    conflicts(store, guarded(Guard::Absent { table: "cursors", key: "a".into() })).await;
    passes(store, guarded(Guard::Absent { table: "cursors", key: "A".into() })).await;
}

pub async fn guard_on_fewer_rows<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    for (key, until, complete) in [("a", json!(1), json!(10)), ("b", json!(1), json!(20)), ("c", json!(1), Value::Null)]
    {
        let values = [("read_until", until), ("complete_at", complete)];
        commit(store, writing(0, [insert("cursors", key, values)])).await;
    }
    let fewer = |matching, at_least, limit| guarded(Guard::Fewer { table: "cursors", matching, at_least, limit });
    let ones = || row([("read_until", json!(1))]);
    for (matching, at_least, count) in [
        (row([]), None, 3),
        (ones(), None, 3),
        (row([("read_until", json!(2))]), None, 0),
        (row([("complete_at", Value::Null)]), None, 1),
        (ones(), Some(("complete_at", 10)), 2),
        (ones(), Some(("complete_at", 11)), 1),
        (ones(), Some(("complete_at", 21)), 0),
        (row([("complete_at", Value::Null)]), Some(("complete_at", i64::MIN)), 0),
    ] {
        passes(store, fewer(matching.clone(), at_least, count + 1)).await;
        conflicts(store, fewer(matching, at_least, count)).await;
    }
}
