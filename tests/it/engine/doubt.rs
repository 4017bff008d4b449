//! Effects that can't be repeated blindly.

use bondflow::engine::operator::Request;
use bondflow::engine::{Status, StepError};

use super::scene::{Scene, rest, secs, wait_for};

/// Which calls of `pay` might act.
fn firsts(scene: &Scene) -> Vec<bool> {
    scene.world.calls("pay").iter().map(|seen| seen.first).collect()
}

/// A step whose effect happens while its answer is lost.
fn lose_answers(scene: &Scene) {
    let world = std::sync::Arc::downgrade(&scene.world);
    scene.world.play("pay", move |seen| {
        if seen.first {
            world.upgrade().unwrap().pay(&seen.key);
        }
        Err(StepError::doubt("no answer"))
    });
}

fn learn(scene: &Scene) {
    let world = std::sync::Arc::downgrade(&scene.world);
    scene.world.play("pay", move |seen| world.upgrade().unwrap().usual(&seen));
}

#[tokio::test]
async fn an_effect_in_doubt_is_looked_up_and_never_acted_twice() {
    let scene = Scene::new();
    lose_answers(&scene);
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    for looks in 1..4 {
        let run = scene.at_rest("k", Status::InDoubt).await;
        assert_eq!((run.step.as_str(), run.error.as_deref()), ("pay", Some("no answer")));
        assert_eq!(scene.world.calls("pay").len(), looks);
        scene.clock.advance(secs(59));
        rest().await;
        assert_eq!(scene.world.calls("pay").len(), looks, "its timer has not come");
        scene.clock.advance(secs(1));
        wait_for("the next look", || scene.world.calls("pay").len() > looks).await;
    }
    scene.at_rest("k", Status::InDoubt).await;
    learn(&scene);
    scene.clock.advance(secs(60));
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.world.paid("k"), 1);
    assert_eq!(firsts(&scene), [true, false, false, false, false]);
}

#[tokio::test]
async fn a_watch_wakes_its_run_before_the_timer() {
    let scene = Scene::new();
    lose_answers(&scene);
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::InDoubt).await;
    learn(&scene);
    rest().await;
    assert_eq!(scene.world.calls("pay").len(), 1);
    scene.world.tell();
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.world.paid("k"), 1);
}

#[tokio::test]
async fn a_run_has_one_watch_and_none_when_it_is_in_doubt_no_more() {
    let scene = Scene::new();
    lose_answers(&scene);
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    for begun in 1..4 {
        wait_for("the watch", || scene.world.begun_watches() == begun).await;
        rest().await;
        assert_eq!(scene.world.live_watches(), 1);
        scene.clock.advance(secs(60));
    }
    scene.world.play("pay", |_| Err(StepError::pause("strange", "look at this")));
    scene.clock.advance(secs(60));
    scene.at_rest("k", Status::Paused).await;
    rest().await;
    assert_eq!(scene.world.live_watches(), 0);
}

#[tokio::test]
async fn an_engine_that_ends_watches_nothing() {
    let scene = Scene::new();
    lose_answers(&scene);
    for (owner, orderly) in [("a", true), ("b", false)] {
        let daemon = scene.daemon(owner);
        scene.start(owner).await;
        scene.at_rest(owner, Status::InDoubt).await;
        wait_for("the watch", || scene.world.live_watches() > 0).await;
        if orderly {
            daemon.drain().await
        } else {
            daemon.kill().await
        }
        rest().await;
        assert_eq!(scene.world.live_watches(), 0);
    }
}

#[tokio::test]
async fn a_new_daemon_looks_at_once() {
    let scene = Scene::new();
    lose_answers(&scene);
    let daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::InDoubt).await;
    daemon.kill().await;
    learn(&scene);
    let _daemon = scene.daemon("b");
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(firsts(&scene), [true, false]);
}

#[tokio::test]
async fn every_entry_may_act_once() {
    let scene = Scene::new();
    let world = std::sync::Arc::downgrade(&scene.world);
    scene.world.play("pay", move |seen| {
        let calls = world.upgrade().unwrap().calls("pay").len();
        Ok(match (calls, seen.first) {
            (7.., _) => "paid",
            (_, true) => "learned",
            (_, false) => "not_paid",
        })
    });
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(firsts(&scene), [true, false, true, false, true, false, true]);
}

#[tokio::test]
async fn neither_a_retry_nor_a_resume_acts_again() {
    let scene = Scene::new();
    scene.world.play("pay", |_| Err(StepError::retry("busy")));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::BackingOff).await;
    scene.world.play("pay", |_| Err(StepError::pause("strange", "look at this")));
    scene.clock.advance(secs(1));
    scene.at_rest("k", Status::Paused).await;
    scene.request("k", Request::Resume).await;
    wait_for("the resumed step", || firsts(&scene).len() == 3).await;
    scene.at_rest("k", Status::Paused).await;
    assert_eq!(firsts(&scene), [true, false, false]);
    assert_eq!(scene.world.paid("k"), 0);
}
