//! The mark that an import leaves in `mostro.db`.
//!
//! It is a row of `_sqlx_migrations` that no mostrod knows: sqlx's migrator then ends with
//! `VersionMissing`, and mostrod refuses to start. Triggers on `orders` and `bonds` besides make
//! every write of a mostrod that still runs fail: it claims each payment by an update there before
//! it sends, so that it finds nothing that it can pay.

use std::fmt;

use crate::engine::Timestamp;

/// The mark's version: later than any date that mostrod could name a migration after.
pub(super) const VERSION: i64 = 99_991_231_235_959;

/// What a mostrod that still runs is told.
pub(super) const SEALED: &str = "bondflow has taken this database over";

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// mostrod is kept out; whether our database has the rows, only it can tell.
    Begun,
    /// Our database has the rows.
    Done,
}

impl Progress {
    /// The word in the mark.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
        }
    }
}

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// How far the import came.
    pub progress: Progress,
    /// When it was written, whole seconds.
    pub at: Timestamp,
    /// The database that took over, without secrets.
    pub target: String,
}

const OPENING: &str = "taken over by bondflow, mostrod must not run on this file: ";

impl Mark {
    /// A mark of now.
    pub fn new(progress: Progress, target: &str, now: Timestamp) -> Self {
        Self { progress, at: Timestamp::from_secs(now.secs()), target: target.to_owned() }
    }

    /// The mark that a description says.
    pub fn read(text: &str) -> Option<Self> {
        let (progress, rest) = text.strip_prefix(OPENING)?.split_once(' ')?;
        let progress = [Progress::Begun, Progress::Done].into_iter().find(|known| known.as_str() == progress)?;
        let (at, target) = rest.split_once(" into ")?;
        let at = Timestamp::from_secs(at.strip_suffix('s')?.parse().ok()?);
        Some(Self { progress, at, target: target.to_owned() })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPENING}{} {}s into {}", self.progress.as_str(), self.at.secs(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let mark = Mark::new(Progress::Begun, "sqlite:///var/lib/bond flow.db", Timestamp(1_795_426_600_123));
        assert_eq!(Mark::read(&mark.to_string()), Some(mark));
        assert_eq!(Mark::read("reputation rebinds"), None);
    }
}
