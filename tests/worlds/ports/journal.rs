//! What a world has its database write, so that it can be written to another one.

use std::sync::{Arc, Mutex};

use bondflow::engine::RunId;
use bondflow::store::memory::{Call, Fault, MemoryStore, Snapshot};

use crate::operation::Operation;

/// The calls that reached the tables, in the order in which they did. Clones share it; the default keeps nothing.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<Kept>>);

struct Kept {
    data: MemoryStore,
    writes: Mutex<Vec<Operation>>,
}

impl Journal {
    /// One of what is written to this data.
    pub fn of(store: &MemoryStore) -> Self {
        Self(Some(Arc::new(Kept { data: store.reopen(), writes: Mutex::default() })))
    }

    /// Keeps a call that is about to be made, unless this goes wrong in it so that it never reaches the tables.
    pub fn keep(&self, call: Call<'_>, fault: Option<Fault>) {
        let reaches = match fault {
            None => true,
            Some(Fault::Unavailable) => false,
            Some(Fault::Unknown { applied } | Fault::Crash { applied }) => applied,
        };
        if let (Some(kept), true) = (&self.0, reaches && call != Call::Read) {
            kept.writes.lock().unwrap().extend(named(call, &kept.data.snapshot()));
        }
    }

    /// What was kept.
    pub fn take(&self) -> Vec<Operation> {
        self.0.as_ref().map(|kept| std::mem::take(&mut *kept.writes.lock().unwrap())).unwrap_or_default()
    }
}

/// A call with the ids of its runs and messages, as they are in these tables; none: it changes no table.
fn named(call: Call<'_>, tables: &Snapshot) -> Option<Operation> {
    let run = |seq| tables.runs().find(|run| run.seq == seq).map_or_else(|| RunId(String::new()), |run| run.id.clone());
    let message =
        |seq| tables.outbox().find(|entry| entry.seq == seq).map(|entry| entry.message.id.clone()).unwrap_or_default();
    Some(match call {
        Call::Commit(commit) => {
            Operation::Commit(Box::new(commit.clone()), commit.step.as_ref().map(|step| run(step.seq)))
        }
        Call::Claim(owner, now, until, limit) => Operation::Claim { owner: owner.to_owned(), now, until, limit },
        Call::Renew(owner, now, until) => Operation::Renew { owner: owner.to_owned(), now, until },
        Call::ReleaseOthers(owner, now) => Operation::ReleaseOthers { owner: owner.to_owned(), now },
        Call::Hold(part, owner, now, until) => {
            Operation::Hold { part: part.to_owned(), owner: owner.to_owned(), now, until }
        }
        Call::Wake(seq, at) => Operation::Wake { run: run(seq), at },
        Call::Retire(runs, at) => {
            Operation::Retire(runs.iter().map(|one| (run(one.seq), one.revision, one.keeps.clone())).collect(), at)
        }
        Call::ForgetMessages(before, limit) => Operation::ForgetMessages(before, limit),
        Call::Delivered(all) => {
            Operation::Deliver(all.iter().map(|one| (message(one.seq), one.state, one.due_at)).collect())
        }
        Call::BeginTimeline | Call::Read => return None,
    })
}
