//! `BONDFLOW__SECTION__KEY`: environment variables that override keys.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::node::Node;

/// What every overriding variable starts with.
pub const PREFIX: &str = "BONDFLOW__";

/// The overriding variables of this program's environment, for [`super::Settings::load`].
///
/// Other variables are left out unread; a value that is not Unicode is kept and then refused by name.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with(PREFIX).then(|| (name, value.to_string_lossy().into_owned()))
    })
}

/// Which key was set by which variable.
#[derive(Default)]
pub(super) struct Overrides(BTreeMap<String, String>);

impl Overrides {
    /// Sets in `tree` every key that `variables` name; variables without the prefix are ignored.
    pub(super) fn apply(
        tree: &mut Node,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut overrides = Self::default();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let refuse = |problem| Err(ConfigError::new(origin(&name), None, problem));
            let Some((section, key)) = rest.split_once("__") else {
                return refuse("unknown variable, expected BONDFLOW__SECTION__KEY");
            };
            if rest != rest.to_ascii_uppercase() {
                return refuse("unknown variable, section and key are written in capitals");
            }
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return refuse("the value is not valid UTF-8");
            }
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            tree.set(&section, &key, Node::variable(value));
            if let Some(twice) = overrides.0.insert(format!("{section}.{key}"), name) {
                return Err(ConfigError::new(origin(&twice), None, "is set twice"));
            }
        }
        Ok(overrides)
    }

    /// Where the value of `key` comes from, when that is a variable. An unknown section made by a
    /// variable counts as well.
    pub(super) fn origin_of(&self, key: &str) -> Option<String> {
        let within = format!("{key}.");
        self.0.iter().find(|(set, _)| *set == key || set.starts_with(&within)).map(|(_, name)| origin(name))
    }
}

fn origin(name: &str) -> String {
    format!("environment variable {name}")
}
