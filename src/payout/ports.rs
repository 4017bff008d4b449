//! What the payout asks of the world outside the database: a Lightning node and a block height.
//!
//! No type here is lnd's: the adapter says in these words what lnd answered, and
//! [`super::policy`] says what it means.

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::engine::Timestamp;

use super::policy::verdict::Observation;

/// A payment hash.
pub type Hash = [u8; 32];

/// What came of asking the node to settle or cancel a hold invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldAnswer {
    /// It is settled now, or was already.
    Settled,
    /// It is canceled now, or was already.
    Canceled,
    /// Nobody has paid it yet, so that it can't be settled.
    StillOpen,
    /// The node knows no invoice of that hash.
    Unknown,
    /// The node refused for another reason: its text.
    Refused(String),
    /// No answer that says anything: try again. The text is for the operator.
    Unavailable(String),
}

/// What the node knows of one of its hold invoices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// Nobody has paid it.
    Open,
    /// An HTLC is locked in; the node cancels by itself when the chain comes near `expiry_height`.
    Accepted {
        /// The lowest height at which one of its HTLCs expires.
        expiry_height: u32,
    },
    /// Settled.
    Settled,
    /// Canceled.
    Canceled,
    /// The node knows no invoice of that hash.
    Unknown,
}

/// A payment to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The invoice.
    pub bolt11: String,
    /// Its payment hash.
    pub hash: Hash,
    /// For an invoice without an amount: the sats to pay. Otherwise none.
    pub amount_sats: Option<u64>,
    /// The most that routing may cost, sats.
    pub fee_limit_sats: u64,
    /// The most blocks that the payment may be locked for.
    pub cltv_limit: u32,
    /// How long the node looks for routes, seconds.
    pub timeout_secs: u32,
    /// The node itself must refuse the send after this time.
    pub valid_until: Timestamp,
}

/// A payment that the node has made or is making, whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its payment hash.
    pub hash: Hash,
    /// What the payee gets, millisatoshis.
    pub amount_msat: u64,
    /// When the node took it on, Unix seconds.
    pub made_at: i64,
    /// The payee has it; else it may still be under way.
    pub succeeded: bool,
}

/// The node's own standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// The identity key, hex.
    pub identity: String,
    /// The alias.
    pub alias: String,
    /// The version, as the node prints it.
    pub version: String,
    /// The network's name, as the node has it (`mainnet`, `testnet`, `signet`, `regtest`, `simnet`).
    pub network: String,
    /// Whether it has caught up with its chain.
    pub synced_to_chain: bool,
    /// The best block's height.
    pub block_height: u32,
    /// The best block's own time, Unix seconds.
    pub best_block_time: i64,
}

/// The node gives no answer that says anything; the text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// The Lightning node.
///
/// **Duties of an implementor.** Every call ends within a deadline. An answer that it does not
/// recognise is never reported as a refusal: it is [`HoldAnswer::Unavailable`],
/// [`Observation::Silent`] or [`Unavailable`], so that the caller looks again.
/// **Duties of a caller.** `send` only once for one stored intent, right after its commit; for
/// anything else `track`.
#[async_trait]
pub trait Lightning: std::marker::Send + Sync + 'static {
    /// Settles a hold invoice by its preimage. Settling a settled one succeeds.
    async fn settle(&self, preimage: [u8; 32]) -> HoldAnswer;
    /// Cancels a hold invoice. Canceling a canceled one succeeds.
    async fn cancel(&self, hash: Hash) -> HoldAnswer;
    /// Looks a hold invoice up.
    async fn hold_state(&self, hash: Hash) -> Result<HoldState, Unavailable>;
    /// Sends a payment and returns the first thing that the node says about it; the payment goes
    /// on at the node whether anyone listens or not.
    async fn send(&self, send: &Send) -> Observation;
    /// What the node knows of the payment with that hash, now.
    async fn track(&self, hash: Hash) -> Observation;
    /// Resolves when the payment with that hash has come to an end, or when it can't be followed
    /// any longer; either way it is worth asking again. `seen` says that the caller saw it under
    /// way: then its end is news however early it came. Otherwise an end that was there from the
    /// start is reported late, since the caller knows of it and learned nothing.
    fn watch(&self, hash: Hash, seen: bool) -> BoxFuture<'static, ()>;
    /// The payments that the node took on at `since` or later and that have not failed.
    async fn payments_since(&self, since: Timestamp) -> Result<Vec<Made>, Unavailable>;
    /// The node's own standing.
    async fn info(&self) -> Result<NodeInfo, Unavailable>;
}
