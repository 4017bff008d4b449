//! One transaction's commits: first all checks, then one statement for each kind of write, for
//! those commits only whose checks held.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Error, Row as _, SqlSafeStr, Sqlite, SqliteConnection};

use super::sql::OwnTables;
use super::{admission, checks, sql};
use crate::engine::store::{Commit, CommitError, Committed, Lease, NewRun, Row, StepCommit};
use crate::engine::{RunId, Timestamp};

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
    pub(super) runs: HashMap<String, (i64, i64)>,
    pub(super) inbox: HashSet<String>,
    pub(super) rows: HashMap<&'static str, HashMap<String, Row>>,
}

impl Found {
    pub(super) fn run(&self, id: &RunId) -> Option<(i64, i64)> {
        self.runs.get(&id.0).copied()
    }

    pub(super) fn row(&self, table: &str, key: &str) -> Option<&Row> {
        self.rows.get(table)?.get(key)
    }
}

/// A commit whose checks held so far.
pub(super) struct Passed<'a> {
    place: usize,
    commit: &'a Commit,
    starts: &'a [RunId],
    /// The rows of its tables as they are to be.
    rows: Vec<(&'static str, Row)>,
}

/// Writes a batch within the open transaction.
pub(super) async fn apply(
    db: &mut SqliteConnection,
    tables: &OwnTables,
    commits: &[&Commit],
) -> Result<Applied, Error> {
    let starts: Vec<Vec<RunId>> = commits.iter().map(|commit| start_ids(commit)).collect();
    let mut found = checks::find_runs(db, commits).await?;
    let admitted = admission::admit(commits, &starts, &found);
    checks::find_rest(db, tables, commits, &admitted, &mut found).await?;

    let mut verdicts: Vec<Verdict> = Vec::with_capacity(commits.len());
    let mut passed = Vec::with_capacity(commits.len());
    let mut ahead = checks::Ahead::new();
    for (place, (commit, starts)) in commits.iter().zip(&starts).enumerate() {
        if !admitted[place] {
            verdicts.push(Verdict::Later);
            continue;
        }
        verdicts.push(match checks::check(db, tables, commit, &found, &ahead).await? {
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
    keep_rows(db, tables, &passed, &mut written).await?;
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

type Binding = Query<'static, Sqlite, SqliteArguments>;

/// Whether the run's lease stays as it is.
fn goes_on(step: &StepCommit) -> bool {
    step.lease == Lease::Keep && !step.status.is_final()
}

/// What [`sql::STEP_ON`] reads of a step.
fn bind_step(query: Binding, at: Timestamp, step: &StepCommit) -> Binding {
    query
        .bind(step.seq)
        .bind(step.revision)
        .bind(step.token)
        .bind(step.mailbox)
        .bind(i64::try_from(step.consumed.len()).unwrap_or(i64::MAX))
        .bind(step.status.as_str())
        .bind(step.step.as_str())
        .bind(step.attempt)
        .bind(step.state.as_deref())
        .bind(step.error.as_deref())
        .bind(at.millis())
}

/// What [`sql::STEP_OFF`] reads besides: whether the owner stays, how many signals are known, and
/// when the run is due if there are no more. A run that ends is due no more, whatever came in.
fn bind_release(query: Binding, step: &StepCommit) -> Binding {
    let due = match step.lease {
        Lease::Release(due) if !step.status.is_final() => due.map(Timestamp::millis),
        Lease::Keep | Lease::Release(_) => None,
    };
    let known = if step.status.is_final() { i64::MAX } else { step.known_signals };
    query.bind(step.lease == Lease::Keep).bind(known).bind(due)
}

/// What [`sql::HISTORY`] reads.
fn bind_history(query: Binding, step: &StepCommit) -> Binding {
    let history = &step.history;
    query
        .bind(step.seq)
        .bind(step.revision + 1)
        .bind(history.step.as_str())
        .bind(history.attempt)
        .bind(history.outcome.as_str())
        .bind(history.to.as_str())
        .bind(history.status.as_str())
        .bind(history.detail.as_deref())
        .bind(history.at.millis())
}

/// Moves the runs; whose run could not be moved is refused and leaves `passed`.
async fn step(
    db: &mut SqliteConnection,
    commits: &[&Commit],
    passed: &mut Vec<Passed<'_>>,
    verdicts: &mut [Verdict],
    written: &mut Applied,
) -> Result<(), Error> {
    let steps = passed.iter().filter_map(|one| Some((one.commit.at, one.commit.step.as_ref()?)));
    let (on, off): (Vec<_>, Vec<_>) = steps.partition(|(_, step)| goes_on(step));
    let mut moved: HashMap<i64, i64> = HashMap::with_capacity(on.len() + off.len());
    for (statement, steps) in sql::STEP_ON.split(&on) {
        let query = steps.iter().fold(sqlx::query(statement), |query, (at, step)| bind_step(query, *at, step));
        for row in query.fetch_all(&mut *db).await? {
            moved.insert(row.try_get(0)?, row.try_get(1)?);
        }
    }
    for (statement, steps) in sql::STEP_OFF.split(&off) {
        let bind = |query, (at, step): &(Timestamp, &StepCommit)| bind_release(bind_step(query, *at, step), step);
        for row in steps.iter().fold(sqlx::query(statement), bind).fetch_all(&mut *db).await? {
            moved.insert(row.try_get(0)?, row.try_get(1)?);
            written.runs |= row.try_get::<Option<i64>, _>(2)?.is_some();
        }
    }
    passed.retain(|one| {
        let Some(step) = &one.commit.step else { return true };
        let signals = moved.get(&step.seq).copied();
        // Why it was not moved is found out below.
        verdicts[one.place] = Verdict::Now(signals.map(|signals| Committed { signals }).ok_or(CommitError::Fenced));
        signals.is_some()
    });
    refuse(db, commits, verdicts).await?;
    if moved.is_empty() {
        return Ok(());
    }
    written.wrote = true;
    let steps: Vec<&StepCommit> = passed.iter().filter_map(|one| one.commit.step.as_ref()).collect();
    for (statement, steps) in sql::HISTORY.split(&steps) {
        let query = steps.iter().fold(sqlx::query(statement), |query, step| bind_history(query, step));
        query.execute(&mut *db).await?;
    }
    let taken: Vec<_> = passed
        .iter()
        .filter_map(|one| one.commit.step.as_ref())
        .flat_map(|step| step.consumed.iter().map(|number| (step.seq, *number, step.revision + 1)))
        .collect();
    if !taken.is_empty() {
        write(db, sql::TAKE, json(&taken)).await?;
    }
    Ok(())
}

/// Says of each refused step why: a lost run comes before new mail, and both before anything
/// else that does not hold.
async fn refuse(db: &mut SqliteConnection, commits: &[&Commit], verdicts: &mut [Verdict]) -> Result<(), Error> {
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
    let seqs = json(&refused.iter().map(|(step, _)| step.seq).collect::<Vec<_>>());
    let mut standing = HashMap::new();
    for row in sqlx::query(sql::STANDING).bind(seqs).fetch_all(db).await? {
        let (seq, now): (i64, (i64, i64, i64)) = (row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        standing.insert(seq, now);
    }
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
async fn keep_rows(
    db: &mut SqliteConnection,
    tables: &OwnTables,
    passed: &[Passed<'_>],
    written: &mut Applied,
) -> Result<(), Error> {
    let seen: Vec<_> =
        passed.iter().filter_map(|one| Some((one.commit.inbox.as_ref()?, one.commit.at.millis()))).collect();
    if !seen.is_empty() {
        written.wrote = true;
        write(db, sql::SEE, json(&seen)).await?;
    }
    let mut rows: HashMap<&str, Vec<&Row>> = HashMap::new();
    for (table, row) in passed.iter().flat_map(|one| &one.rows) {
        rows.entry(table).or_default().push(row);
    }
    for (name, rows) in rows {
        // The checks have refused whoever names another table.
        let Some(table) = tables.get(name) else { continue };
        written.wrote = true;
        write(db, table.write.clone(), json(&rows)).await?;
    }
    Ok(())
}

async fn start(db: &mut SqliteConnection, passed: &[Passed<'_>], written: &mut Applied) -> Result<(), Error> {
    let rows: Vec<_> = passed
        .iter()
        .flat_map(|one| one.commit.starts.iter().zip(one.starts).map(|(start, id)| (start, id, one.commit.at)))
        .collect();
    let bind = |query: Binding, (start, id, at): &(&NewRun, &RunId, Timestamp)| {
        query
            .bind(id.0.as_str())
            .bind(start.pin.workflow.as_str())
            .bind(start.pin.version)
            .bind(start.pin.hash.as_str())
            .bind(start.key.as_str())
            .bind(start.step.as_str())
            .bind(start.state.as_str())
            .bind(start.due_at.millis())
            .bind(at.millis())
            .bind(at.millis())
    };
    for (statement, rows) in sql::START.split(&rows) {
        if rows.iter().fold(sqlx::query(statement), bind).execute(&mut *db).await?.rows_affected() > 0 {
            (written.wrote, written.runs) = (true, true);
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct SignalRow<'a> {
    run: &'a RunId,
    name: &'a str,
    payload: &'a str,
    dedup: &'a str,
    at: i64,
}

/// Stores the signals. All that go to one run are of one commit, see [`admission`].
async fn signal(
    db: &mut SqliteConnection,
    passed: &[Passed<'_>],
    verdicts: &mut [Verdict],
    written: &mut Applied,
) -> Result<(), Error> {
    let mut once = HashSet::new();
    let rows: Vec<_> = passed
        .iter()
        .flat_map(|one| one.commit.signals.iter().map(|signal| (signal, one.commit.at)))
        .filter(|(signal, _)| once.insert((&signal.run, &signal.dedup)))
        .map(|(signal, at)| SignalRow {
            run: &signal.run,
            name: &signal.name,
            payload: &signal.payload,
            dedup: &signal.dedup,
            at: at.millis(),
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mut told: HashMap<i64, (i64, bool, i64)> = HashMap::new();
    for row in sqlx::query(sql::SIGNAL).bind(json(&rows)).fetch_all(&mut *db).await? {
        let name: &str = row.try_get(1)?;
        let (count, urgent, at) = told.entry(row.try_get(0)?).or_default();
        *count += 1;
        *urgent |= name.starts_with('@');
        *at = row.try_get(2)?;
    }
    if told.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = told.iter().map(|(run, (count, urgent, at))| (run, count, urgent, at)).collect();
    write(db, sql::TOLD, json(&list)).await?;
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
async fn nudge(db: &mut SqliteConnection, passed: &[Passed<'_>], written: &mut Applied) -> Result<(), Error> {
    for one in passed {
        for nudge in &one.commit.nudges {
            let query = sqlx::query(sql::NUDGE).bind(one.commit.at.millis()).bind(&nudge.workflow).bind(&nudge.step);
            if query.bind(nudge.limit).execute(&mut *db).await?.rows_affected() > 0 {
                (written.wrote, written.runs) = (true, true);
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct MessageRow<'a> {
    id: &'a str,
    lane: &'a str,
    topic: &'a str,
    slot: Option<&'a str>,
    body: &'a str,
    expires: Option<i64>,
    at: i64,
}

async fn queue(db: &mut SqliteConnection, passed: &[Passed<'_>], written: &mut Applied) -> Result<(), Error> {
    let rows: Vec<_> = passed
        .iter()
        .flat_map(|one| one.commit.outbox.iter().map(|message| (message, one.commit.at)))
        .map(|(message, at)| MessageRow {
            id: &message.id,
            lane: &message.lane,
            topic: &message.topic,
            slot: message.slot.as_deref(),
            body: &message.body,
            expires: message.expires_at.map(|at| at.millis()),
            at: at.millis(),
        })
        .collect();
    if rows.is_empty() || write(db, sql::QUEUE, json(&rows)).await? == 0 {
        return Ok(());
    }
    (written.wrote, written.outbox) = (true, true);
    let slots: Vec<_> = rows.iter().filter_map(|row| row.slot).collect();
    if !slots.is_empty() {
        write(db, sql::SUPERSEDE, json(&slots)).await?;
    }
    Ok(())
}

/// Runs a statement that takes one list; tells how many rows it wrote.
pub(super) async fn write(db: &mut SqliteConnection, sql: impl SqlSafeStr, list: String) -> Result<u64, Error> {
    Ok(sqlx::query(sql).bind(list).execute(db).await?.rows_affected())
}

/// A list as JSON.
pub(super) fn json<T: Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("texts, numbers and lists of them are JSON")
}
