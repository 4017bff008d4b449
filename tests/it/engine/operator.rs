//! What an operator asks of a run.

use bondflow::engine::operator::{Request, Word};
use bondflow::engine::{Retirement, Status, StepError, Timestamp};
use serde_json::json;

use bondflow::engine::Store as _;

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
        scene.request("k", request.clone()).await;
        wait_for("another look", || scene.world.calls("pay").len() > before).await;
        scene.at_rest("k", Status::InDoubt).await;
    }
    assert_eq!(
        scene.details("k").await.iter().filter(|line| line.contains("refused: an effect is in doubt")).count(),
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
    scene.request_named("k", "@dance", r#"{"by":"ann","request":"dance"}"#).await;
    rest().await;
    let run = scene.at_rest("k", Status::Waiting).await;
    assert!(!run.has_mail());
    let refused = "refused this build does not know the request";
    assert_eq!(scene.audit("k").await, [format!("dance {refused}")]);
}

#[tokio::test]
async fn who_insists_stops_an_effect_in_doubt() {
    for (request, status) in [(Request::Pause, Status::Paused), (Request::Cancel, Status::Canceled)] {
        let scene = Scene::new();
        scene.world.play("pay", |_| Err(StepError::doubt("no answer")));
        let _daemon = scene.daemon("a");
        scene.start("k").await;
        scene.at_rest("k", Status::InDoubt).await;
        scene.insist("k", request, true).await;
        scene.at_rest("k", status).await;
        assert!(scene.audit("k").await[0].contains(" applied "));
        assert_eq!(scene.world.calls("pay").iter().filter(|seen| seen.first).count(), 1);
    }
}

#[tokio::test]
async fn a_run_goes_on_from_the_step_that_an_operator_chose() {
    let scene = Scene::new();
    scene.world.play("report", |_| Err(StepError::pause("strange", "look at this")));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Paused).await;
    scene.world.play("prepare", |_| Ok("ready"));
    scene.request("k", Request::Retry { from: "prepare".into() }).await;
    let run = scene.at_rest("k", Status::Waiting).await;
    assert_eq!((run.step.as_str(), run.error), ("listen", None));
    assert!(run.state.contains("from prepare"), "the state is the rule's: {}", run.state);
    assert_eq!(scene.audit("k").await, ["retry applied goes on from prepare"]);
    assert!(scene.story("k").await.contains(&"report @retry prepare".to_owned()));
}

#[tokio::test]
async fn a_retry_that_makes_no_sense_changes_nothing() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    for from in ["pay", "dance", "done"] {
        scene.request("k", Request::Retry { from: from.into() }).await;
        scene.until("k", |run| !run.has_mail() && run.owner.is_none()).await;
    }
    assert_eq!(
        scene.audit("k").await,
        [
            "retry refused `pay` has an effect that can't be repeated: only the commit of its intent leads there",
            "retry refused `errand` has no step `dance`, it has prepare, listen, intend, report",
            "retry refused `errand` has no step `done`, it has prepare, listen, intend, report",
        ]
    );
    let state = serde_json::to_string(&super::errand::Errand { heard: vec!["never".into()], deadline: None }).unwrap();
    scene.start_with("never", &serde_json::from_str(&state).unwrap()).await;
    scene.at_rest("never", Status::Waiting).await;
    scene.request("never", Request::Retry { from: "prepare".into() }).await;
    scene.until("never", |run| !run.has_mail() && run.owner.is_none()).await;
    assert_eq!(scene.audit("never").await, ["retry refused never has heard never"], "the workflow's rule decides");
}

#[tokio::test]
async fn a_word_ends_an_effect_in_doubt() {
    for (word, outcome, paid) in [
        (Word::Happened { evidence: "a receipt".into() }, "pay paid report", 0),
        (Word::DidNot, "pay not_paid intend", 1),
    ] {
        let scene = Scene::new();
        scene.world.play("pay", |_| Err(StepError::doubt("no answer")));
        let _daemon = scene.daemon("a");
        scene.start("k").await;
        scene.at_rest("k", Status::InDoubt).await;
        scene.request("k", Request::Resolve { word: Word::Happened { evidence: "a tale".into() } }).await;
        scene.until("k", |run| run.status == Status::InDoubt && !run.has_mail() && run.owner.is_none()).await;
        assert_eq!(scene.audit("k").await, ["resolve refused that is no receipt"]);
        scene.world.play("pay", {
            let world = std::sync::Arc::clone(&scene.world);
            move |seen| world.usual(&seen)
        });
        scene.request("k", Request::Resolve { word }).await;
        scene.at_rest("k", Status::Completed).await;
        assert!(scene.story("k").await.contains(&outcome.to_owned()), "{:?}", scene.story("k").await);
        assert_eq!(scene.world.paid("k"), paid);
        assert!(scene.details("k").await.contains(&BY.to_owned()));
    }
}

#[tokio::test]
async fn nobodys_word_is_taken_where_nothing_is_in_doubt() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.request("k", Request::Resolve { word: Word::DidNot }).await;
    scene.until("k", |run| !run.has_mail() && run.owner.is_none()).await;
    assert_eq!(scene.audit("k").await, ["resolve refused no effect is in doubt at `listen`"]);
}

