//! Where outcomes lead, and how runs begin.

use std::sync::Arc;

use bondflow::engine::store::{Commit, Nudge};
use bondflow::engine::{CommitError, Draft, Effects, Status, StepError, Store};

use super::errand::Errand;
use super::scene::{Gate, Scene, ended, rest, secs, starting};

#[tokio::test]
async fn outcomes_lead_where_the_definition_says() {
    let scene = Scene::new();
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    let run = scene.at_rest("k", Status::Completed).await;
    assert_eq!((run.step.as_str(), run.due_at, run.error), ("done", None, None));
    assert_eq!(
        scene.story("k").await,
        ["prepare no_need intend", "intend intended pay", "pay paid report", "report reported done"]
    );
    assert_eq!(scene.world.paid("k"), 1);
}

#[tokio::test]
async fn an_end_may_be_a_failure() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("nothing"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    assert_eq!(scene.at_rest("k", Status::Failed).await.step, "dropped");
}

#[tokio::test]
async fn one_key_starts_once() {
    let scene = Scene::new();
    let daemon = scene.daemon("a");
    for heard in ["first", "second"] {
        let state = Errand { heard: vec![heard.into()], ..Errand::default() };
        daemon.engine.submit(starting(scene.new_run("k", &state)), None).await.unwrap();
    }
    scene.at_rest("k", Status::Completed).await;
    scene.start("k").await;
    rest().await;
    assert_eq!(scene.world.calls("prepare").len(), 1);
    assert_eq!(scene.world.calls("prepare")[0].state.heard, ["first"]);
}

#[tokio::test]
async fn a_start_is_not_due_before_its_time() {
    let scene = Scene::new();
    let _daemon = scene.daemon("a");
    let mut run = scene.new_run("k", &Errand::default());
    run.due_at = run.due_at.after(secs(5));
    scene.commit(Commit { starts: vec![run], ..Commit::default() }).await;
    scene.clock.advance(secs(4));
    rest().await;
    assert_eq!(scene.run("k").await.revision, 0);
    scene.clock.advance(secs(1));
    scene.at_rest("k", Status::Completed).await;
}

#[tokio::test]
async fn a_transition_starts_another_run() {
    let scene = Scene::new();
    let child = scene.new_run("child", &Errand::default());
    scene.world.write("report", move |tx| {
        if tx.key == "parent" {
            tx.effects.starts.push(child.clone());
        }
    });
    let _daemon = scene.daemon("a");
    scene.start("parent").await;
    scene.at_rest("parent", Status::Completed).await;
    scene.at_rest("child", Status::Completed).await;
}

#[tokio::test]
async fn a_nudge_wakes_the_oldest_that_wait() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let daemon = scene.daemon("a");
    for key in ["one", "two", "three"] {
        scene.start(key).await;
        scene.at_rest(key, Status::Waiting).await;
    }
    let nudge = Nudge { workflow: "errand".into(), step: "listen".into(), limit: 2 };
    daemon.engine.submit(Effects { nudges: vec![nudge], ..Effects::default() }, None).await.unwrap();
    rest().await;
    let mut woken: Vec<String> = scene.world.calls("listen").into_iter().map(|seen| seen.key).collect();
    woken.sort();
    assert_eq!(woken, ["one", "two"]);
}

#[tokio::test]
async fn an_incoming_message_counts_once() {
    let scene = Scene::new();
    let daemon = scene.daemon("a");
    daemon.engine.submit(starting(scene.new_run("k", &Errand::default())), Some("event".into())).await.unwrap();
    let again = daemon.engine.submit(starting(scene.new_run("other", &Errand::default())), Some("event".into())).await;
    assert_eq!(again, Err(CommitError::Seen));
    assert!(scene.store.run(&scene.id("other")).await.unwrap().is_none());
}

#[tokio::test]
async fn what_cant_be_sealed_is_not_said_and_stops_the_run() {
    let scene = Scene::new();
    scene.world.write("intend", |tx| {
        tx.effects.drafts.push(Draft { topic: "unspeakable".into(), content: String::new() });
    });
    let daemon = scene.daemon("a");
    scene.start("k").await;
    let run = scene.at_rest("k", Status::Paused).await;
    assert!(run.error.unwrap().contains("no words"));
    assert_eq!(scene.world.paid("k"), 0);
    assert_eq!(scene.alarms.counts().get("seal"), Some(&1));
    let drafts = vec![Draft { topic: "unspeakable".into(), content: String::new() }];
    daemon.engine.submit(Effects { drafts, ..Effects::default() }, None).await.unwrap_err();
}

#[tokio::test]
async fn a_stop_brings_what_is_under_way_to_its_rest() {
    let scene = Scene::new();
    let gate = Gate::default();
    let door = gate.clone();
    scene.world.play_slowly("intend", move |_| {
        let door = door.clone();
        Box::pin(async move {
            door.pass().await;
            Ok("intended")
        })
    });
    let daemon = scene.daemon("a");
    scene.start("k").await;
    scene.until("k", |run| run.step == "intend").await;
    daemon.stop.send_replace(true);
    rest().await;
    assert!(!daemon.task.is_finished());
    scene.start("later").await;
    gate.open();
    ended(daemon.task).await.unwrap().unwrap();
    assert_eq!(scene.run("k").await.status, Status::Completed);
    assert_eq!(scene.run("later").await.revision, 0, "nothing new is begun");
}

#[tokio::test]
async fn an_engine_whose_stop_is_forgotten_stops() {
    let scene = Scene::new();
    let daemon = scene.daemon("a");
    drop(daemon.stop);
    ended(daemon.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn waiting_and_in_doubt_runs_take_no_place() {
    let scene = Scene::new();
    scene.world.play("prepare", |seen| Ok(if seen.key.starts_with("wait") { "ready" } else { "no_need" }));
    scene.world.play("pay", |_| Err(StepError::doubt("no answer")));
    let store = Arc::new(scene.store.reopen());
    let _daemon = scene.daemon_on(store, "a", 1);
    for n in 0..50 {
        scene.start(&format!("wait {n}")).await;
        scene.start(&format!("doubt {n}")).await;
    }
    for n in 0..50 {
        scene.at_rest(&format!("wait {n}"), Status::Waiting).await;
        scene.at_rest(&format!("doubt {n}"), Status::InDoubt).await;
    }
    scene.world.play("pay", |_| Ok("paid"));
    scene.start("another").await;
    scene.at_rest("another", Status::Completed).await;
}
