//! Workflow definitions: the shape and the numbers of a flow, read from `workflows/NAME.toml`.
//!
//! A definition has no expressions and no code. It says which steps there are, what outcomes each
//! may have and where each outcome leads; what a step *does* is Rust. [`Definition::parse`]
//! refuses a definition that does not hang together, and [`super::Registry`] refuses one whose
//! steps or outcomes differ from the Rust side.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clock::Timestamp;
use super::retry::RetryPolicy;
use super::run::Pin;
use super::store::NewRun;

/// What a definition can be wrong in. The text names the definition and the place.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("workflow definition {name}: {problem}")]
pub struct DefinitionError {
    /// The definition's name, or where it was read from when it has none.
    pub name: String,
    /// What is wrong, in one line.
    pub problem: String,
}

/// One version of one workflow.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The workflow's name, the same in all versions.
    pub name: String,
    /// Counts up from 1; a changed definition is a new version.
    pub version: u32,
    /// SHA-256 of the definition's text, hex: runs pin it, so that an edited text is noticed.
    pub hash: String,
    /// One sentence for people.
    pub about: String,
    /// The step that a new run begins with.
    pub start: String,
    /// The steps by name.
    pub steps: BTreeMap<String, StepDefinition>,
    /// The terminal states by name.
    pub ends: BTreeMap<String, EndDefinition>,
    /// Step and end names in the order of the text, for the graph.
    pub order: Vec<String>,
}

/// How the engine treats a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Runs as soon as it is entered; may run again after a crash.
    Act,
    /// Runs when one of its signals is there or its timer is due; until then the run waits.
    Wait,
    /// Has an effect that can't be repeated blindly. Entered by the commit of its intent; its
    /// first run acts, every later one only looks the effect up.
    InDoubt,
}

impl StepKind {
    /// The name, as definitions have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Wait => "wait",
            Self::InDoubt => "in-doubt",
        }
    }
}

/// One step of a definition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDefinition {
    /// How the engine treats it.
    pub kind: StepKind,
    /// One sentence for people.
    pub about: String,
    /// How long one run of the step may take before it counts as without an answer.
    #[serde(default = "default_timeout", rename = "timeout_seconds", deserialize_with = "seconds")]
    pub timeout: Duration,
    /// When a step that asked for it is run again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// The signals that the step takes from the mailbox.
    #[serde(default)]
    pub signals: BTreeSet<String>,
    /// Where each outcome leads.
    pub on: BTreeMap<String, Route>,
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// Where an outcome leads: a step's or an end's name, perhaps after a back-off.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "RouteText")]
pub struct Route {
    /// The step or the end.
    pub to: String,
    /// Whether the run waits by the target's retry policy before it goes on.
    pub backoff: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RouteText {
    Plain(String),
    Full {
        to: String,
        #[serde(default)]
        backoff: bool,
    },
}

impl From<RouteText> for Route {
    fn from(text: RouteText) -> Self {
        match text {
            RouteText::Plain(to) => Self { to, backoff: false },
            RouteText::Full { to, backoff } => Self { to, backoff },
        }
    }
}

/// The status that a run has once it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndStatus {
    /// The run came to what it was for.
    Completed,
    /// It came to an end that needs no one any more, without what it was for.
    Failed,
}

/// One terminal state of a definition.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndDefinition {
    /// The run's status in it.
    pub status: EndStatus,
    /// One sentence for people.
    pub about: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    version: u32,
    about: String,
    start: String,
    step: BTreeMap<String, StepDefinition>,
    end: BTreeMap<String, EndDefinition>,
}

