//! What an operator's commands do to money: they end doubts, reopen what was forfeited and try again,
//! and none leads to a second payment, nor to anything at all while a payment is undecided.

use std::process::{Command, Stdio};
use std::time::Duration;

use bondflow::engine::operator::{AUDIT, Asked, Request, Word};
use bondflow::engine::store::NewSignal;
use bondflow::engine::{Commit, RunId, Status};
use bondflow::payout::invariants::{Records, check};
use bondflow::payout::tables::{PAYMENTS, TABLES};
use bondflow::sandbox::lnd::Behaviour;
use bondflow::store::sqlite::{OpenMode, SqliteStore};
use mostro_core::message::Action;
use serde_json::{Value, json};

use super::side::{Fate, Side};
use super::world::{Setup, World};

/// Asks something of the bond's payout, as `workflowctl` does; what came of it, and the sentence.
async fn ask(world: &World, request: Request, force: bool) -> (String, String) {
    let run = RunId::of("bond_payout", &world.taker_bond());
    let ticket = uuid::Uuid::new_v4().to_string();
    let asked = Asked { ticket: ticket.clone(), by: "ann".into(), reason: Some("a reason".into()), force, request };
    let signal = NewSignal {
        run: run.clone(),
        name: asked.request.signal(),
        payload: serde_json::to_string(&asked).unwrap(),
        dedup: ticket.clone(),
    };
    let store = world.store();
    store.commit(Commit { at: world.now(), signals: vec![signal], ..Commit::default() }).await.unwrap();
    world
        .until(|| async {
            let rows = store.rows(AUDIT.name, "run", &Value::from(run.0.as_str())).await.unwrap();
            let row = rows.into_iter().find(|row| row["ticket"] == ticket.as_str());
            let text = |row: &bondflow::engine::store::Row, column: &str| row[column].as_str().unwrap().to_owned();
            row.map(|row| (text(&row, "outcome"), text(&row, "detail"))).ok_or_else(|| "no answer".to_owned())
        })
        .await
}

async fn refused(world: &World, request: Request, force: bool, because: &str) {
    let (outcome, detail) = ask(world, request.clone(), force).await;
    assert!(outcome == "refused" && detail.contains(because), "{request:?}: {outcome}: {detail}");
}

async fn applied(world: &World, request: Request, force: bool) {
    let (outcome, detail) = ask(world, request.clone(), force).await;
    assert_eq!(outcome, "applied", "{request:?}: {detail}");
}

fn invoice(bolt11: &str) -> Request {
    Request::Signal { name: "invoice".into(), payload: json!({ "bolt11": bolt11 }) }
}

fn retry(from: &str) -> Request {
    Request::Retry { from: from.into() }
}

const DENIED: Request = Request::Resolve { word: Word::DidNot };

fn shown(preimage: [u8; 32]) -> Request {
    Request::Resolve { word: Word::Happened { evidence: hex::encode(preimage) } }
}

/// The bond's payout, its winner asked.
async fn asked_for(setup: Setup) -> World {
    let world = World::new(setup).await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    world
}

/// A payment that the winner holds.
async fn held() -> (World, [u8; 32]) {
    let world = asked_for(Setup::default()).await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Held).await;
    world.answer(&world.seller, &bolt11).await;
    world.lnd.is_held(hash).await;
    world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
    (world, hash)
}

