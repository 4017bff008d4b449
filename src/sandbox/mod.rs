//! sandbox

pub mod lnd;
