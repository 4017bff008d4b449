//! A database that is not the one that was seen committed: an old backup, a copy, a whole folder
//! that was put back. No second request, no second payment, an alarm; and none of it after a stop
//! or a kill.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bondflow::app::Daemon;
use bondflow::app::lineage::{Held, Word, ask, held};
use bondflow::config::Settings;
use bondflow::engine::{Clock, RunId, Status};
use bondflow::lnd::Node;
use bondflow::payout::ports::{Lightning, Send};
use bondflow::sandbox::lnd::Behaviour;
use bondflow::sandbox::relay::{Limits, SandboxRelay};
use mostro_core::message::Action;

use super::process::Process;
use super::world::{Setup, World};

pub(super) const ALARM: &str = "database-restored";

/// Copies a database that no daemon works on; `seen` says whether what was seen of it goes along.
pub(super) fn copy(from: &Path, to: &Path, seen: bool) {
    for end in ["-wal", "-shm"] {
        let file = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        let _ = std::fs::remove_file(file(to));
        if file(from).exists() {
            std::fs::copy(file(from), file(to)).unwrap();
        }
    }
    std::fs::copy(from, to).unwrap();
    if seen {
        let file = |path: &Path| PathBuf::from(format!("{}.seen", path.display()));
        std::fs::copy(file(from), file(to)).unwrap();
    }
}

/// A world whose winner was asked, with a backup of its database from then.
async fn backed_up(seen: bool) -> (World, PathBuf) {
    let mut world = World::asking(Setup::default()).await;
    world.run_is("bond_payout", &world.taker_bond(), "await_invoice", Status::Waiting).await;
    world.stop().await;
    let backup = world.folder.path().join("backup.db");
    copy(&world.database(), &backup, seen);
    world.start().await;
    (world, backup)
}

/// The winner is paid; his payment's hash.
pub(super) async fn paid(world: &World) -> [u8; 32] {
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.run_is("bond_payout", &world.taker_bond(), "slashed", Status::Completed).await;
    hash
}

pub(super) async fn is_held(world: &World, so: impl Fn(&Held) -> bool) -> Held {
    world
        .until(|| async {
            let held = held(world.store().as_ref()).await.unwrap();
            held.clone().filter(&so).ok_or_else(|| format!("{held:?}"))
        })
        .await
}

pub(super) async fn goes_on(world: &World) {
    let store = world.store();
    world
        .passing(world.until(|| async {
            let held = held(store.as_ref()).await.unwrap();
            held.map_or(Ok(()), |held| Err(format!("{held:?}")))
        }))
        .await;
}

/// Asked once, sent once, paid once, and the bond is slashed.
pub(super) async fn done_once(world: &World, hash: [u8; 32]) {
    world.passing(world.run_is("bond_payout", &world.taker_bond(), "slashed", Status::Completed)).await;
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len(), world.sends()), (1, 1, 1));
    assert_eq!(ledger.spent_msat, 500_000);
    let row = world.bond(&world.taker_bond()).await;
    assert_eq!((&row["state"], &row["invoice_request_attempts"]), (&"slashed".into(), &1.into()));
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_backup_is_reconciled_by_the_relays_and_lnd() {
    let (mut world, backup) = backed_up(false).await;
    let hash = paid(&world).await;
    world.stop().await;
    copy(&backup, &world.database(), false);

    world.start().await;
    let told = is_held(&world, |held| held.found.is_empty() && !held.waits_for.is_empty()).await;
    assert!(told.evidence[0].contains("transactions more"), "{told:?}");
    world.alarmed(ALARM, 1).await;
    // The relay's health event is newer too, so that nobody knows whether another daemon made it.
    assert!(told.needs_word && told.evidence.len() == 2, "{told:?}");
    say(&world, Word::default()).await;
    goes_on(&world).await;
    done_once(&world, hash).await;

    // From then on it is the database that was seen, and the backup is another's.
    world.restart().await;
    assert_eq!(world.alarms(ALARM), 0);
    world.stop().await;
    copy(&backup, &world.database(), false);
    world.start().await;
    let told = is_held(&world, |_| true).await;
    assert!(told.evidence[0].contains("another history"), "{told:?}");
    world.stop().await;
}

/// An older copy without a start in between: nothing but the missing transactions speaks against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_backup_goes_on_by_itself_when_nothing_is_left_to_ask() {
    let mut world = World::asking(Setup::default()).await;
    world.run_is("bond_payout", &world.taker_bond(), "await_invoice", Status::Waiting).await;
    world.settled_outbox().await;
    let backup = world.folder.path().join("backup.db");
    backup_beside(&world.database(), &backup).await;
    let hash = paid(&world).await;
    world.stop().await;
    copy(&backup, &world.database(), false);
    world.start().await;
    let told = is_held(&world, |held| !held.waits_for.is_empty()).await;
    assert!(!told.needs_word, "{told:?}");
    // What was sent just before the start could still arrive: nothing goes on yet.
    world.pass(60).await;
    assert!(held(world.store().as_ref()).await.unwrap().is_some());
    goes_on(&world).await;
    done_once(&world, hash).await;
    world.stop().await;
}

/// `VACUUM INTO` beside the daemon, as a backup is made.
async fn backup_beside(from: &Path, to: &Path) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(from).read_only(true);
    let mut db = options.connect().await.unwrap();
    sqlx::query("VACUUM INTO ?").bind(to.to_str().unwrap()).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

