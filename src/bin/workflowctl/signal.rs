//! `signal`

use bondflow::engine::operator::Request;
use clap::Args;
use serde_json::Value;

use crate::ask::{Insistence, Question};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::graph::definition;

/// Asks for a signal to be put into a run's mailbox, such as an invoice that you got out of band.
///
/// It passes the same gate as one that the winner sends. After the claim window it needs --force and --reason,
/// and reopens what was forfeited or has failed. While a payment is undecided nothing is taken, forced or not.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl signal 3f9a invoice '{\"bolt11\":\"lnbc500n1…\"}' --reason 'sent by mail'
  workflowctl signal 3f9a invoice '{\"bolt11\":\"lnbc500n1…\"}' --force --reason 'the winner was in hospital'")]
pub struct Signal {
    /// The run, or its bond or order; may be shortened.
    id: String,
    /// The signal's name: see `graph WORKFLOW`.
    name: String,
    /// What it says.
    #[arg(value_name = "JSON")]
    payload: String,
    #[command(flatten)]
    how: Insistence,
}

impl Signal {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let payload: Value = serde_json::from_str(&self.payload)
            .map_err(|error| Failure::Usage(format!("that is no JSON ({error}): write '{{\"bolt11\":\"lnbc…\"}}'")))?;
        let run = find(desk.store.as_ref(), &self.id).await?;
        if let Some(definition) = definition(&run.pin.workflow) {
            let known: Vec<&str> =
                definition.steps.values().flat_map(|step| &step.signals).map(String::as_str).collect();
            if !known.contains(&self.name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let workflow = &definition.name;
                return Err(Failure::Usage(format!("`{workflow}` takes no signal `{}`, it takes {known}", self.name)));
            }
        }
        let request = Request::Signal { name: self.name, payload };
        let question = Question { request, force: self.how.force, terms: self.how.terms };
        question.of_all(desk, vec![Ok(run)]).await
    }
}
