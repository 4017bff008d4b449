//! What the engine counts of its own work, for whoever watches the daemon. All labels are names of
//! definitions, so that there are as many series as there are steps and outcomes.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::run::{Run, Status};
use super::store::StepCommit;

/// Bounds in seconds: from a step that only reads to the longest that a definition allows.
const STEP_SECONDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0, 120.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    workflow: String,
    step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    workflow: String,
    step: String,
    outcome: String,
}

/// The counts since the start. Clones share them.
#[derive(Debug, Clone)]
pub struct Meters {
    step_seconds: Family<OfStep, Histogram, fn() -> Histogram>,
    step_retries: Family<OfStep, Counter>,
    transitions: Family<OfOutcome, Counter>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            step_seconds: Family::new_with_constructor(|| Histogram::new(STEP_SECONDS)),
            step_retries: Family::default(),
            transitions: Family::default(),
        }
    }
}

impl Meters {
    /// Shows them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "step",
            "How long a step took to say its outcome",
            Unit::Seconds,
            self.step_seconds.clone(),
        );
        registry.register("step_retries", "Steps that were put off to be run again later", self.step_retries.clone());
        registry.register(
            "transitions",
            "Commits of runs by the step that was run and its outcome; @ begins what the engine or an operator did",
            self.transitions.clone(),
        );
    }

    /// A step has said its outcome, or has failed to.
    pub(super) fn step_took(&self, run: &Run, took: Duration) {
        self.step_seconds.get_or_create(&of_step(run)).observe(took.as_secs_f64());
    }

    /// A commit of the run was made.
    pub(super) fn moved(&self, run: &Run, commit: &StepCommit) {
        if commit.status == Status::BackingOff {
            self.step_retries.get_or_create(&of_step(run)).inc();
        }
        let OfStep { workflow, step } = of_step(run);
        let outcome = commit.history.outcome.clone();
        self.transitions.get_or_create(&OfOutcome { workflow, step, outcome }).inc();
    }
}

fn of_step(run: &Run) -> OfStep {
    OfStep { workflow: run.pin.workflow.clone(), step: run.step.clone() }
}
