//! The store port: all that the engine and a workflow ask of a database.
//!
//! **Duties of an implementor.** A [`Commit`] is applied whole or not at all, durably before
//! `commit` returns. Its checks (revision, lease token, mailbox, guards, inbox, rows that must be
//! new) hold at the moment of the write, also against other commits folded into the same
//! transaction. When the database does not say whether a transaction was committed the
//! implementor reads again to find out, never applies again, and answers
//! [`CommitError::Unknown`] only when it can't read either.
//!
//! **Duties of a caller.** Touch the world before or after, never inside; build the commit from
//! one reading of the run; after [`CommitError::Conflict`] read again and decide again.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use super::clock::Timestamp;
use super::run::{HistoryEntry, Pin, Run, RunId, Signal, Status};

/// A row of one of the workflow's own tables: column → value.
pub type Row = Map<String, Value>;

/// One of the workflow's own tables, as the store is told of it when it is opened: the name, the
/// text column that is its key, and all the other columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The table's name.
    pub name: &'static str,
    /// The key column.
    pub key: &'static str,
    /// The other columns.
    pub columns: &'static [&'static str],
}

/// A write to one of the workflow's own tables, committed with what decided it.
#[derive(Debug, Clone, PartialEq)]
pub struct RowWrite {
    /// The table's name, one of those that the store was told of.
    pub table: &'static str,
    /// The value of its key column.
    pub key: String,
    /// What is written.
    pub change: RowChange,
}

/// What a [`RowWrite`] does.
#[derive(Debug, Clone, PartialEq)]
pub enum RowChange {
    /// A new row; the commit conflicts when the key is there already.
    Insert(Row),
    /// A row that may be there: its columns are replaced, or it is made.
    Upsert(Row),
    /// Columns of a row that is there and whose other columns are as `expect` says; else the
    /// commit conflicts.
    Update {
        /// New values.
        set: Row,
        /// Values that the row must have.
        expect: Row,
    },
}

/// A condition that must hold when a commit is written, without being changed by it.
#[derive(Debug, Clone, PartialEq)]
pub enum Guard {
    /// The run stands at this revision: an intake's decision was made on it.
    Revision {
        /// The run.
        run: RunId,
        /// Its revision.
        revision: i64,
    },
    /// No run has this id yet.
    NoRun {
        /// The run.
        run: RunId,
    },
    /// The row has these values; none of them: the row is there.
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// Values that it must have.
        expect: Row,
    },
    /// No row has that key.
    Absent {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
    },
    /// Fewer than `limit` rows have all these values (and, if asked for, `column >= at_least`).
    Fewer {
        /// The table.
        table: &'static str,
        /// Values that a counted row has.
        matching: Row,
        /// A column and the least value of it in a counted row.
        at_least: Option<(&'static str, i64)>,
        /// How many there may not be yet.
        limit: u64,
    },
}

/// A run to be started. Nothing happens when a run with that workflow and key is there.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// The definition it will follow.
    pub pin: Pin,
    /// The caller's key.
    pub key: String,
    /// The definition's first step.
    pub step: String,
    /// Its first state, JSON text.
    pub state: String,
    /// When its first step is due.
    pub due_at: Timestamp,
}

/// A signal to be put into a run's mailbox. Nothing happens when the run is unknown, or has had a
/// signal with that dedup key. A final run hears an operator's request (`@…`) only, and is due for
/// it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSignal {
    /// The run.
    pub run: RunId,
    /// The signal's name.
    pub name: String,
    /// JSON text.
    pub payload: String,
    /// Two signals to one run with the same key are one.
    pub dedup: String,
}

/// Makes waiting runs due now that are not due yet: the oldest first. So two nudges wake two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Nudge {
    /// Runs of this workflow
    pub workflow: String,
    /// that wait in this step,
    pub step: String,
    /// at most this many.
    pub limit: u32,
}

