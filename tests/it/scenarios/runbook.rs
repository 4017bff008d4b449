//! The runbook, `docs/operations.md`: the commands of each entry are run as they stand there, in a shell, against an
//! installation that is in that trouble. What belongs to the machine, and not to bondflow, is played by scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use bondflow::engine::{Clock, Status, SystemClock};
use bondflow::sandbox::lnd::{Behaviour, StandIn, StandInOptions};
use mostro_core::message::Action;
use tokio::process::Command;

use super::process::Process;
use super::restored::copy;
use super::side::{Fate, Side};
use super::world::{PATIENCE, Setup, World};

const BOOK: &str = include_str!("../../../docs/operations.md");

/// In what state the installation is before a block, and what its commands are to come to.
#[derive(Debug, Clone, Copy)]
struct Block {
    before: Before,
    code: i32,
    /// Where the bond's payout is then.
    then: Option<(&'static str, Status)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The winner was asked for an invoice, and says nothing.
    Asked,
    /// The same, and somebody has paused the run.
    Paused,
    /// The winner's wallet holds the payment.
    Held,
    /// There was no way to the winner; now there is one.
    Failed,
    LndAway,
    RelayAway,
    OtherLnd,
    /// An old copy of the database was put in its place.
    Restored,
    /// One of two daemons was killed.
    #[cfg(postgres)]
    OneLeft,
}

const fn block(before: Before, code: i32) -> Block {
    Block { before, code, then: None }
}

const fn leads(before: Before, step: &'static str, status: Status) -> Block {
    Block { before, code: 0, then: Some((step, status)) }
}

/// Makes a test of each entry, and the list of all.
macro_rules! entries {
    ($($(#[$attribute:meta])* $test:ident: $title:literal [$($block:expr),+];)+) => {
        const ENTRIES: &[&str] = &[$($title),+];

        $(
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let blocks = blocks_of($title);
                let expected = [$($block),+];
                assert_eq!(blocks.len(), expected.len(), "the blocks of {}", $title);
                for (text, block) in blocks.iter().zip(expected) {
                    try_out(text, block).await;
                }
            }
        )+
    };
}

entries! {
    stuck: "A run is stuck" [
        leads(Before::Paused, "await_invoice", Status::Waiting), block(Before::Asked, 0)];
    given_up: "Giving a run up" [leads(Before::Asked, "await_invoice", Status::Canceled)];
    in_doubt: "A payment is in doubt" [
        leads(Before::Held, "pay", Status::InDoubt),
        // Not before the send can't arrive any more.
        block(Before::Held, 1),
        leads(Before::Held, "slashed", Status::Completed)];
    failed: "A bond has failed" [
        leads(Before::Failed, "slashed", Status::Completed), leads(Before::Asked, "slashed", Status::Completed)];
    // The doctor says what is wrong.
    lnd_away: "lnd is away" [block(Before::LndAway, 1)];
    relay_away: "A relay is away" [block(Before::RelayAway, 1)];
    wrong_clock: "A wrong clock" [block(Before::Asked, 0)];
    other_lnd: "Another lnd is refused" [block(Before::OtherLnd, 1)];
    restored: "A restored database" [block(Before::Restored, 0), block(Before::Restored, 0)];
    disk_full: "The disk is full, or fails" [block(Before::Asked, 0)];
    second_daemon: "A second daemon is refused" [block(Before::Asked, 0)];
    #[cfg(postgres)]
    one_left: "A daemon has died, another goes on" [block(Before::OneLeft, 0)];
    keys: "Keys are rotated" [block(Before::Asked, 0)];
    no_answer: "A ruling gets no answer" [block(Before::Asked, 0)];
}

/// The text of the runbook, entry by entry.
fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    let book = BOOK.split("\n## ").find(|part| part.starts_with("Runbook\n")).unwrap();
    book.split("\n### ").skip(1).map(|entry| entry.split_once('\n').unwrap())
}

fn blocks_of(title: &str) -> Vec<&'static str> {
    let (_, text) = entries().find(|(found, _)| *found == title).unwrap_or_else(|| panic!("there is no entry {title}"));
    text.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect()
}

#[test]
fn each_entry_of_the_runbook_is_tried() {
    let told: Vec<&str> = entries().map(|(title, _)| title).collect();
    assert_eq!(told, ENTRIES);
}

/// An installation, and the names that the commands use.
struct Installation {
    world: World,
    _processes: Vec<Process>,
    _other_lnd: Option<StandIn>,
    settings: PathBuf,
    names: Vec<(&'static str, String)>,
}

async fn try_out(text: &str, block: Block) {
    let there = installed(block.before).await;
    let programs = programs(&there);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", text]).env("PATH", path).env("USER", "alice").env_remove("SUDO_USER");
    shell.envs(there.names.iter().map(|(name, value)| (*name, value))).stdin(Stdio::null());
    let ended = tokio::time::timeout(PATIENCE, shell.kill_on_drop(true).output()).await.unwrap().unwrap();
    let (data, told) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(block.code), "{block:?}\n{text}\n{data}\n{told}");
    if let Some((step, status)) = block.then {
        there.world.run_is("bond_payout", &there.world.taker_bond(), step, status).await;
    }
}

