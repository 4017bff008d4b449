//! One call of a store, named so that it means the same to each.

use std::collections::BTreeMap;

use bondflow::engine::store::{
    Commit, CommitError, Delivery, Guard, OutboxEntry, OutboxState, Page, Retirement, Row, RunFilter, StoreError,
};
use bondflow::engine::{Run, RunId, Store, Timestamp};
use bondflow::store::memory::Dump;
use serde::Serialize;
use serde_json::{Value, json};

/// A call. Runs and messages are named by their ids, as each store has its own numbers for them.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A commit; its step is of that run.
    Commit(Box<Commit>, Option<RunId>),
    Claim {
        owner: String,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    },
    Renew {
        owner: String,
        now: Timestamp,
        until: Timestamp,
    },
    ReleaseOthers {
        owner: String,
        now: Timestamp,
    },
    Hold {
        part: String,
        owner: String,
        now: Timestamp,
        until: Timestamp,
    },
    Wake {
        run: RunId,
        at: Timestamp,
    },
    Deliver(Vec<(String, OutboxState, Timestamp)>),
    /// Runs, each at a revision and with what is kept of its state.
    Retire(Vec<(RunId, i64, String)>, Timestamp),
    ForgetMessages(Timestamp, u32),
    NextDue,
    Run(RunId),
    Runs(RunFilter),
    Tally(bool),
    /// Those of before, from the one after.
    Ended(Timestamp, Option<RunId>, u32),
    Pins,
    Mailbox(RunId),
    Mailboxes(RunId),
    History(RunId),
    Row(&'static str, String),
    Rows(&'static str, &'static str, Value),
    Page(&'static str, Page),
    Sum(&'static str, &'static str, Row),
    /// The greatest value of a column of a table; which row has it is open when several do.
    Newest(&'static str, &'static str),
    Holds(Guard),
    Seen(String),
    OutboxDue(Timestamp, u32),
    OutboxNext,
    OutboxDepth,
    OutboxTopic(String),
    Outbox(String),
    LastCommit,
}

/// How often a call may be refused by a store that can't write just now.
const MOST_REFUSALS: u32 = 3;

/// A store's own numbers by id; `-1` is nobody's.
#[derive(Default)]
pub struct Numbers(BTreeMap<String, i64>);

impl Numbers {
    /// The numbers in a store with this content.
    pub fn of(dump: &Dump) -> Self {
        let rows = dump["runs"].iter().chain(&dump["outbox"]);
        let number = |row: &serde_json::Map<String, Value>| row["seq"].as_i64().unwrap();
        rows.map(|row| (row["id"].as_str().unwrap().to_owned(), number(row))).collect()
    }

    fn get(&self, id: &str) -> i64 {
        self.0.get(id).copied().unwrap_or(-1)
    }
}

impl FromIterator<(String, i64)> for Numbers {
    fn from_iter<T: IntoIterator<Item = (String, i64)>>(numbers: T) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl Operation {
    /// Calls the store, and gives its answer without the store's own numbers.
    ///
    /// A server ends a transaction that stands still, as it may where there is too much to do: nothing was written then,
    /// and it is asked again.
    pub async fn ask(self, store: &dyn Store, numbers: &Numbers) -> Value {
        for _ in 0..MOST_REFUSALS {
            if let Ok(answer) = self.clone().once(store, numbers).await {
                return answer;
            }
        }
        self.once(store, numbers).await.unwrap()
    }

    async fn once(self, store: &dyn Store, numbers: &Numbers) -> Result<Value, StoreError> {
        let number = |run: &RunId| numbers.get(&run.0);
        Ok(match self {
            Self::Commit(mut commit, run) => {
                if let (Some(step), Some(run)) = (&mut commit.step, run) {
                    step.seq = number(&run);
                }
                match store.commit(*commit).await {
                    Ok(committed) => json!({ "signals": committed.signals }),
                    Err(CommitError::Unavailable(reason)) => return Err(StoreError(reason)),
                    Err(error) => json!(reason(&error)),
                }
            }
            Self::Claim { owner, now, until, limit } => runs(store.claim(&owner, now, until, limit).await?),
            Self::Renew { owner, now, until } => json!(store.renew(&owner, now, until).await?),
            Self::ReleaseOthers { owner, now } => json!(store.release_others(&owner, now).await?),
            Self::Hold { part, owner, now, until } => json!(store.hold(&part, &owner, now, until).await?),
            Self::Wake { run, at } => json!(store.wake(number(&run), at).await?),
            Self::Deliver(offers) => {
                let delivery = |(id, state, due_at): (String, _, _)| Delivery { seq: numbers.get(&id), state, due_at };
                json!(store.delivered(offers.into_iter().map(delivery).collect()).await?)
            }
            Self::Retire(runs, at) => {
                let retirement =
                    |(run, revision, keeps): (RunId, i64, String)| Retirement { seq: number(&run), revision, keeps };
                json!(store.retire(runs.into_iter().map(retirement).collect(), at).await?)
            }
            Self::ForgetMessages(before, limit) => json!(store.forget_messages(before, limit).await?),
            Self::NextDue => json!(store.next_due().await?),
            Self::Run(id) => runs(store.run(&id).await?.into_iter().collect()),
            Self::Runs(filter) => runs(store.runs(&filter).await?),
            Self::Tally(open) => json!(store.tally(open).await?),
            Self::Ended(before, after, limit) => {
                runs(store.ended(before, after.as_ref().map_or(0, number), limit).await?)
            }
            Self::Pins => {
                let mut pins = store.pins().await?;
                pins.sort();
                json!(pins)
            }
            Self::Mailbox(run) => json!(store.mailbox(number(&run)).await?),
            Self::Mailboxes(run) => {
                let mail = store.mailboxes(&[number(&run), i64::MAX]).await?;
                assert!(mail.iter().all(|(of, _)| *of == number(&run)));
                json!(mail.into_iter().map(|(_, signal)| signal).collect::<Vec<_>>())
            }
            Self::History(run) => json!(store.history(number(&run)).await?),
            Self::Row(table, key) => json!(store.row(table, &key).await?),
            Self::Rows(table, column, value) => json!(store.rows(table, column, &value).await?),
            Self::Page(table, page) => json!(store.page(table, &page).await?),
            Self::Sum(table, column, matching) => json!(store.sum(table, column, &matching).await?),
            Self::Newest(table, column) => {
                json!(store.newest(table, column).await?.map(|row| row[column].clone()))
            }
            Self::Holds(guard) => json!(store.holds(&guard).await?),
            Self::Seen(id) => json!(store.seen(&id).await?),
            Self::OutboxDue(now, limit) => messages(store.outbox_due(now, limit).await?),
            Self::OutboxNext => json!(store.outbox_next().await?),
            Self::OutboxDepth => json!(store.outbox_depth().await?),
            Self::OutboxTopic(topic) => messages(store.outbox_topic(&topic).await?.into_iter().collect()),
            Self::LastCommit => json!(store.last_commit().await?),
            Self::Outbox(id) => messages(store.outbox(&id).await?.into_iter().collect()),
        })
    }
}

/// Which error it is; its text is each store's own.
fn reason(error: &CommitError) -> &'static str {
    match error {
        CommitError::Fenced => "fenced",
        CommitError::Mail => "mail",
        CommitError::Seen => "seen",
        CommitError::Conflict(_) => "conflict",
        CommitError::Unavailable(_) => "unavailable",
        CommitError::Unknown(_) => "unknown",
    }
}

fn runs(runs: Vec<Run>) -> Value {
    unnumbered(&runs)
}

fn messages(entries: Vec<OutboxEntry>) -> Value {
    unnumbered(&entries)
}

fn unnumbered(records: &[impl Serialize]) -> Value {
    let mut records = json!(records);
    for record in records.as_array_mut().unwrap() {
        record.as_object_mut().unwrap().remove("seq");
    }
    records
}
