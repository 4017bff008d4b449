//! The workflow that the engine's tests drive: its steps do what a test tells them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bondflow::engine::operator::{Ending, Reentry, Word};
use bondflow::engine::{
    Bound, Context, Definition, Draft, Effects, ErasedStep, Outcome, RunId, Signal, Step, StepError, Timestamp,
    Transition, erase,
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub const TEXT: &str = include_str!("errand.toml");

/// The workflow's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Errand {
    pub heard: Vec<String>,
    pub deadline: Option<Timestamp>,
}

/// One call of a step, as the step saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub step: &'static str,
    pub id: RunId,
    pub key: String,
    pub first: bool,
    pub attempt: u32,
    pub now: Timestamp,
    pub signals: Vec<String>,
    pub state: Errand,
}

type Said = Result<&'static str, StepError>;
type Play = Arc<dyn Fn(Seen) -> BoxFuture<'static, Said> + Send + Sync>;
type Write = Arc<dyn Fn(&mut Transition<'_, Errand>) + Send + Sync>;

/// What the steps touch, and how they behave.
#[derive(Default)]
pub struct World {
    calls: Mutex<Vec<Seen>>,
    plays: Mutex<HashMap<&'static str, Play>>,
    writes: Mutex<HashMap<&'static str, Write>>,
    paid: Mutex<BTreeMap<String, u32>>,
    verdict: watch::Sender<bool>,
    begun_watches: watch::Sender<u32>,
}

impl World {
    /// What that step says from now on.
    pub fn play(&self, step: &'static str, play: impl Fn(Seen) -> Said + Send + Sync + 'static) {
        self.play_slowly(step, move |seen| {
            let said = play(seen);
            Box::pin(async { said })
        });
    }

    /// The same for a step that takes its time.
    pub fn play_slowly(
        &self,
        step: &'static str,
        play: impl Fn(Seen) -> BoxFuture<'static, Said> + Send + Sync + 'static,
    ) {
        self.plays.lock().unwrap().insert(step, Arc::new(play));
    }

    /// What the transitions of that step write besides.
    pub fn write(&self, step: &'static str, write: impl Fn(&mut Transition<'_, Errand>) + Send + Sync + 'static) {
        self.writes.lock().unwrap().insert(step, Arc::new(write));
    }

    /// The calls of that step so far.
    pub fn calls(&self, step: &str) -> Vec<Seen> {
        self.calls.lock().unwrap().iter().filter(|seen| seen.step == step).cloned().collect()
    }

    /// The effect that must not be repeated.
    pub fn pay(&self, key: &str) {
        *self.paid.lock().unwrap().entry(key.to_owned()).or_default() += 1;
    }

    /// How often the effect of that run happened.
    pub fn paid(&self, key: &str) -> u32 {
        self.paid.lock().unwrap().get(key).copied().unwrap_or_default()
    }

    /// Makes every watch of an effect resolve.
    pub fn tell(&self) {
        self.verdict.send_replace(true);
    }

    /// How many watches were begun.
    pub fn begun_watches(&self) -> u32 {
        *self.begun_watches.borrow()
    }

    /// How many watches are alive.
    pub fn live_watches(&self) -> usize {
        self.verdict.receiver_count()
    }

    async fn act(&self, step: &'static str, cx: &Context<'_, Errand>) -> Said {
        let seen = Seen {
            step,
            id: cx.id.clone(),
            key: cx.key.to_owned(),
            first: cx.first,
            attempt: cx.attempt,
            now: cx.now,
            signals: cx.signals.iter().map(|signal| signal.payload.clone()).collect(),
            state: cx.state.clone(),
        };
        self.calls.lock().unwrap().push(seen.clone());
        let play = self.plays.lock().unwrap().get(step).cloned();
        match play {
            Some(play) => play(seen).await,
            None => self.usual(&seen),
        }
    }

    /// What a step says that no test told anything.
    pub fn usual(&self, seen: &Seen) -> Said {
        Ok(match seen.step {
            "prepare" => "no_need",
            "listen" if !seen.signals.is_empty() => "heard",
            "listen" if seen.state.deadline.is_some_and(|deadline| deadline <= seen.now) => "late",
            "listen" => "on_and_on",
            "intend" => "intended",
            "pay" if seen.first => {
                self.pay(&seen.key);
                "paid"
            }
            "pay" if self.paid(&seen.key) > 0 => "paid",
            "pay" => "not_paid",
            _ => "reported",
        })
    }

    fn transition(
        &self,
        step: &'static str,
        outcome: &'static str,
        signals: Vec<Signal>,
        tx: &mut Transition<'_, Errand>,
    ) {
        match outcome {
            "heard" => {
                tx.state.heard.extend(signals.into_iter().map(|signal| signal.payload));
                tx.take_all();
            }
            "one" => {
                tx.take(signals[0].number);
                tx.take(signals[0].number);
                tx.state.heard.push(signals[0].payload.clone());
            }
            "reported" => {
                tx.effects.drafts.push(Draft { topic: format!("report {}", tx.key), content: tx.state.heard.join(",") })
            }
            _ => {}
        }
        let write = self.writes.lock().unwrap().get(step).cloned();
        if let Some(write) = write {
            write(tx);
        }
    }
}

