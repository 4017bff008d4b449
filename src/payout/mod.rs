//! payout

pub mod messages;
pub mod policy;
pub mod tables;
