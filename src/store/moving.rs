//! Moves all that is in a SQLite database into a PostgreSQL database, and compares the two.
//!
//! Table by table and column by column, whatever the tables are: both schemas are made by
//! migrations of the same numbers and names. What belongs to the databases themselves (lists of
//! migrations, counts of transactions) stays behind.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::TryStreamExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error, SqliteConnection};

/// What belongs to one database alone.
const LEFT: [&str; 2] = ["_sqlx_migrations", "journal"];

/// How many rows are written by one statement.
const AT_ONCE: usize = 500;

/// Why nothing was moved. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum NotMoved {
    /// The SQLite side.
    #[error("the SQLite database: {0}")]
    From(#[source] Error),
    /// The PostgreSQL side.
    #[error("the PostgreSQL database: {0}")]
    To(#[source] Error),
    /// There is something else already.
    #[error("the PostgreSQL database is not empty: {rows} rows in {table} differ from those to be moved")]
    NotEmpty {
        /// The first table in which it differs.
        table: String,
        /// How many rows it has.
        rows: u64,
    },
    /// The schemas are not the same.
    #[error("the table {0} is not the same in both databases: bring both to this build's version")]
    Schema(String),
    /// What was read back is not what was written.
    #[error("the table {0} came out different: nothing was moved")]
    Different(String),
}

/// What a table has: how many rows, and the sum of their digests, in whatever order they come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Content {
    rows: u64,
    sum: [u64; 4],
}

impl Content {
    fn add(&mut self, row: &Map<String, Value>) {
        // The names in their order, whatever the order in which a database lists them.
        let row: BTreeMap<&String, Value> = row.iter().map(|(name, value)| (name, plain(value))).collect();
        let digest = Sha256::digest(serde_json::to_vec(&row).unwrap_or_default());
        for (sum, part) in self.sum.iter_mut().zip(digest.chunks_exact(8)) {
            *sum = sum.wrapping_add(part.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)));
        }
        self.rows += 1;
    }
}

/// A value in one way of writing it: the databases write whole numbers of a column for fractions
/// in two.
fn plain(value: &Value) -> Value {
    match value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0) {
        Some(number) => Value::from(number.to_string()),
        None if value.is_i64() => Value::from(value.to_string()),
        None => value.clone(),
    }
}

/// What a move is about to make so. Dropped instead, nothing has happened.
pub struct Move {
    to: PgConnection,
    /// How many rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// All of it was there already, by an earlier move.
    pub before: bool,
}

impl Move {
    /// Reads all of `from`, writes it to `to` and reads it back. Nobody else may be at work on
    /// either. `but` is the one row that stays behind: table, key column, key.
    ///
    /// # Errors
    /// See [`NotMoved`]; then nothing was moved.
    pub async fn prepare(from: &Path, to: &str, but: (&str, &str, &str)) -> Result<Self, NotMoved> {
        let options = SqliteConnectOptions::new().filename(from).read_only(true).disable_statement_logging();
        let mut from = options.connect().await.map_err(NotMoved::From)?;
        let to = PgConnection::connect(to).await.map_err(NotMoved::To)?;
        let tables = tables(&mut from).await.map_err(NotMoved::From)?;
        let mut made = Self { to, rows: BTreeMap::new(), before: false };
        made.begin(&tables).await?;
        let mut contents = BTreeMap::new();
        for table in &tables {
            contents.insert(table.as_str(), copy(&mut from, None, table, but).await?);
        }
        let found = made.contents(&tables).await?;
        let filled = found.values().any(|content| content.rows > 0);
        made.before = filled && found.iter().all(|(table, content)| contents.get(table.as_str()) == Some(content));
        if filled && !made.before {
            let differs =
                found.iter().find(|(table, content)| content.rows > 0 && contents.get(table.as_str()) != Some(content));
            let (table, rows) = differs.map_or_else(Default::default, |(table, content)| (table.clone(), content.rows));
            return Err(NotMoved::NotEmpty { table, rows });
        }
        if !made.before {
            for table in &tables {
                copy(&mut from, Some(&mut made.to), table, but).await?;
            }
            made.number_on(&mut from).await?;
            let found = made.contents(&tables).await?;
            if let Some((table, _)) = contents.iter().find(|(table, content)| found.get(**table) != Some(*content)) {
                return Err(NotMoved::Different((*table).to_owned()));
            }
        }
        made.rows = contents.into_iter().map(|(table, content)| (table.to_owned(), content.rows)).collect();
        Ok(made)
    }

