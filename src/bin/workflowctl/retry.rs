//! `retry`

use bondflow::engine::operator::{Request, may_enter};
use bondflow::engine::{Run, StepKind};
use bondflow::payout::retry_rule;
use clap::Args;
use serde_json::json;

use crate::ask::{Question, Terms};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::graph::definition;

/// Asks for a run to go on from another step. The definition and the payout's rules say which steps may be;
/// nothing that is paid is ever paid again.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl retry 3f9a --from-step intend --plan
  workflowctl retry 3f9a --from-step intend --reason 'a channel to the payee is open now'")]
pub struct Retry {
    /// The run, or its bond or order; may be shortened.
    id: String,
    /// The step to go on from.
    #[arg(long, value_name = "STEP")]
    from_step: String,
    /// Only shows what would happen; changes nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    terms: Terms,
}

impl Retry {
    /// Asks, or shows.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let run = find(desk.store.as_ref(), &self.id).await?;
        let says = judge(desk, &run, &self.from_step).map_err(|why| {
            let possible = possible(desk, &run);
            let possible = if possible.is_empty() { "none now".to_owned() } else { possible.join(", ") };
            Failure::Error(format!(
                "run {} can't go on from `{}`: {why} (possible: {possible})",
                run.id, self.from_step
            ))
        })?;
        if self.plan {
            let from = &self.from_step;
            let text = format!(
                "Run {} is {} at `{}`. From `{from}` it {says}. Nothing was changed: ask without --plan.",
                run.id, run.status, run.step
            );
            let json = json!({ "id": run.id, "status": run.status, "step": run.step, "from": from, "says": says,
                "possible": possible(desk, &run) });
            desk.output.text(&run.id.0, &text, &json)?;
            return Ok(());
        }
        let question = Question { request: Request::Retry { from: self.from_step }, force: false, terms: self.terms };
        question.of_all(desk, vec![Ok(run)]).await
    }
}

/// What the daemon would say: the same rule, on the run as it is now.
fn judge(desk: &Desk, run: &Run, step: &str) -> Result<String, String> {
    if run.status.is_final() {
        return Err(format!("it has ended ({} at `{}`)", run.status, run.step));
    }
    let unknown = || format!("this build does not know the workflow {}", run.pin.workflow);
    let definition = definition(&run.pin.workflow).ok_or_else(unknown)?;
    may_enter(&definition, step)?;
    let rule = retry_rule(&run.pin.workflow).ok_or_else(unknown)?;
    rule(&run.key, &run.state, step, desk.now()).map(|reentry| reentry.says)
}

/// The steps from which the run could go on.
fn possible(desk: &Desk, run: &Run) -> Vec<String> {
    let Some(definition) = definition(&run.pin.workflow) else { return Vec::new() };
    let steps = definition.order.iter().filter(|name| {
        definition.step(name).is_some_and(|step| step.kind != StepKind::InDoubt) && judge(desk, run, name).is_ok()
    });
    steps.cloned().collect()
}
