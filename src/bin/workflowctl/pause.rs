//! `pause`

use bondflow::engine::operator::Request;
use clap::Args;

use crate::ask::Ask;
use crate::desk::Desk;
use crate::failure::Failure;

/// Asks for runs to be stopped until they are resumed; not while a payment is in doubt.
#[derive(Args)]
#[command(after_help = "Example:
  workflowctl pause 3f9a --reason 'the winner called'")]
pub struct Pause {
    #[command(flatten)]
    ask: Ask,
}

impl Pause {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        self.ask.of_all(desk, Request::Pause).await
    }
}
