//! What a row of the contract needs around an lnd: other nodes, a chain, and hands on the process.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::Timestamp;
use bondflow::lnd::macaroon::Macaroon;
use sha2::{Digest as _, Sha256};

/// More than all channels of the node under test hold, sats.
pub const MORE_THAN_THE_NODE_HAS: u64 = 15_000_000;
/// Blocks that an invoice asks for as its last hop's CLTV, unless a row says otherwise.
pub const FINAL_CLTV: u64 = 80;
/// Blocks that lnd's payers add to it.
pub const BLOCK_PADDING: u64 = 3;
/// Blocks that the router on the way to the winner adds.
pub const ROUTER_CLTV: u64 = 80;

/// Where a node answers, and the files that go with it.
#[derive(Clone)]
pub struct Access {
    /// `https://HOST:PORT`.
    pub address: String,
    /// Its certificate.
    pub certificate: PathBuf,
    /// A macaroon that may do everything.
    pub macaroon: PathBuf,
}

/// The invoice that a row wants of the winner.
#[derive(Clone)]
pub struct Ask {
    /// None: the invoice names no amount.
    pub amount_sat: Option<u64>,
    pub expiry: Duration,
    pub final_cltv: u64,
    /// The winner decides later what becomes of a payment.
    pub hold: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Self { amount_sat: Some(5_000), expiry: Duration::from_secs(3_600), final_cltv: FINAL_CLTV, hold: false }
    }
}

impl Ask {
    /// An invoice whose payments the winner holds.
    pub fn hold() -> Self {
        Self { hold: true, ..Self::default() }
    }
}

/// An invoice of another node, or of the node under test.
#[derive(Clone, Debug)]
pub struct Invoice {
    pub bolt11: String,
    pub hash: [u8; 32],
    pub preimage: [u8; 32],
}

/// A preimage that no other row uses.
pub fn secret() -> [u8; 32] {
    Sha256::digest(uuid::Uuid::new_v4()).into()
}

/// The payment hash of a preimage.
pub fn hash_of(preimage: [u8; 32]) -> [u8; 32] {
    Sha256::digest(preimage).into()
}

/// An lnd under test, with a slashed party that pays it, and a winner whom it pays through a router.
#[async_trait]
pub trait Bed: Send + Sync {
    /// The node under test.
    fn node(&self) -> Access;
    /// A node that never made an invoice.
    fn virgin(&self) -> Access;

    /// The winner makes an invoice.
    async fn invoice(&self, ask: Ask) -> Invoice;
    /// The winner makes an AMP invoice.
    async fn amp_invoice(&self) -> String;
    /// An invoice with these feature bits of a payee to whom a route is known.
    async fn invoice_with_features(&self, bits: &[usize]) -> String;
    /// An invoice of which only a part finds a way to the payee.
    async fn narrow_invoice(&self) -> Invoice;
    /// What has found a way is at the payee, and the rest has found none: call it with such a payment under way.
    async fn rest_finds_no_route(&self, invoice: &Invoice);
    /// Waits until the winner holds the payment of a hold invoice.
    async fn winner_holds(&self, invoice: &Invoice);
    /// The winner, who holds a payment or will, claims it.
    async fn winner_settles(&self, invoice: &Invoice);
    /// The winner gives back what it holds or will hold.
    async fn winner_cancels(&self, invoice: &Invoice);
    /// The slashed party pays a hold invoice of the node; it is accepted on return.
    async fn slashed_pays(&self, invoice: &Invoice);

    /// Mines blocks; the node has seen them on return.
    async fn mine(&self, blocks: u32);
    /// Kills the node as `kill -9` does; nothing listens on return.
    async fn kill(&self);
    /// Starts a killed node; it listens on return, and may not serve yet.
    async fn start(&self);
    /// Has the node shut down in an orderly way; nothing listens on return.
    async fn shut_down(&self);
    /// Starts the node anew such that its wallet stays locked; it listens on return.
    async fn lock(&self);
    /// Ends what `lock` has begun.
    async fn unlock(&self);
    /// Waits until the node serves, with its channels.
    async fn serves(&self);
    /// The node takes connections and calls, and answers nothing more.
    async fn hang(&self);
    /// It goes on where it hung.
    async fn wake(&self);
    /// Starts the node anew with a new certificate.
    async fn renew_certificate(&self);
    /// A node that has been started, and has not caught up with its chain.
    async fn syncing(&self) -> Access;
    /// Lets it catch up.
    async fn sync(&self);
    /// All payments are gone from the node's database.
    async fn wipe_payments(&self);

    /// A macaroon for these calls, each `/package.Service/Method`.
    async fn bake(&self, calls: &[&str]) -> Macaroon;
    /// As `bake`, one that `revoke` takes back.
    async fn bake_revocable(&self, calls: &[&str]) -> Macaroon;
    /// Revokes all that were baked to be revocable.
    async fn revoke(&self);
    /// The time that the nodes go by.
    fn now(&self) -> Timestamp;
    /// Lets time pass for the nodes.
    async fn pass(&self, time: Duration);
}
