//! Group commit, whichever database it is on: what queued while the last transaction was synced
//! is one batch, which comes out as if its commits had been applied one after the other.
//!
//! | | |
//! |---|---|
//! | `queue` | the one task that writes, who asks it, and who is answered what |
//! | `admission` | which commits may be written together |
//! | `checks` | what must be true for a commit |
//! | `meters` | how large the transactions are, and how long they take |
//! | `records` | what is written, as the statements read it |
//! | `upkeep` | writes that are no commits |
//!
//! A database's own part is a [`Transaction`]: one statement for each kind of reading and writing.

mod admission;
mod checks;
mod meters;
mod queue;
mod records;
mod upkeep;

use std::collections::{HashMap, HashSet};

use crate::engine::store::{Commit, CommitError, Committed, Guard, Nudge, Row, Table};
use crate::engine::{RunId, Timestamp};

pub(super) use checks::named_runs;
pub use meters::CommitMeters;
pub(super) use queue::{AskedCommit, AskedUpkeep, Backend, Counters, Done, Failure, Queue, Request, announce, serve};
pub(super) use records::{MessageRow, SignalRow, StartRow, StepRow, json, retirements, taken};
pub(super) use upkeep::{Answer, Maintenance, Offers, Upkeep};

/// An open transaction. Where others write to the same database at the same time, what `runs`,
/// `rows` and `count` have told stays so until it ends.
pub(super) trait Transaction {
    /// What goes wrong in a statement.
    type Error;

    /// One of the workflow's own tables.
    fn table(&self, name: &str) -> Option<Table>;

    /// The runs that these commits name by their ids, see [`named_runs`]: number and revision.
    async fn runs(&mut self, commits: &[&Commit]) -> Result<HashMap<String, (i64, i64)>, Self::Error>;

    /// Which of these incoming messages were seen.
    async fn seen(&mut self, inbox: &[&str]) -> Result<HashSet<String>, Self::Error>;

    /// The rows with these keys, by key.
    async fn rows(&mut self, table: Table, keys: &[&str]) -> Result<HashMap<String, Row>, Self::Error>;

