//! Steps without an outcome.

use std::time::Duration;

use bondflow::engine::operator::Request;
use bondflow::engine::{Clock, Status, StepError};

use super::scene::{Scene, rest, secs, wait_for};

#[tokio::test]
async fn a_step_is_run_again_after_a_growing_and_capped_delay() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Err(StepError::retry("busy")));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    for (attempt, delay) in [(1, 100), (2, 200), (3, 300), (4, 300)] {
        let run = scene.at_rest("k", Status::BackingOff).await;
        assert_eq!((run.attempt, run.error.as_deref()), (attempt, Some("busy")));
        assert_eq!(scene.clock.now().until(run.due_at.unwrap()), Duration::from_millis(delay));
        scene.clock.advance(Duration::from_millis(delay - 1));
        rest().await;
        assert_eq!(scene.world.calls("prepare").len() as u32, attempt, "not before its time");
        scene.clock.advance(Duration::from_millis(1));
        wait_for("the next attempt", || scene.world.calls("prepare").len() as u32 == attempt + 1).await;
    }
    let run = scene.at_rest("k", Status::Paused).await;
    assert_eq!(run.error.as_deref(), Some("busy (after 4 repetitions)"));
    assert_eq!(run.due_at, None);
    assert_eq!(scene.alarms.counts().get("exhausted"), Some(&1));
    let attempts: Vec<u32> = scene.world.calls("prepare").iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [0, 1, 2, 3, 4]);
    scene.clock.advance(secs(100_000));
    rest().await;
    assert_eq!(scene.world.calls("prepare").len(), 5, "it waits for a person");
}

#[tokio::test]
async fn a_retry_in_time_goes_on_and_forgets_the_error() {
    let scene = Scene::new();
    scene.world.play("prepare", |seen| if seen.attempt < 2 { Err(StepError::retry("busy")) } else { Ok("no_need") });
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    let run = scene.finish("k").await;
    assert_eq!((run.status, run.error, run.attempt), (Status::Completed, None, 0));
    assert_eq!(scene.story("k").await[..2], ["prepare @retry prepare", "prepare @retry prepare"]);
}

#[tokio::test]
async fn a_route_with_a_back_off_waits_by_the_target_s_policy() {
    let scene = Scene::new();
    scene.world.play("prepare", |seen| Ok(if seen.attempt < 2 { "not_yet" } else { "no_need" }));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    for (attempt, delay) in [(1, 100), (2, 200)] {
        let run = scene.until("k", |run| run.attempt == attempt && run.owner.is_none()).await;
        assert_eq!(run.status, Status::BackingOff);
        assert_eq!(scene.clock.now().until(run.due_at.unwrap()), Duration::from_millis(delay));
        scene.clock.advance(Duration::from_millis(delay));
    }
    scene.at_rest("k", Status::Completed).await;
}

#[tokio::test]
async fn a_workflow_that_counts_itself_sets_the_back_off() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("not_yet"));
    scene.world.write("prepare", |tx| tx.attempt = Some(3));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    let run = scene.at_rest("k", Status::BackingOff).await;
    assert_eq!((run.attempt, scene.clock.now().until(run.due_at.unwrap())), (3, Duration::from_millis(300)));
}

#[tokio::test]
async fn a_pause_waits_for_a_person() {
    let scene = Scene::new();
    scene.world.play("intend", |_| Err(StepError::pause("strange", "look at this")));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    let run = scene.at_rest("k", Status::Paused).await;
    assert_eq!((run.step.as_str(), run.error.as_deref(), run.due_at), ("intend", Some("look at this"), None));
    assert_eq!(scene.alarms.counts().get("strange"), Some(&1));
    scene.world.play("intend", |_| Ok("intended"));
    scene.request("k", Request::Resume).await;
    scene.at_rest("k", Status::Completed).await;
}

#[tokio::test]
async fn a_panic_pauses_its_run_and_no_other() {
    let scene = Scene::new();
    scene.world.play("intend", |seen| if seen.key == "bad" { panic!("on purpose") } else { Ok("intended") });
    let _daemon = scene.daemon("a");
    for key in ["good", "bad", "better"] {
        scene.start(key).await;
    }
    let run = scene.at_rest("bad", Status::Paused).await;
    assert_eq!(run.error.as_deref(), Some("step `intend` has a defect: it panicked"));
    assert_eq!(scene.alarms.counts().get("defect"), Some(&1));
    scene.at_rest("good", Status::Completed).await;
    scene.at_rest("better", Status::Completed).await;
}

#[tokio::test]
async fn a_panic_in_a_transition_writes_nothing() {
    let scene = Scene::new();
    scene.world.write("intend", |tx| {
        tx.effects.notes.push("half done".into());
        panic!("on purpose")
    });
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Paused).await;
    assert_eq!(scene.story("k").await, ["prepare no_need intend", "intend @pause intend"]);
}

#[tokio::test]
async fn a_step_without_an_answer_is_run_again_and_an_effect_looked_up() {
    let scene = Scene::new();
    for step in ["prepare", "pay"] {
        scene.world.play_slowly(step, |_| Box::pin(std::future::pending()));
    }
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    wait_for("the step", || !scene.world.calls("prepare").is_empty()).await;
    advance(&scene, 29).await;
    assert_eq!(scene.run("k").await.revision, 0);
    advance(&scene, 1).await;
    let run = scene.at_rest("k", Status::BackingOff).await;
    assert_eq!(run.error.as_deref(), Some("no answer within 30 s"));
    scene.world.play("prepare", |_| Ok("no_need"));
    scene.clock.advance(secs(1));
    wait_for("the effect", || !scene.world.calls("pay").is_empty()).await;
    advance(&scene, 30).await;
    scene.at_rest("k", Status::InDoubt).await;
}

/// Moves the clock on second by second, so that leases are renewed.
async fn advance(scene: &Scene, seconds: u32) {
    for _ in 0..seconds {
        scene.clock.advance(secs(1));
        rest().await;
    }
}
