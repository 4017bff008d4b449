//! `resume`

use bondflow::engine::operator::Request;
use clap::Args;

use crate::ask::{Question, Terms};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::selection::Selection;

/// Asks for the present step to be run now: ends a back-off or a pause.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl resume 3f9a --reason 'lnd has liquidity again'
  workflowctl resume --all-stuck --plan
  workflowctl resume --where status=paused --where step=settle --yes --reason 'lnd is back'
  workflowctl list --stuck -o ids | workflowctl resume - --reason 'lnd is back'")]
pub struct Resume {
    #[command(flatten)]
    which: Selection,
    #[command(flatten)]
    how: Terms,
}

impl Resume {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let Some(runs) = self.which.runs(desk, "resume").await? else { return Ok(()) };
        let question = Question { request: Request::Resume, force: false, terms: self.how };
        question.of_all(desk, runs).await
    }
}
