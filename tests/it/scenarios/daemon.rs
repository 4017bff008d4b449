//! The daemon's process from outside: what it refuses to start with, how it stops, and what it
//! reads again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bondflow::config::Settings;
use bondflow::engine::{Clock, Status, SystemClock};
use bondflow::payout::tables::USERS;
use bondflow::sandbox::lnd::{Behaviour, StandIn, StandInOptions};
use mostro_core::message::Action;

use super::process::{Process, refusal};
use super::world::{Setup, World};

/// A good while for a process to end in good order.
const SOON: Duration = Duration::from_secs(5);

async fn world() -> World {
    let mut world = World::without_daemon(Setup { real_time: true, ..Setup::default() }).await;
    world.look().await;
    world
}

/// A settings file with another text.
fn settings(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The world's settings with one thing replaced by another.
fn with(world: &World, name: &str, from: &str, to: &str) -> PathBuf {
    let text = world.settings_text();
    assert!(text.contains(from), "{text}");
    settings(world, name, &text.replace(from, to))
}

async fn refused(settings: &Path, because: &str) {
    let line = refusal(settings).await;
    assert!(line.contains(because), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_are_refused_in_one_line() {
    let world = world().await;
    refused(&world.folder.path().join("none.toml"), "none.toml").await;
    refused(
        &with(&world, "a.toml", "slash_node_share_pct = 0.5", "slash_node_share_pct = 1.5"),
        "slash_node_share_pct",
    )
    .await;
    refused(&with(&world, "b.toml", "enabled = true", "enable = true"), "enable").await;
    refused(&with(&world, "c.toml", "https://", "http://"), "lnd_grpc_host").await;
    refused(&settings(&world, "d.toml", "this is no TOML"), "d.toml").await;
    let open = with(&world, "e.toml", "enabled = true", "enabled = true");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&open, "chmod").await;
    // The file holds the node's key, so that it may hold a password, too.
    refused(&with(&world, "f.toml", &world.database_url(), "postgres://u:pw@127.0.0.1:1/bondflow"), "no connection")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_certificate_or_macaroon_is_refused_in_one_line() {
    let world = world().await;
    for (at, file) in [("first", world.lnd.cert_path()), ("second", world.lnd.macaroon_path())] {
        let missing = format!("{}-missing", file.display());
        let path = with(&world, &format!("{at}.toml"), &file.display().to_string(), &missing);
        refused(&path, &missing).await;
        let empty = world.folder.path().join(format!("{at}-empty"));
        fs::write(&empty, "").unwrap();
        let path = with(&world, &format!("{at}.toml"), &file.display().to_string(), &empty.display().to_string());
        refused(&path, &empty.display().to_string()).await;
    }
    // Also where lnd is known from before.
    Process::start(&world).await.stop(SOON).await;
    let certificate = world.lnd.cert_path().display().to_string();
    refused(&with(&world, "known.toml", &certificate, "/nowhere/tls.cert"), "/nowhere/tls.cert").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_its_own_is_refused_in_one_line() {
    let world = world().await;
    let path = world.settings_file();
    let first = Process::start(&world).await;
    refused(&path, "another daemon runs on this database").await;
    first.stop(SOON).await;

    let own = world.database().display().to_string();
    let folder = world.folder.path();
    fs::write(folder.join("text.db"), "certainly no database, but text that is long enough").unwrap();
    for (name, because) in [
        ("mostro.db", "another program"),
        ("text.db", "not a SQLite database"),
        ("none/bondflow.db", "folder does not exist"),
    ] {
        let other = folder.join(name).display().to_string();
        refused(&with(&world, "other.toml", &own, &other), because).await;
    }
    use nostr_sdk::ToBech32;
    let key = world.node.secret_key().to_bech32().unwrap();
    let another = nostr_sdk::Keys::generate().secret_key().to_bech32().unwrap();
    refused(&with(&world, "key.toml", &key, &another), "belongs to the node").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_lnd_than_the_one_that_holds_the_bonds_is_refused() {
    let world = world().await;
    let now = Arc::new(|| SystemClock.now().secs());
    let mut options = StandInOptions::new(world.folder.path().join("other-lnd"), now);
    options.name = "another node".to_owned();
    let other = StandIn::start(options).await.unwrap();
    assert_ne!(other.node.identity(), world.lnd.node.identity());
    let text = world
        .settings_text()
        .replace(&world.lnd.address(), &other.address())
        .replace(&world.lnd.cert_path().display().to_string(), &other.cert_path().display().to_string())
        .replace(&world.lnd.macaroon_path().display().to_string(), &other.macaroon_path().display().to_string());
    let path = settings(&world, "other.toml", &text);
    // The imported database names the node that holds them; then this daemon has met it, too.
    refused(&path, "the open bonds are held by").await;
    Process::start(&world).await.stop(SOON).await;
    refused(&path, "allow_node_change").await;

    let allowed = text.replace("[lightning]", "[lightning]\nallow_node_change = true");
    let process = Process::spawn(&settings(&world, "allowed.toml", &allowed), "info");
    process.tells("lnd is there").await;
    process.stop(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_loses_nothing() {
    let world = world().await;
    let process = Process::start(&world).await;
    assert_eq!(world.rule(Action::AdminCancel, false, true).await.action(), Action::AdminCanceled);
    process.stop(SOON).await;
    let process = Process::start(&world).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    world.winner.next(Behaviour::HOLD, 1);
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.lnd.node.wait_for_htlc(hash).await;
    process.stop(SOON).await;

    // Also while no relay answers, and while lnd is away.
    world.relay.freeze(true);
    world.lnd.stop().await;
    let process = Process::start(&world).await;
    process.stop(Duration::from_secs(10)).await;
    world.relay.freeze(false);
    world.lnd.node.release(hash);
    world.lnd.restart().await.unwrap();
    let process = Process::start(&world).await;
    world.bond_is(&world.taker_bond(), "state", "slashed").await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
    process.stop(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_first_start_that_waits_for_lnd() {
    let world = world().await;
    world.lnd.stop().await;
    let process = Process::spawn(&world.settings_file(), "info");
    process.tells("waiting for lnd").await;
    process.stop(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_takes_new_settings_over_for_running_bonds_and_bad_ones_change_nothing() {
    let mut world = World::without_daemon(Setup {
        real_time: true,
        // The claim is looked at again every other second.
        settings: vec![("anti_abuse_bond", "payout_invoice_window_seconds = 2".to_owned())],
        ..Setup::default()
    })
    .await;
    world.look().await;
    let path = world.settings_file();
    let good = world.settings_text();
    let process = Process::start(&world).await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;

    for bad in ["payout_claim_window_days = 0", "payout_claim_window_day = 3", "no TOML"] {
        fs::write(&path, good.replace("[anti_abuse_bond]", &format!("[anti_abuse_bond]\n{bad}"))).unwrap();
        let before = process.told("the settings stay as they were");
        process.signal("HUP").await;
        world
            .until(|| async {
                let told = process.told("the settings stay as they were");
                (told > before).then_some(()).ok_or_else(|| "the reload was not refused".to_owned())
            })
            .await;
    }
    fs::write(&path, &good).unwrap();
    process.signal("HUP").await;
    process.tells("the settings are as before").await;
    world.bond_is(&world.taker_bond(), "state", "pending-payout").await;

    // An invoice of less than an hour is refused under the old settings and taken under the new.
    let short = || world.winner.invoice(500, bondflow::sandbox::lnd::InvoiceSpec { expiry: 600, ..Default::default() });
    assert_eq!(world.answer(&world.seller, &short()).await.action(), Action::CantDo);
    fs::write(&path, good.replace("[lightning]", "[lightning]\ninvoice_expiration_window = 60")).unwrap();
    process.signal("HUP").await;
    process.tells("lightning.invoice_expiration_window").await;
    assert_eq!(world.answer(&world.seller, &short()).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &world.taker_bond(), "slashed", Status::Completed).await;
    process.stop(SOON).await;
}

/// Whom the settings name as a solver may rule from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_admits_new_solvers() {
    let mut world = World::new(Setup::default()).await;
    let solver = nostr_sdk::Keys::generate().public_key().to_hex();
    assert_eq!(world.store().row(USERS.name, &solver).await.unwrap(), None);
    world.setup.settings = vec![("mostro", format!("solvers = ['{solver}']"))];
    let settings = Settings::load(&world.settings_file(), std::iter::empty()).unwrap();
    world.daemon().reload(settings).await.unwrap();
    let user = world.store().row(USERS.name, &solver).await.unwrap().unwrap();
    assert_eq!((&user["is_solver"], &user["category"]), (&1.into(), &2.into()));
    world.stop().await;
}
