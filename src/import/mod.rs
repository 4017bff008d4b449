//! Taking over from mostrod: the open debts of a mostrod 0.20 database become ours, once.
//!
//! | | |
//! |---|---|
//! | `source` | opens `mostro.db` exclusively, checks its schema, reads its rows |
//! | `columns` | what each column may hold, and how it reads as ours |
//! | `inventory` | pure: which rows are taken over, listed, or left out, and why |
//! | `report` | the same for people and machines |
//! | `mark` | what keeps mostrod from ever paying again from that file |
//!
//! **No moment has two payers, and none has no record.** The exclusive lock on `mostro.db` is held
//! from the first reading to the end. First the mark *begun* is written there: from then on no
//! mostrod starts on the file or can claim a payment in it. Then all that is taken over is
//! committed to our database in one transaction, with the fact `import`. Then the mark becomes
//! *done*. A crash in between leaves *begun*: importing again goes on where it stopped, since our
//! own fact tells whether the commit was made. Nothing of mostrod's is changed or removed.
//!
//! No state of mostrod's is trusted: a bond or trade that it may have paid is only classified here
//! ([`TakenBond`], [`UnpaidTrade`]), with every hash that it may have been paid under.

mod columns;
mod inventory;
mod mark;
mod report;
mod source;
mod starts;
mod taken;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::engine::store::NewRun;
use crate::engine::{Commit, CommitError, Effects, Store, StoreError, Timestamp};
use crate::payout::books::{insert, upsert};
use crate::payout::tables::FACTS;

pub use inventory::Inventory;
pub use mark::{Mark, Progress};
pub use report::{Item, Report, Tally};
pub use taken::{TakenBond, UnpaidTrade};

use source::Source;

/// The fact that tells that a mostrod database was taken over: `{path, at, report}`.
pub const IMPORT_FACT: &str = "import";

/// The fact that tells which lnd holds the bonds that were taken over: its identity key, hex.
pub const LND_FACT: &str = "lnd-identity";

/// The fact that tells from when on messages count, Unix seconds: what was sent before the import
/// was mostrod's to answer.
pub const BEGUN_FACT: &str = "begun";

/// Why nothing was taken over. The text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file can't be opened or read.
    #[error("{path} can't be read: {problem}")]
    Unreadable {
        /// The file.
        path: String,
        /// What SQLite or the operating system says.
        problem: String,
    },
    /// Another process has the file open, or locked.
    #[error("{path} is in use{by}: stop mostrod and whatever else has it open, then import again")]
    InUse {
        /// The file.
        path: String,
        /// ` by process N`, where known.
        by: String,
    },
    /// The schema is not one that is understood.
    #[error("{path} is refused: {problem}")]
    Schema {
        /// The file.
        path: String,
        /// What differs.
        problem: String,
    },
    /// The file was taken over into another database.
    #[error(
        "{path} was taken over into {target} ({progress} at {at}): import it there; if that database is lost, \
         restore it from its backup"
    )]
    TakenElsewhere {
        /// The file.
        path: String,
        /// Into what.
        target: String,
        /// How far.
        progress: &'static str,
        /// When.
        at: String,
    },
    /// Our database took over from another file before.
    #[error("this database took over from {path} at {at}: a second mostrod database needs one of its own")]
    TookAnother {
        /// The other file.
        path: String,
        /// When.
        at: String,
    },
    /// A debt would be taken over and nobody would pay it.
    #[error("nothing was taken over: the debt of {0} would have no run")]
    NoRun(String),
    /// Our database can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our database did not take it.
    #[error("nothing was taken over, and mostrod may use {path} as before: {error}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        error: CommitError,
    },
    /// Nobody knows whether our database took it.
    #[error("{path} stays closed to mostrod, import it again to find out whether it was taken over: {error}")]
    Unknown {
        /// The file.
        path: String,
        /// Why.
        error: CommitError,
    },
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq)]
pub enum Imported {
    /// It was taken over now.
    Now(Report),
    /// It was taken over before; the fact that was written then.
    Before(Value),
}

/// A mostrod database under our exclusive lock, read whole.
#[derive(Debug)]
pub struct Takeover {
    path: PathBuf,
    source: Source,
    mark: Option<Mark>,
    /// What was found.
    pub inventory: Inventory,
}

impl Takeover {
    /// Opens the file exclusively and reads all of it.
    ///
    /// # Errors
    ///
    /// When the file is in use, or its schema is not exactly that of mostrod 0.20. Single rows that
    /// make no sense are no error: they are listed and left out.
    pub async fn read(path: &Path) -> Result<Self, ImportError> {
        let mut source = Source::open(path).await?;
        let mark = source.mark().await?;
        let inventory = Inventory::of(&source.books().await?);
        Ok(Self { path: source.path().to_owned(), source, mark, inventory })
    }

