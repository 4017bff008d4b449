//! What a batch writes, one record a row. Statements read a list of them as one parameter in JSON,
//! or bind the fields of each.

use serde::Serialize;

use crate::engine::store::{Commit, Lease, NewRun, NewSignal, OutboxMessage, Retirement, StepCommit};
use crate::engine::{RunId, Timestamp};

/// A list as JSON.
pub(in crate::store) fn json<T: Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("texts, numbers and lists of them are JSON")
}

/// A step of a run with its line of the history.
#[derive(Serialize)]
pub(in crate::store) struct StepRow<'a> {
    pub(in crate::store) seq: i64,
    pub(in crate::store) revision: i64,
    pub(in crate::store) token: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store) mailbox: Option<i64>,
    pub(in crate::store) known: i64,
    pub(in crate::store) taken: usize,
    pub(in crate::store) status: &'static str,
    pub(in crate::store) step: &'a str,
    pub(in crate::store) attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store) state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store) error: Option<&'a str>,
    pub(in crate::store) at: i64,
    pub(in crate::store) ends: bool,
    pub(in crate::store) keep: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store) due: Option<i64>,
    pub(in crate::store) from: &'a str,
    pub(in crate::store) tried: u32,
    pub(in crate::store) outcome: &'a str,
    pub(in crate::store) to: &'a str,
    pub(in crate::store) became: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store) detail: Option<&'a str>,
    pub(in crate::store) when: i64,
    /// The signals that it took.
    #[serde(skip)]
    pub(in crate::store) consumed: &'a [i64],
}

impl<'a> StepRow<'a> {
    pub(super) fn of(commit: &'a Commit) -> Option<Self> {
        let step = commit.step.as_ref()?;
        let StepCommit { history, .. } = step;
        Some(Self {
            seq: step.seq,
            revision: step.revision,
            token: step.token,
            mailbox: step.mailbox,
            known: step.known_signals,
            taken: step.consumed.len(),
            status: step.status.as_str(),
            step: &step.step,
            attempt: step.attempt,
            state: step.state.as_deref(),
            error: step.error.as_deref(),
            at: commit.at.millis(),
            ends: step.status.is_final(),
            keep: step.lease == Lease::Keep,
            due: match step.lease {
                Lease::Keep => None,
                Lease::Release(due) => due.map(|due| due.millis()),
            },
            from: &history.step,
            tried: history.attempt,
            outcome: &history.outcome,
            to: &history.to,
            became: history.status.as_str(),
            detail: history.detail.as_deref(),
            when: history.at.millis(),
            consumed: &step.consumed,
        })
    }
}

/// The signals that steps took, as `[run, number, revision of the commit]`.
pub(in crate::store) fn taken<'a>(steps: impl Iterator<Item = &'a StepRow<'a>>) -> Vec<(i64, i64, i64)> {
    steps.flat_map(|step| step.consumed.iter().map(|number| (step.seq, *number, step.revision + 1))).collect()
}

/// A run to be started.
#[derive(Serialize)]
pub(in crate::store) struct StartRow<'a> {
    pub(in crate::store) id: &'a RunId,
    pub(in crate::store) workflow: &'a str,
    pub(in crate::store) version: u32,
    pub(in crate::store) hash: &'a str,
    pub(in crate::store) key: &'a str,
    pub(in crate::store) step: &'a str,
    pub(in crate::store) state: &'a str,
    pub(in crate::store) due: i64,
    pub(in crate::store) at: i64,
}

impl<'a> StartRow<'a> {
    pub(super) fn of(start: &'a NewRun, id: &'a RunId, at: Timestamp) -> Self {
        Self {
            id,
            workflow: &start.pin.workflow,
            version: start.pin.version,
            hash: &start.pin.hash,
            key: &start.key,
            step: &start.step,
            state: &start.state,
            due: start.due_at.millis(),
            at: at.millis(),
        }
    }
}

/// A signal to be stored.
#[derive(Serialize)]
pub(in crate::store) struct SignalRow<'a> {
    run: &'a RunId,
    name: &'a str,
    payload: &'a str,
    dedup: &'a str,
    at: i64,
}

impl<'a> SignalRow<'a> {
    pub(super) fn of(signal: &'a NewSignal, at: Timestamp) -> Self {
        Self { run: &signal.run, name: &signal.name, payload: &signal.payload, dedup: &signal.dedup, at: at.millis() }
    }
}

/// A message to be published.
#[derive(Serialize)]
pub(in crate::store) struct MessageRow<'a> {
    id: &'a str,
    lane: &'a str,
    topic: &'a str,
    pub(in crate::store) slot: Option<&'a str>,
    body: &'a str,
    expires: Option<i64>,
    at: i64,
}

impl<'a> MessageRow<'a> {
    pub(super) fn of(message: &'a OutboxMessage, at: Timestamp) -> Self {
        Self {
            id: &message.id,
            lane: &message.lane,
            topic: &message.topic,
            slot: message.slot.as_deref(),
            body: &message.body,
            expires: message.expires_at.map(|at| at.millis()),
            at: at.millis(),
        }
    }
}

/// What [`Maintenance::retire`](super::Maintenance::retire) reads: `[seq, revision, keeps]` of each.
pub(in crate::store) fn retirements(runs: &[Retirement]) -> String {
    json(&runs.iter().map(|run| (run.seq, run.revision, &run.keeps)).collect::<Vec<_>>())
}
