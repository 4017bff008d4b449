//! What the commands write and come to, over a store in memory and a clock that stands still; word for word in
//! [`goldens`], on real databases.

mod goldens;
mod world;

use std::sync::Arc;

use bondflow::engine::{RunId, Status};
use bondflow::payout::tables::TABLES;
use bondflow::payout::{bond_payout, trade_payout};
use bondflow::store::memory::MemoryStore;
use clap::Parser;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::{Format, Output};
use crate::{Cli, Command};

use world::{BOND, ORDER, Paper, World};

impl World {
    async fn new() -> Self {
        Self::small(Arc::new(MemoryStore::new(TABLES))).await
    }

    /// Runs a command on the store, beside no daemon.
    async fn ctl(&self, line: &str) -> (String, Result<(), Failure>) {
        let cli = Cli::try_parse_from(std::iter::once("workflowctl").chain(line.split_whitespace())).unwrap();
        let (data, told) = (Paper::default(), Paper::default());
        let mut desk = Desk {
            store: self.store.clone(),
            clock: Arc::new(self.clock.clone()),
            output: Output::to(cli.output, Box::new(data.clone()), Box::new(told)),
            input: Input::of("", false),
            daemon: None,
            window_days: Some(15),
            operator: "alice".to_owned(),
        };
        let done = cli.command.on(&mut desk).await;
        (data.text(), done)
    }

    async fn says(&self, line: &str) -> String {
        let (said, done) = self.ctl(line).await;
        done.unwrap();
        said
    }
}

#[tokio::test]
async fn list_shows_what_is_open() {
    let world = World::new().await;
    assert_eq!(
        world.says("list").await,
        "\
ID            BOND                                        STATUS   STEP           ATTEMPT  AGE    NEXT WAKE  SATS AT RISK  LAST ERROR
52be7597ce87  order 34d272ca-11aa-473b-9425-be3bb6739e3b  running  review         0        1m00s  now        99000         -
1da607d8df2c  5a6a786d-88f2-4f42-9b92-efba8f2bf994        waiting  await_invoice  0        2h00m  now        500           -
"
    );
}

#[tokio::test]
async fn list_sifts() {
    let world = World::new().await;
    let payout = format!("{}\n", RunId::of(bond_payout::NAME, BOND));
    let trade = format!("{}\n", RunId::of(trade_payout::NAME, ORDER));
    let both = format!("{trade}{payout}");
    for (line, expected) in [
        ("list -o ids", &both),
        ("list -o ids --since 1h", &trade),
        ("list -o ids --status waiting", &payout),
        ("list -o ids --workflow trade_payout", &trade),
        ("list -o ids --step await_invoice", &payout),
        ("list -o ids --order 34D2", &both),
        ("list -o ids --order 34d2 --limit 1", &trade),
        ("list -o ids --limit 0", &both),
        ("list -o ids --stuck", &payout),
        ("list -o ids --in-doubt", &String::new()),
    ] {
        assert_eq!(&world.says(line).await, expected, "{line}");
    }
    world.go(trade_payout::NAME, ORDER, "pay", Status::InDoubt, Some(60), Some("no answer")).await;
    assert_eq!(world.says("list -o ids --in-doubt").await, trade);
    world.go(bond_payout::NAME, BOND, "slashed", Status::Completed, None, None).await;
    assert_eq!(world.says("list -o ids").await, trade);
    assert_eq!(world.says("list -o ids --all").await, both);
    assert_eq!(world.says("list -o ids --status completed").await, payout);
    let json: Value = serde_json::from_str(&world.says("list --status completed -o json").await).unwrap();
    assert_eq!((&json[0]["bond"], &json[0]["sats_at_risk"]), (&json!(BOND), &json!(0)), "nothing is owed any more");
}

#[tokio::test]
async fn a_request_is_put_into_the_mailbox_with_who_and_why() {
    let world = World::new().await;
    let id = RunId::of(bond_payout::NAME, BOND);
    let said = world.says("pause 5a6a -o ids --reason called").await;
    assert_eq!(said, format!("{id}\n"));
    let run = world.run(&id).await;
    let mail = world.store.mailbox(run.seq).await.unwrap();
    assert_eq!((mail.len(), mail[0].name.as_str()), (1, "@pause"));
    let asked: Value = serde_json::from_str(&mail[0].payload).unwrap();
    assert_eq!(asked["by"], "alice");
    assert_eq!(
        (&asked["reason"], &asked["request"], &asked["force"]),
        (&json!("called"), &json!("pause"), &json!(false))
    );
    assert_eq!(run.status, Status::Waiting, "only the daemon changes a run");

    let (_, partly) = world.ctl("resume 5a6a ffff").await;
    assert_eq!(partly.unwrap_err().code(), 3);
    for line in ["resume ffff", "show ffff", "why ffff", "history ffff", "graph ffff", "resume ffff fffe"] {
        let (said, missing) = world.ctl(line).await;
        assert_eq!((said.as_str(), missing.unwrap_err().code()), ("", 4), "{line}");
    }
    assert_eq!(world.ctl("show 5a").await.1.unwrap_err().code(), 2);
}

