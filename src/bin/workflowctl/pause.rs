//! `pause`

use bondflow::engine::operator::Request;
use clap::Args;

use crate::ask::{Insistence, Question};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::selection::Selection;

/// Asks for runs to be stopped until they are resumed; not while a payment is in doubt, unless forced.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl pause 3f9a --reason 'the winner called'
  workflowctl pause --where order=34d2 --yes --reason 'under review'")]
pub struct Pause {
    #[command(flatten)]
    which: Selection,
    #[command(flatten)]
    how: Insistence,
}

impl Pause {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let Some(runs) = self.which.runs(desk, "pause").await? else { return Ok(()) };
        let question = Question { request: Request::Pause, force: self.how.force, terms: self.how.terms };
        question.of_all(desk, runs).await
    }
}
