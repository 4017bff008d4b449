//! Which commits of a batch may be written together.
//!
//! All checks of a batch are made before its writes, each kind of write in one statement, and
//! yet the batch must come out as if its commits had been applied one after the other. So a
//! commit that reads or writes what an earlier one writes is put off to the next batch, and so is
//! whatever meets a commit that was put off: the order is kept.

use std::collections::HashSet;

use super::batch::Found;
use crate::engine::RunId;
use crate::engine::store::{Commit, Guard};

/// Something that two commits can meet at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Run(i64),
    /// A run that is not there, or was not there yet when the batch began.
    NewRun(&'a str),
    Inbox(&'a str),
    Row(&'static str, &'a str),
    /// All rows of a table.
    Table(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Must not be written before.
    Reads,
    /// Must not be written before, nor be used after.
    Writes,
    /// Must not be used after.
    Adds,
}

/// Tells for each commit whether it is in this batch. `starts` are the ids of the runs that each
/// one starts.
pub(super) fn admit(commits: &[&Commit], starts: &[Vec<RunId>], found: &Found) -> Vec<bool> {
    let mut written: HashSet<Key<'_>> = HashSet::with_capacity(commits.len() * 2);
    let mut keys = Vec::new();
    let mut open = true;
    let mut admitted = Vec::with_capacity(commits.len());
    for (commit, starts) in commits.iter().zip(starts) {
        keys.clear();
        collect(commit, starts, found, &mut keys);
        let free = open && keys.iter().all(|(key, used)| *used == Use::Adds || !written.contains(key));
        written.extend(keys.iter().filter(|(_, used)| !free || *used != Use::Reads).map(|(key, _)| *key));
        // Which runs a nudge finds depends on everything that is written before it.
        open &= commit.nudges.is_empty();
        admitted.push(free);
    }
    admitted
}

fn collect<'a>(commit: &'a Commit, starts: &'a [RunId], found: &Found, keys: &mut Vec<(Key<'a>, Use)>) {
    let run = |id: &'a RunId| found.run(id).map_or(Key::NewRun(&id.0), |(seq, _)| Key::Run(seq));
    keys.extend(commit.step.iter().map(|step| (Key::Run(step.seq), Use::Writes)));
    keys.extend(commit.inbox.iter().map(|id| (Key::Inbox(id), Use::Writes)));
    keys.extend(commit.guards.iter().map(|guard| {
        let key = match guard {
            Guard::Revision { run: id, .. } | Guard::NoRun { run: id } => run(id),
            Guard::Row { table, key, .. } | Guard::Absent { table, key } => Key::Row(table, key),
            Guard::Fewer { table, .. } => Key::Table(table),
        };
        (key, Use::Reads)
    }));
    for row in &commit.rows {
        keys.extend([(Key::Row(row.table, &row.key), Use::Writes), (Key::Table(row.table), Use::Adds)]);
    }
    keys.extend(starts.iter().map(|id| (Key::NewRun(&id.0), Use::Writes)));
    keys.extend(commit.signals.iter().map(|signal| (run(&signal.run), Use::Writes)));
}
