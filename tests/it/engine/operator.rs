//! What an operator asks of a run.

use bondflow::engine::operator::Request;
use bondflow::engine::{Status, StepError};

use super::scene::{Gate, Scene, rest, wait_for};

const BY: &str = "by ann: a reason";

#[tokio::test]
async fn resume_ends_a_back_off() {
    let scene = Scene::new();
    scene.world.play("prepare", |seen| {
        if seen.attempt == 0 && seen.now == super::scene::START { Err(StepError::retry("busy")) } else { Ok("no_need") }
    });
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::BackingOff).await;
    scene.world.play("prepare", |_| Ok("no_need"));
    scene.request("k", Request::Resume).await;
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.story("k").await[1], "prepare @resume prepare");
    assert_eq!(scene.world.calls("prepare")[1].attempt, 0);
    assert!(scene.details("k").await.contains(&BY.to_owned()));
}

#[tokio::test]
async fn a_paused_run_stays_so_until_it_is_resumed() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.request("k", Request::Pause).await;
    scene.at_rest("k", Status::Paused).await;
    scene.signal("k", "word", "hello").await;
    rest().await;
    assert_eq!(scene.run("k").await.status, Status::Paused);
    scene.request("k", Request::Resume).await;
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.story("k").await[1..3], ["listen @pause listen", "listen @resume listen"]);
}

#[tokio::test]
async fn a_signal_that_races_a_pause_does_not_end_it() {
    let scene = Scene::new();
    let gate = Gate::default();
    let door = gate.clone();
    scene.world.play_slowly("intend", move |_| {
        let door = door.clone();
        Box::pin(async move {
            door.pass().await;
            Err(StepError::pause("strange", "look at this"))
        })
    });
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    wait_for("the step", || !scene.world.calls("intend").is_empty()).await;
    scene.signal("k", "word", "hello").await;
    gate.open();
    scene.until("k", |run| run.status == Status::Paused && run.owner.is_none() && run.due_at.is_none()).await;
    rest().await;
    assert_eq!(scene.world.calls("intend").len(), 1);
    assert_eq!(scene.run("k").await.error.as_deref(), Some("look at this"));
}

#[tokio::test]
async fn cancel_ends_a_run_for_good() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.request("k", Request::Cancel).await;
    let run = scene.at_rest("k", Status::Canceled).await;
    assert_eq!((run.step.as_str(), run.due_at), ("listen", None));
    assert_eq!(scene.details("k").await, [BY]);
    scene.signal("k", "word", "hello").await;
    rest().await;
    assert!(scene.world.calls("listen").is_empty());
}

#[tokio::test]
async fn pause_and_cancel_are_refused_while_an_effect_is_in_doubt() {
    let scene = Scene::new();
    scene.world.play("pay", |_| Err(StepError::doubt("no answer")));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::InDoubt).await;
    for request in [Request::Pause, Request::Cancel] {
        let before = scene.world.calls("pay").len();
        scene.request("k", request).await;
        wait_for("another look", || scene.world.calls("pay").len() > before).await;
        scene.at_rest("k", Status::InDoubt).await;
    }
    assert_eq!(
        scene.details("k").await.iter().filter(|line| line.ends_with("refused: an effect is in doubt")).count(),
        2
    );
    assert!(scene.world.calls("pay").iter().skip(1).all(|seen| !seen.first));
    scene.world.play("pay", |_| Err(StepError::pause("strange", "look at this")));
    scene.request("k", Request::Resume).await;
    scene.at_rest("k", Status::Paused).await;
    scene.request("k", Request::Cancel).await;
    rest().await;
    assert_eq!(scene.run("k").await.status, Status::Paused, "nobody knows yet what came of the effect");
}

#[tokio::test]
async fn a_request_waits_for_the_step_under_way() {
    let scene = Scene::new();
    let gate = Gate::default();
    let door = gate.clone();
    scene.world.play_slowly("prepare", move |_| {
        let door = door.clone();
        Box::pin(async move {
            door.pass().await;
            Ok("no_need")
        })
    });
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    wait_for("the step", || !scene.world.calls("prepare").is_empty()).await;
    scene.request("k", Request::Cancel).await;
    rest().await;
    assert_eq!(scene.run("k").await.revision, 0);
    gate.open();
    scene.at_rest("k", Status::Canceled).await;
    assert_eq!(scene.story("k").await, ["prepare no_need intend", "intend @cancel intend"]);
    assert_eq!(scene.world.paid("k"), 0);
}

#[tokio::test]
async fn requests_are_applied_in_their_order() {
    let scene = Scene::new();
    scene.start("k").await;
    for request in [Request::Pause, Request::Resume, Request::Pause] {
        scene.request("k", request).await;
    }
    let _daemon = scene.daemon("a");
    wait_for("all of them", || {
        let dump = scene.store.snapshot().dump();
        dump["history"].len() == 3
    })
    .await;
    scene.at_rest("k", Status::Paused).await;
    rest().await;
    assert_eq!(scene.story("k").await, ["prepare @pause prepare", "prepare @resume prepare", "prepare @pause prepare"]);
    assert!(scene.world.calls("prepare").is_empty());
}

#[tokio::test]
async fn an_unknown_request_is_journaled_and_changes_nothing() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.request_named("k", "@dance").await;
    rest().await;
    let run = scene.at_rest("k", Status::Waiting).await;
    assert!(!run.has_mail());
    assert_eq!(scene.details("k").await, [format!("{BY}; refused: this build does not know the request")]);
}
