//! payout

pub mod policy;
