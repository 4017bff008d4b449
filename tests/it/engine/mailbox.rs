//! Signals and deadlines.

use std::sync::Arc;

use bondflow::engine::store::NewSignal;
use bondflow::engine::{Clock, Effects, Status, StepError, Timestamp};
use bondflow::store::memory::Call;

use super::errand::{Errand, Seen};
use super::scene::{Gate, START, Scene, rest, secs, wait_for};

/// A scene whose runs go to the waiting step.
fn listening() -> Scene {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    scene
}

fn deadline() -> Timestamp {
    START.after(secs(3600))
}

async fn start_with_deadline(scene: &Scene, key: &str) {
    scene.start_with(key, &Errand { deadline: Some(deadline()), ..Errand::default() }).await;
    scene.at_rest(key, Status::Waiting).await;
}

/// Makes the waiting step stand at a door each time when it has seen what it decides on.
fn decide_slowly(scene: &Scene) -> Gate {
    let gate = Gate::default();
    let (door, world) = (gate.clone(), Arc::downgrade(&scene.world));
    scene.world.play_slowly("listen", move |seen: Seen| {
        let (door, said) = (door.clone(), world.upgrade().unwrap().usual(&seen));
        Box::pin(async move {
            door.pass().await;
            said
        })
    });
    gate
}

#[tokio::test]
async fn a_signal_wakes_the_run_that_waits_for_it() {
    let scene = listening();
    let daemon = scene.daemon("a");
    scene.start("k").await;
    let waiting = scene.at_rest("k", Status::Waiting).await;
    assert_eq!((waiting.step.as_str(), waiting.due_at), ("listen", None));
    let signal = NewSignal { run: scene.id("k"), name: "word".into(), payload: "hello".into(), dedup: "hello".into() };
    daemon.engine.submit(Effects { signals: vec![signal], ..Effects::default() }, None).await.unwrap();
    let run = scene.at_rest("k", Status::Completed).await;
    assert!(run.state.contains("hello"));
    assert_eq!((run.signals, run.heard), (1, 1));
}