/// A message to the outside, sealed: published until it is acknowledged, under one id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxMessage {
    /// The id under which the outside knows it.
    pub id: String,
    /// Messages of one lane are first offered in the order of their commits.
    pub lane: String,
    /// What it is, for people and for whoever waits for its acknowledgment.
    pub topic: String,
    /// A newer message with the same slot makes this one superfluous; none: it stands alone.
    pub slot: Option<String>,
    /// The sealed text, ready to be published.
    pub body: String,
    /// After this it need not be published any more.
    pub expires_at: Option<Timestamp>,
}

/// How far the publication of an [`OutboxMessage`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutboxState {
    /// To be published, or published again.
    Pending,
    /// Acknowledged by a quorum.
    Acknowledged,
    /// Replaced by a newer one of its slot.
    Superseded,
    /// Not acknowledged before it lost its meaning.
    Expired,
}

impl OutboxState {
    /// The name, as the database has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acknowledged => "acknowledged",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Acknowledged, Self::Superseded, Self::Expired]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A message of the outbox with its standing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// Its place in the order of commits.
    pub seq: i64,
    /// The message.
    #[serde(flatten)]
    pub message: OutboxMessage,
    /// Its standing.
    pub state: OutboxState,
    /// How often it was offered.
    pub attempts: u32,
    /// When it is to be offered next.
    pub due_at: Timestamp,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// What came of offering a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The message's place in the outbox.
    pub seq: i64,
    /// Its standing now.
    pub state: OutboxState,
    /// When it is to be offered again, if it is pending.
    pub due_at: Timestamp,
}

/// A run's part of a commit: what one step led to.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCommit {
    /// The run.
    pub seq: i64,
    /// The revision that was read; the commit makes it one more.
    pub revision: i64,
    /// The lease under which the step was run.
    pub token: i64,
    /// The decision needs the mailbox to be as it was read: so many signals ever stored.
    pub mailbox: Option<i64>,
    /// How many signals were known: a later one makes the run due at once.
    pub known_signals: i64,
    /// The signals that the step took, by number.
    pub consumed: Vec<i64>,
    /// The run's status from now on.
    pub status: Status,
    /// The step or end it goes to.
    pub step: String,
    /// The attempt of that step.
    pub attempt: u32,
    /// The new state, JSON text; none: as it was.
    pub state: Option<String>,
    /// Why it is not getting on.
    pub error: Option<String>,
    /// What happens to the lease.
    pub lease: Lease,
    /// The line for the history; its revision is the new one.
    pub history: HistoryEntry,
}

/// What a commit does with the run's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// The worker goes on with the next step.
    Keep,
    /// The worker lets go; the run is due again at that time, or when a signal comes.
    Release(Option<Timestamp>),
}

/// Everything that is written at once. See the module for the duties.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// When it is made.
    pub at: Timestamp,
    /// A run's step.
    pub step: Option<StepCommit>,
    /// Conditions.
    pub guards: Vec<Guard>,
    /// An incoming message's id: the commit conflicts when it was seen before.
    pub inbox: Option<String>,
    /// The workflow's own rows.
    pub rows: Vec<RowWrite>,
    /// Runs to start.
    pub starts: Vec<NewRun>,
    /// Signals to store.
    pub signals: Vec<NewSignal>,
    /// Waiting runs to make due.
    pub nudges: Vec<Nudge>,
    /// Messages to publish.
    pub outbox: Vec<OutboxMessage>,
}

/// What a commit found once it was applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// For a commit with a step: how many signals the run's mailbox has ever had.
    pub signals: i64,
}

/// Why a commit was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The lease is another's, or the run has moved on: the worker lets go of the run.
    #[error("the lease is lost or the run has moved on")]
    Fenced,
    /// A signal came in after the mailbox was read.
    #[error("a signal came in")]
    Mail,
    /// The incoming message was seen before.
    #[error("the message was seen before")]
    Seen,
    /// Something else is no longer as it was read.
    #[error("no longer so: {0}")]
    Conflict(String),
    /// Nothing was written, and trying again may help.
    #[error("the database can't write: {0}")]
    Unavailable(String),
    /// Nobody can say whether it was written; only a fresh reading of the database can.
    #[error("the database did not say whether it committed: {0}")]
    Unknown(String),
}

