//! The rules of a payout as pure functions: no clock, no I/O, no settings of their own.

pub mod fees;
pub mod gate;
pub mod millionths;
pub mod split;
pub mod verdict;
