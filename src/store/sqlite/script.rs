//! Several statements in one call of the driver.
//!
//! A call costs two changes of threads, there and back: for a lone commit more than all that the statements do. So
//! statements whose answers nobody needs wait for the next one whose answer is needed, or for the COMMIT.
//!
//! The driver binds a text's `?` in their order, over all of its statements, and prepares each text once. So a text
//! that comes with others has no numbered parameters, and there are few different ones.

use futures_util::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Either, Error, Execute, Executor, Sqlite, SqliteConnection};

/// A text with its values.
pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Statements that are still to be run.
#[derive(Default)]
pub(super) struct Script {
    text: String,
    values: SqliteArguments,
}

impl Script {
    /// One statement.
    pub(super) fn of(sql: &str) -> Self {
        Self { text: sql.to_owned(), values: SqliteArguments::default() }
    }

    /// Whether this statement is all that waits.
    pub(super) fn is(&self, sql: &str) -> bool {
        self.text == sql
    }

    /// All that waits.
    pub(super) fn all<'q>(&mut self) -> Bound<'q> {
        let Self { text, values } = std::mem::take(self);
        sqlx::query_with(AssertSqlSafe(text), values)
    }

    /// All that waits, and after it a statement whose values are bound next.
    ///
    /// # Panics
    /// When it has numbered parameters: they would be other statements' values.
    pub(super) fn with<'q>(&mut self, sql: &str) -> Bound<'q> {
        assert!(!numbered(sql), "a statement that comes with others has no numbered parameters: {sql}");
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(sql);
        self.all()
    }

    /// Lets it wait.
    pub(super) fn keep(&mut self, mut query: Bound<'_>) -> Result<(), Error> {
        self.values = query.take_arguments().map_err(Error::Encode)?.unwrap_or_default();
        self.text = query.sql().as_str().to_owned();
        Ok(())
    }
}

/// Whether a text has parameters like `?1` or `$1`. A dollar before a point or a quote is a path in JSON.
fn numbered(sql: &str) -> bool {
    sql.as_bytes().windows(2).any(|pair| matches!(pair[0], b'?' | b'$') && pair[1].is_ascii_digit())
}

/// Runs statements; tells what they gave, and how many rows the last one wrote.
pub(super) async fn run(query: Bound<'_>, db: &mut SqliteConnection) -> Result<(Vec<SqliteRow>, u64), Error> {
    let (mut rows, mut wrote) = (Vec::new(), 0);
    let mut said = db.fetch_many(query);
    while let Some(one) = said.try_next().await? {
        match one {
            Either::Left(done) => wrote = done.rows_affected(),
            Either::Right(row) => rows.push(row),
        }
    }
    Ok((rows, wrote))
}
