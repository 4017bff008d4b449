//! Typed settings: `settings.toml`, overridden by `BONDFLOW__SECTION__KEY` variables.
//!
//! All is checked once, at start and at each reload: an unknown key, a value out of its range or a
//! secret in a file that others can read is refused, and the error names the key. Whatever holds a
//! [`Settings`] may rely on every range stated in `sections.rs`. Nothing here is global: the
//! composition root loads the settings and hands each part what it needs.

mod decimal;
mod env;
mod error;
mod node;
mod reload;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod values;

use std::path::Path;

use serde::Deserialize;

pub use decimal::{Decimal6, DecimalError};
pub use env::{PREFIX as ENV_PREFIX, variables};
pub use error::ConfigError;
pub use reload::Change;
pub use secret::Secret;
pub use sections::{
    AntiAbuseBondSettings, ApplyTo, DatabaseSettings, EngineSettings, HttpSettings, LightningSettings, MostroSettings,
    NostrSettings, SchedulesSettings, TelemetrySettings,
};
pub use values::{DatabaseUrl, InvalidDatabaseUrl};

use env::Overrides;
use error::Fault;
use node::Node;
use secret::PrivateText;

/// Where both binaries look for the settings unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "./settings.toml";

/// The settings of a daemon. `Default` is what `settings.tpl.toml` says: complete but for the node's
/// key, which has no default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// lnd and the terms of payments.
    pub lightning: LightningSettings,
    /// The node's key and relays.
    pub nostr: NostrSettings,
    /// The node's name, proof of work, routing fees and solvers.
    pub mostro: MostroSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// Bonds and their payout.
    pub anti_abuse_bond: AntiAbuseBondSettings,
    /// The engine.
    pub engine: EngineSettings,
    /// Metrics and health.
    pub http: HttpSettings,
    /// Spans for a collector.
    pub telemetry: TelemetrySettings,
    /// Cron expressions.
    pub schedules: SchedulesSettings,
}

impl Settings {
    /// Reads the file at `path`, lets the `BONDFLOW__…` variables of `env` override its keys and
    /// checks the whole.
    ///
    /// # Errors
    ///
    /// The first fault found. Nothing is ever replaced by a default because it was wrong.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let file = path.display();
        let source = PrivateText::read(path)
            .map_err(|error| ConfigError::new(&file, None, &format!("cannot be read: {error}")))?;
        let mut tree = Node::parse(&source.text).map_err(|error| {
            let (key, problem) = locate(&source.text, &error);
            ConfigError::new(&file, key.as_deref(), &problem)
        })?;
        if let Some(key) = secret_key_of(&tree).filter(|_| source.exposed) {
            return Err(ConfigError::new(&file, Some(key), EXPOSED));
        }
        let overrides = Overrides::apply(&mut tree, env)?;
        Settings::deserialize(&tree).and_then(Self::complete).map_err(|fault| {
            let key = fault.key();
            let variable = key.as_deref().and_then(|key| overrides.origin_of(key));
            let origin = variable.unwrap_or_else(|| file.to_string());
            ConfigError::new(origin, key.as_deref(), &fault.problem)
        })
    }

    /// Checks what concerns more than one key, and reads the node's key from its file.
    fn complete(mut self) -> Result<Self, Fault> {
        let lightning = &self.lightning;
        if lightning.payment_cltv_limit <= lightning.max_final_cltv_expiry_delta {
            // lnd refuses to pay an invoice whose final delta leaves no room for a route.
            return Err(Fault::new("must be above `lightning.max_final_cltv_expiry_delta`")
                .under("payment_cltv_limit")
                .under("lightning"));
        }
        let nostr = &mut self.nostr;
        let refuse = |key, problem: &str| Err(Fault::new(problem).under(key).under("nostr"));
        match &nostr.nsec_privkey_file {
            None if nostr.nsec_privkey.is_empty() => {
                return refuse("nsec_privkey", "needs this key or `nostr.nsec_privkey_file`");
            }
            None if nostr.nsec_privkey.is_private_key() => {}
            None => return refuse("nsec_privkey", NOT_A_KEY),
            Some(_) if !nostr.nsec_privkey.is_empty() => {
                return refuse("nsec_privkey_file", "set together with `nostr.nsec_privkey`, allowed is one of them");
            }
            Some(path) => {
                let key = "nsec_privkey_file";
                match PrivateText::read(path) {
                    Err(error) => return refuse(key, &format!("cannot be read: {error}")),
                    Ok(file) if file.exposed => return refuse(key, EXPOSED),
                    Ok(file) => nostr.nsec_privkey = Secret::new(file.text.trim()),
                }
                if !nostr.nsec_privkey.is_private_key() {
                    return refuse(key, "the file holds no nsec or 64 hex digits");
                }
            }
        }
        Ok(self)
    }
}

const EXPOSED: &str = "a file with a secret is open to its group or to others, chmod it to 600";
const NOT_A_KEY: &str = "expected a private key, nsec or 64 hex digits";

/// The key whose value, as the file has it, is a secret.
fn secret_key_of(tree: &Node) -> Option<&'static str> {
    if tree.text_at("nostr", "nsec_privkey").is_some_and(|text| !text.is_empty()) {
        return Some("nostr.nsec_privkey");
    }
    tree.text_at("database", "url")
        .and_then(|url| url.parse::<DatabaseUrl>().ok())
        .filter(DatabaseUrl::holds_password)
        .map(|_| "database.url")
}

/// The key on the line that is no TOML, and what is wrong there. The line itself is not quoted: it
/// may hold a secret.
fn locate(source: &str, error: &toml::de::Error) -> (Option<String>, String) {
    let Some(before) = error.span().and_then(|span| source.get(..span.start)) else {
        return (None, error.message().to_owned());
    };
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = source[start..].lines().next().unwrap_or_default();
    let bare = |text: &str| {
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
    };
    let section = before.lines().rev().find_map(|line| bare(line.trim().strip_prefix('[')?.split_once(']')?.0));
    let key = line.split_once('=').and_then(|(key, _)| bare(key));
    let key = match (section, key) {
        (Some(section), Some(key)) => Some(format!("{section}.{key}")),
        (section, key) => key.or(section),
    };
    let number = before.matches('\n').count() + 1;
    (key, format!("line {number}: {}", error.message()))
}