    /// What an earlier import left in the file.
    pub const fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Counts and sats: what is taken, what is not and why.
    pub fn report(&self) -> Report {
        self.inventory.report(&self.path.display().to_string())
    }

    /// All rows that are written when it is taken over now, the fact included. The runs that settle
    /// the debts are the payout's to start: see [`Inventory::bonds`] and [`Inventory::trades`].
    pub fn effects(&self, now: Timestamp) -> Effects {
        let mut rows = self.inventory.rows(now);
        let fact = json!({ "path": self.path, "at": now.secs(), "report": self.report() });
        // The one row that must be new: a second import conflicts with the first.
        rows.push(insert(FACTS, IMPORT_FACT, json!({ "value": fact.to_string() })));
        rows.push(upsert(FACTS, BEGUN_FACT, json!({ "value": now.secs().to_string() })));
        if let Some(identity) = &self.inventory.lnd_identity {
            rows.push(upsert(FACTS, LND_FACT, json!({ "value": identity })));
        }
        Effects { rows, ..Effects::default() }
    }

    /// The runs that settle what is taken over now: one for each debt.
    ///
    /// # Errors
    /// With the debt that no run can be made for.
    pub fn starts(&self, now: Timestamp) -> Result<Vec<NewRun>, ImportError> {
        starts::starts(&self.inventory, now).map_err(ImportError::NoRun)
    }

    /// Takes it over into our database, named `target` in the mark, with `starts` in the same
    /// commit. Importing again changes nothing and says so.
    ///
    /// The caller has our database for itself: no daemon runs on it. `starts` has a run for each
    /// debt, with the id of the bond or of the trade's order as its key; a `locked` bond has none yet.
    pub async fn into_store(
        mut self,
        store: &dyn Store,
        target: &str,
        starts: Vec<NewRun>,
        now: Timestamp,
    ) -> Result<Imported, ImportError> {
        let before = self.before(store, target).await?;
        if before.is_none() {
            let orphan = self.inventory.debts().find(|debt| !starts.iter().any(|start| start.key == *debt));
            if let Some(debt) = orphan {
                return Err(ImportError::NoRun(debt.to_owned()));
            }
            self.source.write_mark(&Mark::new(Progress::Begun, target, now)).await?;
            let Effects { guards, rows, .. } = self.effects(now);
            let commit = Commit { at: now, guards, rows, starts, ..Commit::default() };
            if let Err(error) = store.commit(commit).await {
                return Err(self.give_back(error).await?);
            }
        }
        if self.mark.as_ref().is_none_or(|mark| mark.progress != Progress::Done) {
            self.source.write_mark(&Mark::new(Progress::Done, target, now)).await?;
        }
        let report = self.report();
        self.source.close().await?;
        Ok(before.map_or(Imported::Now(report), Imported::Before))
    }

    /// Lets mostrod have its file again when our database certainly took nothing, now or in an
    /// import that was begun before.
    async fn give_back(&mut self, error: CommitError) -> Result<ImportError, ImportError> {
        let path = self.path.display().to_string();
        if self.mark.is_some() || matches!(error, CommitError::Unknown(_)) {
            return Ok(ImportError::Unknown { path, error });
        }
        self.source.remove_mark().await?;
        Ok(ImportError::Refused { path, error })
    }

    /// What our database knows of an earlier import; an error when that and the file's mark don't
    /// belong together.
    async fn before(&self, store: &dyn Store, target: &str) -> Result<Option<Value>, ImportError> {
        let fact = store.row(FACTS.name, IMPORT_FACT).await?;
        let fact = fact.and_then(|row| row.get("value").and_then(Value::as_str).map(read_fact));
        match (&self.mark, fact) {
            (None, Some(fact)) => Err(ImportError::TookAnother {
                path: fact["path"].as_str().unwrap_or("another file").to_owned(),
                at: fact["at"].as_i64().map_or_else(|| "?".into(), |at| Timestamp::from_secs(at).to_string()),
            }),
            (Some(mark), None) if mark.progress == Progress::Done || mark.target != target => {
                Err(ImportError::TakenElsewhere {
                    path: self.path.display().to_string(),
                    target: mark.target.clone(),
                    progress: mark.progress.as_str(),
                    at: mark.at.to_string(),
                })
            }
            (_, fact) => Ok(fact),
        }
    }
}

fn read_fact(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
