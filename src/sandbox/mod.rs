//! Stand-ins that speak the real protocols over real sockets: for tests and for trying things out.

pub mod clients;
pub mod lnd;
pub mod relay;
