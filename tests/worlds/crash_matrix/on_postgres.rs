//! A world's database once more, on PostgreSQL.
//!
//! A world tells that nobody has anything to do by its one thread's being idle, so that no server can be its database. But
//! a daemon does what its store answers, and nothing else: all that reached a world's tables is asked of a server, too,
//! through its adapter and in the same order. If it answers the same each time and has the same tables at the end, a daemon
//! on that server would have gone the same way.
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
        let written = database.write(&journal.take(), &ended.database.dump());
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

    /// Makes these writes on empty tables, beside an oracle that must come to that end. What each answers is compared, and
    /// the tables at the end; if they differ it is all done again, to name the write after which they do.
    fn write(&mut self, writes: &[Operation], end: &Dump) -> Result<(), String> {
        self.pass(writes, end, false).map_err(|differs| self.pass(writes, end, true).err().unwrap_or(differs))
    }

    fn pass(&mut self, writes: &[Operation], end: &Dump, after_each: bool) -> Result<(), String> {
        let Self { store, reader, runtime, .. } = self;
        runtime.block_on(async {
            let oracle = MemoryStore::shared(TABLES);
            let mut expected = oracle.snapshot().dump();
            // Of tables with so few rows quicker than TRUNCATE, which makes new files.
            let tables = expected.keys().map(String::as_str).chain(["owners"]).rev();
            let clear: String = tables.map(|table| format!("DELETE FROM {table};")).collect();
            sqlx::raw_sql(AssertSqlSafe(clear)).execute(&mut *reader).await.unwrap();
            let mut numbers = Numbers::default();
            for (at, write) in (1..).zip(writes) {
                let answers = [
                    write.clone().ask(store, &numbers).await,
                    write.clone().ask(&oracle, &Numbers::of(&expected)).await,
                ];
                let before = std::mem::replace(&mut expected, oracle.snapshot().dump());
                if ["runs", "outbox"].iter().any(|table| before[*table].len() != expected[*table].len()) {
                    let all = sqlx::query_as("SELECT id, seq FROM runs UNION ALL SELECT id, seq FROM outbox");
                    numbers = all.fetch_all(&mut *reader).await.unwrap().into_iter().collect();
                }
                let last = at == writes.len();
                let tables = match after_each || last || answers[0] != answers[1] {
                    true => (ranked(dump_on(reader).await), ranked(expected.clone())),
                    false => Default::default(),
                };
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
