//! `cancel`

use bondflow::engine::operator::Request;
use clap::Args;

use crate::ask::Ask;
use crate::desk::Desk;
use crate::failure::Failure;

/// Asks for runs to be ended for good; not while a payment is in doubt.
#[derive(Args)]
#[command(after_help = "Example:
  workflowctl cancel 3f9a --reason 'settled by hand'")]
pub struct Cancel {
    #[command(flatten)]
    ask: Ask,
}

impl Cancel {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        self.ask.of_all(desk, Request::Cancel).await
    }
}