    /// Makes it so.
    ///
    /// # Errors
    /// When the database does not answer: the same move again tells what became of it.
    pub async fn commit(mut self) -> Result<(), NotMoved> {
        sqlx::raw_sql("COMMIT").execute(&mut self.to).await.map_err(NotMoved::To)?;
        self.to.close().await.map_err(NotMoved::To)
    }

    /// Nobody else reads or writes what is being compared.
    async fn begin(&mut self, tables: &[String]) -> Result<(), NotMoved> {
        for table in tables {
            let there = sqlx::query_scalar("SELECT to_regclass(quote_ident($1)) IS NOT NULL").bind(table);
            if !there.fetch_one(&mut self.to).await.map_err(NotMoved::To)? {
                return Err(NotMoved::Schema(table.clone()));
            }
        }
        let list: Vec<_> = tables.iter().map(|table| format!("\"{table}\"")).collect();
        let begin = format!("BEGIN; LOCK TABLE {} IN EXCLUSIVE MODE", list.join(", "));
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut self.to).await.map(drop).map_err(NotMoved::To)
    }

    async fn contents(&mut self, tables: &[String]) -> Result<BTreeMap<String, Content>, NotMoved> {
        let mut contents = BTreeMap::new();
        for table in tables {
            let mut content = Content::default();
            let query = AssertSqlSafe(format!("SELECT row_to_json(t)::text FROM \"{table}\" AS t"));
            let mut rows = sqlx::query_scalar::<_, String>(query).fetch(&mut self.to);
            while let Some(row) = rows.try_next().await.map_err(NotMoved::To)? {
                content.add(&parsed(&row).map_err(NotMoved::To)?);
            }
            contents.insert(table.clone(), content);
        }
        Ok(contents)
    }

    /// What is numbered by the database goes on where it was: no number is used twice.
    async fn number_on(&mut self, from: &mut SqliteConnection) -> Result<(), NotMoved> {
        let last = sqlx::query_as("SELECT name, seq FROM sqlite_sequence").fetch_all(from);
        let last: Vec<(String, i64)> = last.await.map_err(NotMoved::From)?;
        for (table, number) in last.into_iter().filter(|(_, number)| *number > 0) {
            let set = sqlx::query("SELECT setval(pg_get_serial_sequence(quote_ident($1), 'seq'), $2)");
            set.bind(table).bind(number).execute(&mut self.to).await.map_err(NotMoved::To)?;
        }
        Ok(())
    }
}

/// The tables, in the order of their making: what refers to another comes after it.
async fn tables(from: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid",
    )
    .fetch_all(from)
    .await?;
    Ok(tables.into_iter().filter(|table| !LEFT.contains(&table.as_str())).collect())
}

/// Reads a table, and writes it if it is told where.
async fn copy(
    from: &mut SqliteConnection,
    mut to: Option<&mut PgConnection>,
    table: &str,
    (but_table, but_column, but_key): (&str, &str, &str),
) -> Result<Content, NotMoved> {
    let columns = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table);
    let columns: Vec<String> = columns.fetch_all(&mut *from).await.map_err(NotMoved::From)?;
    let fields: Vec<_> = columns.iter().map(|column| format!("'{column}', \"{column}\"")).collect();
    let left = if table == but_table { format!(" WHERE \"{but_column}\" <> '{but_key}'") } else { String::new() };
    let query = AssertSqlSafe(format!("SELECT json_object({}) FROM \"{table}\"{left}", fields.join(", ")));
    let mut rows = sqlx::query_scalar::<_, String>(query).fetch(from);
    let (mut content, mut batch) = (Content::default(), Vec::new());
    loop {
        let row = rows.try_next().await.map_err(NotMoved::From)?;
        let last = row.is_none();
        if let Some(row) = row {
            content.add(&parsed(&row).map_err(NotMoved::From)?);
            batch.push(row);
        }
        if let Some(to) = &mut to
            && (batch.len() == AT_ONCE || last && !batch.is_empty())
        {
            write(to, table, &columns, &batch).await?;
            batch.clear();
        } else if to.is_none() {
            batch.clear();
        }
        if last {
            return Ok(content);
        }
    }
}

async fn write(to: &mut PgConnection, table: &str, columns: &[String], rows: &[String]) -> Result<(), NotMoved> {
    let list: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    let list = list.join(", ");
    let insert = format!(
        "INSERT INTO \"{table}\" ({list}) OVERRIDING SYSTEM VALUE \
         SELECT {list} FROM json_populate_recordset(NULL::\"{table}\", $1::json)"
    );
    let written = sqlx::query(AssertSqlSafe(insert)).bind(format!("[{}]", rows.join(","))).execute(to).await;
    written.map(drop).map_err(NotMoved::To)
}

fn parsed(row: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(row).map_err(|error| Error::Decode(error.into()))
}
