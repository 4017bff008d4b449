//! A world's database once more, on PostgreSQL.
//!
//! A world tells that nobody has anything to do by its one thread's being idle, so that no server can be its database. But
//! a daemon does what its store answers, and nothing else: all that reached a world's tables is asked of a server, too,
//! through its adapter and in the same order. If it answers the same and has the same tables after each, a daemon on that
//! server would have gone the same way.
//!
//! Daemons die here and never the server, so that its cluster may lie in memory.

use std::sync::Mutex;

use bondflow::payout::tables::TABLES;
use bondflow::store::memory::{Dump, MemoryStore};
use bondflow::store::postgres::{OpenMode, PostgresStore, Reckoning};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::{Builder, Runtime};

use crate::cluster::Lent;
use crate::operation::{Numbers, Operation};
use crate::ports::journal::Journal;
use crate::ports::plan::Plan;
use crate::ports::world::{Ended, live_on};
use crate::tables::{difference, dump_on, ranked};

/// Databases, each for one world at a time.
#[derive(Default)]
pub struct Databases(Mutex<Vec<Database>>);

struct Database {
    store: PostgresStore,
    reader: PgConnection,
    runtime: Runtime,
    _lent: Lent,
}

impl Databases {
    /// Lives a plan through, and asks the same of a server; where it differs, if it does.
    pub fn live(&self, plan: &Plan) -> (Ended, Option<String>) {
        let store = MemoryStore::shared(TABLES);
        let journal = Journal::of(&store);
        let ended = live_on(plan, store, &journal);
        let free = self.0.lock().unwrap().pop();
        let mut database = free.unwrap_or_else(Database::open);
        let written = database.write(journal.take(), &ended.database.dump());
        self.0.lock().unwrap().push(database);
        (ended, written.err().map(|differs| format!("on PostgreSQL: {differs}")))
    }
}

impl Database {
    fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (store, reader, lent) = runtime.block_on(async {
            let lent = Lent::new().await;
            let opened = PostgresStore::open(lent.url(), TABLES, OpenMode::Daemon, Reckoning::Caller);
            (opened.await.unwrap(), PgConnection::connect(lent.url()).await.unwrap(), lent)
        });
        Self { store, reader, runtime, _lent: lent }
    }

    /// Makes these writes on empty tables, beside an oracle that must come to that end.
    fn write(&mut self, writes: Vec<Operation>, end: &Dump) -> Result<(), String> {
        let Self { store, reader, runtime, .. } = self;
        runtime.block_on(async {
            let oracle = MemoryStore::shared(TABLES);
            let mut expected = oracle.snapshot().dump();
            // Of tables with so few rows quicker than TRUNCATE, which makes new files.
            let clear: String = expected
                .keys()
                .rev()
                .chain([&"owners".to_owned()])
                .map(|table| format!("DELETE FROM {table};"))
                .collect();
            sqlx::raw_sql(AssertSqlSafe(clear)).execute(&mut *reader).await.unwrap();
            let mut found = dump_on(reader).await;
            let last = writes.len();
            for (at, write) in (1..).zip(writes) {
                let answers = [
                    write.clone().ask(store, &Numbers::of(&found)).await,
                    write.clone().ask(&oracle, &Numbers::of(&expected)).await,
                ];
                let before = std::mem::replace(&mut expected, oracle.snapshot().dump());
                if answers[0] == answers[1] && before == expected && at < last {
                    // Two of three find nothing to do: what the server does then is seen after the next one.
                    continue;
                }
                found = dump_on(reader).await;
                let tables = (ranked(found.clone()), ranked(expected.clone()));
                if answers[0] != answers[1] || tables.0 != tables.1 {
                    let [found, expected] = answers;
                    let tables = difference(&tables.0, &tables.1);
                    return Err(format!("write {at}: {write:?}\n  found    {found}\n  expected {expected}\n{tables}"));
                }
            }
            if expected == *end { Ok(()) } else { Err(format!("writes are missing:\n{}", difference(&expected, end))) }
        })
    }
}
