//! lnd can't be used as it is: the daemon says why, waits, and goes on by itself once it can.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bondflow::engine::{Clock as _, RunId, Status, SystemClock};
use bondflow::lnd::macaroon::Macaroon;
use bondflow::sandbox::lnd::{Currency, StandIn, StandInOptions};
use mostro_core::message::Action;
use tokio::time::Instant;

use super::process::Process;
use super::side::{Fate, Side, on_every_lnd};
use super::world::{Setup, World};
use crate::contract::door::Door;

on_every_lnd! {
    a_wrong_certificate_is_told_and_waited_for,
    a_macaroon_of_another_node_is_told_and_waited_for,
    a_macaroon_that_becomes_useless_holds_a_payment_up,
    an_address_that_never_answers_is_told_and_waited_for,
}

/// What the daemon says before the reason that it can't use lnd.
const WAITS: &str = "lnd can't be used yet";
/// A good while for a process to end in good order.
const SOON: Duration = Duration::from_secs(10);

async fn world<L: Side>() -> World<L> {
    let mut world = World::<L>::idle(Setup { real_time: true, ..Setup::with_own_sum() }).await;
    world.look().await;
    world
}

fn spawn(settings: &Path) -> Process {
    Process::spawn(settings, "bondflow=info,bondflowd=info")
}

/// A settings file that leads to another address.
fn elsewhere<L: Side>(world: &World<L>, address: &str) -> PathBuf {
    let path = world.folder.path().join("elsewhere.toml");
    fs::write(&path, world.settings_text().replace(&world.lnd.access().address, address)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

async fn ruled_and_asked<L: Side>(world: &World<L>) {
    assert_eq!(world.rule(Action::AdminCancel, false, true).await.action(), Action::AdminCanceled);
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
}

/// The trouble has cost no attempt, and there is one payment.
async fn is_paid_once<L: Side>(world: &World<L>, hash: [u8; 32]) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let bond = world.taker_bond();
    let paid = || async { (world.bond(&bond).await["state"] == "slashed").then_some(()).ok_or("not paid".to_owned()) };
    world.until_within(PATIENCE, paid).await;
    assert_eq!(world.bond(&bond).await["payout_attempts"], 0);
    assert_eq!((world.lnd.times_paid(hash).await, world.lnd.sends_of(hash).await), (1, 1));
}

/// A file that is not what it should be: at the very first start, and at one with a debt to pay.
async fn told_and_waited_for<L: Side>(world: World<L>, file: &Path, bad: &[u8], why: &str) {
    let good = fs::read(file).unwrap();
    fs::write(file, bad).unwrap();
    let process = spawn(&world.settings_file());
    process.tells(why).await;
    assert_eq!(process.told("bondflowd works"), 0, "nothing is decided before lnd's network and key are known");
    fs::write(file, &good).unwrap();
    process.tells("bondflowd works").await;
    assert_eq!(process.told(WAITS), 1, "each reason is told once");
    ruled_and_asked(&world).await;
    process.stop(SOON).await;

    fs::write(file, bad).unwrap();
    let process = spawn(&world.settings_file());
    process.tells(why).await;
    // Messages are taken in meanwhile; no run goes on before it is sure whose lnd this is.
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    assert_eq!(world.lnd.sends_of(hash).await, 0);
    fs::write(file, &good).unwrap();
    world.hears(&world.seller, Action::BondInvoiceAccepted, 1).await;
    is_paid_once(&world, hash).await;
    process.stop(SOON).await;
}

async fn a_wrong_certificate_is_told_and_waited_for<L: Side>() {
    let world = world::<L>().await;
    let file = world.lnd.access().certificate;
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    told_and_waited_for(world, &file, other.as_bytes(), "shows another certificate than the file").await;
}

async fn a_macaroon_of_another_node_is_told_and_waited_for<L: Side>() {
    let world = world::<L>().await;
    let file = world.lnd.access().macaroon;
    let own = Macaroon::from_bytes(&fs::read(&file).unwrap()).unwrap();
    let other = Macaroon::mint(b"the root key of another node", own.identifier(), "lnd").to_bytes();
    told_and_waited_for(world, &file, &other, "lnd does not accept the macaroon").await;
}

/// Replaced while the daemon works: the file is read for each call.
async fn a_macaroon_that_becomes_useless_holds_a_payment_up<L: Side>() {
    let world = world::<L>().await;
    let process = Process::start(&world).await;
    ruled_and_asked(&world).await;
    let file = world.lnd.access().macaroon;
    let good = fs::read(&file).unwrap();
    let outdated = Macaroon::from_bytes(&good).unwrap().with_caveat("time-before 2020-01-01T00:00:00Z");
    fs::write(&file, outdated.to_bytes()).unwrap();
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    let run = RunId::of("bond_payout", &world.taker_bond());
    world.run_is("bond_payout", &world.taker_bond(), "intend", Status::BackingOff).await;
    let error = world.store().run(&run).await.unwrap().unwrap().error.unwrap();
    assert!(error.contains("macaroon has expired"), "{error}");
    process.tells("lnd-unavailable").await;
    assert_eq!(world.lnd.sends_of(hash).await, 0);
    fs::write(&file, &good).unwrap();
    is_paid_once(&world, hash).await;
    process.stop(SOON).await;
}

async fn an_address_that_never_answers_is_told_and_waited_for<L: Side>() {
    let world = world::<L>().await;
    let mut door = Door::before(&world.lnd.access().address).await;
    door.nobody_answers().await;
    let since = Instant::now();
    let process = spawn(&elsewhere(&world, &door.address()));
    process.tells("takes connections but does not answer").await;
    let (came, seconds) = (door.came(), since.elapsed().as_secs() as usize);
    assert!(came <= seconds + 1, "{came} attempts in {seconds} s");
    door.open().await;
    process.tells("bondflowd works").await;
    ruled_and_asked(&world).await;
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    is_paid_once(&world, hash).await;
    process.stop(SOON).await;
}

/// lnd names the network by its own word, whatever its certificate and its key are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_lnd_on_another_network_is_told_and_waited_for() {
    let world = world::<StandIn>().await;
    let process = Process::start(&world).await;
    process.stop(SOON).await;
    let now = Arc::new(|| SystemClock.now().secs());
    let folder = world.lnd.cert_path().parent().unwrap().to_owned();
    let options = StandInOptions { network: Currency::Regtest, ..StandInOptions::new(folder, now) };
    let other = StandIn::start(options).await.unwrap();
    assert_eq!(other.node.identity(), world.lnd.node.identity());
    let process = spawn(&elsewhere(&world, &other.address()));
    process.tells("lnd can't be used yet: lnd is on regtest, not on simnet").await;
    assert_eq!(process.told("lnd is there"), 0);
    process.stop(SOON).await;
}

/// What lnd holds can be claimed at once; what it says of payments and expiries is not to be trusted yet. Real nodes call
/// themselves synced for as long as their best block is younger than two hours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_lnd_that_syncs_claims_and_does_not_pay() {
    let mut world = World::without_daemon(Setup::default()).await;
    world.lnd.node.set_synced(false);
    world.start().await;
    ruled_and_asked(&world).await;
    assert_eq!(world.settled(), 1);
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.pass(120).await;
    assert_eq!((world.lnd.sends_of(hash).await, world.alarms("lnd-unavailable") > 0), (0, true));
    world.lnd.node.set_synced(true);
    let row = world.passing(world.bond_is(&world.taker_bond(), "state", "slashed")).await;
    assert_eq!((&row["payout_attempts"], world.lnd.times_paid(hash).await), (&0.into(), 1));
    world.stop().await;
}
