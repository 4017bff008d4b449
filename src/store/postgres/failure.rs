//! What an error of the database means for what was to be written.

use sqlx::Error;

use crate::store::group::Failure;

/// What goes wrong within a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    /// A statement failed, or the connection did.
    Database(Error),
    /// Another transaction has made what this one's checks did not find.
    Raced,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// The SQLSTATE of what the server refused; none when it refused nothing, but could not be asked.
pub(super) fn code(error: &Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// A key that is there already: a row of another's, or a second one of ours.
const UNIQUE: &str = "23505";

impl Fault {
    /// Whether the same batch may well be written when it is tried again at once: another
    /// transaction was in the way (serialization failure, deadlock, lock time-out), or has made a
    /// row that the checks will find now.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Raced => true,
            Self::Database(error) => {
                code(error).is_some_and(|code| matches!(code.as_str(), "40001" | "40P01" | "55P03" | UNIQUE))
            }
        }
    }

    /// As an error of the database, where nothing was to be written.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Database(error) => error,
            Self::Raced => Error::WorkerCrashed,
        }
    }

    /// Whether the server has said so, and the connection is good.
    pub(super) fn was_answered(&self) -> bool {
        match self {
            Self::Raced => true,
            Self::Database(error) => error.as_database_error().is_some(),
        }
    }

    /// What it means for a transaction that was not to be committed yet.
    pub(super) fn before_commit(&self) -> Failure {
        match self {
            Self::Raced => Failure::Unavailable("others write the same again and again".into()),
            Self::Database(error) if refuses(error) => Failure::Refused(error.to_string()),
            Self::Database(error) => Failure::Unavailable(error.to_string()),
        }
    }
}

/// Whether the server refuses what a statement says, and not to work at all: bad data, violated
/// constraints, what is not in the schema, what is too large. Rights can be granted meanwhile.
fn refuses(error: &Error) -> bool {
    match (error, code(error)) {
        (_, Some(code)) => code != "42501" && ["22", "23", "42", "54"].contains(&&code[..2]),
        (Error::Encode(_) | Error::Decode(_) | Error::ColumnDecode { .. }, None) => true,
        _ => false,
    }
}

/// Whether a reading that failed so may succeed once the server is there again.
pub(super) fn may_pass(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::WorkerCrashed => true,
        // Connection trouble, operator intervention, out of resources, standby conflicts.
        _ => code(error).is_some_and(|code| ["08", "57", "53", "40"].contains(&&code[..2])),
    }
}
