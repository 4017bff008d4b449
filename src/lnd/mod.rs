//! lnd behind the payout's port [`Lightning`](crate::payout::ports::Lightning).
//!
//! | | |
//! |---|---|
//! | [`Node`] | the port: settles, cancels, sends, tracks |
//! | [`startup`] | whether lnd serves, is the right one, and its macaroon suffices |
//! | [`errors`] | what an error means: refused, unavailable, in doubt |
//! | [`macaroon`] | reads and narrows macaroons |
//!
//! Nothing is retried in here. A call has one deadline, and what it leaves open is the caller's to look up.

#[cfg(test)]
mod bench;
mod channel;
mod connect;
pub mod errors;
pub mod macaroon;
mod node;
mod payment;
mod pin;
pub mod startup;
mod watch;

pub use channel::{CALL_TIMEOUT, open_channel};
pub use connect::{BadAddress, NotConnected};
pub use node::Node;