/// All that must hold of the rows does.
async fn sound(world: &World) {
    let records = Records::read(world.store().as_ref()).await.unwrap();
    assert_eq!(check(&records), vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_does_anything_about_a_debt_while_its_payment_is_undecided() {
    let (mut world, hash) = held().await;
    let bond = world.taker_bond();
    let (fresh, fresh_hash) = world.invoice_of(500, Fate::Paid).await;
    for force in [false, true] {
        refused(&world, invoice(&fresh), force, "undecided").await;
        for from in ["settle", "request_invoice", "await_invoice", "intend", "await_slot", "pay", "finalize"] {
            let (outcome, detail) = ask(&world, retry(from), force).await;
            assert_eq!(outcome, "refused", "{from}: {detail}");
        }
        refused(&world, DENIED, force, "could still reach lnd").await;
        refused(&world, shown([7; 32]), force, "not the hash").await;
    }
    refused(&world, Request::Cancel, false, "in doubt").await;
    refused(&world, Request::Pause, false, "in doubt").await;
    world.pass(300).await;
    refused(&world, DENIED, true, "lnd knows the payment").await;

    // Who insists stops the looking, and nothing else: what follows still waits for lnd.
    applied(&world, Request::Pause, true).await;
    world.run_is("bond_payout", &bond, "pay", Status::Paused).await;
    refused(&world, invoice(&fresh), true, "undecided").await;
    refused(&world, retry("request_invoice"), true, "undecided").await;
    sound(&world).await;
    applied(&world, Request::Resume, false).await;
    assert_eq!((world.lnd.sends_of(hash).await, world.lnd.sends_of(fresh_hash).await), (1, 0));
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 1);
    world.lnd.claims(hash).await;
    world.passing(world.bond_is(&bond, "state", "slashed")).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    sound(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_nobody_follows_any_more_leaves_its_payees_cap() {
    let (mut world, hash) = held().await;
    let bond = world.taker_bond();
    let verdict = async || {
        let row = world.store().row(PAYMENTS.name, &hex::encode(hash)).await.unwrap().unwrap();
        row["verdict"].clone()
    };
    refused(&world, Request::Cancel, false, "in doubt").await;
    assert_eq!(verdict().await, Value::Null);
    applied(&world, Request::Cancel, true).await;
    world.run_is("bond_payout", &bond, "pay", Status::Canceled).await;
    assert_eq!(verdict().await, "abandoned");
    assert_eq!(world.bond(&bond).await["state"], "pending-payout", "it is still owed");
    sound(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preimage_ends_a_doubt() {
    let (mut world, hash) = held().await;
    let preimage = world.winner.preimage(hash).unwrap();
    applied(&world, shown(preimage), false).await;
    let row = world.passing(world.bond_is(&world.taker_bond(), "state", "slashed")).await;
    assert_eq!(row["payout_preimage"], hex::encode(preimage));
    assert_eq!(row["payout_routing_fee_sats"], Value::Null, "nobody has told it");
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.sends_of(hash).await, 1);
    refused(&world, Request::Resume, false, "has ended").await;
    refused(&world, retry("intend"), true, "has ended").await;
    refused(&world, invoice("lnbc1"), true, "is paid").await;
    sound(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_lnd_has_forgotten_is_denied_once_no_send_can_arrive() {
    let (mut world, hash) = held().await;
    let bond = world.taker_bond();
    world.lnd.node.wipe_payments();
    refused(&world, DENIED, true, "could still reach lnd").await;
    world.pass(300).await;
    world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
    world.lnd.stop().await;
    refused(&world, DENIED, false, "gives no answer").await;
    world.lnd.restart().await.unwrap();
    world
        .passing(world.until(|| async {
            let (outcome, detail) = ask(&world, DENIED, false).await;
            (outcome == "applied").then_some(()).ok_or(detail)
        }))
        .await;
    // The denied invoice is never sent again: the winner is asked for another.
    world.passing(world.hears(&world.seller, Action::AddBondInvoice, 2)).await;
    assert_eq!(world.bond(&bond).await["state"], "failed");
    for from in ["intend", "await_slot"] {
        refused(&world, retry(from), true, "never paid, and it is not sent again").await;
    }
    let (fresh, fresh_hash) = world.invoice_of(500, Fate::Paid).await;
    assert_eq!(world.answer(&world.seller, &fresh).await.action(), Action::BondInvoiceAccepted);
    world.passing(world.bond_is(&bond, "state", "slashed")).await;
    assert_eq!((world.lnd.sends_of(hash).await, world.lnd.times_paid(fresh_hash).await), (1, 1));
    sound(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forfeited_share_is_paid_when_an_operator_insists() {
    let mut world = asked_for(Setup { behind: Duration::from_secs(17 * 86_400), ..Setup::default() }).await;
    let bond = world.taker_bond();
    world.set_to_deadline(&bond, 0).await;
    world.run_is("bond_payout", &bond, "forfeited", Status::Completed).await;
    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    refused(&world, invoice(&bolt11), false, "only --force with --reason").await;
    let (other, _) = world.invoice_of(501, Fate::Paid).await;
    refused(&world, invoice(&other), true, "the invoice is refused").await;
    refused(&world, Request::Signal { name: "invoice".into(), payload: json!({ "x": 1 }) }, true, "bolt11").await;
    assert_eq!(world.bond(&bond).await["state"], "forfeited", "a refusal changes nothing");
    applied(&world, invoice(&bolt11), true).await;
    world.passing(world.bond_is(&bond, "state", "slashed")).await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    assert_eq!(world.seller.count(&Action::CantDo), 0, "refusals of an operator's invoice are told to nobody else");
    sound(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_got_out_of_band_is_taken_in_the_window() {
    let mut world = asked_for(Setup::default()).await;
    let bond = world.taker_bond();
    let (bolt11, hash) = world.invoice_of(500, Fate::Paid).await;
    applied(&world, invoice(&bolt11), false).await;
    world.passing(world.bond_is(&bond, "state", "slashed")).await;
    world.hears(&world.seller, Action::BondInvoiceAccepted, 1).await;
    assert_eq!(world.lnd.times_paid(hash).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_invoice_is_tried_again_when_an_operator_says_so() {
    let mut world = asked_for(Setup { max_retries: 1, ..Setup::default() }).await;
    let bond = world.taker_bond();
    world.winner.next(Behaviour::UNROUTABLE, 1);
    let (bolt11, hash) = world.invoice(500);
    world.answer(&world.seller, &bolt11).await;
    world.passing(world.bond_is(&bond, "state", "failed")).await;
    world.run_is("bond_payout", &bond, "await_invoice", Status::Waiting).await;
    applied(&world, retry("intend"), false).await;
    world.passing(world.bond_is(&bond, "state", "slashed")).await;
    assert_eq!((world.lnd.times_paid(hash).await, world.lnd.sends_of(hash).await), (1, 2));
    sound(&world).await;
    world.stop().await;
}

/// The program itself, beside a daemon at work.
pub async fn ctl(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_workflowctl"));
    program.args(["--database", &world.database_url()]).args(args);
    program.env("USER", "alice").env_remove("SUDO_USER").stdin(Stdio::null()).stdout(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || program.stderr(Stdio::piped()).output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_says_what_the_daemon_made_of_a_request() {
    let mut world = asked_for(Setup { real_time: true, ..Setup::default() }).await;
    let bond = world.taker_bond();
    world.run_is("bond_payout", &bond, "await_invoice", Status::Waiting).await;

    let (code, data, told) = ctl(&world, &["pause", &bond, "--reason", "the winner called", "-o", "json"]).await;
    let said: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(
        (code, &said[0]["outcome"], &said[0]["status"]),
        (Some(0), &"applied".into(), &"paused".into()),
        "{told}"
    );
    world.run_is("bond_payout", &bond, "await_invoice", Status::Paused).await;

    // What only the daemon can tell is told with its reason, and with an exit code.
    let (bolt11, _) = world.invoice_of(501, Fate::Paid).await;
    let payload = json!({ "bolt11": bolt11 }).to_string();
    let (code, data, told) = ctl(&world, &["signal", &bond, "invoice", &payload, "--reason", "by mail"]).await;
    assert_eq!((code, data.as_str()), (Some(1), ""));
    assert!(told.contains("is refused: the run is paused"), "{told}");
    let forced = ["signal", &bond, "invoice", &payload, "--force", "--reason", "by mail"];
    let (code, _, told) = ctl(&world, &forced).await;
    assert!(code == Some(1) && told.contains("the invoice is refused"), "{told}");

    let (code, data, _) = ctl(&world, &["resume", &bond, "--reason", "all is well", "-o", "ids"]).await;
    assert_eq!((code, data.trim()), (Some(0), RunId::of("bond_payout", &bond).0.as_str()));
    let (code, data, _) = ctl(&world, &["audit", &bond, "-o", "jsonl"]).await;
    let journal: Vec<Value> = data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, journal.len()), (Some(0), 4), "{data}");
    assert_eq!((&journal[3]["by"], &journal[3]["reason"]), (&"alice".into(), &"the winner called".into()));
    assert_eq!(journal.iter().filter(|line| line["outcome"] == "refused").count(), 2);

    // A copy that is made meanwhile is sound, and nobody else can read it.
    let copy = world.folder.path().join("copy.db").display().to_string();
    let (code, _, told) = ctl(&world, &["backup", &copy]).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, _, told) = ctl(&world, &["backup", &copy]).await;
    assert!(code == Some(1) && told.contains("no backup overwrites"), "{told}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

    let settings = world.settings_file().display().to_string();
    let (code, data, told) = ctl(&world, &["doctor", "--config", &settings, "-o", "jsonl"]).await;
    assert_eq!(code, Some(0), "{data}{told}");
    for check in ["settings", "database", "definitions", "daemon", "lnd", "relay", "clock", "alarms", "invariants"] {
        assert!(data.lines().any(|line| line.contains(&format!("\"check\":\"{check}\""))), "{check}: {data}");
    }
    world.relay.freeze(true);
    world.lnd.stop().await;
    world.stop().await;
    let (code, data, _) = ctl(&world, &["doctor", "--config", &settings, "--quick"]).await;
    assert_eq!(code, Some(1), "{data}");
    assert!(data.lines().any(|line| line.starts_with("fail   lnd")), "{data}");
    let (code, data, told) = ctl(&world, &["pause", &bond, "--reason", "later"]).await;
    assert_eq!(code, Some(0));
    assert!(data.contains("stored") && told.contains("done at the daemon's next start"), "{data}{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_under_load_is_sound_at_whatever_moment() {
    let mut world = World::new(Setup { real_time: true, more_trades: 8, ..Setup::default() }).await;
    for (trade, _) in &world.more {
        let ruling = world.solver.ruling(trade.order, Action::AdminSettle, false, true);
        world.solver.send(&ruling).await.unwrap();
    }
    let mut batches = Vec::new();
    for copy in 0..4 {
        let file = world.folder.path().join(format!("copy-{copy}.db"));
        let (code, data, told) = ctl(&world, &["backup", &file.display().to_string(), "-o", "json"]).await;
        assert_eq!(code, Some(0), "{told}");
        let said: Value = serde_json::from_str(&data).unwrap();
        batches.push(said["batch"].as_i64().unwrap());
        // The next daemon finds all of one moment.
        let restored = SqliteStore::open(&file, TABLES, OpenMode::Daemon).await.unwrap();
        assert_eq!(check(&Records::read(&restored).await.unwrap()), vec![]);
        restored.close().await;
    }
    for (_, seller) in &world.more {
        world.hears(seller, Action::AddBondInvoice, 1).await;
    }
    assert!(batches.is_sorted(), "{batches:?}");
    world.stop().await;
}