/// Why a call that commits nothing failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database can't be used: {0}")]
pub struct StoreError(pub String);

/// A finished run of which only its name, its end and a little more is to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// The run.
    pub seq: i64,
    /// The revision at which it was found finished.
    pub revision: i64,
    /// What its workflow keeps, JSON text: takes the place of the state.
    pub keeps: String,
}

/// Runs to read. Those that are retired are among them only when runs are named, by `prefix` or `keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only open ones.
    pub open: bool,
    /// Only with this status.
    pub status: Option<Status>,
    /// Only in this step or end.
    pub step: Option<String>,
    /// Only of this workflow.
    pub workflow: Option<String>,
    /// Only those whose id or key begins so.
    pub prefix: Option<String>,
    /// Only those with one of these keys.
    pub keys: Option<Vec<String>>,
    /// Only those started at this time or later.
    pub since: Option<Timestamp>,
    /// Only open ones that don't get on: paused, with an error, or due since before this time
    /// without anybody at work on them.
    pub stuck: Option<Timestamp>,
    /// Newest first, at most so many; none: all.
    pub limit: Option<u32>,
}

impl RunFilter {
    /// Whether runs are named.
    pub fn names_runs(&self) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| !prefix.is_empty()) || self.keys.is_some()
    }
}

/// Where a database stands in its own history: what one that was put back to an earlier time, or
/// copied, is told by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The name of that history: one word, at most 64 bytes.
    pub timeline: String,
    /// How far it has gone.
    pub count: i64,
}

/// Runs that are alike, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The workflow.
    pub workflow: String,
    /// What they are doing.
    pub status: Status,
    /// The step or end.
    pub step: String,
    /// How many there are.
    pub runs: u64,
    /// When the one of them that was started before the others was.
    pub oldest: Timestamp,
}

/// Which rows of a table to read, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// What the keys begin with.
    pub prefix: String,
    /// The key after which to go on; none: from the beginning.
    pub after: Option<String>,
    /// The greatest key comes first.
    pub descending: bool,
    /// At most so many.
    pub limit: u32,
}

/// What a store tells after a commit, so that nobody has to ask again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A run became due, or its time changed.
    Runs,
    /// A message was put into the outbox.
    Outbox,
}

