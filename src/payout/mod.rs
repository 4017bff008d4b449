//! payout

pub mod messages;
pub mod policy;
pub mod ports;
pub mod tables;
