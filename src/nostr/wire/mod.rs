//! The wire: protocol version 2, transport `nip44` only.
//!
//! A direct message is an event of kind 14 whose content is encrypted to the receiver; inside is
//! the tuple `[message, trade signature, identity proof]`. The node is its own trade key and its
//! own identity, so that its messages carry neither. Public events are replaceable: kinds 38383
//! (order), 38386 (dispute), 38385 (info) and 38389 (health).

mod direct;
mod hear;
pub(super) mod public;

use nostr_sdk::{Event, EventBuilder, Keys, Kind, PublicKey, Tag, Timestamp as NostrTime};

use crate::engine::Timestamp;
use crate::payout::messages::Outgoing;

pub use hear::{Dropped, MAX_CONTENT_BYTES, Rules, decode};

/// The kind of a direct message.
pub const DIRECT: Kind = Kind::PrivateDirectMessage;

const DAY: i64 = 86_400;

/// How long relays should keep direct messages and order events.
const KEEP_MESSAGES: i64 = 30 * DAY;

/// How long relays should keep dispute events.
const KEEP_DISPUTES: i64 = 90 * DAY;

/// How many of its intervals relays should keep a health event for.
const KEEP_HEALTH_INTERVALS: i64 = 7;

/// What the node says of itself in public: settings, and what lnd says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// The version that clients are shown.
    pub version: String,
    /// The node's name, if it has one.
    pub name: Option<String>,
    /// lnd's network, the `network` of an order.
    pub network: String,
    /// The work that every incoming event must show, leading zero bits.
    pub pow: u8,
    /// The work that an event of an unknown key must show; none: as any other.
    pub pow_first_contact: Option<u8>,
    /// What bonds cost and how they are shared; none: no new bonds are asked for.
    pub bonds: Option<BondTerms>,
}

impl Profile {
    /// The work that an unknown key must show: both rules apply to it.
    pub fn first_contact_work(&self) -> u8 {
        self.pow_first_contact.unwrap_or(self.pow).max(self.pow)
    }

    /// The values of the `y` tag.
    fn platform(&self) -> Vec<String> {
        let name = self.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        std::iter::once("mostro").chain(name).map(str::to_owned).collect()
    }
}

/// What a client must know of this node's bonds before it enters a trade. Fractions are decimals
/// as the settings have them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BondTerms {
    /// `take`, `make` or `both`.
    pub apply_to: String,
    /// The bond as a fraction of the trade.
    pub amount_pct: String,
    /// The least bond, sats.
    pub base_amount_sats: u64,
    /// Whether a waiting state that runs out costs the bond.
    pub slash_on_waiting_timeout: bool,
    /// The node's share of a slashed bond.
    pub slash_node_share_pct: String,
    /// How many days the winner has to send an invoice.
    pub payout_claim_window_days: u32,
}

/// Why a message can't be put on the wire. None of these goes away by trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A key, id, kind or status is not one.
    #[error("{what} is not valid: {value:?}")]
    Invalid {
        /// Which part of the message.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// Encrypting or signing failed.
    #[error("can't seal: {0}")]
    Seal(String),
}

impl EncodeError {
    fn invalid(what: &'static str, value: impl ToString) -> Self {
        Self::Invalid { what, value: value.to_string() }
    }
}

/// The address under which relays keep only the newest event, `kind:d`; none for direct messages.
pub fn address(outgoing: &Outgoing, keys: &Keys) -> Option<String> {
    match outgoing {
        Outgoing::Direct { .. } => None,
        Outgoing::OrderEvent { order, .. } => {
            let id = order.get("id").and_then(|id| id.as_str()).unwrap_or_default();
            Some(format!("{}:{id}", public::ORDER))
        }
        Outgoing::DisputeEvent { id, .. } => Some(format!("{}:{id}", public::DISPUTE)),
        Outgoing::Info(_) => Some(format!("{}:{}", public::INFO, keys.public_key())),
        Outgoing::Health(_) => Some(format!("{}:{}", public::HEALTH, keys.public_key())),
    }
}

/// Makes the event that says `outgoing`, stamped `now`. A replaceable event is stamped later than
/// `last` (Unix seconds), the one before it at its address, because relays keep the newest only.
pub fn encode(
    outgoing: &Outgoing,
    keys: &Keys,
    profile: &Profile,
    now: Timestamp,
    last: Option<i64>,
) -> Result<Event, EncodeError> {
    let at = now.secs();
    let stamp = last.map_or(at, |last| at.max(last.saturating_add(1)));
    match outgoing {
        Outgoing::Direct { to, about, request_id, said } => {
            let to = PublicKey::from_hex(to).map_err(|_| EncodeError::invalid("receiver", to))?;
            let message = direct::message(about.as_deref(), *request_id, said, at)?;
            let content = direct::encrypt(&message, keys, &to)?;
            let tags = vec![Tag::public_key(to), expiration(at + KEEP_MESSAGES)];
            sign(DIRECT, content, tags, at, keys)
        }
        Outgoing::OrderEvent { order, status } => {
            let tags = public::order_tags(order, status, profile, at + KEEP_MESSAGES)?;
            sign(Kind::Custom(public::ORDER), String::new(), tags, stamp, keys)
        }
        Outgoing::DisputeEvent { id, status, initiator, created_at } => {
            let tags = public::dispute_tags(id, status, initiator, *created_at, profile, at + KEEP_DISPUTES);
            sign(Kind::Custom(public::DISPUTE), String::new(), tags, stamp, keys)
        }
        Outgoing::Info(facts) => {
            let tags = public::info_tags(facts, &keys.public_key(), profile);
            sign(Kind::Custom(public::INFO), String::new(), tags, stamp, keys)
        }
        Outgoing::Health(facts) => {
            let expires = at.saturating_add(i64::from(facts.interval_secs) * KEEP_HEALTH_INTERVALS);
            let tags = public::health_tags(facts, &keys.public_key(), profile, at, expires);
            sign(Kind::Custom(public::HEALTH), String::new(), tags, stamp, keys)
        }
    }
}

fn expiration(at: i64) -> Tag {
    Tag::expiration(nostr_time(at))
}

fn nostr_time(secs: i64) -> NostrTime {
    NostrTime::from_secs(u64::try_from(secs).unwrap_or(0))
}

/// Signs. The receiver may be the node's own key: it may be a solver.
fn sign(kind: Kind, content: String, tags: Vec<Tag>, at: i64, keys: &Keys) -> Result<Event, EncodeError> {
    EventBuilder::new(kind, content)
        .tags(tags)
        .allow_self_tagging()
        .custom_created_at(nostr_time(at))
        .sign_with_keys(keys)
        .map_err(|error| EncodeError::Seal(error.to_string()))
}

#[cfg(test)]
mod tests;