/// The port. See the module for the duties of both sides.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies a commit.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;

    /// Takes up to `limit` runs that are due at `now` under a lease of `owner` until `until`, the
    /// longest due first; each one's token goes up. A leased run is due when its lease ends.
    async fn claim(&self, owner: &str, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Run>, StoreError>;

    /// Prolongs every lease that `owner` has and that has not run out at `now`.
    async fn renew(&self, owner: &str, now: Timestamp, until: Timestamp) -> Result<(), StoreError>;

    /// Ends the leases of owners that are known to be dead: all but `owner`'s.
    async fn release_others(&self, owner: &str, now: Timestamp) -> Result<u64, StoreError>;

    /// Whether no other daemon can be at work on the database: then whoever else had a lease on
    /// something is dead.
    fn alone(&self) -> bool;

    /// Takes or prolongs, until `until`, the lease on a part that one daemon plays at a time, unless
    /// another one has it at `now`; says whether `owner` has it. A daemon that is alone has all of
    /// them.
    async fn hold(&self, part: &str, owner: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// When the next run is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Makes a run due at `at` if nobody has a lease on it and it is not due sooner.
    async fn wake(&self, run: i64, at: Timestamp) -> Result<(), StoreError>;

    /// The run of that id.
    async fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError>;

    /// The runs that a filter lets through, newest first.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError>;

    /// Runs that have ended, last committed before `before` and are not retired, in the order of their
    /// numbers, from the one after `after`. It may read all runs.
    async fn ended(&self, before: Timestamp, after: i64, limit: u32) -> Result<Vec<Run>, StoreError>;

    /// Retires runs: their histories and mailboxes are removed, and their states replaced. A run that
    /// is not finished at that revision, is leased or has been asked something stays as it is. Their
    /// ids and keys stay taken, and no token that was given out before fits them any more. Tells how many were retired.
    async fn retire(&self, runs: Vec<Retirement>, at: Timestamp) -> Result<u64, StoreError>;

    /// All runs counted that are not retired, or the open ones alone, ordered by workflow, status's name and step.
    async fn tally(&self, open: bool) -> Result<Vec<Tally>, StoreError>;

    /// The definitions that open runs are pinned to.
    async fn pins(&self) -> Result<Vec<(Pin, u64)>, StoreError>;

    /// The signals that a run has not consumed, in their order.
    async fn mailbox(&self, run: i64) -> Result<Vec<Signal>, StoreError>;

    /// The same for several runs, in ascending order of them: each signal with its run.
    async fn mailboxes(&self, runs: &[i64]) -> Result<Vec<(i64, Signal)>, StoreError> {
        let mut mail = Vec::new();
        for run in runs {
            mail.extend(self.mailbox(*run).await?.into_iter().map(|signal| (*run, signal)));
        }
        Ok(mail)
    }

    /// A run's history, oldest first.
    async fn history(&self, run: i64) -> Result<Vec<HistoryEntry>, StoreError>;

    /// One row of a workflow's table.
    async fn row(&self, table: &'static str, key: &str) -> Result<Option<Row>, StoreError>;

    /// The rows of a workflow's table whose `column` has that value, by key.
    async fn rows(&self, table: &'static str, column: &'static str, value: &Value) -> Result<Vec<Row>, StoreError>;

    /// Rows of a workflow's table in the order of their keys.
    async fn page(&self, table: &'static str, page: &Page) -> Result<Vec<Row>, StoreError>;

    /// The sum of a column over the rows that have all these values; a row without a value in it
    /// adds nothing.
    async fn sum(&self, table: &'static str, column: &'static str, matching: &Row) -> Result<i64, StoreError>;

    /// The row of a workflow's table with the greatest value in `column`; rows without one don't
    /// count.
    async fn newest(&self, table: &'static str, column: &'static str) -> Result<Option<Row>, StoreError>;

    /// Whether a guard would let a commit pass now. Only the guard in the commit itself decides.
    async fn holds(&self, guard: &Guard) -> Result<bool, StoreError>;

    /// Whether an incoming message was seen.
    async fn seen(&self, inbox: &str) -> Result<bool, StoreError>;

    /// Pending messages that are due, in the order of their commits.
    async fn outbox_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>, StoreError>;

    /// When the next pending message is due.
    async fn outbox_next(&self) -> Result<Option<Timestamp>, StoreError>;

    /// How many messages are pending, and when the first of them was stored.
    async fn outbox_depth(&self) -> Result<(u64, Option<Timestamp>), StoreError>;

    /// Writes down what came of offering messages.
    async fn delivered(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError>;

    /// Removes messages that are neither pending nor the newest of their topic, at most `limit`, in the
    /// order of their commits and up to the first that was stored at `before` or later. Tells how many.
    async fn forget_messages(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// The newest message of that topic.
    async fn outbox_topic(&self, topic: &str) -> Result<Option<OutboxEntry>, StoreError>;

    /// The message of that id.
    async fn outbox(&self, id: &str) -> Result<Option<OutboxEntry>, StoreError>;

    /// Where the history stands that this store goes on with. Its count never falls; it has risen once
    /// a commit of a run, or a claim that took one, is answered.
    async fn standing(&self) -> Result<Standing, StoreError>;

    /// How far the history of that name has gone in this database; none: it is not one of its own.
    async fn reached(&self, timeline: &str) -> Result<Option<i64>, StoreError>;

    /// Goes on with a history of a name that no copy of this database has, because what was
    /// committed after this point is lost: so that the lost part, should it turn up, is told from
    /// what is committed from now on.
    async fn begin_timeline(&self) -> Result<(), StoreError>;

    /// The newest time at which a run was committed or a message was put into the outbox. It may
    /// read all runs.
    async fn last_commit(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Tells all listeners that the runs may have changed: somebody else has written.
    fn announce(&self);

    /// Tells of changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Writes what was asked for, and lets go of the database. Later calls fail.
    async fn close(&self);
}
