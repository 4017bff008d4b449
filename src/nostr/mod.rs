//! Nostr: how the node's words look on the wire, and the connection to its relays.
//!
//! | | |
//! |---|---|
//! | [`wire`] | [`Outgoing`](crate::payout::messages::Outgoing) to signed event, received event to [`Incoming`](crate::payout::messages::Incoming) |
//! | [`seal`] | the same for the outbox: signed once, in the deciding transaction |
//! | [`health`] | whether another daemon runs on the node's key |
//! | [`relays`] | publishing to a quorum, receiving, and reading back what an absence missed |

pub mod health;
pub mod relays;
pub mod seal;
pub mod wire;
