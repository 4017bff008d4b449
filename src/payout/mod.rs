//! What a slashed bond leads to, as workflows on the engine.
//!
//! | | |
//! |---|---|
//! | [`intake`] | messages that come in: rulings start runs, invoices go to the run that waits |
//! | [`bond_payout`] | claims a slashed bond and pays the wronged party its share |
//! | [`order_resolution`] | carries the ruling out on the trade: escrow, statuses, notices |
//! | [`trade_payout`] | pays the buyer after a settled escrow |
//! | [`bond_release`] | gives back a bond that was not slashed |
//! | [`debt`] | paying over Lightning, never twice: shared by both payouts |
//! | [`restored`] | what lnd has paid that a restored database does not know of |
//! | [`policy`] | the rules as pure functions |
//! | [`ports`], [`world`] | what is asked of the Lightning node and of the relays |
//! | [`messages`], [`tables`], [`books`] | what is said and heard, and what is kept |
//! | [`risk`] | the sats that are claimed and not yet paid |
//! | [`invariants`] | what always holds, as checks over the rows and over what the outside has seen |

pub mod bond_payout;
pub mod bond_release;
pub mod books;
pub mod debt;
pub mod intake;
pub mod invariants;
pub mod messages;
pub mod order_resolution;
pub mod policy;
pub mod ports;
pub mod restored;
pub mod retention;
pub mod risk;
pub mod tables;
pub mod terms;
pub mod trade_payout;
pub mod world;

use std::sync::Arc;

use crate::engine::operator::RetryRule;
use crate::engine::{Bound, DefinitionError, Registry};

pub use intake::Intake;
pub use terms::Terms;
pub use world::{Attendance, World};

/// The workflows, bound to their steps.
#[derive(Clone)]
pub struct Workflows {
    /// Pays a slashed bond's share.
    pub bond_payout: Arc<Bound>,
    /// Gives a bond back.
    pub bond_release: Arc<Bound>,
    /// Carries a ruling out.
    pub order_resolution: Arc<Bound>,
    /// Pays the buyer.
    pub trade_payout: Arc<Bound>,
}

/// The rule by which an operator may have a run of that workflow go on from another step.
pub fn retry_rule(workflow: &str) -> Option<RetryRule> {
    match workflow {
        bond_payout::NAME => Some(bond_payout::retry),
        bond_release::NAME => Some(bond_release::retry),
        order_resolution::NAME => Some(order_resolution::retry),
        trade_payout::NAME => Some(trade_payout::retry),
        _ => None,
    }
}

impl Workflows {
    /// Binds all of them.
    ///
    /// # Errors
    /// When a definition and its Rust side differ.
    pub fn bind(world: &World) -> Result<Self, DefinitionError> {
        let trade_payout = trade_payout::bind(world)?;
        Ok(Self {
            bond_payout: bond_payout::bind(world)?,
            bond_release: bond_release::bind(world)?,
            order_resolution: order_resolution::bind(world, Arc::clone(&trade_payout))?,
            trade_payout,
        })
    }

    /// All of them, for the engine.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        for bound in [&self.bond_payout, &self.bond_release, &self.order_resolution, &self.trade_payout] {
            registry.add(Arc::clone(bound));
        }
        registry
    }
}
