//! Values that must never be printed, and files that must not be readable by others.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer};

/// A text that neither `Debug` nor `Display` shows: both print `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that uses it; never to be logged or stored.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the text is a Nostr private key: an nsec or 64 hex digits.
    pub(super) fn is_private_key(&self) -> bool {
        nostr_sdk::SecretKey::parse(&self.0).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Self(text.unwrap_or_default()))
    }
}

/// A file's text, and whether anyone but its owner may touch it.
pub(super) struct PrivateText {
    pub(super) text: String,
    pub(super) exposed: bool,
}

impl PrivateText {
    /// Reads a whole file; text and mode are those of the same open file, whatever happens to its name.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let exposed = file.metadata()?.permissions().mode() & 0o077 != 0;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Self { text, exposed })
    }
}
