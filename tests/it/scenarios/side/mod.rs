//! What a scenario needs of the lnd that a daemon works with: the node itself, who pays it and
//! whom it pays. There are two: the stand-in, and four real nodes.
//!
//! A scenario over [`Side`] becomes a test of each by `on_every_lnd!`.

mod real;
mod stand_in;

use std::path::Path;
use std::sync::Arc;

use bondflow::engine::Clock;
use bondflow::sandbox::lnd::Fault;
use tonic_lnd::lnrpc::invoice::InvoiceState;

pub use self::real::RealSide;
pub use crate::contract::bed::Access;

/// What becomes of the payment of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Paid,
    /// The payee keeps it open until `claims` or `gives_back`.
    Held,
    /// The payee turns it down, for good.
    Rejected,
    /// There is no way to the payee.
    Unroutable,
    /// The channels on the way are too narrow for all of it: some parts arrive, and wait for the rest.
    InParts,
}

/// What lnd was brought to do so far. Two of them tell whether anything was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Payments of invoices that were sent.
    pub sends: usize,
    pub settles: usize,
    pub cancels: usize,
    /// What payees got, fees not counted.
    pub paid_msat: u64,
}

/// The lnd side of a scenario.
pub trait Side: Send + Sync + Sized + 'static {
    /// How a test scripts the payee, where that is possible.
    type Winner;

    /// Has a folder for its files, and goes by that clock if it can.
    async fn open(folder: &Path, clock: Arc<dyn Clock>) -> Self;
    fn winner(&self) -> Self::Winner;
    /// Where a daemon reaches the node, with the files that are the daemon's.
    fn access(&self) -> Access;
    /// As `access`, by a way on which calls can be made to go wrong.
    fn faulty_access(&self) -> Access;
    /// The next calls of a method go wrong on that way; `*` is any method.
    fn inject(&self, method: &str, fault: Fault, times: u32);
    /// No further call goes wrong.
    fn clear_faults(&self);
    async fn identity(&self) -> String;

    /// The node makes a hold invoice, and it is paid: on return the sats are locked.
    async fn locks_in(&self, preimage: [u8; 32], sats: u64);
    /// The winner makes an invoice that can be paid for a day from now.
    async fn invoice(&self, sats: u64, fate: Fate) -> String;
    /// Waits until the winner holds the payment of a held invoice.
    async fn is_held(&self, hash: [u8; 32]);
    /// The winner claims the payment that it holds, whether the node runs or not.
    async fn claims(&self, hash: [u8; 32]);
    /// The winner gives back the payment that it holds.
    async fn gives_back(&self, hash: [u8; 32]);
    /// lnd shows a reason of failure for a payment that is under way, where it can be brought to.
    async fn shows_reason(&self, hash: [u8; 32]);
    /// Waits until the winner holds parts of a payment, and lnd has found no way for the rest.
    async fn holds_parts(&self, hash: [u8; 32]);
    /// The winner waits no longer for the rest and gives the parts back; from then on the way is wide enough.
    async fn gives_parts_back(&self, hash: [u8; 32]);

    /// How often an invoice was really paid, as the payee knows it.
    async fn times_paid(&self, hash: [u8; 32]) -> u32;
    /// How many payments of that hash were sent.
    async fn sends_of(&self, hash: [u8; 32]) -> usize;
    /// How many different payments of that hash lnd made of the sends.
    async fn payments_of(&self, hash: [u8; 32]) -> usize;
    /// How many of the node's invoices were settled.
    async fn settled(&self) -> usize;
    /// How the node's invoice of that preimage stands.
    async fn stands(&self, preimage: [u8; 32]) -> InvoiceState;
    async fn footprint(&self) -> Footprint;

    async fn mine(&self, blocks: u32);
    /// As `kill -9` does.
    async fn kill(&self);
    /// In an orderly way.
    async fn shut_down(&self);
    /// From now on the wallet waits for its password.
    async fn lock(&self);
    /// The node serves again, its wallet open, whatever it was before.
    async fn serves(&self);
}

/// Makes a test of each scenario for each lnd.
macro_rules! on_every_lnd {
    ($($(#[$attribute:meta])* $scenario:ident),+ $(,)?) => {
        mod on_stand_in {
            $(
                $(#[$attribute])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    super::$scenario::<bondflow::sandbox::lnd::StandIn>().await;
                }
            )+
        }

        mod on_real_nodes {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs LND_BIN, the folder of lnd, btcd and btcctl: make contract LND_BIN=…"]
                async fn $scenario() {
                    super::$scenario::<$crate::scenarios::side::RealSide>().await;
                }
            )+
        }
    };
}

pub(crate) use on_every_lnd;
