//! Taking a real mostrod's database over.

use bondflow::engine::Store;

use super::Place;

fn with_mostrod() -> Place {
    let place = Place::new();
    std::fs::copy("tests/data/mostrod-0.20.2.db", place.file("mostro.db")).unwrap();
    place
}

#[tokio::test]
async fn a_mostrod_is_taken_over_once() {
    let place = with_mostrod();
    let plan = place.ctl(&["import", "mostro.db", "--plan"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(!place.file("bondflow.db").exists(), "a plan changes nothing");

    let taken = place.ctl(&["import", "mostro.db"]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert_eq!(taken.data, plan.data);
    let folder = place.folder.path().canonicalize().unwrap().display().to_string();
    let listed = taken.data.replace(&folder, "PLACE");
    let (before, after) = listed.split_once("not taken over").unwrap();
    assert_eq!(
        before,
        "\
taken over from PLACE/mostro.db
  bonds locked                    2           2000 sats
  orders in dispute               1         100000 sats
  trades with unpaid buyers       0              0 sats
  disputes                        1
  other users                     2
  payment hashes                  5
  solvers                         1
all bonds there
  bonds locked                    2           2000 sats
  bonds requested                 1           1000 sats
"
    );
    assert!(after.ends_with("requested 1000 sats: it is not locked\nleft out: 0\n"), "{after}");

    let again = place.ctl(&["import", "mostro.db", "-o", "json"]);
    let said: serde_json::Value = serde_json::from_str(&again.data).unwrap();
    assert_eq!((again.code, &said["imported"]), (Some(0), &"before".into()));
    assert_eq!(said["report"]["bonds_taken"]["locked"]["sats"], 2000);

    let daemon = place.daemon().await;
    let bonds = daemon.rows("bonds", "state", &"locked".into()).await.unwrap();
    assert_eq!(bonds.len(), 2);
}

#[tokio::test]
async fn nothing_is_taken_over_while_a_daemon_runs() {
    let place = with_mostrod();
    let daemon = place.daemon().await;
    let refused = place.ctl(&["import", "mostro.db"]);
    assert_eq!((refused.code, refused.data.as_str()), (Some(1), ""));
    assert!(refused.told.contains("another daemon runs on this database"), "{refused:?}");
    daemon.close().await;
    drop(daemon);
    assert_eq!(place.ctl(&["import", "mostro.db"]).code, Some(0));
}
