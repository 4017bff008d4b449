//! `resume`

use bondflow::engine::operator::Request;
use clap::Args;

use crate::ask::Ask;
use crate::desk::Desk;
use crate::failure::Failure;

/// Asks for the present step to be run now: ends a back-off or a pause.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl resume 3f9a --reason 'lnd has liquidity again'
  workflowctl list --stuck -o ids | workflowctl resume -")]
pub struct Resume {
    #[command(flatten)]
    ask: Ask,
}

impl Resume {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        self.ask.of_all(desk, Request::Resume).await
    }
}
