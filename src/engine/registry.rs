//! The workflows that a daemon knows: definitions bound to their Rust steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::clock::Timestamp;
use super::definition::{Definition, DefinitionError};
use super::operator::{CancelRule, RetryRule};
use super::run::{Pin, RunId};
use super::step::ErasedStep;
use super::store::{NewRun, Store, StoreError};

/// A definition with the Rust side of each of its steps.
pub struct Bound {
    /// The definition.
    pub definition: Definition,
    steps: BTreeMap<&'static str, Box<dyn ErasedStep>>,
    retry: Option<RetryRule>,
    cancel: Option<CancelRule>,
}

impl Bound {
    /// Binds a definition to its steps; they must be the same steps with the same outcomes.
    pub fn new(definition: Definition, steps: Vec<Box<dyn ErasedStep>>) -> Result<Self, DefinitionError> {
        let steps: BTreeMap<_, _> = steps.into_iter().map(|step| (step.name(), step)).collect();
        let problem = definition
            .steps
            .iter()
            .find_map(|(name, step)| match steps.get(name.as_str()) {
                None => Some(format!("step `{name}` has no Rust side")),
                Some(rust) => {
                    let rust = rust.outcomes();
                    let missing = step.on.keys().find(|outcome| !rust.contains(&outcome.as_str()));
                    let unknown = rust.iter().find(|outcome| !step.on.contains_key(**outcome));
                    missing
                        .map(|outcome| format!("step `{name}`: the Rust side has no outcome `{outcome}`"))
                        .or(unknown.map(|outcome| format!("step `{name}`: the Rust outcome `{outcome}` leads nowhere")))
                }
            })
            .or_else(|| {
                let unknown = steps.keys().find(|name| !definition.steps.contains_key(**name))?;
                Some(format!("the Rust step `{unknown}` is not in it"))
            });
        match problem {
            Some(problem) => Err(DefinitionError { name: definition.name, problem }),
            None => Ok(Self { definition, steps, retry: None, cancel: None }),
        }
    }

    /// The same with a rule for an operator's `retry`, which is refused without one.
    pub fn with_retry(self, rule: RetryRule) -> Self {
        Self { retry: Some(rule), ..self }
    }

    /// The same with a rule for an operator's `cancel`; without one the end of a run is all that is written.
    pub fn with_cancel(self, rule: CancelRule) -> Self {
        Self { cancel: Some(rule), ..self }
    }

    /// The rule for an operator's `cancel`.
    pub fn cancel_rule(&self) -> Option<CancelRule> {
        self.cancel
    }

    /// The rule for an operator's `retry`.
    pub fn retry_rule(&self) -> Option<RetryRule> {
        self.retry
    }

    /// The Rust side of a step.
    pub fn step(&self, name: &str) -> Option<&dyn ErasedStep> {
        self.steps.get(name).map(AsRef::as_ref)
    }

    /// Which text new runs of it are pinned to.
    pub fn pin(&self) -> Pin {
        self.definition.pin()
    }

    /// A run of it, to be put into a commit.
    ///
    /// # Errors
    /// When the state can't be written as JSON.
    pub fn start<S: Serialize>(&self, key: &str, state: &S, at: Timestamp) -> Result<NewRun, serde_json::Error> {
        self.definition.start_run(key, state, at)
    }

    /// The id of the run with that key.
    pub fn id(&self, key: &str) -> RunId {
        RunId::of(&self.definition.name, key)
    }
}

/// Runs of the database that this build can't go on with.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Open runs follow definitions that are not in this build.
    #[error(
        "this build lacks definitions that open runs follow: {0}; start the build that has them, let these runs end, then upgrade"
    )]
    Missing(String),
    /// The database can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All bound definitions, every version that runs may be pinned to.
#[derive(Clone, Default)]
pub struct Registry {
    bound: BTreeMap<Pin, Arc<Bound>>,
}

impl Registry {
    /// Adds a bound definition.
    pub fn add(&mut self, bound: Arc<Bound>) {
        self.bound.insert(bound.pin(), bound);
    }

    /// The definition that a run follows.
    pub fn get(&self, pin: &Pin) -> Option<&Arc<Bound>> {
        self.bound.get(pin)
    }

    /// Every bound definition.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Bound>> {
        self.bound.values()
    }

    /// Refuses a database with open runs whose definition is not here, naming them.
    pub async fn check(&self, store: &dyn Store) -> Result<(), UpgradeError> {
        let missing: Vec<String> = store
            .pins()
            .await?
            .into_iter()
            .filter(|(pin, _)| !self.bound.contains_key(pin))
            .map(|(pin, runs)| {
                format!(
                    "{} version {} ({}…, {runs} runs)",
                    pin.workflow,
                    pin.version,
                    &pin.hash[..pin.hash.len().min(8)]
                )
            })
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(UpgradeError::Missing(missing.join(", "))) }
    }
}