#[tokio::test]
async fn an_operators_signal_is_taken_by_the_step_that_waits_for_it() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    let signal = |name: &str| Request::Signal { name: name.into(), payload: json!("hello") };
    scene.request("k", signal("shout")).await;
    scene.until("k", |run| !run.has_mail() && run.owner.is_none()).await;
    scene.request("k", signal("word")).await;
    let run = scene.at_rest("k", Status::Completed).await;
    assert!(run.state.contains("hello"), "{}", run.state);
    assert_eq!(
        scene.audit("k").await,
        [
            "signal refused no step of `errand` takes a signal `shout`: it takes word",
            "signal applied `listen` takes the signal `word`",
        ]
    );
}

#[tokio::test]
async fn a_run_that_has_ended_answers_what_is_so() {
    let scene = Scene::new();
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Completed).await;
    let before = scene.run("k").await;
    for request in [Request::Resume, Request::Cancel, Request::Resolve { word: Word::DidNot }] {
        scene.request("k", request).await;
    }
    scene.request("k", Request::Signal { name: "word".into(), payload: json!("hello") }).await;
    let run = scene.until("k", |run| !run.has_mail() && run.owner.is_none()).await;
    assert_eq!((run.status, run.step, run.state, run.due_at), (before.status, before.step, before.state, None));
    let audit = scene.audit("k").await;
    assert_eq!(audit[0], "resume refused it has ended (completed at `done`)");
    assert_eq!(audit[3], "signal refused it does not wait at `listen`: it is completed at `done`");
    assert_eq!(audit.len(), 4);
}

#[tokio::test]
async fn a_retired_run_refuses_everything() {
    let scene = Scene::new();
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    let ended = scene.at_rest("k", Status::Completed).await;
    let retirement = Retirement { seq: ended.seq, revision: ended.revision, keeps: "{}".into() };
    assert_eq!(scene.store.retire(vec![retirement], super::scene::START).await.unwrap(), 1);
    scene.request("k", Request::Resume).await;
    scene.request("k", Request::Signal { name: "word".into(), payload: json!("hello") }).await;
    let run = scene.until("k", |run| !run.has_mail() && run.owner.is_none()).await;
    assert_eq!((run.status, run.state.as_str(), run.due_at), (Status::Completed, "{}", None));
    let refused = "refused it has ended (completed at `done`) and is retired: what it knew is gone";
    assert_eq!(scene.audit("k").await, [format!("resume {refused}"), format!("signal {refused}")]);
}

#[tokio::test]
async fn a_request_that_races_the_end_is_answered() {
    let scene = Scene::new();
    let gate = Gate::default();
    let door = gate.clone();
    scene.world.play_slowly("report", move |_| {
        let door = door.clone();
        Box::pin(async move {
            door.pass().await;
            Ok("reported")
        })
    });
    let daemon = scene.daemon("a");
    scene.start("k").await;
    wait_for("the step", || !scene.world.calls("report").is_empty()).await;
    scene.request("k", Request::Pause).await;
    gate.open();
    scene.until("k", |run| run.status == Status::Completed && !run.has_mail() && run.owner.is_none()).await;
    assert_eq!(scene.audit("k").await, ["pause refused it has ended (completed at `done`)"]);

    // Also when the daemon dies over it.
    daemon.kill().await;
    scene.request("k", Request::Resume).await;
    scene.store.claim("a dead one", super::scene::START, super::scene::START, 1).await.unwrap();
    let _daemon = scene.daemon("b");
    scene.until("k", |run| !run.has_mail() && run.owner.is_none()).await;
    assert_eq!(scene.audit("k").await.len(), 2);
}

#[tokio::test]
async fn what_lies_in_the_mailbox_is_answered_when_the_run_is_ended() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Waiting).await;
    scene.request("k", Request::Pause).await;
    scene.at_rest("k", Status::Paused).await;
    scene.signal("k", "word", "hello").await;
    scene.signal("k", "word", "is anybody there").await;
    scene.request("k", Request::Cancel).await;
    scene.at_rest("k", Status::Canceled).await;
    assert!(scene.mail("k").await.is_empty());
    let answers = scene.store.outbox_due(Timestamp(i64::MAX), 10).await.unwrap();
    let said: Vec<_> =
        answers.iter().map(|entry| (entry.message.topic.as_str(), entry.message.body.as_str())).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|(topic, _)| topic.starts_with("sorry")), "{said:?}");
    assert!(said[0].1.contains("hello") && said[1].1.contains("is anybody there"), "{said:?}");
}

#[tokio::test]
async fn a_workflow_may_want_somebody_to_insist_on_the_end() {
    let scene = Scene::new();
    scene.world.play("prepare", |_| Ok("ready"));
    let _daemon = scene.daemon("a");
    for (key, heard) in [("hot", "hot"), ("strange", "strange")] {
        scene.start_with(key, &super::errand::Errand { heard: vec![heard.into()], deadline: None }).await;
        scene.at_rest(key, Status::Waiting).await;
        scene.request(key, Request::Cancel).await;
    }
    // What can't be judged can be got rid of.
    scene.at_rest("strange", Status::Canceled).await;
    assert!(scene.audit("strange").await[0].contains("nothing else was written: strange has heard something strange"));
    scene.until("hot", |run| !run.has_mail() && run.owner.is_none()).await;
    assert_eq!(scene.audit("hot").await, ["cancel refused it is hot: it can be ended by force with a reason"]);
    scene.insist("hot", Request::Cancel, true).await;
    scene.at_rest("hot", Status::Canceled).await;
}
