//! What was seen committed, kept in a file beside the database: an older copy that takes the
//! database's place does not bring this file with it.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::engine::Standing;

/// The first word of the file.
const MARK: &str = "bondflow-seen";
/// All that is written at a time: less than any disk's or page's unit, so that it is old or new.
const LENGTH: usize = 128;

/// The file. It is written after the commits that it tells of, so that it is never ahead of them
/// whatever dies when.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    file: Option<File>,
    last: Option<Standing>,
}

impl Witness {
    /// The one in that file.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, last: None }
    }

    /// Where the one of a database in a file lies.
    pub fn beside(database: &Path) -> PathBuf {
        let mut name = database.as_os_str().to_owned();
        name.push(".seen");
        name.into()
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it has seen; none when it is not there.
    ///
    /// # Errors
    /// When it can't be read, or makes no sense.
    pub fn read(&self) -> Result<Option<Standing>> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => drop(file.take(LENGTH as u64).read_to_string(&mut text)?),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        // The daemon died when it had made the file and not yet written it.
        if text.is_empty() {
            return Ok(None);
        }
        parse(&text).map(Some).ok_or_else(|| Error::new(ErrorKind::InvalidData, "it makes no sense"))
    }

    /// Writes down where the database stands; on the disk it is after [`sync`](Self::sync) only.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn note(&mut self, standing: &Standing) -> Result<()> {
        if self.last.as_ref() == Some(standing) {
            return Ok(());
        }
        let text = format!("{MARK} {} {}", standing.timeline, standing.count);
        let line = format!("{text:<width$}\n", width = LENGTH - 1);
        if self.file.is_none() {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&self.path)?;
            self.file = Some(file);
        }
        if let Some(file) = &self.file {
            file.write_all_at(line.as_bytes(), 0)?;
        }
        self.last = Some(standing.clone());
        Ok(())
    }

    /// Waits until what was noted is on the disk.
    ///
    /// # Errors
    /// When it can't be brought there.
    pub fn sync(&self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

fn parse(text: &str) -> Option<Standing> {
    let mut words = text.split_whitespace();
    let (mark, timeline, count) = (words.next()?, words.next()?, words.next()?);
    let count = count.parse().ok()?;
    (mark == MARK && words.next().is_none()).then(|| Standing { timeline: timeline.to_owned(), count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(count: i64) -> Standing {
        Standing { timeline: "0123456789abcdef0123456789abcdef".into(), count }
    }

    #[test]
    fn what_is_noted_is_read_again_and_a_shorter_number_leaves_nothing_of_a_longer() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = Witness::at(&Witness::beside(&folder.path().join("a.db")));
        assert_eq!(witness.read().unwrap(), None);
        for count in [i64::MAX, 7, 8] {
            witness.note(&at(count)).unwrap();
            assert_eq!(Witness::at(&Witness::beside(&folder.path().join("a.db"))).read().unwrap(), Some(at(count)));
        }
        witness.sync().unwrap();
        assert_eq!(std::fs::metadata(witness.path()).unwrap().len(), LENGTH as u64);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::at(&Witness::beside(&folder.path().join("a.db")));
        std::fs::write(witness.path(), "").unwrap();
        assert_eq!(witness.read().unwrap(), None);
        for text in ["bondflow-seen", "bondflow-seen abc x", "other abc 5", "bondflow-seen abc 5 6"] {
            std::fs::write(witness.path(), text).unwrap();
            assert!(witness.read().is_err(), "{text}");
        }
    }
}
