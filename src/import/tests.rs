//! Takes the database of a real mostrod over, as it is and with rows that a test puts in.

use std::path::PathBuf;

use serde_json::{Value, json};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};
use tempfile::TempDir;

use super::*;
use crate::engine::Pin;
use crate::payout::tables::{BONDS, DISPUTES, HASHES, ORDERS, TABLES, USERS};
use crate::store::memory::{Call, Fault, MemoryStore};

const DISPUTED: &str = "34d272ca-11aa-473b-9425-be3bb6739e3b";
const WAITING: &str = "73283628-3eab-4e92-a4ca-fe613a54b680";
const MAKER_BOND: &str = "74f30524-ea1b-46cd-b2f1-4eafd7500239";
const TAKER_BOND: &str = "5a6a786d-88f2-4f42-9b92-efba8f2bf994";
const TARGET: &str = "sqlite://bondflow.db";
const NOW: Timestamp = Timestamp(1_795_500_000_000);

struct Mostrod {
    _folder: TempDir,
    path: PathBuf,
}

impl Mostrod {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mostro.db");
        std::fs::copy("tests/data/mostrod-0.20.2.db", &path).unwrap();
        Self { _folder: folder, path }
    }

    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(&self.path).connect().await.unwrap()
    }

    async fn run(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A bond like the taker's, with other values in some columns.
    async fn add_bond(&self, number: u8, changes: &str) -> String {
        let id = format!("000000000000000000000000000000{number:02x}");
        let copy = format!(
            "CREATE TEMP TABLE one AS SELECT * FROM bonds WHERE hex(id) = '{}';
             UPDATE one SET id = x'{id}', hash = printf('%064x', {number}), {changes};
             INSERT INTO bonds SELECT * FROM one;",
            TAKER_BOND.replace('-', "").to_uppercase()
        );
        self.run(&copy).await;
        format!("00000000-0000-0000-0000-0000000000{number:02x}")
    }

    /// An order like the one in dispute.
    async fn add_order(&self, number: u8, changes: &str) -> String {
        let id = format!("ffffffff0000000000000000000000{number:02x}");
        let copy = format!(
            "CREATE TEMP TABLE one AS SELECT * FROM orders WHERE status = 'dispute';
             UPDATE one SET id = x'{id}', hash = printf('%064x', 256 + {number}), {changes};
             INSERT INTO orders SELECT * FROM one;"
        );
        self.run(&copy).await;
        format!("ffffffff-0000-0000-0000-0000000000{number:02x}")
    }

    async fn read(&self) -> Takeover {
        Takeover::read(&self.path).await.unwrap()
    }

    async fn refusal(&self) -> String {
        Takeover::read(&self.path).await.unwrap_err().to_string()
    }

    async fn import(&self, store: &MemoryStore) -> Result<Imported, ImportError> {
        self.read().await.into_store(store, TARGET, Vec::new(), NOW).await
    }
}

fn store() -> MemoryStore {
    MemoryStore::new(TABLES)
}

fn reason<'a>(items: &'a [Item], id: &str) -> &'a str {
    items.iter().find(|item| item.id == id).map_or("not there", |item| &item.why)
}

