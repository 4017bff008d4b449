//! An operator's requests: signals whose names begin with `@`, applied by the daemon in its own
//! transactions, so that no command can race a step.
//!
//! | request | what it does | who decides whether it may |
//! |---|---|---|
//! | `resume` | runs the present step now | the engine: an open run |
//! | `pause`, `cancel` | stops the run, ends it | the engine: not while an effect is in doubt, unless forced; what an end means besides: the workflow's [`CancelRule`] |
//! | `retry` | goes on from another step | the definition, and the workflow's [`RetryRule`] |
//! | `signal` | puts a signal into the mailbox | the step that takes it, see [`Step::admit`](super::Step::admit) |
//! | `resolve` | ends an effect in doubt by a person's word | the step, see [`Step::resolve`](super::Step::resolve) |
//!
//! Each is applied, or refused, between two steps, in one transaction with a line in the run's history
//! and one in the table [`AUDIT`]: who asked, when, why, and what came of it.

mod apply;
mod audit;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clock::Timestamp;
use super::run::{Signal, Status};
use super::step::Effects;
use super::store::RowWrite;

pub(super) use apply::Case;
pub use apply::may_enter;
pub use audit::AUDIT;

/// What an operator can ask of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Runs the present step now: ends a back-off or a pause.
    Resume,
    /// Stops the run until it is resumed.
    Pause,
    /// Ends the run for good.
    Cancel,
    /// Goes on from a step.
    Retry {
        /// The step.
        from: String,
    },
    /// Puts a signal into the run's mailbox.
    Signal {
        /// Its name.
        name: String,
        /// What it says, in the words that operators use for it.
        payload: Value,
    },
    /// Ends the effect in doubt by a person's word.
    Resolve {
        /// The word.
        word: Word,
    },
}

impl Request {
    /// The name, as commands and the journal have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Pause => "pause",
            Self::Cancel => "cancel",
            Self::Retry { .. } => "retry",
            Self::Signal { .. } => "signal",
            Self::Resolve { .. } => "resolve",
        }
    }

    /// The name of the signal that carries it.
    pub fn signal(&self) -> String {
        format!("@{}", self.name())
    }

    /// What else was said, for the journal; evidence is not repeated there.
    pub fn arguments(&self) -> Option<Value> {
        match self {
            Self::Resume | Self::Pause | Self::Cancel => None,
            Self::Retry { from } => Some(json!({ "from": from })),
            Self::Signal { name, payload } => Some(json!({ "name": name, "payload": payload })),
            Self::Resolve { word: Word::Happened { .. } } => Some(json!({ "word": "happened" })),
            Self::Resolve { word: Word::DidNot } => Some(json!({ "word": "did-not" })),
        }
    }
}

/// What a person says of an effect that the world has told nothing of.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// It happened; the workflow verifies the evidence.
    Happened {
        /// What proves it.
        evidence: String,
    },
    /// It did not, and never will.
    DidNot,
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Happened { .. } => "Happened(…)",
            Self::DidNot => "DidNot",
        })
    }
}

/// A request with who asks, and why: the payload of its signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The asker's own name for this request, by which its end is found in [`AUDIT`].
    pub ticket: String,
    /// The person's name, as the machine knows it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Whether the person insists on what is refused otherwise.
    pub force: bool,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

impl Asked {
    /// Whether the person insists, and says why.
    pub fn insists(&self) -> bool {
        self.force && self.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty())
    }
}

/// How a run goes on from a step that an operator chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Reentry {
    /// The run's state from then on, JSON text.
    pub state: String,
    /// Rows of the workflow's tables that follow from it.
    pub rows: Vec<RowWrite>,
    /// What will happen, in a sentence for people.
    pub says: String,
}

/// A workflow's own rule for [`Request::Retry`]: from the run's key and state, the step and the present
/// time to how it goes on, or why it may not. Pure, so that it can be asked before anything is done.
pub type RetryRule = fn(&str, &str, &str, Timestamp) -> Result<Reentry, String>;

/// What a workflow has to say when an operator ends one of its runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ending {
    /// Why only somebody who insists may end it, if the engine could not know that.
    pub hindrance: Option<String>,
    /// What is written with the end.
    pub effects: Effects,
}

/// A workflow's own rule for [`Request::Cancel`]: from the run's key and state, and the signals that nobody
/// will take any more, to what the end means. All of these signals are consumed. Pure.
pub type CancelRule = fn(&str, &str, &[Signal]) -> Result<Ending, String>;

/// A signal that an operator wants to put into a run's mailbox.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// What it says, in the words that operators use for it.
    pub payload: &'a Value,
    /// Whether the operator insists, with a reason.
    pub insists: bool,
    /// The step or end at which the run stands.
    pub at: &'a str,
    /// The run's status.
    pub status: Status,
}

pub(super) fn is_request(signal: &Signal) -> bool {
    signal.name.starts_with('@')
}
