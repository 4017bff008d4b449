//! The graphs of the workflows: `workflows/NAME.md` is drawn from `workflows/NAME.toml`, and this
//! fails when the two differ. `make graphs` (UPDATE=1) draws them anew.

use std::path::Path;

use bondflow::engine::{Definition, graph};
use bondflow::payout::{bond_payout, bond_release, order_resolution, trade_payout};

#[test]
fn the_graph_of_each_workflow_is_that_of_its_definition() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    let texts =
        [bond_payout::DEFINITION, bond_release::DEFINITION, order_resolution::DEFINITION, trade_payout::DEFINITION];
    let mut drawn: Vec<String> = Vec::new();
    for text in texts {
        let definition = Definition::parse(text).unwrap();
        let file = format!("{}.md", definition.name);
        let page = page(&definition);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(folder.join(&file), &page).unwrap();
        }
        let kept = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
        assert!(kept == page, "workflows/{file} is not the graph of its definition: `make graphs` draws it");
        drawn.push(file);
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stray = name.ends_with(".md") && !drawn.contains(&name);
        assert!(!stray, "workflows/{name} belongs to no workflow of this build");
    }
}

/// What a reader sees of a workflow: its graph, and a line for each step and end.
fn page(definition: &Definition) -> String {
    let mut page = format!(
        "# {}\n\n{}\n\nVersion {}. Drawn from `{}.toml` by `make graphs`.\n\n```mermaid\n{}```\n\n",
        definition.name,
        definition.about,
        definition.version,
        definition.name,
        graph::mermaid(definition, None),
    );
    page += "A box acts, a rounded one waits, a hexagon is in doubt until the world tells, a double box is an end.\n\n";
    page += "| | | |\n|---|---|---|\n";
    for name in &definition.order {
        let (kind, about) = match (definition.step(name), definition.ends.get(name)) {
            (Some(step), _) => (step.kind.as_str(), &step.about),
            (None, Some(end)) => ("end", &end.about),
            (None, None) => continue,
        };
        page += &format!("| `{name}` | {kind} | {about} |\n");
    }
    page
}