#[tokio::test]
async fn a_payment_in_doubt_is_not_stopped_and_what_has_ended_is_not_asked() {
    let world = World::new().await;
    world.go(bond_payout::NAME, BOND, "pay", Status::InDoubt, Some(60), Some("no answer")).await;
    for line in ["pause 5a6a", "cancel 5a6a"] {
        let refused = world.ctl(line).await.1.unwrap_err();
        assert!(refused.code() == 1 && refused.to_string().contains("in doubt"), "{refused}");
    }
    world.says("resume 5a6a").await;
    let why = world.says("why 5a6a").await;
    assert!(why.contains("never sent again") && why.contains("Last error: no answer"), "{why}");
    world.go(trade_payout::NAME, ORDER, "paid", Status::Completed, None, None).await;
    let refused = world.ctl(&format!("resume {}", RunId::of(trade_payout::NAME, ORDER))).await.1.unwrap_err();
    assert!(refused.to_string().contains("has ended"), "{refused}");
}

#[tokio::test]
async fn show_tells_all_without_secrets() {
    let world = World::new().await;
    let said = world.says("show 5a6a").await;
    for line in [
        "status        waiting since 2024-11-23T09:26:40Z (2h00m ago)",
        "waiting on    the signal invoice, or its timer",
        "deadline      2024-12-08T09:26:40Z (in 14d22h)",
        "sats at risk  500",
        "lease         nobody's",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let shown = crate::output::masked(
        json!({ "paid": { "preimage": "5ec2e7", "hash": "aa" }, "list": [{ "payout_preimage": "5ec2e7" }] }),
    );
    assert_eq!(shown, json!({ "paid": { "preimage": "***", "hash": "aa" }, "list": [{ "payout_preimage": "***" }] }));
}

#[tokio::test]
async fn history_graph_and_stats() {
    let world = World::new().await;
    assert_eq!(
        world.says("history 5a6a").await,
        "\
REVISION  AT                        STEP    ATTEMPT  OUTCOME  TO             STATUS   DETAIL
1         2024-11-23T09:26:40.000Z  settle  0        claimed  await_invoice  waiting  -
"
    );
    assert!(world.says("graph 5a6a").await.contains("> await_invoice (wait)"));
    assert!(world.says("graph 5a6a --as mermaid").await.contains("class await_invoice here"));
    assert_eq!(
        world.says("stats").await,
        "\
WORKFLOW      STATUS   STEP           RUNS  OLDEST
bond_payout   waiting  await_invoice  1     2h00m
trade_payout  running  review         1     1m00s

sats at risk: 99500 (shares of bonds 500, trades 99000)
"
    );
    // One order has two runs.
    let ambiguous = world.store.runs(&bondflow::engine::store::RunFilter::default()).await.unwrap();
    assert_eq!(ambiguous.len(), 2);
}

#[tokio::test]
async fn a_followed_history_ends_with_its_run() {
    let world = World::new().await;
    world.go(bond_payout::NAME, BOND, "slashed", Status::Completed, None, None).await;
    let said = world.says("history 5a6a --follow -o jsonl").await;
    assert_eq!(said.lines().count(), 2);
    assert_eq!(world.ctl("history 5a6a --follow -o json").await.1.unwrap_err().code(), 2);
}

#[test]
fn every_command_has_help_with_an_example() {
    let cli = <Cli as clap::CommandFactory>::command();
    cli.clone().debug_assert();
    for command in cli.get_subcommands() {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains(&format!("workflowctl {}", command.get_name())), "{}", command.get_name());
    }
    assert!(matches!(Cli::try_parse_from(["workflowctl", "list"]).unwrap().command, Command::List(_)));
    assert_eq!(Cli::try_parse_from(["workflowctl", "list"]).unwrap().output, Format::Table);
}
