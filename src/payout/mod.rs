//! payout

pub mod policy;
pub mod tables;