macro_rules! steps {
    ($($step:ident $outcome:ident $name:literal [$($names:literal),+]);+ $(;)?) => {
        $(
            struct $step(Arc<World>);
            struct $outcome(&'static str, Vec<Signal>);

            impl Outcome for $outcome {
                const NAMES: &'static [&'static str] = &[$($names),+];
                fn name(&self) -> &'static str {
                    self.0
                }
            }

            #[async_trait]
            impl Step<Errand> for $step {
                const NAME: &'static str = $name;
                type Outcome = $outcome;

                async fn act(&self, cx: &Context<'_, Errand>) -> Result<$outcome, StepError> {
                    Ok($outcome(self.0.act($name, cx).await?, cx.signals.to_vec()))
                }

                fn transition(&self, outcome: $outcome, tx: &mut Transition<'_, Errand>) {
                    self.0.transition($name, outcome.0, outcome.1, tx);
                }

                async fn resolve(&self, _cx: &Context<'_, Errand>, word: &Word) -> Result<$outcome, String> {
                    match ($name, word) {
                        ("pay", Word::Happened { evidence }) if evidence == "a receipt" => Ok($outcome("paid", vec![])),
                        ("pay", Word::DidNot) => Ok($outcome("not_paid", vec![])),
                        _ => Err("that is no receipt".into()),
                    }
                }

                fn wake_at(&self, state: &Errand, _now: Timestamp) -> Option<Timestamp> {
                    state.deadline.filter(|_| $name == "listen")
                }

                fn watch(&self, _state: &Errand) -> Option<BoxFuture<'static, ()>> {
                    self.0.begun_watches.send_modify(|begun| *begun += 1);
                    let mut verdict = self.0.verdict.subscribe();
                    Some(Box::pin(async move {
                        let _ = verdict.wait_for(|told| *told).await;
                    }))
                }
            }
        )+

        /// All steps.
        pub fn steps(world: &Arc<World>) -> Vec<Box<dyn ErasedStep>> {
            vec![$(erase::<Errand, _>($step(Arc::clone(world)))),+]
        }
    };
}

steps! {
    Prepare Prepared "prepare" ["ready", "no_need", "nothing", "not_yet"];
    Listen Listened "listen" ["heard", "one", "on_and_on", "late"];
    Intend Intended "intend" ["intended"];
    Pay Paid "pay" ["paid", "not_paid", "learned"];
    Report Reported "report" ["reported"];
}

/// Whoever has heard "never" goes back to no step; others have heard of the retry.
fn retry(key: &str, state: &str, step: &str, _now: Timestamp) -> Result<Reentry, String> {
    let mut errand: Errand = serde_json::from_str(state).unwrap();
    if errand.heard.iter().any(|word| word == "never") {
        return Err(format!("{key} has heard never"));
    }
    errand.heard.push(format!("from {step}"));
    Ok(Reentry { state: serde_json::to_string(&errand).unwrap(), rows: vec![], says: format!("goes on from {step}") })
}

/// Every word that nobody took is answered; whoever has heard "hot" is not let go of without insisting.
fn cancel(key: &str, state: &str, mail: &[Signal]) -> Result<Ending, String> {
    let errand: Errand = serde_json::from_str(state).unwrap();
    if errand.heard.iter().any(|word| word == "strange") {
        return Err(format!("{key} has heard something strange"));
    }
    let answer = |signal: &Signal| Draft { topic: format!("sorry {}", signal.number), content: signal.payload.clone() };
    let effects = Effects { drafts: mail.iter().map(answer).collect(), ..Effects::default() };
    let hot = errand.heard.iter().any(|word| word == "hot");
    Ok(Ending { hindrance: hot.then(|| "it is hot".to_owned()), effects })
}

/// The definition bound to its steps.
pub fn bound(world: &Arc<World>) -> Arc<Bound> {
    let bound = Bound::new(Definition::parse(TEXT).unwrap(), steps(world)).unwrap();
    Arc::new(bound.with_retry(retry).with_cancel(cancel))
}
