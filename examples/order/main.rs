//! An order that is packed and handed over: a workflow of one's own on bondflow's engine, with no bond in it.
//!
//! `cargo run --example order` places one order in a database file, lets the program die while the parcel waits
//! for its courier, and has another engine go on where it stopped. `cargo test --example order` sees that it does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use bondflow::engine::store::NewSignal;
use bondflow::engine::{
    Alarms, Bound, Clock, Context, Definition, Draft, Effects, Engine, Options, Parts, Registry, Run, Sealed, Sealer,
    Status, Step, StepError, Store, SystemClock, Timestamp, Transition, erase,
};
use bondflow::store::sqlite::{OpenMode, SqliteStore};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a run knows: plain data, stored as JSON with each commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    items: Vec<String>,
    packed_at: Option<Timestamp>,
    courier: Option<String>,
}

/// How long a parcel waits for its courier.
const PATIENCE: Duration = Duration::from_secs(86_400);

// The outcomes of each step are those of `order.toml`: a difference is an error at the start.

bondflow::outcomes! {
    /// What came of packing.
    enum Packed {
        /// All of it was there.
        Packed => "packed",
    }
}

bondflow::outcomes! {
    /// What came of waiting.
    enum Waited {
        /// This one came.
        Came(String) => "came",
        /// The parcel has waited for too long.
        NobodyCame => "nobody_came",
        /// It is not time yet.
        NotYet => "not_yet",
    }
}

bondflow::outcomes! {
    /// What came of handing it over.
    enum HandedOver {
        /// It is the courier's.
        Gone => "gone",
    }
}

/// Touches the world: in `act`, which may be run again after a crash. What follows is decided in `transition`,
/// which only computes; the engine commits it with the run's next step.
struct Pack;

#[async_trait]
impl Step<Order> for Pack {
    const NAME: &'static str = "pack";
    type Outcome = Packed;

    async fn act(&self, cx: &Context<'_, Order>) -> Result<Packed, StepError> {
        // The shelf jams at the first try: the definition says when it is tried again.
        if cx.attempt == 0 {
            return Err(StepError::retry("the shelf is jammed"));
        }
        Ok(Packed::Packed)
    }

    fn transition(&self, _: Packed, tx: &mut Transition<'_, Order>) {
        tx.state.packed_at = Some(tx.now);
        tx.effects.notes.push(format!("packed {}", tx.state.items.join(" and ")));
    }
}

/// Waits: it costs no memory and no thread, and a signal or its timer brings it up again.
struct AwaitCourier;

#[async_trait]
impl Step<Order> for AwaitCourier {
    const NAME: &'static str = "await_courier";
    type Outcome = Waited;

    async fn act(&self, cx: &Context<'_, Order>) -> Result<Waited, StepError> {
        Ok(match cx.signals.first() {
            Some(signal) => Waited::Came(signal.payload.clone()),
            None if self.wake_at(cx.state, cx.now).is_some_and(|at| at > cx.now) => Waited::NotYet,
            None => Waited::NobodyCame,
        })
    }

    fn transition(&self, outcome: Waited, tx: &mut Transition<'_, Order>) {
        if let Waited::Came(courier) = outcome {
            tx.state.courier = Some(courier);
        }
        tx.take_all();
    }

    fn wake_at(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        Some(order.packed_at.unwrap_or(now).after(PATIENCE))
    }
}

struct HandOver;

#[async_trait]
impl Step<Order> for HandOver {
    const NAME: &'static str = "hand_over";
    type Outcome = HandedOver;

    async fn act(&self, _: &Context<'_, Order>) -> Result<HandedOver, StepError> {
        Ok(HandedOver::Gone)
    }

    fn transition(&self, _: HandedOver, tx: &mut Transition<'_, Order>) {
        let courier = tx.state.courier.as_deref().unwrap_or("nobody");
        tx.effects.notes.push(format!("handed over to {courier}"));
    }
}

/// The definition bound to its steps.
fn bound() -> anyhow::Result<Arc<Bound>> {
    let steps = vec![erase::<Order, _>(Pack), erase::<Order, _>(AwaitCourier), erase::<Order, _>(HandOver)];
    Ok(Arc::new(Bound::new(Definition::parse(include_str!("order.toml"))?, steps)?))
}

/// This workflow says nothing to the outside, so that nothing has to be sealed.
struct Silent;