    /// How many rows have these values, counted up to `most`.
    async fn count(
        &mut self,
        table: Table,
        matching: &Row,
        at_least: Option<(&'static str, i64)>,
        most: u64,
    ) -> Result<u64, Self::Error>;

    /// Moves the runs that stand as their steps say, writes their history and marks the signals
    /// that they took. Tells of each run moved how many signals it ever had, and whether it will
    /// be due.
    async fn step(&mut self, steps: &[StepRow<'_>]) -> Result<HashMap<i64, (i64, bool)>, Self::Error>;

    /// How these runs stand: revision, token, signals.
    async fn standing(&mut self, runs: &[i64]) -> Result<HashMap<i64, (i64, i64, i64)>, Self::Error>;

    /// Remembers incoming messages, each with its time.
    async fn see(&mut self, inbox: &[(&str, i64)]) -> Result<(), Self::Error>;

    /// Writes whole rows, over those that `found` has.
    async fn write_rows(&mut self, table: Table, rows: &[&Row], found: &Found) -> Result<(), Self::Error>;

    /// Starts the runs that are not there; tells how many.
    async fn start(&mut self, starts: &[StartRow<'_>]) -> Result<u64, Self::Error>;

    /// Stores the signals that their runs can still have and have not had, numbered on from the
    /// last one; tells run, name and time of each.
    async fn signal(&mut self, signals: &[SignalRow<'_>]) -> Result<Vec<(i64, String, i64)>, Self::Error>;

    /// Has runs know of their new signals: run, how many, whether one is an operator's, when.
    async fn tell(&mut self, told: &[(i64, i64, bool, i64)]) -> Result<(), Self::Error>;

    /// Makes waiting runs due; tells how many.
    async fn nudge(&mut self, nudge: &Nudge, at: Timestamp) -> Result<u64, Self::Error>;

    /// Stores the messages that are not there, which supersede those of their slots; tells how
    /// many.
    async fn queue(&mut self, messages: &[MessageRow<'_>]) -> Result<u64, Self::Error>;
}

/// What came of a batch, once it is committed.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// For each commit.
    pub(super) verdicts: Vec<Verdict>,
    /// Anything was written.
    pub(super) wrote: bool,
    /// A run became due, or will.
    pub(super) runs: bool,
    /// A message was put into the outbox.
    pub(super) outbox: bool,
}

/// What came of one commit.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is part of the transaction, or was refused.
    Now(Result<Committed, CommitError>),
    /// It belongs into the next one.
    Later,
}

/// What the checks of a batch need to know of the database.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The runs that commits name by their ids: number and revision.
    runs: HashMap<String, (i64, i64)>,
    inbox: HashSet<String>,
    tables: HashMap<&'static str, Table>,
    rows: HashMap<&'static str, HashMap<String, Row>>,
    /// What the guards that count have counted.
    counts: HashMap<String, u64>,
}

impl Found {
    fn run(&self, id: &RunId) -> Option<(i64, i64)> {
        self.runs.get(&id.0).copied()
    }

    /// The row of that key, if it is there.
    pub(super) fn row(&self, table: &str, key: &str) -> Option<&Row> {
        self.rows.get(table)?.get(key)
    }
}

/// A commit whose checks held so far.
struct Passed<'a> {
    place: usize,
    commit: &'a Commit,
    starts: &'a [RunId],
    /// The rows of its tables as they are to be.
    rows: Vec<(&'static str, Row)>,
}

/// Whether a guard would let a commit pass now.
pub(super) async fn holds<T: Transaction>(db: &mut T, guard: &Guard) -> Result<bool, T::Error> {
    let commit = Commit { guards: vec![guard.clone()], ..Commit::default() };
    let mut found = Found { runs: db.runs(&[&commit]).await?, ..Found::default() };
    checks::find_rest(db, &[&commit], &mut found).await?;
    Ok(matches!(checks::check(&commit, &found, &checks::Ahead::new()), checks::Checked::Holds(_)))
}

/// Writes a batch within the open transaction: first all checks, then one statement for each kind
/// of write, for those commits only whose checks held.
pub(super) async fn apply<T: Transaction>(db: &mut T, commits: &[&Commit]) -> Result<Applied, T::Error> {
    let starts: Vec<Vec<RunId>> = commits.iter().map(|commit| start_ids(commit)).collect();
    let mut found = Found { runs: db.runs(commits).await?, ..Found::default() };
    let admitted = admission::admit(commits, &starts, &found);
    let in_batch: Vec<&Commit> =
        commits.iter().zip(&admitted).filter(|(_, admitted)| **admitted).map(|(commit, _)| *commit).collect();
    checks::find_rest(db, &in_batch, &mut found).await?;

    let mut verdicts: Vec<Verdict> = Vec::with_capacity(commits.len());
    let mut passed = Vec::with_capacity(commits.len());
    let mut ahead = checks::Ahead::new();
    for (place, (commit, starts)) in commits.iter().zip(&starts).enumerate() {
        if !admitted[place] {
            verdicts.push(Verdict::Later);
            continue;
        }
        verdicts.push(match checks::check(commit, &found, &ahead) {
            checks::Checked::Holds(rows) => {
                for (table, _) in &rows {
                    *ahead.entry(table).or_default() += 1;
                }
                passed.push(Passed { place, commit, starts, rows });
                Verdict::Now(Ok(Committed::default()))
            }
            checks::Checked::Refused(refusal) => Verdict::Now(Err(refusal)),
            checks::Checked::Undecided => Verdict::Later,
        });
    }

    let mut written = Applied::default();
    step(db, commits, &mut passed, &mut verdicts, &mut written).await?;
    keep_rows(db, &passed, &found, &mut written).await?;
    start(db, &passed, &mut written).await?;
    signal(db, &passed, &mut verdicts, &mut written).await?;
    nudge(db, &passed, &mut written).await?;
    queue(db, &passed, &mut written).await?;
    written.verdicts = verdicts;
    Ok(written)
}

fn start_ids(commit: &Commit) -> Vec<RunId> {
    commit.starts.iter().map(|start| RunId::of(&start.pin.workflow, &start.key)).collect()
}

/// Moves the runs; whose run could not be moved is refused and leaves `passed`.
async fn step<T: Transaction>(
    db: &mut T,
    commits: &[&Commit],
    passed: &mut Vec<Passed<'_>>,
    verdicts: &mut [Verdict],
    written: &mut Applied,
) -> Result<(), T::Error> {
    let steps: Vec<StepRow<'_>> = passed.iter().filter_map(|one| StepRow::of(one.commit)).collect();
    let moved = if steps.is_empty() { HashMap::new() } else { db.step(&steps).await? };
    written.wrote |= !moved.is_empty();
    written.runs |= moved.values().any(|(_, due)| *due);
    passed.retain(|one| {
        let Some(step) = &one.commit.step else { return true };
        let signals = moved.get(&step.seq).map(|(signals, _)| *signals);
        // Why it was not moved is found out below.
        verdicts[one.place] = Verdict::Now(signals.map(|signals| Committed { signals }).ok_or(CommitError::Fenced));
        signals.is_some()
    });
    refuse(db, commits, verdicts).await
}

/// Says of each refused step why: a lost run comes before new mail, and both before anything
/// else that does not hold.
async fn refuse<T: Transaction>(db: &mut T, commits: &[&Commit], verdicts: &mut [Verdict]) -> Result<(), T::Error> {
    let refused: Vec<_> = commits
        .iter()
        .zip(verdicts)
        .filter_map(|(commit, verdict)| match (&commit.step, verdict) {
            (Some(step), Verdict::Now(Err(error))) => Some((step, error)),
            _ => None,
        })
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let standing = db.standing(&refused.iter().map(|(step, _)| step.seq).collect::<Vec<_>>()).await?;
    for (step, error) in refused {
        match standing.get(&step.seq) {
            Some((revision, token, signals)) if (*revision, *token) == (step.revision, step.token) => {
                if step.mailbox.is_some_and(|read| read != *signals) {
                    *error = CommitError::Mail;
                }
            }
            _ => *error = CommitError::Fenced,
        }
    }
    Ok(())
}

/// Writes the inbox and the workflow's own rows.
async fn keep_rows<T: Transaction>(
    db: &mut T,
    passed: &[Passed<'_>],
    found: &Found,
    written: &mut Applied,
) -> Result<(), T::Error> {
    let seen: Vec<(&str, i64)> =
        passed.iter().filter_map(|one| Some((one.commit.inbox.as_deref()?, one.commit.at.millis()))).collect();
    if !seen.is_empty() {
        written.wrote = true;
        db.see(&seen).await?;
    }
    let mut rows: std::collections::BTreeMap<&str, Vec<&Row>> = std::collections::BTreeMap::new();
    for (table, row) in passed.iter().flat_map(|one| &one.rows) {
        rows.entry(table).or_default().push(row);
    }
    for (name, rows) in rows {
        // The checks have refused whoever names another table.
        let Some(table) = db.table(name) else { continue };
        written.wrote = true;
        db.write_rows(table, &rows, found).await?;
    }
    Ok(())
}

async fn start<T: Transaction>(db: &mut T, passed: &[Passed<'_>], written: &mut Applied) -> Result<(), T::Error> {
    let rows: Vec<_> = passed
        .iter()
        .flat_map(|one| one.commit.starts.iter().zip(one.starts).map(|(start, id)| (start, id, one.commit.at)))
        .map(|(start, id, at)| StartRow::of(start, id, at))
        .collect();
    if !rows.is_empty() && db.start(&rows).await? > 0 {
        (written.wrote, written.runs) = (true, true);
    }
    Ok(())
}

/// Stores the signals. All that go to one run are of one commit, see [`admission`]. Of those with the same key the first
/// that its run can have is stored: so one that comes again waits for what became of it.
async fn signal<T: Transaction>(
    db: &mut T,
    passed: &[Passed<'_>],
    verdicts: &mut [Verdict],
    written: &mut Applied,
) -> Result<(), T::Error> {
    let mut waves: Vec<Vec<SignalRow<'_>>> = vec![Vec::new()];
    let mut once = HashSet::new();
    for (signal, at) in passed.iter().flat_map(|one| one.commit.signals.iter().map(|signal| (signal, one.commit.at))) {
        let key = (&signal.run, &signal.dedup);
        if !once.insert(key) {
            once = HashSet::from([key]);
            waves.push(Vec::new());
        }
        if let Some(wave) = waves.last_mut() {
            wave.push(SignalRow::of(signal, at));
        }
    }
    for wave in waves.iter().filter(|wave| !wave.is_empty()) {
        signal_once(db, wave, passed, verdicts, written).await?;
    }
    Ok(())
}

/// Stores signals of which no two have the same run and key.
async fn signal_once<T: Transaction>(
    db: &mut T,
    rows: &[SignalRow<'_>],
    passed: &[Passed<'_>],
    verdicts: &mut [Verdict],
    written: &mut Applied,
) -> Result<(), T::Error> {
    let mut told: HashMap<i64, (i64, bool, i64)> = HashMap::new();
    for (run, name, when) in db.signal(rows).await? {
        let (count, urgent, at) = told.entry(run).or_default();
        *count += 1;
        *urgent |= name.starts_with('@');
        *at = when;
    }
    if told.is_empty() {
        return Ok(());
    }
    db.tell(&told.iter().map(|(run, (count, urgent, at))| (*run, *count, *urgent, *at)).collect::<Vec<_>>()).await?;
    (written.wrote, written.runs) = (true, true);
    for one in passed {
        if let Some(step) = &one.commit.step
            && let Some((count, ..)) = told.get(&step.seq)
            && let Verdict::Now(Ok(committed)) = &mut verdicts[one.place]
        {
            committed.signals += count;
        }
    }
    Ok(())
}

/// Makes waiting runs due, after all else is written; see [`admission`].
async fn nudge<T: Transaction>(db: &mut T, passed: &[Passed<'_>], written: &mut Applied) -> Result<(), T::Error> {
    for one in passed {
        for nudge in &one.commit.nudges {
            if db.nudge(nudge, one.commit.at).await? > 0 {
                (written.wrote, written.runs) = (true, true);
            }
        }
    }
    Ok(())
}

async fn queue<T: Transaction>(db: &mut T, passed: &[Passed<'_>], written: &mut Applied) -> Result<(), T::Error> {
    let rows: Vec<_> = passed
        .iter()
        .flat_map(|one| one.commit.outbox.iter().map(|message| MessageRow::of(message, one.commit.at)))
        .collect();
    if !rows.is_empty() && db.queue(&rows).await? > 0 {
        (written.wrote, written.outbox) = (true, true);
    }
    Ok(())
}