#[tokio::test]
async fn the_real_database_is_taken_over_whole() {
    let (mostrod, store) = (Mostrod::new(), store());
    let Imported::Now(report) = mostrod.import(&store).await.unwrap() else { panic!("imported before?") };
    assert_eq!(report.bonds_taken["locked"], Tally { count: 2, sats: 2_000 });
    assert_eq!(report.bonds["requested"].count, 1);
    assert_eq!(report.orders_in_dispute, Tally { count: 1, sats: 100_000 });
    assert_eq!(report.listed.len(), 1, "the bond that its maker has not paid: {:?}", report.listed);
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
    assert_eq!(report.also_taken["solvers"], 1);

    let order = store.row(ORDERS.name, DISPUTED).await.unwrap().unwrap();
    assert_eq!(
        (&order["status"], &order["amount"], &order["seller_dispute"]),
        (&json!("dispute"), &json!(100_000), &json!(1))
    );
    assert!(store.row(ORDERS.name, WAITING).await.unwrap().is_none());
    let bond = store.row(BONDS.name, TAKER_BOND).await.unwrap().unwrap();
    assert_eq!(
        (&bond["order_id"], &bond["role"], &bond["state"]),
        (&json!(DISPUTED), &json!("taker"), &json!("locked"))
    );
    let disputes = store.rows(DISPUTES.name, "order_id", &json!(DISPUTED)).await.unwrap();
    assert_eq!(disputes[0]["id"], "1ca8bde7-51c0-4e4f-846f-969a5ceddd71");
    let solver = disputes[0]["solver_pubkey"].as_str().unwrap();
    let solver = store.row(USERS.name, solver).await.unwrap().unwrap();
    assert_eq!((&solver["is_solver"], &solver["category"]), (&json!(1), &json!(2)));
    // The escrow's, and the holds of all three bonds.
    for hash in [order["hash"].as_str().unwrap(), bond["hash"].as_str().unwrap()] {
        assert!(store.row(HASHES.name, hash).await.unwrap().is_some(), "{hash}");
    }
    assert_eq!(report.also_taken["payment hashes"], 5, "and the invoice that the buyer left");
    let begun = store.row(FACTS.name, BEGUN_FACT).await.unwrap().unwrap();
    assert_eq!(begun["value"], NOW.secs().to_string());
    let lnd = store.row(FACTS.name, LND_FACT).await.unwrap().unwrap();
    assert_eq!(lnd["value"], "026cf65f6253d3f0af42bae65707ead06065dfade4c625b39c8e9b8105fbd6d3cf");
}

#[tokio::test]
async fn importing_again_changes_nothing_and_says_when_it_was() {
    let (mostrod, store) = (Mostrod::new(), store());
    mostrod.import(&store).await.unwrap();
    let before = store.snapshot();
    let Imported::Before(fact) = mostrod.import(&store).await.unwrap() else { panic!("imported twice") };
    assert_eq!(fact["at"], NOW.secs());
    assert!(store.snapshot() == before);

    let other = MemoryStore::new(TABLES);
    let elsewhere = mostrod.import(&other).await.unwrap_err().to_string();
    assert!(elsewhere.contains("was taken over into sqlite://bondflow.db"), "{elsewhere}");
    let second = Mostrod::new().import(&store).await.unwrap_err().to_string();
    assert!(second.contains("a second mostrod database"), "{second}");
}

#[tokio::test]
async fn an_import_that_stopped_anywhere_is_finished_by_the_next() {
    for stop in ["before our commit", "after our commit"] {
        let (mostrod, store) = (Mostrod::new(), store());
        let mut takeover = mostrod.read().await;
        takeover.source.write_mark(&Mark::new(Progress::Begun, TARGET, NOW)).await.unwrap();
        if stop == "after our commit" {
            let rows = takeover.effects(NOW).rows;
            store.commit(Commit { at: NOW, rows, ..Commit::default() }).await.unwrap();
        }
        takeover.source.close().await.unwrap();
        let imported = mostrod.import(&store).await.unwrap();
        assert_eq!(matches!(imported, Imported::Before(_)), stop == "after our commit");
        let takeover = mostrod.read().await;
        assert_eq!(takeover.mark().map(|mark| mark.progress), Some(Progress::Done), "{stop}");
        assert!(store.row(BONDS.name, MAKER_BOND).await.unwrap().is_some(), "{stop}");
    }
}