impl World {
    async fn settled_outbox(&self) {
        self.until(|| async {
            let waiting = self.store().outbox_next().await.unwrap();
            waiting.map_or(Ok(()), |at| Err(format!("a message waits until {at}")))
        })
        .await;
    }
}

pub(super) async fn say(world: &World, word: Word) {
    let word = Word { by: "alice".into(), reason: "the old machine is off".into(), ..word };
    ask(world.store().as_ref(), world.clock.now(), &word).await.unwrap();
}

/// A folder that was put back with all that is in it, beside a relay that has lost what it had:
/// only lnd tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_only_lnd_knows_is_given_to_its_debt_by_a_person() {
    let (mut world, backup) = backed_up(true).await;
    let hash = paid(&world).await;
    world.stop().await;
    copy(&backup, &world.database(), true);
    world.relay = SandboxRelay::start(0, Limits::default()).await.unwrap();

    world.start().await;
    let told = is_held(&world, |held| !held.found.is_empty()).await;
    assert!(told.needs_word && told.evidence.len() == 1 && told.evidence[0].contains("lnd made"), "{told:?}");
    world.alarmed(ALARM, 1).await;
    let run = RunId::of("bond_payout", &world.taker_bond());
    assert_eq!((told.found[0].hash.as_str(), &told.found[0].runs), (hex::encode(hash).as_str(), &vec![run.clone()]));
    // A word that says nothing of the payment is not enough, now or after any time.
    say(&world, Word::default()).await;
    world.passing(is_held(&world, |held| held.refused.is_some())).await;
    world.pass(600).await;
    assert_eq!(world.store().run(&run).await.unwrap().unwrap().step, "await_invoice");
    assert_eq!(world.sends(), 1);

    say(&world, Word { paid: [(hex::encode(hash), run)].into(), ..Word::default() }).await;
    goes_on(&world).await;
    done_once(&world, hash).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_elsewhere_waits_for_a_word() {
    let mut world = World::asking(Setup::default()).await;
    world.run_is("bond_payout", &world.taker_bond(), "await_invoice", Status::Waiting).await;
    world.stop().await;
    let elsewhere = world.folder.path().join("elsewhere.db");
    copy(&world.database(), &elsewhere, false);
    let text = world.settings_text();
    let text = text.replace(&world.database().display().to_string(), &elsewhere.display().to_string());
    let file = world.settings_file();
    std::fs::write(&file, text).unwrap();
    let settings = Settings::load(&file, std::iter::empty()).unwrap();
    let daemon = Daemon::start(settings, std::sync::Arc::new(world.clock.clone())).await.unwrap();
    world.started(daemon);

    let told = is_held(&world, |held| !held.waits_for.is_empty()).await;
    assert!(told.needs_word && told.evidence[0].contains("is missing"), "{told:?}");
    world.pass(600).await;
    assert!(held(world.store().as_ref()).await.unwrap().is_some(), "nobody knows whether the first daemon lives");
    assert_eq!(world.sends(), 0);
    say(&world, Word::default()).await;
    goes_on(&world).await;
    let hash = paid(&world).await;
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
    world.stop().await;
}

/// Others who pay by the same lnd are no reason, unless they pay just what is owed in that time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_lnd_raises_nothing_but_for_a_payment_of_just_the_sum_that_is_owed() {
    let mut world = World::asking(Setup::default()).await;
    let lnd = Node::new(&world.lnd.address(), world.lnd.cert_path(), world.lnd.macaroon_path()).unwrap();
    let pays = async |world: &World, sats: u64| {
        let (bolt11, hash) = world.invoice(sats);
        let valid_until = world.clock.now().after(Duration::from_secs(60));
        let send = Send {
            bolt11,
            hash,
            amount_sats: None,
            fee_limit_sats: 10,
            cltv_limit: 1_008,
            timeout_secs: 60,
            valid_until,
        };
        lnd.send(&send).await;
        lnd.watch(hash, false).await;
        hash
    };
    world.stop().await;
    pays(&world, 501).await;
    pays(&world, 1_000).await;
    world.start().await;
    world.run_is("bond_payout", &world.taker_bond(), "await_invoice", Status::Waiting).await;
    world.restart().await;
    assert_eq!(world.alarms(ALARM), 0);
    world.stop().await;

    let theirs = pays(&world, 500).await;
    world.start().await;
    is_held(&world, |held| held.found.len() == 1).await;
    say(&world, Word { not_ours: [hex::encode(theirs)].into(), ..Word::default() }).await;
    goes_on(&world).await;
    let hash = paid(&world).await;
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
    world.restart().await;
    assert_eq!(world.alarms(ALARM), 0, "what was said once need not be said again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_kill_raise_nothing() {
    let mut world = World::without_daemon(Setup { real_time: true, ..Setup::default() }).await;
    world.look().await;
    let mut process = Process::start(&world).await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(500);
    world.winner.next_of(hash, Behaviour::HOLD, 1);
    world.answer(&world.seller, &bolt11).await;
    world.lnd.node.wait_for_htlc(hash).await;
    for kill in [true, true, false, true] {
        if kill {
            process.kill().await;
        } else {
            process.stop(Duration::from_secs(5)).await;
        }
        process = Process::start(&world).await;
        world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
        assert_eq!(process.told(ALARM), 0);
    }
    assert!(world.lnd.node.release(hash));
    world.bond_is(&world.taker_bond(), "state", "slashed").await;
    process.stop(Duration::from_secs(5)).await;
}
