//! What is wrong with the settings, in one line that names the key.

use std::fmt;

/// A reason to refuse the settings, printed as one line:
/// `` settings.toml: `engine.workers`: 0 is out of range, allowed 1 to 4096 ``.
///
/// Safe to log: anything that looks like a private key is masked when the error is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    origin: String,
    key: Option<String>,
    problem: String,
}

impl ConfigError {
    /// `origin` is the file or the environment variable that the value came from.
    pub(super) fn new(origin: impl fmt::Display, key: Option<&str>, problem: &str) -> Self {
        Self {
            origin: one_line(&origin.to_string()),
            key: key.map(|key| mask(&one_line(key))),
            problem: mask(&one_line(problem)),
        }
    }

    /// The full key, `section.key`; `None` when no single key is to blame (a file that can't be read).
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: `{key}`: {}", self.origin, self.problem),
            None => write!(f, "{}: {}", self.origin, self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A problem with one value, before it is known which file or variable holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The key's path so far; grows from the value outwards.
    pub(super) path: Vec<String>,
    pub(super) problem: String,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { path: Vec::new(), problem: problem.into() }
    }

    /// The same fault seen from the table that holds `key`.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    /// The same fault seen from the list that holds the value as its entry `index`.
    pub(super) fn in_entry(mut self, index: usize) -> Self {
        self.problem = format!("entry {}: {}", index + 1, self.problem);
        self
    }

    pub(super) fn key(&self) -> Option<String> {
        (!self.path.is_empty()).then(|| self.path.join("."))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }

    fn unknown_field(_field: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("unknown key, known are {}", known.join(", ")))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("{variant} is not allowed, allowed are {}", known.join(", ")))
    }
}

fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Length from which a run of letters and digits is taken for a key: an nsec has 63, hex 64.
const KEY_LENGTH: usize = 60;

/// Replaces what may be a private key, wherever an operator pasted it.
fn mask(text: &str) -> String {
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|piece| {
            let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let secret = word.len() >= KEY_LENGTH || word.to_ascii_lowercase().starts_with("nsec1");
            if secret { format!("***{}", &piece[word.len()..]) } else { piece.to_owned() }
        })
        .collect()
}