#[tokio::test]
async fn a_commit_that_fails_gives_the_file_back_to_mostrod() {
    let (mostrod, store) = (Mostrod::new(), store());
    let row = json!({ "order_id": "o", "pubkey": "p", "role": "maker", "amount_sats": 1, "state": "locked" });
    let rows = vec![insert(BONDS, TAKER_BOND, row)];
    store.commit(Commit { at: NOW, rows, ..Commit::default() }).await.unwrap();
    let error = mostrod.import(&store).await.unwrap_err();
    assert!(matches!(error, ImportError::Refused { .. }), "{error}");
    assert_eq!(mostrod.read().await.mark(), None);
    mostrod.run("UPDATE bonds SET payout_attempts = 1").await;
    assert!(store.row(FACTS.name, IMPORT_FACT).await.unwrap().is_none());
}

#[tokio::test]
async fn a_commit_without_an_answer_keeps_mostrod_out_until_it_is_clear() {
    let (mostrod, store) = (Mostrod::new(), store());
    let mut faults = vec![Fault::Unknown { applied: true }];
    store.on_call(move |call| if matches!(call, Call::Commit(_)) { faults.pop() } else { None });
    let error = mostrod.import(&store).await.unwrap_err();
    assert!(matches!(error, ImportError::Unknown { .. }), "{error}");
    assert_eq!(mostrod.read().await.mark().map(|mark| mark.progress), Some(Progress::Begun));
    assert!(matches!(mostrod.import(&store).await.unwrap(), Imported::Before(_)));
}

/// mostrod's own migrations, as its binary has them.
async fn migrator(connection: &mut SqliteConnection) -> Migrator {
    let applied = sqlx::query("SELECT version, description, checksum FROM _sqlx_migrations ORDER BY version");
    let applied = applied.fetch_all(connection).await.unwrap();
    let migrations = applied.iter().map(|row| Migration {
        version: row.get(0),
        description: row.get::<String, _>(1).into(),
        migration_type: MigrationType::Simple,
        sql: sqlx::SqlStr::from_static(""),
        checksum: row.get::<Vec<u8>, _>(2).into(),
        no_tx: false,
    });
    Migrator::with_migrations(migrations.collect())
}

#[tokio::test]
async fn a_mostrod_started_again_refuses_and_one_that_runs_can_claim_no_payment() {
    let (mostrod, store) = (Mostrod::new(), store());
    let mut running = mostrod.connect().await;
    let migrator = migrator(&mut running).await;
    migrator.run(&mut running).await.unwrap();
    running.close().await.unwrap();
    mostrod.import(&store).await.unwrap();

    let mut running = mostrod.connect().await;
    let refused = migrator.run(&mut running).await.unwrap_err();
    assert!(matches!(refused, MigrateError::VersionMissing(_)), "{refused}");
    for claim in ["UPDATE bonds SET payout_payment_hash = 'a'", "UPDATE orders SET payout_payment_hash = 'a'"] {
        let refused = sqlx::query(claim).execute(&mut running).await.unwrap_err().to_string();
        assert!(refused.contains("bondflow has taken this database over"), "{refused}");
    }
}

