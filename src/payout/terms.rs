//! The settings that the payout decides by, as values; replaced whole on a reload.

use super::policy::gate::MAX_EXPIRY_SECS;
use super::policy::{Amountless, FeePolicy, GateRules, Network, NodeKey, NodeShare};

/// What an operator can decide about payouts, and what is known of the node's own lnd.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The node's share of a slashed bond; frozen in each run when the slash is decided.
    pub node_share: NodeShare,
    /// What a payment may cost.
    pub fees: FeePolicy,
    /// Seconds between two requests for an invoice.
    pub request_interval_secs: u32,
    /// How many sends may fail before the bond is `failed`.
    pub max_retries: u32,
    /// The claim window, days.
    pub window_days: u32,
    /// The least time that an invoice must still be valid for, seconds.
    pub invoice_expiration_window: u32,
    /// The most blocks that a payee may ask for on the last hop.
    pub max_final_cltv_expiry_delta: u32,
    /// How long lnd looks for routes, seconds; a payment held for longer leaves the node-wide cap.
    pub payment_timeout_secs: u32,
    /// The most blocks that a payment may be locked for.
    pub cltv_limit: u32,
    /// How many payments may be in flight at once.
    pub max_inflight: u32,
    /// How many of them to one payee; none: as many as there may be.
    pub max_inflight_per_destination: Option<u32>,
    /// How soon a payment is looked at again when its stream is silent, seconds.
    pub look_again_secs: u32,
    /// The chain that lnd is on.
    pub network: Network,
    /// lnd's identity key: an invoice of its own can't be paid.
    pub own_nodes: Vec<NodeKey>,
    /// The node's Nostr key, hex: it may rule on any dispute.
    pub node_key: String,
}

impl Terms {
    /// What an invoice over `owed_sats` is held against.
    pub fn gate(&self, owed_sats: u64, amountless: Amountless) -> GateRules {
        GateRules {
            network: self.network,
            expected_sats: owed_sats,
            amountless,
            min_remaining_expiry_secs: self.invoice_expiration_window,
            max_expiry_secs: MAX_EXPIRY_SECS,
            max_final_cltv_expiry_delta: self.max_final_cltv_expiry_delta,
            own_nodes: self.own_nodes.clone(),
        }
    }
}
