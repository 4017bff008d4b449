//! The settings in the payout's words.

use crate::config::{Decimal6, Settings};
use crate::payout::Terms;
use crate::payout::policy::{FeePolicy, Millionths, Network, NodeKey};

/// What must be known of lnd before anything is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// lnd's identity key, hex.
    pub identity: String,
    /// Its network, as lnd names it.
    pub network: String,
}

impl KnownNode {
    /// The network and the key as values; none when one of them is unknown to this build.
    fn parse(&self) -> Option<(Network, NodeKey)> {
        let key = hex::decode(&self.identity).ok()?.try_into().ok()?;
        Some((Network::from_lnd_name(&self.network)?, key))
    }
}

/// The terms of these settings on that node.
///
/// # Errors
/// When the node's network or key is none that invoices can be held against.
pub fn terms(settings: &Settings, node: &KnownNode, node_key: String) -> Result<Terms, String> {
    let (network, own) = node.parse().ok_or_else(|| {
        format!("lnd's network `{}` or identity key is not one that invoices can be held against", node.network)
    })?;
    let bond = &settings.anti_abuse_bond;
    let lightning = &settings.lightning;
    Ok(Terms {
        node_share: fraction(bond.slash_node_share_pct)?,
        fees: FeePolicy {
            max_routing_fee: fraction(settings.mostro.max_routing_fee)?,
            min_routing_fee_sats: settings.mostro.min_routing_fee_sats,
        },
        request_interval_secs: bond.payout_invoice_window_seconds,
        max_retries: bond.payout_max_retries,
        window_days: bond.payout_claim_window_days,
        invoice_expiration_window: lightning.invoice_expiration_window,
        max_final_cltv_expiry_delta: lightning.max_final_cltv_expiry_delta,
        payment_timeout_secs: lightning.payment_timeout,
        cltv_limit: lightning.payment_cltv_limit,
        max_inflight: lightning.max_inflight_payouts,
        max_inflight_per_destination: lightning.per_destination_cap(),
        look_again_secs: settings.engine.in_doubt_recheck_seconds,
        network,
        own_nodes: vec![own],
        node_key,
    })
}

fn fraction(decimal: Decimal6) -> Result<Millionths, String> {
    u32::try_from(decimal.millionths()).ok().and_then(Millionths::new).ok_or_else(|| format!("{decimal} is above 1"))
}
