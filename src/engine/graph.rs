//! A definition as a graph: Mermaid, DOT, or text, with a run's position in it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::definition::{Definition, StepKind};

/// The outcomes that lead from a step to one place, joined, in the order of their targets.
fn edges(definition: &Definition) -> Vec<(&str, &str, String)> {
    let mut edges = Vec::new();
    for from in &definition.order {
        let Some(step) = definition.step(from) else { continue };
        let mut labels: BTreeMap<(usize, &str), Vec<String>> = BTreeMap::new();
        for (outcome, route) in &step.on {
            let place = definition.order.iter().position(|name| *name == route.to).unwrap_or(usize::MAX);
            let label = if route.backoff { format!("{outcome}, after a back-off") } else { outcome.clone() };
            labels.entry((place, &route.to)).or_default().push(label);
        }
        edges.extend(labels.into_iter().map(|((_, to), labels)| (from.as_str(), to, labels.join(" / "))));
    }
    edges
}

/// A Mermaid flowchart: boxes act, rounded ones wait, hexagons are in doubt until the world tells,
/// double boxes are ends.
pub fn mermaid(definition: &Definition, position: Option<&str>) -> String {
    let mut graph = String::from("flowchart TD\n");
    // Writing to a String can't fail.
    for name in &definition.order {
        let _ = match definition.step(name).map(|step| step.kind) {
            Some(StepKind::Act) => writeln!(graph, "    {name}[\"{name}\"]"),
            Some(StepKind::Wait) => writeln!(graph, "    {name}([\"{name}\"])"),
            Some(StepKind::InDoubt) => writeln!(graph, "    {name}{{{{\"{name}\"}}}}"),
            None => writeln!(graph, "    {name}[[\"{name}\"]]"),
        };
    }
    for (from, to, label) in edges(definition) {
        let _ = writeln!(graph, "    {from} -->|\"{label}\"| {to}");
    }
    if let Some(position) = position {
        let _ = writeln!(graph, "    classDef here stroke-width:4px\n    class {position} here");
    }
    graph
}

/// A DOT digraph, with the same shapes.
pub fn dot(definition: &Definition, position: Option<&str>) -> String {
    let mut graph = format!("digraph {} {{\n", definition.name);
    for name in &definition.order {
        let shape = match definition.step(name).map(|step| step.kind) {
            Some(StepKind::Act) => "shape=box",
            Some(StepKind::Wait) => "shape=box style=rounded",
            Some(StepKind::InDoubt) => "shape=hexagon",
            None => "shape=box peripheries=2",
        };
        let here = if position == Some(name) { " penwidth=4" } else { "" };
        let _ = writeln!(graph, "    \"{name}\" [{shape}{here}];");
    }
    for (from, to, label) in edges(definition) {
        let _ = writeln!(graph, "    \"{from}\" -> \"{to}\" [label=\"{label}\"];");
    }
    graph.push_str("}\n");
    graph
}

/// Lines for a terminal; `>` stands before the position.
pub fn text(definition: &Definition, position: Option<&str>) -> String {
    let mut graph = format!("{} version {}: {}\n", definition.name, definition.version, definition.about);
    let edges = edges(definition);
    for name in &definition.order {
        let here = if position == Some(name) { '>' } else { ' ' };
        let (kind, about) = match (definition.step(name), definition.ends.get(name)) {
            (Some(step), _) => (step.kind.as_str(), step.about.as_str()),
            (None, Some(end)) => ("end", end.about.as_str()),
            (None, None) => continue,
        };
        let _ = writeln!(graph, "{here} {name} ({kind}): {about}");
        for (_, to, label) in edges.iter().filter(|(from, ..)| from == name) {
            let _ = writeln!(graph, "      {label} -> {to}");
        }
    }
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel() -> Definition {
        Definition::parse(
            r#"
name = "parcel"
version = 1
about = "Sends a parcel."
start = "pack"
[step.pack]
kind = "act"
about = "Packs it."
on = { packed = "hand_over" }
[step.hand_over]
kind = "wait"
about = "Waits for the courier."
signals = ["courier"]
on = { gone = "sent", late = { to = "pack", backoff = true }, lost = "sent" }
[end.sent]
status = "completed"
about = "It is on its way."
"#,
        )
        .unwrap()
    }

    #[test]
    fn every_outcome_is_an_edge_and_the_position_stands_out() {
        assert_eq!(
            mermaid(&parcel(), Some("hand_over")),
            "flowchart TD
    pack[\"pack\"]
    hand_over([\"hand_over\"])
    sent[[\"sent\"]]
    pack -->|\"packed\"| hand_over
    hand_over -->|\"late, after a back-off\"| pack
    hand_over -->|\"gone / lost\"| sent
    classDef here stroke-width:4px
    class hand_over here
"
        );
        assert_eq!(
            dot(&parcel(), Some("pack")),
            "digraph parcel {
    \"pack\" [shape=box penwidth=4];
    \"hand_over\" [shape=box style=rounded];
    \"sent\" [shape=box peripheries=2];
    \"pack\" -> \"hand_over\" [label=\"packed\"];
    \"hand_over\" -> \"pack\" [label=\"late, after a back-off\"];
    \"hand_over\" -> \"sent\" [label=\"gone / lost\"];
}
"
        );
        assert_eq!(
            text(&parcel(), None),
            "parcel version 1: Sends a parcel.
  pack (act): Packs it.
      packed -> hand_over
  hand_over (wait): Waits for the courier.
      late, after a back-off -> pack
      gone / lost -> sent
  sent (end): It is on its way.
"
        );
    }
}
