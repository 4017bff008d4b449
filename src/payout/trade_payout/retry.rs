//! From which step an operator may have a trade's payout go on.

use crate::engine::Timestamp;
use crate::engine::operator::Reentry;
use crate::payout::debt;

use super::TradePayout;

/// The rule; see [`crate::engine::operator::RetryRule`].
///
/// # Errors
/// Why the run may not go on from there.
pub fn rule(order: &str, state: &str, step: &str, now: Timestamp) -> Result<Reentry, String> {
    debt::reentry_owing::<TradePayout>(order, state, |payout| debt::reenter(&mut payout.debt, step, now))
}
