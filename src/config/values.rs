//! Values with a form of their own: addresses, lists of keys, whole numbers within a range.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use cron::Schedule;
use nostr_sdk::{PublicKey, RelayUrl};
use serde::de::{Deserialize, Deserializer, Error};

/// Where the database is. `Debug` shows the kind only: a URL may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://FILE`, relative to the working directory unless FILE starts with a slash.
    Sqlite(String),
    /// `postgres://…` or `postgresql://…`.
    Postgres(String),
}

impl DatabaseUrl {
    /// The whole URL, password included: for the connection only.
    pub fn expose(&self) -> &str {
        match self {
            Self::Sqlite(url) | Self::Postgres(url) => url,
        }
    }

    /// The file of a `sqlite://FILE?OPTIONS` address.
    pub fn file(&self) -> Option<PathBuf> {
        let Self::Sqlite(url) = self else { return None };
        let file = url.strip_prefix("sqlite://").unwrap_or(url);
        Some(PathBuf::from(file.split_once('?').map_or(file, |(file, _)| file)))
    }

    /// Whether the URL holds a password, as `user:password@` or as a parameter.
    pub(super) fn holds_password(&self) -> bool {
        let Self::Postgres(url) = self else {
            return false;
        };
        let user_info = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        user_info.is_some_and(|(user, _)| user.contains(':')) || url.contains("password=")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(url) => f.write_str(url),
            Self::Postgres(_) => f.write_str("postgres://***"),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(InvalidDatabaseUrl::Scheme);
        };
        match scheme {
            "sqlite" if rest.starts_with(":memory:") || rest.contains("mode=memory") => Err(InvalidDatabaseUrl::Memory),
            "sqlite" | "postgres" | "postgresql" if rest.is_empty() || rest.starts_with('?') => {
                Err(InvalidDatabaseUrl::Empty)
            }
            "sqlite" => Ok(Self::Sqlite(url.to_owned())),
            "postgres" | "postgresql" => Ok(Self::Postgres(url.to_owned())),
            _ => Err(InvalidDatabaseUrl::Scheme),
        }
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

/// Why a text is no [`DatabaseUrl`]; the text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// Neither `sqlite://` nor `postgres://`.
    #[error("expected a sqlite:// or postgres:// address")]
    Scheme,
    /// Nothing after the scheme.
    #[error("names no database")]
    Empty,
    /// A database in memory forgets debts at the first restart.
    #[error("a database in memory would forget its debts, name a file")]
    Memory,
}

/// A whole number from `MIN` to `MAX`, both included.
pub(super) fn int<'de, const MIN: i128, const MAX: i128, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    in_range::<MIN, MAX, _, _>(i128::deserialize(deserializer)?)
}

/// As [`int`], or not set.
pub(super) fn optional_int<'de, const MIN: i128, const MAX: i128, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    Option::<i128>::deserialize(deserializer)?.map(in_range::<MIN, MAX, _, _>).transpose()
}

fn in_range<const MIN: i128, const MAX: i128, T: TryFrom<i128>, E: Error>(number: i128) -> Result<T, E> {
    (MIN..=MAX)
        .contains(&number)
        .then(|| T::try_from(number).ok())
        .flatten()
        .ok_or_else(|| E::custom(format_args!("{number} is out of range, allowed {MIN} to {MAX}")))
}

/// `https://HOST:PORT` and nothing more: a macaroon never travels in the clear.
pub(super) fn https_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    if url.starts_with("http://") {
        return Err(D::Error::custom("http:// is refused, lnd is reached over TLS only: write https://HOST:PORT"));
    }
    match url.strip_prefix("https://") {
        Some(address) if is_address(address.strip_suffix('/').unwrap_or(address)) => Ok(url),
        _ => Err(D::Error::custom("expected https://HOST:PORT")),
    }
}

/// `http://HOST:PORT` and nothing more, or not set.
pub(super) fn optional_http_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(url) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if url.starts_with("https://") {
        return Err(D::Error::custom("https:// is not spoken: name a collector nearby, which passes it on over TLS"));
    }
    match url.strip_prefix("http://") {
        Some(address) if is_address(address.strip_suffix('/').unwrap_or(address)) => Ok(Some(url)),
        _ => Err(D::Error::custom("expected http://HOST:PORT")),
    }
}

/// Whether a text is `HOST:PORT`, without a user, a path or anything else.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(|c: char| "/@?# ".contains(c) || c.is_control())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// At least one relay, each a `ws://` or `wss://` address, none twice.
pub(super) fn relays<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RelayUrl>, D::Error> {
    let relays =
        distinct(deserializer, |text| RelayUrl::parse(text).map_err(|_| "expected a ws:// or wss:// address"))?;
    if relays.is_empty() {
        return Err(D::Error::custom("needs at least one relay"));
    }
    Ok(relays)
}

/// Public keys in hex or npub form, none twice.
pub(super) fn public_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PublicKey>, D::Error> {
    distinct(deserializer, |text| {
        PublicKey::parse(text)
            .ok()
            .filter(|key| key.xonly().is_ok())
            .ok_or("expected a public key, npub or 64 hex digits")
    })
}

/// Parses each entry. Entries are named by their place and not quoted: one may be a misplaced secret.
fn distinct<'de, D: Deserializer<'de>, T: PartialEq>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, D::Error> {
    let mut values = Vec::new();
    for (index, text) in Vec::<String>::deserialize(deserializer)?.iter().enumerate() {
        let refuse = |problem| D::Error::custom(format_args!("entry {}: {problem}", index + 1));
        let value = parse(text).map_err(refuse)?;
        if values.contains(&value) {
            return Err(refuse("is there twice"));
        }
        values.push(value);
    }
    Ok(values)
}

/// A cron expression of six fields (seconds first) or seven (year last).
pub(super) fn schedule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
    let text = String::deserialize(deserializer)?;
    Schedule::from_str(&text).map_err(|_| {
        D::Error::custom(format_args!(
            "{text} is not a cron expression: sec min hour day-of-month month day-of-week [year]"
        ))
    })
}
