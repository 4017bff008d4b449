//! Reading and asking, with the daemon up or down.

use bondflow::engine::Store;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;

use super::{Place, release};

const ONE: &str = "11111111-0000-4000-8000-000000000000";
const TWO: &str = "22222222-0000-4000-8000-000000000000";

#[tokio::test]
async fn data_goes_to_stdout_and_the_rest_to_stderr() {
    let place = Place::with_runs(&[ONE, TWO]).await;
    let listed = place.ctl(&["list", "-o", "ids"]);
    assert_eq!((listed.code, listed.told.as_str()), (Some(0), ""));
    assert_eq!(listed.data, format!("{}\n{}\n", release(TWO), release(ONE)));
    let none = place.ctl(&["list", "--status", "paused"]);
    assert_eq!((none.code, none.told.as_str()), (Some(0), "no runs\n"));
    assert_eq!(none.data.lines().count(), 1, "the headings");
}

#[tokio::test]
async fn exit_codes_tell_what_came_of_it() {
    let place = Place::with_runs(&[ONE]).await;
    for (args, code, told) in [
        (&["show", "1111"][..], 0, ""),
        (&["show", "9999"], 4, "workflowctl: no run's, bond's or order's id begins with `9999`: see `list --all`\n"),
        (&["resume", "1111", "9999"], 3, "workflowctl: 1 of 2 done\n"),
        (&["show", "1"], 2, "workflowctl: `1` is too short for an id, write 3 characters or more\n"),
        (&["list", "--status", "asleep"], 2, "one of running, waiting"),
        (&["list", "--since", "yesterday"], 2, "write 90m, 12h, 3d"),
        (&["dance"], 2, "unrecognized subcommand"),
    ] {
        let answer = place.ctl(args);
        assert_eq!(answer.code, Some(code), "{args:?}: {answer:?}");
        assert!(answer.told.contains(told), "{args:?}: {answer:?}");
    }
    let missing = Place::new().ctl(&["list"]);
    assert_eq!((missing.code, missing.told.lines().count()), (Some(1), 1), "{missing:?}");
}

#[tokio::test]
async fn requests_from_stdin_are_stored_and_the_daemon_is_woken() {
    let place = Place::with_runs(&[ONE, TWO]).await;
    let daemon = place.daemon().await;
    let socket = UnixListener::bind(place.file("bondflow.db.sock")).unwrap();
    let woken = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        BufReader::new(stream).lines().next_line().await.unwrap()
    });
    let asked = tokio::task::spawn_blocking(move || {
        let args = ["resume", "-", "--no-wait", "--reason", "lnd is back", "-o", "ids"];
        (place.ctl_fed(&args, "1111\n2222\n"), place)
    });
    let (asked, _place) = asked.await.unwrap();
    assert_eq!((asked.code, asked.told.as_str()), (Some(0), ""));
    assert_eq!(asked.data, format!("{}\n{}\n", release(ONE), release(TWO)));
    assert_eq!(woken.await.unwrap().as_deref(), Some("wake"));
    for key in [ONE, TWO] {
        let run = daemon.run(&release(key)).await.unwrap().unwrap();
        let mail = daemon.mailbox(run.seq).await.unwrap();
        assert_eq!(mail[0].name, "@resume");
        let asked: serde_json::Value = serde_json::from_str(&mail[0].payload).unwrap();
        assert_eq!((&asked["by"], &asked["reason"]), (&"alice".into(), &"lnd is back".into()));
    }
}

#[test]
fn a_workflow_is_drawn_without_a_database() {
    let drawn = Place::new().ctl(&["graph", "bond_release", "--as", "mermaid"]);
    assert_eq!(drawn.code, Some(0), "{drawn:?}");
    assert_eq!(
        drawn.data,
        "flowchart TD\n    cancel[\"cancel\"]\n    released[[\"released\"]]\n    cancel -->|\"given_back\"| released\n"
    );
}