#[tokio::test]
async fn debts_are_taken_with_all_that_mostrod_may_have_paid_them_under() {
    let mostrod = Mostrod::new();
    let key = "ab".repeat(32);
    let order = mostrod.add_order(1, "status = 'canceled-by-admin'").await;
    let order_bytes = order.replace('-', "");
    let owed = format!(
        "order_id = x'{order_bytes}', state = 'pending-payout', slashed_reason = 'lost-dispute', slashed_at = 7,
         node_share_sats = 400, payout_recipient = '{key}', payout_payment_hash = '{}', payout_sent_at = 9,
         payout_routing_fee_sats = 10",
        "CD".repeat(32)
    );
    let pending = mostrod.add_bond(1, &owed).await;
    let failed = mostrod.add_bond(2, &format!("order_id = x'{order_bytes}', state = 'failed'")).await;
    mostrod.add_bond(3, &format!("state = 'slashed', payout_payment_hash = '{}'", "ef".repeat(32))).await;
    let unpaid = mostrod
        .add_order(
            2,
            &format!("status = 'settled-hold-invoice', fee = 30, payout_payment_hash = '{}'", "99".repeat(32)),
        )
        .await;
    let crashed = mostrod.add_order(3, "status = 'fiat-sent', hold_settled_at = 5").await;
    let behind = mostrod.add_order(4, "status = 'active'").await;
    mostrod.add_order(5, "status = 'success'").await;

    let store = store();
    let takeover = mostrod.read().await;
    let found = takeover.inventory.clone();
    let bond = found.bonds.iter().find(|bond| bond.id == pending).unwrap();
    assert_eq!((bond.node_share_sats, bond.slashed_at, bond.payout_sent_at), (Some(400), Some(7), Some(9)));
    assert_eq!(bond.recipient.as_deref(), Some(key.as_str()));
    assert_eq!(bond.payout_payment_hash.as_deref(), Some("cd".repeat(32).as_str()));
    assert!(found.bonds.iter().any(|bond| bond.id == failed && bond.recipient.is_none()));
    let trades: Vec<_> = found.trades.iter().map(|trade| trade.order_id.as_str()).collect();
    assert_eq!(trades, [unpaid.as_str(), crashed.as_str()]);
    assert_eq!(found.trades[0].payout_payment_hash.as_deref(), Some("99".repeat(32).as_str()));
    assert_eq!(found.disputed, [DISPUTED]);
    for (hash, used_by) in [("cd", "payout 00000000"), ("ef", "payout 00000000"), ("99", "trade ffffffff")] {
        assert!(found.hashes[&hash.repeat(32)].starts_with(used_by), "{hash}");
    }
    let report = takeover.report();
    assert_eq!(report.unpaid_trades, Tally { count: 2, sats: 199_970 });
    assert!(reason(&report.listed, &behind).contains("not in dispute"));

    let start = |key: &str| NewRun {
        pin: Pin { workflow: "w".into(), version: 1, hash: String::new() },
        key: key.to_owned(),
        step: "s".into(),
        state: "{}".into(),
        due_at: NOW,
    };
    let starts: Vec<_> = [&pending, &failed, &unpaid, &crashed].map(|key| start(key)).into();
    let forgotten = takeover.into_store(&store, TARGET, starts[1..].to_vec(), NOW).await.unwrap_err();
    assert!(matches!(&forgotten, ImportError::NoRun(debt) if *debt == pending), "{forgotten}");
    let takeover = mostrod.read().await;
    assert_eq!(takeover.mark(), None);
    takeover.into_store(&store, TARGET, starts, NOW).await.unwrap();
    let row = store.row(BONDS.name, &pending).await.unwrap().unwrap();
    assert_eq!(row["node_share_sats"], 400);
    assert!(row.get("payout_routing_fee_sats").is_none_or(Value::is_null), "mostrod's is a limit");
    let row = store.row(ORDERS.name, &crashed).await.unwrap().unwrap();
    assert_eq!(row["status"], "settled-hold-invoice");
    assert!(store.row(ORDERS.name, &order).await.unwrap().is_some());
    assert!(store.row(ORDERS.name, &behind).await.unwrap().is_none());
}

