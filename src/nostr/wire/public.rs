//! The tags of the node's public events, in mostrod's order.

use nostr_sdk::{PublicKey, Tag, TagKind};
use serde_json::{Map, Value};

use super::direct::{number, text};
use super::{EncodeError, Profile, expiration};
use crate::payout::messages::{HealthFacts, InfoFacts};

/// Kind of an order's event.
pub(super) const ORDER: u16 = 38383;
/// Kind of the node's info event.
pub(super) const INFO: u16 = 38385;
/// Kind of a dispute's event.
pub(super) const DISPUTE: u16 = 38386;
/// Kind of the node's health event.
pub(in crate::nostr) const HEALTH: u16 = 38389;
/// The tag of a health event that names the installation it comes from; mostrod has none.
pub(in crate::nostr) const INSTALLATION: &str = "installation";

fn tag(name: &'static str, value: impl ToString) -> Tag {
    list(name, [value.to_string()])
}

fn list(name: &'static str, values: impl IntoIterator<Item = String>) -> Tag {
    Tag::custom(TagKind::from(name), values)
}

pub(super) fn order_tags(
    order: &Map<String, Value>,
    status: &str,
    profile: &Profile,
    expires: i64,
) -> Result<Vec<Tag>, EncodeError> {
    let required = |column| text(order, column)?.ok_or_else(|| EncodeError::invalid(column, "nothing"));
    let methods = required("payment_method")?;
    Ok(vec![
        Tag::identifier(required("id")?),
        tag("k", required("kind")?),
        tag("f", required("fiat_code")?),
        tag("s", status),
        tag("amt", number(order, "amount")?),
        tag("fa", number(order, "fiat_amount")?),
        list("pm", methods.split(',').filter(|method| !method.is_empty()).map(str::to_owned)),
        tag("premium", number(order, "premium")?),
        tag("network", &profile.network),
        tag("layer", "lightning"),
        tag("published_at", number(order, "created_at")?),
        tag("expires_at", number(order, "expires_at")?),
        expiration(expires),
        list("y", profile.platform()),
        tag("z", "order"),
    ])
}

pub(super) fn dispute_tags(
    id: &str,
    status: &str,
    initiator: &str,
    created_at: i64,
    profile: &Profile,
    expires: i64,
) -> Vec<Tag> {
    vec![
        Tag::identifier(id),
        expiration(expires),
        tag("s", status),
        tag("initiator", initiator),
        tag("published_at", created_at),
        list("y", profile.platform()),
        tag("z", "dispute"),
    ]
}

/// Without `bond_enabled` a client could not tell "no bonds here" from "knows no bonds".
pub(super) fn info_tags(facts: &InfoFacts, node: &PublicKey, profile: &Profile) -> Vec<Tag> {
    let mut tags = vec![
        Tag::identifier(node.to_hex()),
        tag("mostro_version", &profile.version),
        tag("pow", profile.pow),
        tag("pow_first_contact", profile.first_contact_work()),
        tag("protocol_version", 2),
        list("y", profile.platform()),
        tag("z", "info"),
        tag("lnd_version", &facts.lnd_version),
        tag("lnd_node_pubkey", &facts.lnd_node_pubkey),
        tag("lnd_node_alias", &facts.lnd_node_alias),
        tag("lnd_networks", &facts.lnd_networks),
        tag("bond_enabled", profile.bonds.is_some()),
    ];
    if let Some(bonds) = &profile.bonds {
        tags.extend([
            tag("bond_amount_pct", &bonds.amount_pct),
            tag("bond_base_amount_sats", bonds.base_amount_sats),
            tag("bond_apply_to", &bonds.apply_to),
            tag("bond_slash_on_waiting_timeout", bonds.slash_on_waiting_timeout),
            tag("bond_slash_node_share_pct", &bonds.slash_node_share_pct),
            tag("bond_payout_claim_window_days", bonds.payout_claim_window_days),
        ]);
    }
    tags
}

/// `at` is when what it says was found, Unix seconds.
pub(super) fn health_tags(facts: &HealthFacts, node: &PublicKey, profile: &Profile, at: i64, expires: i64) -> Vec<Tag> {
    let word = |well: bool| if well { "ok" } else { "error" };
    let mut tags = vec![
        Tag::identifier(node.to_hex()),
        list("y", profile.platform()),
        tag("z", "health"),
        tag("status", if facts.checks.iter().all(|(_, well)| *well) { "ok" } else { "degraded" }),
    ];
    let checks = facts.checks.iter();
    tags.extend(checks.map(|(name, well)| list("check", [name.clone(), word(*well).to_owned(), at.to_string()])));
    tags.extend(facts.block_height.map(|height| tag("lnd_block_height", height)));
    tags.extend(facts.synced_to_chain.map(|synced| tag("lnd_synced_to_chain", synced)));
    tags.extend([
        tag("lnd_network", &profile.network),
        tag("mostro_version", &profile.version),
        tag("interval", facts.interval_secs),
        tag("seq", facts.seq),
        expiration(expires),
        tag(INSTALLATION, &facts.installation),
    ]);
    tags
}
