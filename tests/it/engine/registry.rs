//! Definitions and their Rust side.

use std::sync::Arc;

use bondflow::engine::store::{Commit, NewRun};
use bondflow::engine::{Bound, Definition, Registry, Status, UpgradeError};

use super::errand::{TEXT, World, steps};
use super::scene::{Scene, rest};

fn refusal(from: &str, to: &str) -> String {
    assert!(TEXT.contains(from), "the definition has no {from:?}");
    let definition = Definition::parse(&TEXT.replacen(from, to, 1)).unwrap();
    Bound::new(definition, steps(&Arc::new(World::default()))).err().expect("it is refused").to_string()
}

#[test]
fn steps_and_outcomes_are_the_same_on_both_sides() {
    let added = refusal("late = \"report\"", "late = \"report\"\nlost = \"report\"");
    assert!(added.ends_with("step `listen`: the Rust side has no outcome `lost`"), "{added}");
    let removed = refusal("on_and_on = \"listen\"\n", "");
    assert!(removed.ends_with("step `listen`: the Rust outcome `on_and_on` leads nowhere"), "{removed}");
}

#[test]
fn a_step_of_one_side_only_is_refused() {
    let more = "[step.ponder]\nkind = \"act\"\nabout = \"Thinks.\"\non = { thought = \"done\" }\n[end.done]";
    let text = TEXT.replacen("[end.done]", more, 1).replacen("reported = \"done\"", "reported = \"ponder\"", 1);
    let refused = Bound::new(Definition::parse(&text).unwrap(), steps(&Arc::new(World::default())));
    assert!(refused.err().unwrap().to_string().ends_with("step `ponder` has no Rust side"));

    let (head, tail) = TEXT.split_once("[step.report]").unwrap();
    let (_, ends) = tail.split_once("[end.done]").unwrap();
    let text = format!("{head}[end.done]{ends}").replace("\"report\"", "\"done\"");
    let refused = Bound::new(Definition::parse(&text).unwrap(), steps(&Arc::new(World::default())));
    assert!(refused.err().unwrap().to_string().ends_with("the Rust step `report` is not in it"));
}

#[tokio::test]
async fn a_database_with_runs_of_a_missing_definition_is_refused_by_name() {
    let scene = Scene::new();
    let mut registry = Registry::default();
    scene.start("k").await;
    let UpgradeError::Missing(missing) = registry.check(scene.store.as_ref()).await.unwrap_err() else {
        panic!("not the reason")
    };
    assert!(missing.starts_with("errand version 1 (") && missing.contains("1 runs"), "{missing}");
    registry.add(Arc::clone(&scene.bound));
    registry.check(scene.store.as_ref()).await.unwrap();

    let edited = Definition::parse(&TEXT.replace("Says so.", "Says it.")).unwrap();
    let mut registry = Registry::default();
    registry.add(Arc::new(Bound::new(edited, steps(&scene.world)).unwrap()));
    registry.check(scene.store.as_ref()).await.unwrap_err();
}

#[tokio::test]
async fn runs_that_ended_need_no_definition() {
    let scene = Scene::new();
    let daemon = scene.daemon("a");
    scene.start("k").await;
    scene.at_rest("k", Status::Completed).await;
    daemon.drain().await;
    Registry::default().check(scene.store.as_ref()).await.unwrap();
}

#[tokio::test]
async fn a_run_that_this_build_does_not_know_is_left_to_a_person() {
    let scene = Scene::new();
    let _daemon = scene.daemon("a");
    let mut run: NewRun = scene.new_run("k", &Default::default());
    run.pin.version = 2;
    scene.commit(Commit { starts: vec![run], ..Commit::default() }).await;
    let run = scene.at_rest("k", Status::Paused).await;
    assert_eq!(run.error.as_deref(), Some("this build has no version 2 of `errand`"));
    rest().await;
    assert!(scene.world.calls("prepare").is_empty());
}
