//! What the daemon shows of itself: `/metrics`, `/healthz` and `/readyz`.

use std::net::SocketAddr;

use bondflow::app::Daemon;
use mostro_core::message::Action;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process::Process;
use super::world::{Setup, World};
use crate::prometheus::Page;

fn listening(at: &str) -> Setup {
    Setup { settings: vec![("http", format!("listen = '{at}'"))], ..Setup::default() }
}

/// The status and the body of an answer.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if path == "/metrics" {
        assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    }
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn page(address: SocketAddr) -> Page {
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    Page::read(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

async fn ready(address: SocketAddr) -> (u16, Value) {
    let (status, body) = get(address, "/readyz").await;
    (status, serde_json::from_str(&body).unwrap())
}

/// Waits until exactly these are away.
async fn away(world: &World, address: SocketAddr, names: &[&str]) {
    world
        .until(|| async {
            let (status, report) = ready(address).await;
            let away: Vec<&str> =
                ["database", "lnd", "relays"].into_iter().filter(|name| report[name] != "ok").collect();
            let right = away == names && status == if names.is_empty() { 200 } else { 503 };
            right.then_some(()).ok_or_else(|| format!("{status} {report}"))
        })
        .await;
}

fn address(world: &mut World) -> SocketAddr {
    Daemon::http_address(world.daemon()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_tell_of_a_payout() {
    let mut world = World::new(listening("127.0.0.1:0")).await;
    let address = address(&mut world);
    let before = page(address).await;
    assert_eq!(before.get("bondflow_runs_in_doubt"), Some(0.0));
    assert_eq!(before.get("bondflow_at_risk_sats{owed_for=\"bonds\"}"), Some(0.0));
    assert_eq!(before.get("bondflow_oldest_waiting_run_seconds"), Some(0.0));
    assert_eq!(before.get("bondflow_held"), Some(0.0));

    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    world.clock.advance(std::time::Duration::from_secs(40));
    let asked = page(address).await;
    let waiting = "bondflow_runs{workflow=\"bond_payout\",status=\"waiting\",step=\"await_invoice\"}";
    assert_eq!(asked.get(waiting), Some(1.0));
    assert_eq!(asked.get("bondflow_at_risk_sats{owed_for=\"bonds\"}"), Some(500.0));
    assert!(asked.get("bondflow_oldest_waiting_run_seconds").unwrap() >= 40.0);

    let (bolt11, _) = world.invoice(500);
    world.answer(&world.seller, &bolt11).await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    world
        .until(|| async {
            let depth = page(address).await.get("bondflow_outbox_messages");
            (depth == Some(0.0)).then_some(()).ok_or_else(|| format!("{depth:?} messages"))
        })
        .await;
    let paid = page(address).await;
    for (step, outcome) in
        [("settle", "claimed"), ("await_invoice", "accepted"), ("pay", "paid"), ("finalize", "paid_out")]
    {
        let of_step = format!("workflow=\"bond_payout\",step=\"{step}\"");
        let series = format!("bondflow_transitions_total{{{of_step},outcome=\"{outcome}\"}}");
        assert_eq!(paid.get(&series), Some(1.0), "{series}");
        let seconds = paid.get(&format!("bondflow_step_seconds_count{{{of_step}}}"));
        assert!(seconds >= Some(1.0), "{step}: {seconds:?}");
    }
    assert_eq!(paid.get(waiting), None);
    assert_eq!(paid.get("bondflow_at_risk_sats{owed_for=\"bonds\"}"), Some(0.0));
    assert_eq!(paid.get("bondflow_outbox_oldest_message_seconds"), Some(0.0));
    assert_eq!(paid.get("bondflow_relays_connected"), Some(1.0));
    for series in ["bondflow_commit_seconds_count", "bondflow_commit_batch_size_count"] {
        assert!(paid.get(series) > before.get(series), "{series}");
    }
    assert_eq!(paid.get("bondflow_alarms_total{kind=\"lnd-unavailable\"}"), None);
    world.stop().await;
    TcpStream::connect(address).await.unwrap_err();
}

/// No text of the pages names a run, a bond, a key or an invoice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_away_is_named_and_nothing_else_is_told() {
    let mut world = World::new(Setup { more_relays: 2, ..listening("127.0.0.1:0") }).await;
    let address = address(&mut world);
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".to_owned()));
    away(&world, address, &[]).await;

    world.lnd.stop().await;
    away(&world, address, &["lnd"]).await;
    assert_eq!(page(address).await.get("bondflow_up{dependency=\"lnd\"}"), Some(0.0));
    world.rule(Action::AdminCancel, false, true).await;
    world
        .until(|| async {
            let page = page(address).await;
            let retried = page.get("bondflow_step_retries_total{workflow=\"bond_payout\",step=\"settle\"}");
            let alarmed = page.get("bondflow_alarms_total{kind=\"lnd-unavailable\"}");
            (retried >= Some(1.0) && alarmed >= Some(1.0))
                .then_some(())
                .ok_or_else(|| format!("{retried:?} {alarmed:?}"))
        })
        .await;
    crate::monitoring::names_only_what_is_on(&page(address).await);
    let told = get(address, "/metrics").await.1 + &get(address, "/readyz").await.1;
    for secret in [world.taker_bond(), world.trade.order.to_string(), world.node.public_key().to_hex()] {
        assert!(!told.contains(&secret), "{told}");
    }

    // A quorum of three is two.
    world.relay.shut().await;
    away(&world, address, &["lnd"]).await;
    world.more_relays[0].shut().await;
    away(&world, address, &["lnd", "relays"]).await;
    assert_eq!(get(address, "/healthz").await.0, 200, "it lives");
    world.lnd.restart().await.unwrap();
    world.relay.open().await.unwrap();
    away(&world, address, &[]).await;

    world.store().close().await;
    away(&world, address, &["database"]).await;
    let page = page(address).await;
    assert_eq!(page.get("bondflow_up{dependency=\"database\"}"), Some(0.0));
    assert_eq!(page.get("bondflow_runs_in_doubt"), None, "no figure is better than a wrong one");
    assert_eq!(get(address, "/other").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_waits_for_lnd_says_so() {
    let world = World::without_daemon(Setup { real_time: true, ..listening("127.0.0.1:0") }).await;
    world.lnd.stop().await;
    let process = Process::spawn(&world.settings_file(), "info");
    let told = process.tells("metrics and health are at http://").await;
    let address = told.rsplit_once("http://").unwrap().1.parse().unwrap();
    process.tells("waiting for lnd").await;
    assert_eq!(get(address, "/healthz").await.0, 200);
    let (status, report) = ready(address).await;
    assert_eq!(
        (status, report["database"].as_str(), report["relays"].as_str()),
        (503, Some("ok"), Some("not connected yet"))
    );
    assert_ne!(report["lnd"], "ok");
    world.lnd.restart().await.unwrap();
    away(&world, address, &[]).await;
    process.stop(super::world::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_whose_address_is_taken_works_unwatched_and_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let world = World::without_daemon(Setup { real_time: true, ..listening(&address.to_string()) }).await;
    let process = Process::spawn(&world.settings_file(), "info");
    process.tells(&format!("metrics and health are not served: `http.listen`: can't listen on {address}")).await;
    process.tells("bondflowd works").await;
    process.stop(super::world::PATIENCE).await;
}
