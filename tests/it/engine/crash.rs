//! What goes wrong at each single call of the store: the daemon dies there, or the database does
//! not answer. The run ends the same, and the effect happens once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bondflow::engine::Status;
use bondflow::store::memory::{Call, Fault};

use super::scene::{Scene, rest, secs};

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    Commits,
    AllCalls,
}

/// What came of one run with one fault.
struct Told {
    /// Whether there was a call of that number.
    fault_happened: bool,
    daemons: u32,
    story: Vec<String>,
}

/// Drives the five steps with a fault in call number `at`; a daemon that dies or gives up is
/// followed by the next one.
async fn with_fault(of: Of, at: usize, fault: Fault) -> Told {
    let what = format!("{fault:?} at {at} of {of:?}");
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    scene.start("k").await;
    scene.signal("k", "word", "hello").await;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut daemons = 0;
    'daemons: loop {
        daemons += 1;
        assert!(daemons <= 3, "{what}");
        let store = Arc::new(scene.store.reopen());
        let counter = Arc::clone(&calls);
        store.on_call(move |call| {
            let counts = of == Of::AllCalls || matches!(call, Call::Commit(_));
            (counts && counter.fetch_add(1, Ordering::Relaxed) == at).then_some(fault)
        });
        let daemon = scene.daemon_on(store, &format!("daemon {daemons}"), 8);
        for _ in 0..200 {
            rest().await;
            if scene.run("k").await.status.is_final() {
                break 'daemons;
            }
            if daemon.task.is_finished() {
                daemon.kill().await;
                continue 'daemons;
            }
            scene.clock.advance(secs(1));
        }
        panic!("{what}: stuck: {:?} {:?}", scene.run("k").await, scene.story("k").await);
    }
    let run = scene.run("k").await;
    assert_eq!((run.status, run.step.as_str()), (Status::Completed, "done"), "{what}");
    assert_eq!(run.state, r#"{"heard":["hello"],"deadline":null}"#, "{what}");
    assert_eq!((run.signals, run.heard), (1, 1), "{what}");
    assert_eq!(scene.world.paid("k"), 1, "{what}");
    let outbox = &scene.store.snapshot().dump()["outbox"];
    assert_eq!(outbox.len(), 1, "{what}");
    assert_eq!(outbox[0]["body"], "hello", "{what}");
    let story = scene.story("k").await;
    for once in ["prepare ready listen", "listen heard intend", "pay paid report", "report reported done"] {
        assert_eq!(story.iter().filter(|line| *line == once).count(), 1, "{what}: {story:?}");
    }
    let acts = scene.world.calls("pay").iter().filter(|seen| seen.first).count();
    let intents = story.iter().filter(|line| *line == "intend intended pay").count();
    assert!(acts <= intents, "{what}: one act for one intent at most");
    Told { fault_happened: calls.load(Ordering::Relaxed) > at, daemons, story }
}

/// The same fault at each call, until there is no call of that number.
async fn at_each(of: Of, fault: Fault) -> Vec<Told> {
    let mut all = vec![];
    for at in 0.. {
        let told = with_fault(of, at, fault).await;
        if !told.fault_happened {
            assert_eq!(told.daemons, 1);
            assert_eq!(told.story.len(), 5);
            break;
        }
        all.push(told);
    }
    let least = if of == Of::Commits { 5 } else { 10 };
    assert!(all.len() >= least, "only {} calls", all.len());
    all
}

#[tokio::test]
async fn a_crash_before_any_call_is_survived() {
    at_each(Of::AllCalls, Fault::Crash { applied: false }).await;
}

#[tokio::test]
async fn a_crash_after_any_call_is_survived() {
    at_each(Of::AllCalls, Fault::Crash { applied: true }).await;
}

#[tokio::test]
async fn a_crash_at_a_commit_needs_one_more_daemon_and_may_need_one_more_intent() {
    for applied in [true, false] {
        let told = at_each(Of::Commits, Fault::Crash { applied }).await;
        assert!(told[..4].iter().all(|told| told.daemons == 2));
        let again: Vec<bool> = told.iter().map(|told| told.story.contains(&"pay not_paid intend".to_owned())).collect();
        // Only a daemon that dies between the intent's commit and the effect leaves an intent that
        // nobody acted on.
        assert_eq!(again, [false, false, applied, false, false]);
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_read_again_and_never_applied_again() {
    for applied in [true, false] {
        let told = at_each(Of::Commits, Fault::Unknown { applied }).await;
        assert!(told.iter().all(|told| told.daemons == 1));
    }
}

#[tokio::test]
async fn a_database_that_can_t_write_for_a_moment_holds_no_run_up_for_ever() {
    let told = at_each(Of::Commits, Fault::Unavailable).await;
    assert!(told.iter().all(|told| told.daemons == 1 && told.story.len() <= 7));
}

#[tokio::test]
async fn a_database_that_fails_in_any_call_is_survived() {
    at_each(Of::AllCalls, Fault::Unavailable).await;
}

#[tokio::test]
async fn a_daemon_that_ends_lets_go_of_a_run_that_can_t_be_committed() {
    let scene = Scene::new();
    let daemon = scene.daemon("a");
    daemon.store.on_call(|call| matches!(call, Call::Commit(_)).then_some(Fault::Unavailable));
    scene.start("k").await;
    super::scene::wait_for("the step", || !scene.world.calls("prepare").is_empty()).await;
    daemon.stop.send_replace(true);
    super::scene::ended(daemon.task).await.unwrap().unwrap();
    assert_eq!(scene.run("k").await.revision, 0);
}

#[tokio::test]
async fn a_commit_that_goes_on_conflicting_is_put_off() {
    use bondflow::engine::store::Guard;
    let scene = Scene::new();
    let other = scene.id("other");
    scene.world.write("intend", move |tx| tx.effects.guards.push(Guard::NoRun { run: other.clone() }));
    scene.world.play("prepare", |seen| Ok(if seen.key == "other" { "ready" } else { "no_need" }));
    let _daemon = scene.daemon("a");
    scene.start("other").await;
    scene.at_rest("other", Status::Waiting).await;
    scene.start("k").await;
    rest().await;
    let before = scene.world.calls("intend").len();
    assert!((2..20).contains(&before), "{before}");
    scene.world.write("intend", |_| {});
    scene.clock.advance(secs(5));
    scene.at_rest("k", Status::Completed).await;
}
