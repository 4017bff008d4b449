//! Waits until one payment more may be in flight.

use std::time::Duration;

use async_trait::async_trait;

use crate::engine::{Context, Step, StepError, Timestamp, Transition};
use crate::payout::world::World;

use super::Owing;

crate::outcomes! {
    /// What came of waiting.
    pub enum Slot {
        /// A payment has ended, or one that is held has left the cap: try again.
        Worth => "worth_a_try",
    }
}

/// Waits; whoever leaves the caps wakes it, and a held payment leaves by itself after its time.
pub struct AwaitSlot(pub World);

#[async_trait]
impl<S: Owing> Step<S> for AwaitSlot {
    const NAME: &'static str = "await_slot";
    type Outcome = Slot;

    async fn act(&self, _cx: &Context<'_, S>) -> Result<Slot, StepError> {
        Ok(Slot::Worth)
    }

    fn transition(&self, _outcome: Slot, _tx: &mut Transition<'_, S>) {}

    fn wake_at(&self, _state: &S, now: Timestamp) -> Option<Timestamp> {
        Some(now.after(Duration::from_secs(u64::from(self.0.terms().payment_timeout_secs))))
    }
}