impl Definition {
    /// Reads a definition and checks that it hangs together: every target exists, every step and
    /// end can be reached, every step has an outcome, and only waiting steps take signals.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let parsed: Text = toml::from_str(text)
            .map_err(|error| DefinitionError { name: first_name(text), problem: error.message().replace('\n', " ") })?;
        let definition = Self {
            hash: hex::encode(Sha256::digest(text.as_bytes())),
            order: order_of(text),
            name: parsed.name,
            version: parsed.version,
            about: parsed.about,
            start: parsed.start,
            steps: parsed.step,
            ends: parsed.end,
        };
        match definition.first_problem() {
            Some(problem) => Err(DefinitionError { name: definition.name, problem }),
            None => Ok(definition),
        }
    }

    fn first_problem(&self) -> Option<String> {
        if self.version == 0 {
            return Some("`version` counts from 1".into());
        }
        if !self.steps.contains_key(&self.start) {
            return Some(format!("`start` names `{}`, which is no step", self.start));
        }
        let in_doubt = |name: &str| self.steps.get(name).is_some_and(|step| step.kind == StepKind::InDoubt);
        if in_doubt(&self.start) {
            return Some(format!("`start` names `{}`, whose intent no commit would store", self.start));
        }
        if let Some(name) = self.steps.keys().find(|name| self.ends.contains_key(*name)) {
            return Some(format!("`{name}` is both a step and an end"));
        }
        for (name, step) in &self.steps {
            if step.on.is_empty() {
                return Some(format!("step `{name}` has no outcome"));
            }
            if step.kind != StepKind::Wait && !step.signals.is_empty() {
                return Some(format!("step `{name}` takes signals but does not wait"));
            }
            if let Some(signal) = step.signals.iter().find(|signal| signal.starts_with('@')) {
                return Some(format!("step `{name}`: the signal `{signal}` is the engine's own"));
            }
            if let Some(problem) = step.retry.problem() {
                return Some(format!("step `{name}`: {problem}"));
            }
            for (outcome, route) in &step.on {
                if !self.steps.contains_key(&route.to) && !self.ends.contains_key(&route.to) {
                    return Some(format!("step `{name}`, outcome `{outcome}`: there is no `{}`", route.to));
                }
                if route.backoff && self.ends.contains_key(&route.to) {
                    return Some(format!("step `{name}`, outcome `{outcome}`: an end has no back-off"));
                }
                if route.backoff && in_doubt(&route.to) {
                    return Some(format!(
                        "step `{name}`, outcome `{outcome}`: no back-off lies between intent and act"
                    ));
                }
            }
        }
        let reached = self.reached();
        self.steps
            .keys()
            .chain(self.ends.keys())
            .find(|name| !reached.contains(name.as_str()))
            .map(|name| format!("nothing leads to `{name}`"))
    }

    fn reached(&self) -> BTreeSet<&str> {
        let mut reached = BTreeSet::from([self.start.as_str()]);
        let mut open = vec![self.start.as_str()];
        while let Some(step) = open.pop().and_then(|name| self.steps.get(name)) {
            for route in step.on.values() {
                if reached.insert(&route.to) && self.steps.contains_key(&route.to) {
                    open.push(&route.to);
                }
            }
        }
        reached
    }

    /// Which text runs of it are pinned to.
    pub fn pin(&self) -> Pin {
        Pin { workflow: self.name.clone(), version: self.version, hash: self.hash.clone() }
    }

    /// A run of it, to be put into a commit.
    ///
    /// # Errors
    /// When the state can't be written as JSON.
    pub fn start_run<S: Serialize>(&self, key: &str, state: &S, at: Timestamp) -> Result<NewRun, serde_json::Error> {
        Ok(NewRun {
            pin: self.pin(),
            key: key.to_owned(),
            step: self.start.clone(),
            state: serde_json::to_string(state)?,
            due_at: at,
        })
    }

    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&StepDefinition> {
        self.steps.get(name)
    }
}

/// The name for an error about a text that could not be read.
fn first_name(text: &str) -> String {
    text.lines()
        .find_map(|line| line.trim().strip_prefix("name")?.trim().strip_prefix('='))
        .map_or_else(|| "without a name".into(), |name| name.trim().trim_matches('"').to_owned())
}

/// The names of steps and ends as the text's headings have them, top to bottom.
fn order_of(text: &str) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for line in text.lines() {
        let heading = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let mut path = heading.unwrap_or_default().split('.');
        if let (Some("step" | "end"), Some(name)) = (path.next(), path.next())
            && !order.iter().any(|known| known == name)
        {
            order.push(name.to_owned());
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "parcel"
version = 1
about = "Sends a parcel."
start = "pack"
[step.pack]
kind = "act"
about = "Packs it."
on = { packed = "hand_over", empty = "nothing" }
[step.hand_over]
kind = "wait"
about = "Waits for the courier."
signals = ["courier"]
[step.hand_over.on]
gone = "sent"
late = { to = "pack", backoff = true }
[end.sent]
status = "completed"
about = "It is on its way."
[end.nothing]
status = "failed"
about = "There was nothing to send."
"#;

    fn problem_of(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "the test's text has no {from:?}");
        Definition::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn a_good_definition_is_read_whole() {
        let definition = Definition::parse(GOOD).unwrap();
        assert_eq!(definition.order, ["pack", "hand_over", "sent", "nothing"]);
        assert_eq!(definition.steps["hand_over"].on["late"], Route { to: "pack".into(), backoff: true });
        assert_eq!(definition.hash.len(), 64);
    }

    #[test]
    fn what_does_not_hang_together_is_refused_by_name() {
        for (from, to, said) in [
            ("start = \"pack\"", "start = \"wrap\"", "`start` names `wrap`"),
            ("packed = \"hand_over\"", "packed = \"hand_ovr\"", "there is no `hand_ovr`"),
            ("empty = \"nothing\"", "empty = \"sent\"", "nothing leads to `nothing`"),
            ("signals = [\"courier\"]", "signals = [\"@resume\"]", "the engine's own"),
            ("version = 1", "version = 0", "counts from 1"),
            ("gone = \"sent\"", "gone = { to = \"sent\", backoff = true }", "an end has no back-off"),
            ("about = \"Packs it.\"", "abuot = \"Packs it.\"", "unknown field `abuot`"),
            ("kind = \"act\"", "kind = \"act\"\nsignals = [\"x\"]", "does not wait"),
            ("[end.sent]", "[end.pack]\nstatus = \"failed\"\nabout = \"x\"\n[end.sent]", "both a step and an end"),
            ("kind = \"act\"", "kind = \"in-doubt\"", "whose intent no commit would store"),
            (
                "late = { to = \"pack\", backoff = true }",
                "late = \"pay\"\n[step.pay]\nkind = \"in-doubt\"\nabout = \"Pays.\"\non = { not = { to = \"pay\", backoff = true } }",
                "between intent and act",
            ),
        ] {
            let problem = problem_of(from, to);
            assert!(problem.contains("parcel") && problem.contains(said), "{problem}");
            assert!(!problem.contains('\n'));
        }
    }
}
