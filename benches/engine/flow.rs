//! The workflow that is measured: steps that do nothing but be persisted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bondflow::engine::store::{NewRun, NewSignal};
use bondflow::engine::{Bound, Context, Definition, Effects, RunId, Step, StepError, Timestamp, Transition, erase};
use bondflow::outcomes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Step commits of one run.
pub const STEPS: u64 = 5;

/// The run's state: what a small real one carries from step to step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    sender: String,
    recipient: String,
    grams: u32,
    fetched_by: Option<String>,
    steps: u32,
}

/// How often two of the steps have acted: the load generator's hint when it is worth asking the
/// database.
#[derive(Debug, Default)]
pub struct Acted {
    packed: AtomicU64,
    billed: watch::Sender<u64>,
}

impl Acted {
    /// Runs that are about to wait.
    pub fn packed(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }

    /// Runs that are about to end.
    pub fn billed(&self) -> u64 {
        *self.billed.borrow()
    }

    /// Until so many runs are about to end.
    pub async fn until_billed(&self, runs: u64) {
        // Its sender is here, so that it can't be gone.
        let _ = self.billed.subscribe().wait_for(|billed| *billed >= runs).await;
    }
}

outcomes! {
    enum Labelled { Labelled => "labelled" }
}
outcomes! {
    enum Packed { Packed => "packed" }
}
outcomes! {
    enum Pickup { Fetched(String) => "fetched", NotYet => "not_yet" }
}
outcomes! {
    enum Delivered { Delivered => "delivered" }
}
outcomes! {
    enum Billed { Billed => "billed" }
}

struct Label;
struct Pack(Arc<Acted>);
struct AwaitPickup;
struct Deliver;
struct Bill(Arc<Acted>);

#[async_trait]
impl Step<Parcel> for Label {
    const NAME: &'static str = "label";
    type Outcome = Labelled;

    async fn act(&self, _: &Context<'_, Parcel>) -> Result<Labelled, StepError> {
        Ok(Labelled::Labelled)
    }

    fn transition(&self, _: Labelled, tx: &mut Transition<'_, Parcel>) {
        tx.state.steps += 1;
    }
}

#[async_trait]
impl Step<Parcel> for Pack {
    const NAME: &'static str = "pack";
    type Outcome = Packed;

    async fn act(&self, _: &Context<'_, Parcel>) -> Result<Packed, StepError> {
        self.0.packed.fetch_add(1, Ordering::Relaxed);
        Ok(Packed::Packed)
    }

    fn transition(&self, _: Packed, tx: &mut Transition<'_, Parcel>) {
        tx.state.steps += 1;
    }
}

#[async_trait]
impl Step<Parcel> for AwaitPickup {
    const NAME: &'static str = "await_pickup";
    type Outcome = Pickup;

    async fn act(&self, cx: &Context<'_, Parcel>) -> Result<Pickup, StepError> {
        Ok(cx.signals.first().map_or(Pickup::NotYet, |signal| Pickup::Fetched(signal.payload.clone())))
    }

    fn transition(&self, outcome: Pickup, tx: &mut Transition<'_, Parcel>) {
        if let Pickup::Fetched(by) = outcome {
            tx.state.fetched_by = Some(by);
            tx.state.steps += 1;
            tx.take_all();
        }
    }
}

#[async_trait]
impl Step<Parcel> for Deliver {
    const NAME: &'static str = "deliver";
    type Outcome = Delivered;

    async fn act(&self, _: &Context<'_, Parcel>) -> Result<Delivered, StepError> {
        Ok(Delivered::Delivered)
    }

    fn transition(&self, _: Delivered, tx: &mut Transition<'_, Parcel>) {
        tx.state.steps += 1;
    }
}

#[async_trait]
impl Step<Parcel> for Bill {
    const NAME: &'static str = "bill";
    type Outcome = Billed;

    async fn act(&self, _: &Context<'_, Parcel>) -> Result<Billed, StepError> {
        self.0.billed.send_modify(|billed| *billed += 1);
        Ok(Billed::Billed)
    }

    fn transition(&self, _: Billed, tx: &mut Transition<'_, Parcel>) {
        tx.state.steps += 1;
    }
}

/// The definition bound to its steps.
pub fn bound(acted: &Arc<Acted>) -> anyhow::Result<Arc<Bound>> {
    let definition = Definition::parse(include_str!("flow.toml"))?;
    let steps = vec![
        erase::<Parcel, _>(Label),
        erase::<Parcel, _>(Pack(Arc::clone(acted))),
        erase::<Parcel, _>(AwaitPickup),
        erase::<Parcel, _>(Deliver),
        erase::<Parcel, _>(Bill(Arc::clone(acted))),
    ];
    Ok(Arc::new(Bound::new(definition, steps)?))
}

/// The start of the run with that key.
pub fn starting(bound: &Bound, key: &str, now: Timestamp) -> anyhow::Result<Effects> {
    let parcel = Parcel {
        sender: "4d2c8c6d0ed6b0ec5b8a2a0a2e1f3d44".into(),
        recipient: "99aa8c6d0ed6b0ec5b8a2a0a2e1f3d44".into(),
        grams: 1_250,
        ..Parcel::default()
    };
    let start: NewRun = bound.start(key, &parcel, now)?;
    Ok(Effects { starts: vec![start], ..Effects::default() })
}

/// The word that the run waits for.
pub fn fetched(run: RunId) -> Effects {
    let signal =
        NewSignal { run, name: "fetched".into(), payload: r#"{"by":"courier"}"#.into(), dedup: "fetched".into() };
    Effects { signals: vec![signal], ..Effects::default() }
}