#[tokio::test]
async fn range_orders_and_rows_that_make_no_sense_are_listed_and_left_out() {
    let mostrod = Mostrod::new();
    let range = [
        mostrod.add_bond(1, "parent_bond_id = x'00000000000000000000000000000002', state = 'pending-payout'").await,
        mostrod.add_bond(2, "amount_sats = 5000").await,
        mostrod.add_bond(3, "child_order_id = order_id, state = 'failed'").await,
        mostrod.add_bond(4, "slashed_share_sats = 1").await,
    ];
    let nonsense = [
        (mostrod.add_bond(5, "amount_sats = -1").await, "`amount_sats`"),
        (mostrod.add_bond(6, "amount_sats = 'many'").await, "`amount_sats`"),
        (mostrod.add_bond(7, "state = 'melted'").await, "`state`"),
        (mostrod.add_bond(8, "preimage = '5ec2e7'").await, "`preimage`"),
        (mostrod.add_bond(9, "pubkey = x'c0ffee'").await, "`pubkey`"),
        (mostrod.add_bond(10, "role = cast(x'ff' as text)").await, "row"),
    ];
    let orphan = {
        mostrod
            .run(
                "PRAGMA foreign_keys = OFF; UPDATE orders SET fee = -5 WHERE status = 'waiting-maker-bond'; \
                     UPDATE bonds SET state = 'pending-payout' WHERE state = 'requested'",
            )
            .await;
        WAITING
    };
    let takeover = mostrod.read().await;
    let report = takeover.report();
    for id in &range {
        assert!(reason(&report.left_out, id).contains("range order"), "{id}");
    }
    for (id, why) in &nonsense[..5] {
        assert!(reason(&report.left_out, id).contains(why), "{id}: {:?}", report.left_out);
    }
    assert!(report.left_out.iter().any(|item| item.why == "is not text"), "{:?}", report.left_out);
    assert!(reason(&report.left_out, orphan).contains("`fee`"));
    assert!(report.left_out.iter().any(|item| item.why.contains("its order is missing")));
    assert_eq!(takeover.inventory.bonds.len(), 2, "the two of the real trade");
    let text = report.to_string();
    assert!(report.left_out.iter().all(|item| text.contains(&item.id)) && !text.contains("5ec2e7"), "{text}");
}

#[tokio::test]
async fn ids_may_be_text() {
    let mostrod = Mostrod::new();
    mostrod
        .run(&format!(
            "PRAGMA foreign_keys = OFF; UPDATE orders SET id = upper('{DISPUTED}') WHERE status = 'dispute'; \
         UPDATE bonds SET order_id = '{DISPUTED}' WHERE state = 'locked'"
        ))
        .await;
    assert_eq!(mostrod.read().await.inventory.bonds[0].order_id, DISPUTED);
}

#[tokio::test]
async fn a_file_in_use_or_of_another_make_is_refused_with_advice() {
    let mostrod = Mostrod::new();
    let mut user = mostrod.connect().await;
    let transaction = user.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let refused = mostrod.refusal().await;
    assert!(refused.contains("in use") && refused.contains("stop mostrod"), "{refused}");
    drop(transaction);
    user.close().await.unwrap();

    let file = std::fs::File::open(&mostrod.path).unwrap();
    let mut idle = std::process::Command::new("sleep").arg("600").stdin(file).spawn().unwrap();
    let refused = mostrod.refusal().await;
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert!(refused.contains(&format!("by process {}", idle.id())), "{refused}");

    let first = mostrod.read().await;
    assert!(mostrod.refusal().await.contains("in use"), "two imports at a time");
    drop(first);

    for (change, said) in [
        ("DELETE FROM _sqlx_migrations WHERE version > 20261015120400", "older than 20261020130000"),
        ("ALTER TABLE bonds ADD COLUMN escrow text", "`bonds` differs from mostrod 0.20.2's in escrow"),
        ("ALTER TABLE users DROP COLUMN seeded_reviews", "`users` differs from mostrod 0.20.2's in seeded_reviews"),
        ("UPDATE _sqlx_migrations SET success = 0 WHERE version = 20261020130000", "did not end well"),
        ("DROP TABLE _sqlx_migrations", "not a mostrod database"),
    ] {
        let mostrod = Mostrod::new();
        mostrod.run(change).await;
        let refused = mostrod.refusal().await;
        assert!(refused.contains(said) && !refused.contains('\n'), "{refused}");
    }
    let newer = Mostrod::new();
    newer.run("INSERT INTO _sqlx_migrations VALUES (20270101000000, 'another table', '2027', 1, x'', 1)").await;
    newer.read().await;
    let missing = Takeover::read(Path::new("/nonexistent/mostro.db")).await.unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/mostro.db"), "{missing}");
}
