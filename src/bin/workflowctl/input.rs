//! What comes in beside the command line: ids from a pipe, and a person's yes.

use std::io::{self, BufRead, BufReader, IsTerminal};

use crate::failure::Failure;

/// Standard input, and whether somebody sits there.
pub struct Input {
    reader: Box<dyn BufRead + Send>,
    person: bool,
}

impl Input {
    /// That of the program.
    pub fn stdin() -> Self {
        let person = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self { reader: Box::new(BufReader::new(io::stdin())), person }
    }

    /// Some text; `person`: as if somebody typed it.
    #[cfg(test)]
    pub fn of(text: &str, person: bool) -> Self {
        Self { reader: Box::new(io::Cursor::new(text.to_owned())), person }
    }

    /// Whether there is somebody to be asked.
    pub const fn has_person(&self) -> bool {
        self.person
    }

    /// All of it.
    pub fn text(&mut self) -> Result<String, Failure> {
        io::read_to_string(&mut self.reader).map_err(unread)
    }

    /// What a person answers.
    pub fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.reader.read_line(&mut line).map_err(unread)?;
        Ok(line.trim().to_owned())
    }
}

fn unread(error: io::Error) -> Failure {
    Failure::Error(format!("stdin can't be read: {error}"))
}
