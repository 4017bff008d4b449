//! Which commits of a batch may be written together.
//!
//! All checks of a batch are made before its writes, each kind of write in one statement, and
//! yet the batch must come out as if its commits had been applied one after the other. So a
//! commit that reads or writes what an earlier one writes is put off to the next batch, and so is
//! whatever meets a commit that was put off: the order is kept. Guards that count rows are not
//! looked at here: the checks put off what they can't decide, see [`super::checks::Checked`].

use std::collections::HashSet;

use super::Found;
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
    /// The runs that wait in a step, of whatever workflow, for nudges: which of them a nudge finds
    /// depends on what is written before it, and all of a batch is written before its nudges.
    Step(&'a str),
    /// Signals make runs due, as nudges do.
    Signals,
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
    let mut admitted = Vec::with_capacity(commits.len());
    for (commit, starts) in commits.iter().zip(starts) {
        keys.clear();
        collect(commit, starts, found, &mut keys);
        let free = keys.iter().all(|(key, used)| *used == Use::Adds || !written.contains(key));
        written.extend(keys.iter().filter(|(_, used)| !free || *used != Use::Reads).map(|(key, _)| *key));
        admitted.push(free);
    }
    admitted
}

fn collect<'a>(commit: &'a Commit, starts: &'a [RunId], found: &Found, keys: &mut Vec<(Key<'a>, Use)>) {
    let run = |id: &'a RunId| found.run(id).map_or(Key::NewRun(&id.0), |(seq, _)| Key::Run(seq));
    keys.extend(commit.step.iter().map(|step| (Key::Run(step.seq), Use::Writes)));
    keys.extend(commit.inbox.iter().map(|id| (Key::Inbox(id), Use::Writes)));
    keys.extend(
        commit
            .step
            .iter()
            .flat_map(|step| [(Key::Step(&step.history.step), Use::Reads), (Key::Step(&step.step), Use::Reads)]),
    );
    keys.extend(commit.guards.iter().filter_map(|guard| {
        let key = match guard {
            Guard::Revision { run: id, .. } | Guard::NoRun { run: id } => run(id),
            Guard::Row { table, key, .. } | Guard::Absent { table, key } => Key::Row(table, key),
            Guard::Fewer { .. } => return None,
        };
        Some((key, Use::Reads))
    }));
    keys.extend(commit.rows.iter().map(|row| (Key::Row(row.table, &row.key), Use::Writes)));
    keys.extend(starts.iter().map(|id| (Key::NewRun(&id.0), Use::Writes)));
    keys.extend(commit.signals.iter().map(|signal| (run(&signal.run), Use::Writes)));
    if !commit.signals.is_empty() {
        keys.push((Key::Signals, Use::Reads));
    }
    for nudge in &commit.nudges {
        keys.extend([(Key::Step(nudge.step.as_str()), Use::Adds), (Key::Signals, Use::Adds)]);
    }
}
