//! Two daemons on one database.

use bondflow::engine::{Clock, Status};
use bondflow::store::memory::{Call, Fault};

use super::scene::{Daemon, Gate, LEASE, START, Scene, ended, rest, secs, wait_for};

/// Makes the first call of that step stand at a door.
fn hold_first(scene: &Scene, step: &'static str) -> Gate {
    let gate = Gate::default();
    let (door, world) = (gate.clone(), std::sync::Arc::downgrade(&scene.world));
    scene.world.play_slowly(step, move |seen| {
        let (door, world) = (door.clone(), world.upgrade().unwrap());
        Box::pin(async move {
            if world.calls(step).len() == 1 {
                door.pass().await;
            }
            world.usual(&seen)
        })
    });
    gate
}

/// Two daemons, the one that works on the run first.
async fn holder_and_other(scene: &Scene) -> (Daemon, Daemon) {
    let (a, b) = (scene.daemon("a"), scene.daemon("b"));
    rest().await;
    scene.start("k").await;
    let run = scene.until("k", |run| run.owner.is_some()).await;
    if run.owner.as_deref() == Some("a") { (a, b) } else { (b, a) }
}

#[tokio::test]
async fn a_daemon_that_can_t_keep_its_leases_is_followed_and_fenced() {
    let scene = Scene::new();
    let gate = hold_first(&scene, "report");
    let (holder, _other) = holder_and_other(&scene).await;
    wait_for("the step", || scene.world.calls("report").len() == 1).await;
    holder.store.on_call(|call| matches!(call, Call::Renew(..)).then_some(Fault::Unavailable));
    for _ in 0..LEASE.as_secs() {
        rest().await;
        assert_eq!(scene.world.calls("report").len(), 1, "the lease holds");
        scene.clock.advance(secs(1));
    }
    scene.at_rest("k", Status::Completed).await;
    let done = scene.run("k").await;
    gate.open();
    ended(holder.task).await.unwrap().unwrap_err();
    assert_eq!(scene.run("k").await, done, "the first came too late");
    assert_eq!(scene.story("k").await.last().unwrap(), "report reported done");
    assert_eq!(scene.world.calls("report").len(), 2);
}

#[tokio::test]
async fn leases_that_are_renewed_are_kept() {
    let scene = Scene::new();
    let gate = hold_first(&scene, "report");
    let (_holder, _other) = holder_and_other(&scene).await;
    for _ in 0..60 {
        rest().await;
        scene.clock.advance(secs(1));
    }
    assert_eq!(scene.world.calls("report").len(), 1);
    gate.open();
    scene.at_rest("k", Status::Completed).await;
    assert_eq!(scene.run("k").await.token, 1);
}

#[tokio::test]
async fn a_dead_daemon_s_run_is_taken_over_and_its_effect_looked_up() {
    let scene = Scene::new();
    let _gate = hold_first(&scene, "pay");
    let (holder, _other) = holder_and_other(&scene).await;
    wait_for("the effect", || scene.world.calls("pay").len() == 1).await;
    holder.kill().await;
    for _ in 0..20 {
        rest().await;
        scene.clock.advance(secs(1));
    }
    scene.at_rest("k", Status::Completed).await;
    let firsts: Vec<bool> = scene.world.calls("pay").iter().map(|seen| seen.first).collect();
    assert_eq!(firsts, [true, false, true], "looked up, found unsent, sent under a new intent");
    assert_eq!(scene.world.paid("k"), 1);
}

#[tokio::test]
async fn a_daemon_that_slept_past_its_leases_has_lost_them_also_to_itself() {
    let scene = Scene::new();
    let gate = hold_first(&scene, "intend");
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    wait_for("the step", || scene.world.calls("intend").len() == 1).await;
    scene.clock.advance(LEASE * 2);
    scene.at_rest("k", Status::Completed).await;
    gate.open();
    rest().await;
    assert_eq!(scene.story("k").await.len(), 4);
    assert_eq!(scene.world.paid("k"), 1);
}

#[tokio::test]
async fn no_step_is_begun_after_the_lease_has_ended() {
    let scene = Scene::new();
    let daemon = scene.daemon("a");
    let clock = scene.clock.clone();
    daemon.store.on_call(move |call| {
        if let Call::Commit(commit) = call
            && commit.step.as_ref().is_some_and(|step| step.step == "pay")
            && clock.now() == START
        {
            clock.advance(LEASE);
        }
        None
    });
    scene.start("k").await;
    scene.at_rest("k", Status::Completed).await;
    let firsts: Vec<bool> = scene.world.calls("pay").iter().map(|seen| seen.first).collect();
    assert_eq!(firsts, [false, true]);
}

#[tokio::test]
async fn a_successor_takes_the_runs_of_a_dead_daemon_at_once() {
    let scene = Scene::new();
    let _gate = hold_first(&scene, "intend");
    let daemon = scene.daemon("a");
    scene.start("k").await;
    wait_for("the step", || scene.world.calls("intend").len() == 1).await;
    daemon.kill().await;
    let _successor = scene.daemon("b");
    scene.at_rest("k", Status::Completed).await;
}