#[tokio::test]
async fn signals_stored_before_the_run_waits_are_delivered_once_in_order() {
    let scene = listening();
    scene.start("k").await;
    for word in ["b", "a", "c"] {
        scene.signal("k", "word", word).await;
    }
    let _daemon = scene.daemon("a");
    let run = scene.at_rest("k", Status::Completed).await;
    assert!(run.state.contains(r#"["b","a","c"]"#), "{}", run.state);
    assert!(scene.mail("k").await.is_empty());
    assert_eq!(scene.world.calls("listen").len(), 1);
}

#[tokio::test]
async fn a_step_may_take_them_one_by_one() {
    let scene = listening();
    scene.world.play("listen", |seen| {
        Ok(match (seen.signals.len(), seen.state.heard.len()) {
            (0, _) => "on_and_on",
            (1, 2) => "heard",
            _ => "one",
        })
    });
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    for word in ["a", "b", "c"] {
        scene.signal("k", "word", word).await;
    }
    let run = scene.at_rest("k", Status::Completed).await;
    assert!(run.state.contains(r#"["a","b","c"]"#), "{}", run.state);
    assert_eq!((run.signals, run.heard), (3, 3));
}

#[tokio::test]
async fn a_step_that_takes_nothing_is_not_run_over_and_over() {
    let scene = listening();
    scene.world.play("listen", |_| Ok("on_and_on"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.signal("k", "word", "a").await;
    rest().await;
    assert_eq!(scene.world.calls("listen").len(), 1);
    scene.signal("k", "word", "b").await;
    rest().await;
    assert_eq!(scene.world.calls("listen").len(), 2);
    assert_eq!(scene.mail("k").await, ["a", "b"]);
}

#[tokio::test]
async fn one_dedup_key_is_one_signal() {
    let scene = listening();
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.signal("k", "word", "hello").await;
    scene.signal("k", "word", "hello").await;
    let run = scene.at_rest("k", Status::Completed).await;
    assert_eq!(run.signals, 1);
}

#[tokio::test]
async fn unknown_signals_stay() {
    let scene = listening();
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.signal("k", "noise", "noise").await;
    rest().await;
    assert_eq!(scene.at_rest("k", Status::Waiting).await.step, "listen");
    assert!(scene.world.calls("listen").iter().all(|seen| seen.signals.is_empty()));
    scene.signal("k", "word", "hello").await;
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.mail("k").await, ["noise"]);
}

#[tokio::test]
async fn a_run_that_ended_hears_nothing() {
    let scene = Scene::new();
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    let ended = scene.at_rest("k", Status::Completed).await;
    scene.signal("k", "word", "hello").await;
    rest().await;
    assert_eq!(scene.run("k").await, ended);
}

#[tokio::test]
async fn a_deadline_is_an_absolute_time() {
    let scene = listening();
    let _daemon = scene.daemon("a");
    start_with_deadline(&scene, "k").await;
    assert_eq!(scene.run("k").await.due_at, Some(deadline()));
    scene.clock.set(Timestamp(deadline().millis() - 1));
    rest().await;
    assert!(scene.world.calls("listen").is_empty());
    scene.clock.set(deadline());
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.story("k").await[1], "listen late report");
}

#[tokio::test]
async fn a_clock_set_back_or_forward_neither_loses_a_deadline_nor_fires_it_twice() {
    for first_moves in [[1800, -7200, 10], [3599, 0, 3599], [-86_400, 3_500, 3_599]] {
        let scene = listening();
        let _daemon = scene.daemon("a");
        start_with_deadline(&scene, "k").await;
        for to in first_moves {
            scene.clock.set(Timestamp::from_secs(START.secs() + to));
            rest().await;
            assert!(scene.world.calls("listen").is_empty(), "it is not time yet");
        }
        for to in [9_000, -9_000, 9_000, 20_000] {
            scene.clock.set(Timestamp::from_secs(START.secs() + to));
            rest().await;
        }
        scene.at_rest("k", Status::Completed).await;
        assert_eq!(scene.world.calls("listen").len(), 1);
        let story = scene.story("k").await;
        assert_eq!(story.iter().filter(|line| line.contains("late")).count(), 1, "{story:?}");
    }
}

#[tokio::test]
async fn a_clock_set_back_between_claim_and_step_re_arms_the_deadline() {
    let scene = listening();
    let daemon = scene.daemon("a");
    start_with_deadline(&scene, "k").await;
    let (clock, mut set_back) = (scene.clock.clone(), false);
    daemon.store.on_call(move |call| {
        if matches!(call, Call::Claim(..)) && clock.now() == deadline() && !set_back {
            set_back = true;
            clock.set(Timestamp(deadline().millis() - 5_000));
        }
        None
    });
    scene.clock.set(deadline());
    rest().await;
    assert_eq!(scene.story("k").await[1..], ["listen on_and_on listen"]);
    scene.clock.set(deadline());
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.story("k").await[2], "listen late report");
}

#[tokio::test]
async fn a_signal_stored_before_the_decision_wins_over_the_deadline() {
    let scene = listening();
    let daemon = scene.daemon("a");
    start_with_deadline(&scene, "k").await;
    daemon.drain().await;
    scene.signal("k", "word", "hello").await;
    scene.clock.set(deadline().after(secs(10)));
    let _daemon = scene.daemon("b");
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.story("k").await[1], "listen heard intend");
}

#[tokio::test]
async fn a_signal_stored_while_the_deadline_is_decided_makes_it_decide_again() {
    let scene = listening();
    let _daemon = scene.daemon("a");
    start_with_deadline(&scene, "k").await;
    let gate = decide_slowly(&scene);
    scene.clock.set(deadline());
    wait_for("the decision", || scene.world.calls("listen").len() == 1).await;
    scene.signal("k", "word", "hello").await;
    gate.open();
    let run = scene.at_rest("k", Status::Completed).await;
    assert!(run.state.contains("hello"));
    assert_eq!(scene.story("k").await[1], "listen heard intend");
    let looks: Vec<(bool, usize)> =
        scene.world.calls("listen").iter().map(|seen| (seen.first, seen.signals.len())).collect();
    assert_eq!(looks, [(false, 0), (false, 1)]);
}

#[tokio::test]
async fn a_signal_stored_after_the_decision_finds_the_deadline_gone() {
    let scene = listening();
    scene.world.play("report", |_| Err(StepError::pause("strange", "stay here")));
    let _daemon = scene.daemon("a");
    start_with_deadline(&scene, "k").await;
    scene.clock.set(deadline());
    scene.at_rest("k", Status::Paused).await;
    scene.signal("k", "word", "hello").await;
    rest().await;
    assert_eq!(scene.story("k").await[1..], ["listen late report", "report @pause report"]);
    assert_eq!(scene.mail("k").await, ["hello"]);
}

#[tokio::test]
async fn a_signal_that_comes_while_the_step_waits_on_is_heard_next() {
    let scene = listening();
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    let gate = decide_slowly(&scene);
    scene.signal("k", "noise", "noise").await;
    wait_for("the look", || scene.world.calls("listen").len() == 1).await;
    scene.signal("k", "word", "hello").await;
    gate.open();
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.story("k").await[1..3], ["listen on_and_on listen", "listen heard intend"]);
}

#[tokio::test]
async fn a_signal_of_another_run_s_transition_is_heard() {
    let scene = Scene::new();
    scene.world.play("prepare", |seen| Ok(if seen.key == "hearer" { "ready" } else { "no_need" }));
    let signal =
        NewSignal { run: scene.id("hearer"), name: "word".into(), payload: "hello".into(), dedup: "teller".into() };
    scene.world.write("report", move |tx| {
        if tx.key == "teller" {
            tx.effects.signals.push(signal.clone());
        }
    });
    let _daemon = scene.daemon("a");
    scene.start("hearer").await;
    scene.at_rest("hearer", Status::Waiting).await;
    scene.start("teller").await;
    scene.at_rest("hearer", Status::Completed).await;
}