async fn installed(before: Before) -> Installation {
    #[cfg(postgres)]
    let server = before == Before::OneLeft;
    #[cfg(not(postgres))]
    let server = false;
    let settings = vec![("engine", "lease_seconds = 2".to_owned())];
    let setup = Setup { real_time: true, max_retries: 1, server, settings, ..Setup::default() };
    let mut world = World::without_daemon(setup).await;
    world.look().await;
    let settings = world.settings_file();
    let mut processes = vec![Process::start(&world).await];
    let bond = world.taker_bond();
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    world.is_resolved().await;
    world.rests(&bond).await;
    let (bolt11, hash) = world.invoice(500);
    let mut names = vec![
        ("ID", bond.clone()),
        ("ORDER", world.trade.order.to_string()),
        ("HASH", hex::encode(hash)),
        ("BOLT11", bolt11.clone()),
        ("DATABASE", world.database().display().to_string()),
        ("MACAROON", world.lnd.access().macaroon.display().to_string()),
    ];
    let (mut there, mut other_lnd) = (settings.clone(), None);
    match before {
        Before::Asked => {}
        Before::Paused => {
            let paused = ctl(&settings, &["pause", &bond, "--reason", "a test"]).status().await.unwrap();
            assert!(paused.success());
        }
        Before::Held => {
            let (bolt11, hash) = world.invoice_of(500, Fate::Held).await;
            world.answer(&world.seller, &bolt11).await;
            world.lnd.is_held(hash).await;
            world.run_is("bond_payout", &bond, "pay", Status::InDoubt).await;
            names.push(("PREIMAGE", hex::encode(world.winner.preimage(hash).unwrap())));
        }
        Before::Failed => {
            world.winner.next(Behaviour::UNROUTABLE, 1);
            world.answer(&world.seller, &bolt11).await;
            world.bond_is(&bond, "state", "failed").await;
            world.rests(&bond).await;
        }
        Before::LndAway => world.lnd.stop().await,
        Before::RelayAway => world.relay.freeze(true),
        Before::OtherLnd => {
            let folder = world.folder.path().join("other-lnd");
            let mut options = StandInOptions::new(folder, Arc::new(|| SystemClock.now().secs()));
            options.name = "another node".to_owned();
            let other = StandIn::start(options).await.unwrap();
            let (old, new) = (world.lnd.access(), Side::access(&other));
            let place = |path: &Path| path.display().to_string();
            let text = fs::read_to_string(&settings).unwrap();
            let text = text
                .replace(&old.address, &new.address)
                .replace(&place(&old.certificate), &place(&new.certificate))
                .replace(&place(&old.macaroon), &place(&new.macaroon));
            there = world.folder.path().join("other.toml");
            fs::write(&there, text).unwrap();
            fs::set_permissions(&there, fs::Permissions::from_mode(0o600)).unwrap();
            other_lnd = Some(other);
        }
        Before::Restored => {
            let backup = world.folder.path().join("backup.db");
            processes.remove(0).stop(PATIENCE).await;
            copy(&world.database(), &backup, false);
            let process = Process::start(&world).await;
            world.answer(&world.seller, &bolt11).await;
            world.run_is("bond_payout", &bond, "slashed", Status::Completed).await;
            process.stop(PATIENCE).await;
            world.store().close().await;
            copy(&backup, &world.database(), false);
            let process = Process::start(&world).await;
            process.tells("database-restored").await;
            processes.push(process);
        }
        #[cfg(postgres)]
        Before::OneLeft => {
            let other = Process::start(&world).await;
            processes.remove(0).kill().await;
            processes.push(other);
        }
    }
    Installation { world, _processes: processes, _other_lnd: other_lnd, settings: there, names }
}

fn ctl(settings: &Path, args: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_workflowctl"));
    program.arg("--config").arg(settings).args(args).stdout(Stdio::null());
    program
}

/// A folder with `workflowctl` as an operator has it, and with what a test must not touch.
fn programs(there: &Installation) -> PathBuf {
    let folder = there.world.folder.path().join("programs");
    fs::create_dir_all(&folder).unwrap();
    let ctl = format!("exec {} --config {} \"$@\"", env!("CARGO_BIN_EXE_workflowctl"), there.settings.display());
    let lncli = "case $1 in\n bakemacaroon) cp \"$MACAROON\" \"$3\" ;;\n trackpayment) test ${#2} = 64 ;;\n state) ;;\n *) exit 1 ;;\nesac";
    let mut scripts = vec![
        ("workflowctl", ctl.as_str()),
        ("lncli", lncli),
        ("systemctl", "test \"$2\" = bondflowd"),
        ("journalctl", "echo 'a message could not be taken in yet: orders.seller_dispute'"),
        ("timedatectl", "echo 'System clock synchronized: yes'"),
        ("fuser", "test -e \"$1\""),
    ];
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join("jq").is_file()) {
        scripts.push(("jq", "printf '%064d' 0"));
    }
    for (name, script) in scripts {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}