#[async_trait]
impl Sealer for Silent {
    async fn seal(&self, draft: &Draft, _: Timestamp, _: &dyn Store) -> Result<Sealed, String> {
        Err(format!("nobody would hear `{}`", draft.topic))
    }
}

/// An engine at work on a database file.
struct Shop {
    engine: Engine,
    store: Arc<SqliteStore>,
    bound: Arc<Bound>,
    stop: watch::Sender<bool>,
    working: JoinHandle<Result<(), bondflow::engine::StoreError>>,
}

impl Shop {
    /// Opens the database, which is made if there is none, and goes on with every run in it.
    async fn open(database: &Path, owner: &str) -> anyhow::Result<Self> {
        // A workflow's own tables would be named here; this one has none.
        let store = Arc::new(SqliteStore::open(database, &[], OpenMode::Daemon).await?);
        let bound = bound()?;
        let mut registry = Registry::default();
        registry.add(Arc::clone(&bound));
        registry.check(store.as_ref()).await?;
        let engine = Engine::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::new(SystemClock),
            registry,
            sealer: Arc::new(Silent),
            alarms: Alarms::default(),
            owner: owner.to_owned(),
            options: Options::default(),
        });
        let (stop, stopping) = watch::channel(false);
        let working = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run(stopping).await }
        });
        Ok(Self { engine, store, bound, stop, working })
    }

    /// Starts a run. Its key is the order's number: the same order placed twice is one run.
    async fn place(&self, number: &str, items: &[&str]) -> anyhow::Result<()> {
        let items = items.iter().map(|item| (*item).to_owned()).collect();
        let order = Order { items, packed_at: None, courier: None };
        let start = self.bound.start(number, &order, SystemClock.now())?;
        self.engine.submit(Effects { starts: vec![start], ..Effects::default() }, None).await?;
        Ok(())
    }

    /// A courier comes for it. Stored even when the parcel is not packed yet; the same one twice counts once.
    async fn courier_comes(&self, number: &str, name: &str) -> anyhow::Result<()> {
        let signal = NewSignal {
            run: self.bound.id(number),
            name: "courier".to_owned(),
            payload: name.to_owned(),
            dedup: name.to_owned(),
        };
        self.engine.submit(Effects { signals: vec![signal], ..Effects::default() }, None).await?;
        Ok(())
    }

    /// Waits until the order's run stands so.
    async fn becomes(&self, number: &str, status: Status) -> anyhow::Result<Run> {
        loop {
            let run = self.store.run(&self.bound.id(number)).await?.context("no such order")?;
            if run.status == status {
                return Ok(run);
            }
            SystemClock.sleep_until(SystemClock.now().after(Duration::from_millis(5))).await;
        }
    }

    /// Ends in good order.
    async fn close(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.working.await??;
        self.store.close().await;
        Ok(())
    }

    /// Ends as in a crash: whatever is under way is dropped. The lock on the file ends, as with a process.
    async fn crash(self) {
        self.working.abort();
        let _ = self.working.await;
        self.store.close().await;
    }
}

/// One order, with a crash while it waits; the run's history.
async fn story(database: &Path) -> anyhow::Result<Vec<String>> {
    let shop = Shop::open(database, "monday").await?;
    shop.place("1001", &["a lamp", "two bulbs"]).await?;
    shop.place("1001", &["a lamp", "two bulbs"]).await?;
    shop.becomes("1001", Status::Waiting).await?;
    shop.crash().await;

    let shop = Shop::open(database, "tuesday").await?;
    shop.courier_comes("1001", "Ann").await?;
    let run = shop.becomes("1001", Status::Completed).await?;
    let order: Order = serde_json::from_str(&run.state)?;
    ensure!(order.courier.as_deref() == Some("Ann"), "{order:?}");
    let history = shop.store.history(run.seq).await?;
    shop.close().await?;
    Ok(history.iter().map(|line| format!("{} --{}--> {}", line.step, line.outcome, line.to)).collect())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("order-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let told = story(&folder.join("shop.db")).await;
    std::fs::remove_dir_all(&folder)?;
    for line in told? {
        println!("{line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_survives_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let told = story(&folder.path().join("shop.db")).await.unwrap();
        assert_eq!(
            told,
            [
                "pack --@retry--> pack",
                "pack --packed--> await_courier",
                "await_courier --came--> hand_over",
                "hand_over --gone--> handed_over",
            ]
        );
    }
}
