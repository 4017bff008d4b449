//! A disk that gives out under the daemon's process: it stops and says why, and goes on where it
//! was once the disk is good again.

use std::path::Path;
use std::time::Duration;

use bondflow::sandbox::lnd::StandIn;
use mostro_core::message::Action;

use super::kill::{done_once, real, ruled};
use super::process::{Ended, Process};
use super::world::World;

/// For a daemon that can't write to notice it: its leases run out after two seconds.
const SOON: Duration = Duration::from_secs(20);

/// What a daemon that can't write says in the end.
fn gave_up(world: &World, ended: &Ended, why: &str) {
    assert_eq!(ended.code, Some(1), "{:#?}", ended.told);
    let last = ended.told.last().unwrap();
    let file = world.database().display().to_string();
    for said in ["bondflowd: ", &file, why, "start the daemon again", "what was committed is kept"] {
        assert!(last.contains(said), "{said:?} is not in the last line: {last}");
    }
}

/// Runs the daemon so that none of its files grows beyond so many blocks of 512 bytes.
fn confined(settings: &Path, blocks: u64) -> Process {
    let script = format!("ulimit -f {blocks}; exec \"$0\" run --config \"$1\"");
    Process::of(
        tokio::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_bondflowd")])
            .arg(settings)
            .env("RUST_LOG", "bondflow=info,bondflowd=info"),
    )
}

/// From a ruling to the payment, the disk giving out at some commit: which one depends on how far
/// the log may grow, and at which byte of the commit as well.
async fn fills_up(blocks: u64) {
    let (world, process) = real::<StandIn>(300).await;
    process.stop(SOON).await;
    let process = confined(&world.settings_file(), blocks);
    ruled(&world).await;
    gave_up(&world, &process.ends(SOON).await, "its disk");
    let ledger = world.lnd.node.ledger();
    assert!(ledger.settles.iter().filter(|call| call.refusal.is_none()).count() <= 1);

    let process = Process::start(&world).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(world.share());
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    done_once(&world, process, hash, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_in_a_commit_stops_the_daemon_and_loses_nothing() {
    // The shared memory of the log alone takes 64 blocks.
    for blocks in [72, 97, 131, 190] {
        fills_up(blocks).await;
    }
}

/// The disk does not take what it was told to keep: nobody can say whether that commit is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: make disk"]
async fn a_sync_that_fails_stops_the_daemon_and_loses_nothing() {
    for first in [2, 4, 6, 8] {
        let (world, process) = real::<StandIn>(300).await;
        process.stop(SOON).await;
        let fault = format!("inject=fsync,fdatasync:error=EIO:when={first}+");
        let process = Process::of(
            tokio::process::Command::new("strace")
                .args(["-f", "-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &fault])
                .arg(env!("CARGO_BIN_EXE_bondflowd"))
                .args(["run", "--config"])
                .arg(world.settings_file())
                .env("RUST_LOG", "bondflow=info,bondflowd=info"),
        );
        ruled(&world).await;
        gave_up(&world, &process.ends(SOON).await, "its disk fails");

        let process = Process::start(&world).await;
        world.hears(&world.seller, Action::AddBondInvoice, 1).await;
        let (bolt11, hash) = world.invoice(world.share());
        world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
        done_once(&world, process, hash, 1).await;
    }
}
