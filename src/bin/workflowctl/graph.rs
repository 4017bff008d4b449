//! `graph`

use bondflow::engine::{Definition, graph};
use bondflow::payout::{bond_payout, bond_release, order_resolution, trade_payout};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::output::Output;

/// Draws a workflow, or where a run stands in it.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl graph bond_payout
  workflowctl graph 3f9a --as dot | dot -Tsvg > run.svg")]
pub struct Graph {
    /// A workflow, or a run, its bond or order; may be shortened.
    #[arg(value_name = "WORKFLOW|ID")]
    of: String,
    /// In which language.
    #[arg(long = "as", value_enum, default_value_t = Language::Text)]
    language: Language,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Text,
    Mermaid,
    Dot,
}

/// The definitions that this build knows.
pub fn definitions() -> impl Iterator<Item = Definition> {
    let texts =
        [bond_payout::DEFINITION, order_resolution::DEFINITION, trade_payout::DEFINITION, bond_release::DEFINITION];
    texts.into_iter().filter_map(|text| Definition::parse(text).ok())
}

/// The definition of that name.
pub fn definition(workflow: &str) -> Option<Definition> {
    definitions().find(|definition| definition.name == workflow)
}

impl Graph {
    /// Draws a workflow, if one is meant.
    pub fn of_workflow(&self, output: &mut Output) -> Option<Result<(), Failure>> {
        let definition = definition(&self.of)?;
        Some(self.draw(output, &definition, None))
    }

    /// Draws a run's position.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let run = find(desk.store.as_ref(), &self.of).await?;
        let Some(definition) = definition(&run.pin.workflow) else {
            return Err(Failure::Error(format!("this build does not know the workflow {}", run.pin.workflow)));
        };
        self.draw(&mut desk.output, &definition, Some(&run.step))
    }

    fn draw(&self, output: &mut Output, definition: &Definition, position: Option<&str>) -> Result<(), Failure> {
        let drawn = match self.language {
            Language::Text => graph::text(definition, position),
            Language::Mermaid => graph::mermaid(definition, position),
            Language::Dot => graph::dot(definition, position),
        };
        let json = json!({ "workflow": definition.name, "position": position, "graph": drawn });
        Ok(output.text(&definition.name, &drawn, &json)?)
    }
}
