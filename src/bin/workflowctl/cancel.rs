//! `cancel`

use bondflow::engine::operator::Request;
use clap::Args;

use crate::ask::{Insistence, Question};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::selection::Selection;

/// Asks for runs to be ended for good; not while a payment is in doubt, unless forced.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl cancel 3f9a --reason 'settled by hand'
  workflowctl cancel 3f9a --force --reason 'lnd is lost, the winner was paid in cash'")]
pub struct Cancel {
    #[command(flatten)]
    which: Selection,
    #[command(flatten)]
    how: Insistence,
}

impl Cancel {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let Some(runs) = self.which.runs(desk, "cancel").await? else { return Ok(()) };
        let question = Question { request: Request::Cancel, force: self.how.force, terms: self.how.terms };
        question.of_all(desk, runs).await
    }
}
