//! Runs and what belongs to them, as the store keeps them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clock::Timestamp;

/// A run's public name: 32 hex digits, made of the workflow and the caller's key, so that the
/// same start always means the same run and anyone may shorten it while it stays unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl RunId {
    /// The run of `workflow` that was started with `key`.
    pub fn of(workflow: &str, key: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update(workflow.as_bytes());
        digest.update([0]);
        digest.update(key.as_bytes());
        Self(hex::encode(&digest.finalize()[..16]))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a run is doing. The first six are open, the last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// A step is being run, or is next.
    Running,
    /// Waits for a signal or a timer.
    Waiting,
    /// Waits before it runs a step again.
    BackingOff,
    /// An effect was begun whose end the world has not told yet.
    InDoubt,
    /// Waits for a person.
    Paused,
    /// Ended with what it was for.
    Completed,
    /// Ended without it, and needs no one any more.
    Failed,
    /// Ended by a person.
    Canceled,
}

impl Status {
    /// All of them, open ones first.
    pub const ALL: [Self; 8] = [
        Self::Running,
        Self::Waiting,
        Self::BackingOff,
        Self::InDoubt,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// The name, as the database, the CLI and the metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::BackingOff => "backing-off",
            Self::InDoubt => "in-doubt",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether the run has ended.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which text of a definition a run was started with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pin {
    /// The workflow's name.
    pub workflow: String,
    /// The definition's version.
    pub version: u32,
    /// SHA-256 of its text, hex.
    pub hash: String,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The store's own number for it; never reused.
    pub seq: i64,
    /// The public name.
    pub id: RunId,
    /// The definition it follows.
    #[serde(flatten)]
    pub pin: Pin,
    /// The caller's key; one run for one key, for ever.
    pub key: String,
    /// What it is doing.
    pub status: Status,
    /// The present step, or the end it came to.
    pub step: String,
    /// How often the present step has asked to be run again.
    pub attempt: u32,
    /// The workflow's own state, as JSON text.
    pub state: String,
    /// Goes up by one with each commit of the run.
    pub revision: i64,
    /// The fencing token: goes up with each lease.
    pub token: i64,
    /// Who works on it now, if anyone.
    pub owner: Option<String>,
    /// When it is to be taken up next: a timer, at once for a signal, or the end of the lease.
    pub due_at: Option<Timestamp>,
    /// How many signals were ever put into its mailbox.
    pub signals: i64,
    /// How many of them it has consumed.
    pub heard: i64,
    /// Why it is not getting on, if it is not.
    pub error: Option<String>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it last committed.
    pub updated_at: Timestamp,
    /// When it was retired: only its name and its end are left of it, and in `state` what its
    /// workflow keeps.
    pub retired_at: Option<Timestamp>,
}

impl Run {
    /// When the run is due next if it stays as it is: a claim has replaced its timer by the
    /// lease's end, so that what waits for a time is looked at again at once.
    pub(super) fn status_due(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.status.is_final() && self.status != Status::Paused).then_some(now)
    }

    /// Whether signals lie in the mailbox.
    pub const fn has_mail(&self) -> bool {
        self.signals > self.heard
    }
}

/// A message to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its place in the run's mailbox, from 1.
    pub number: i64,
    /// Its name; names that begin with `@` are an operator's requests to the engine.
    pub name: String,
    /// What it says, as JSON text.
    pub payload: String,
    /// When it was stored.
    pub at: Timestamp,
}

/// One line of a run's history: what a commit of the run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The revision that the commit made.
    pub revision: i64,
    /// The step that was run.
    pub step: String,
    /// Its attempt.
    pub attempt: u32,
    /// The outcome's name, or `@` and what the engine did instead (`@retry`, `@doubt`, `@pause`, …).
    pub outcome: String,
    /// The step or end that the run went to.
    pub to: String,
    /// The run's status afterwards.
    pub status: Status,
    /// Why, where there is something to say.
    pub detail: Option<String>,
    /// When it was committed.
    pub at: Timestamp,
}
