//! The dashboard and the alert rules: both can be read, and ask for nothing that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::prometheus::Page;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(docs(name)).unwrap()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default)]
    r#for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let rules: Rules = serde_norway::from_str(&text("monitoring/alerts.yml")).unwrap();
    assert!(rules.groups.iter().all(|group| group.name == "bondflow"));
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("monitoring/dashboard.json")).unwrap()
}

/// What the panels ask for: title and expression.
fn asked(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let asked = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().clone();
        assert!(!targets.is_empty(), "{title}");
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    };
    panels.iter().flat_map(asked).collect()
}

/// The names of this program's series in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
    text.split(|char| !is_part(char)).filter(|word| word.starts_with("bondflow_")).collect()
}

/// Fails unless what dashboard, rules and the manual name is just what is served. The page is one on which every
/// family has something to tell.
pub fn names_only_what_is_on(page: &Page) {
    let served: BTreeSet<String> = page
        .types
        .iter()
        .flat_map(|(name, kind)| match kind.as_str() {
            "histogram" => vec![format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count")],
            _ => vec![name.clone()],
        })
        .collect();
    let there = |name: &str, by: &str| assert!(served.contains(name), "{by} asks for {name}, which nobody serves");
    for (title, expr) in asked(&dashboard()) {
        assert!(!names(&expr).is_empty(), "{title}: {expr}");
        names(&expr).into_iter().for_each(|name| there(name, &title));
    }
    for rule in rules() {
        assert!(!names(&rule.expr).is_empty(), "{}", rule.alert);
        names(&rule.expr).into_iter().for_each(|name| there(name, &rule.alert));
    }
    let manual = text("operations.md");
    let told: BTreeSet<&str> = manual.lines().filter(|line| line.starts_with("| `bondflow_")).flat_map(names).collect();
    let families: BTreeSet<&str> = page.types.keys().map(String::as_str).collect();
    assert_eq!(told, families, "docs/operations.md lists the series");
}

#[test]
fn the_rules_say_what_is_wrong_and_what_to_do() {
    let manual = text("operations.md");
    let anchor = |line: &str| {
        let kept = line.to_lowercase().replace(' ', "-");
        kept.chars().filter(|char| char.is_alphanumeric() || *char == '-').collect::<String>()
    };
    let heading = |line: &str| line.starts_with('#').then(|| anchor(line.trim_start_matches('#').trim()));
    let headings: BTreeSet<String> = manual.lines().filter_map(heading).collect();
    let rules = rules();
    let distinct: BTreeSet<&str> = rules.iter().map(|rule| rule.alert.as_str()).collect();
    assert!(distinct.len() == rules.len() && rules.len() >= 8);
    for rule in &rules {
        let name = &rule.alert;
        assert!(name.starts_with("Bondflow") && name.chars().all(char::is_alphanumeric), "{name}");
        assert!(["warning", "critical"].contains(&rule.labels["severity"].as_str()), "{name}");
        assert!(rule.r#for.as_ref().is_none_or(|time| time.ends_with(['m', 'h'])), "{name}");
        assert!(!rule.annotations["summary"].is_empty() && !rule.annotations["description"].is_empty(), "{name}");
        let runbook = rule.annotations["runbook"].strip_prefix("docs/operations.md#").unwrap();
        assert!(headings.contains(runbook), "{name}: no entry {runbook}");
        assert_eq!(rule.expr.matches('(').count(), rule.expr.matches(')').count(), "{name}");
    }
}

#[test]
fn the_dashboard_loads_as_it_is() {
    let dashboard = dashboard();
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!((&variable["name"], &variable["type"]), (&"datasource".into(), &"datasource".into()));
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string() && dashboard["id"].is_null());
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = &panel["title"];
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24 && h > 0, "{title}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies over another panel");
        }
    }
    for (title, expr) in asked(&dashboard) {
        assert_eq!(expr.matches('(').count(), expr.matches(')').count(), "{title}");
    }
}

#[cfg_attr(not(promtool), ignore = "promtool is not installed")]
#[test]
fn promtool_takes_the_rules_and_they_fire() {
    let figures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alerts.test.yml");
    for (what, file) in [("check", docs("monitoring/alerts.yml")), ("test", figures)] {
        let asked = std::process::Command::new("promtool").args([what, "rules"]).arg(file).output().unwrap();
        let (told, wrong) = (String::from_utf8_lossy(&asked.stdout), String::from_utf8_lossy(&asked.stderr));
        assert!(asked.status.success(), "{told}{wrong}");
    }
}
