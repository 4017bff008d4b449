//! How a command can fail: one line on stderr, and an exit code that scripts can rely on.

use std::io;
use std::process::ExitCode;

use bondflow::engine::{CommitError, StoreError};

/// Why a command did not do all that it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not work; the text says what to do.
    #[error("{0}")]
    Error(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Some of it was done; each failure was told already.
    #[error("{done} of {all} done")]
    Partly {
        /// How many.
        done: usize,
        /// Of how many.
        all: usize,
    },
    /// There is no such run.
    #[error("{0}")]
    NotFound(String),
    /// Nobody reads stdout any more.
    #[error("nobody reads the output")]
    Closed,
}

impl Failure {
    /// The exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Error(_) => 1,
            Self::Usage(_) => 2,
            Self::Partly { .. } => 3,
            Self::NotFound(_) => 4,
        }
    }

    /// What the operator is told; nothing when nobody reads.
    pub fn line(&self) -> Option<String> {
        (!matches!(self, Self::Closed)).then(|| format!("workflowctl: {self}"))
    }

    /// Tells the operator, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if let Some(line) = self.line() {
            eprintln!("{line}");
        }
        ExitCode::from(self.code())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Error(format!("stdout can't be written: {error}")),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Error(error.to_string())
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        Self::Error(format!("the request was not stored, ask again: {error}"))
    }
}
