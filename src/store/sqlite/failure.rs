//! What an error of the database means for what was to be written.

use std::path::Path;

use sqlx::Error;

use crate::store::group::Failure;

// SQLite's primary result codes, https://www.sqlite.org/rescode.html.
pub(super) const BUSY: i32 = 5;
const DISK: i32 = 10;
pub(super) const DAMAGED: i32 = 11;
pub(super) const FULL: i32 = 13;
pub(super) const NOT_A_DATABASE: i32 = 26;

/// The codes by which SQLite refuses what a statement says and not to work at all: ERROR, TOOBIG,
/// CONSTRAINT, MISMATCH, RANGE.
const REFUSED: [i32; 5] = [1, 18, 19, 20, 25];

/// What an error before the transaction was to be committed means; `told` is the error in words.
pub(super) fn before_commit(error: &Error, told: String) -> Failure {
    match code(error) {
        Some(code) if REFUSED.contains(&code) => Failure::Refused(told),
        _ => Failure::Unavailable(told),
    }
}

/// Where the disk is at fault: which file, and what to do.
pub(super) fn of_the_disk(file: &Path, error: &Error) -> Option<String> {
    let todo = match code(error)? {
        FULL => "its disk is full: make room there",
        DISK => "its disk fails, or allows it no more room: see to the disk",
        _ => return None,
    };
    Some(format!("{}: {todo}, then start the daemon again; what was committed is kept ({error})", file.display()))
}

/// SQLite's primary result code.
pub(super) fn code(error: &Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
