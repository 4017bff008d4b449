//! bondflow settles the debt of a slashed Mostro bond.

pub mod app;
pub mod config;
pub mod engine;
pub mod import;
pub mod lnd;
pub mod nostr;
pub mod payout;
pub mod sandbox;
pub mod store;
