//! The payee holds the HTLC, and the daemon's process is killed before, while and after the payee decides.

use std::time::Duration;

use bondflow::engine::Status;
use mostro_core::message::Action;

use super::kill::{again, done_once, real, ruled};
use super::process::Process;
use super::side::{Fate, Side, on_every_lnd};
use super::world::World;

on_every_lnd! {
    killed_while_the_payee_holds,
    killed_while_the_payee_claims,
    killed_while_the_payee_gives_back,
}

/// How long after the payee's decision the process is killed: before it hears of it, and in the commits that follow.
const DELAYS_MS: [u64; 4] = [0, 8, 20, 60];

/// The winner, who is asked again after so many seconds, holds the payment.
async fn held<L: Side>(interval: u32) -> (World<L>, Process, [u8; 32]) {
    let (world, process) = real::<L>(interval).await;
    ruled(&world).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice_of(world.share(), Fate::Held).await;
    world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    world.lnd.is_held(hash).await;
    (world, process, hash)
}

async fn killed_while_the_payee_holds<L: Side>() {
    let (world, mut process, hash) = held::<L>(300).await;
    for _ in 0..3 {
        process = again(&world, process).await;
        world.run_is("bond_payout", &world.taker_bond(), "pay", Status::InDoubt).await;
        assert_eq!(world.lnd.payments_of(hash).await, 1);
        assert_eq!(world.bond(&world.taker_bond()).await["state"], "pending-payout");
    }
    process.kill().await;
    world.lnd.claims(hash).await;
    process = Process::start(&world).await;
    done_once(&world, process, hash, 1).await;
}

async fn killed_while_the_payee_claims<L: Side>() {
    for delay in DELAYS_MS.map(Duration::from_millis) {
        let (world, process, hash) = held::<L>(300).await;
        world.lnd.claims(hash).await;
        tokio::time::sleep(delay).await;
        let process = again(&world, process).await;
        done_once(&world, process, hash, 1).await;
    }
}

async fn killed_while_the_payee_gives_back<L: Side>() {
    for delay in DELAYS_MS.map(Duration::from_millis) {
        let (world, process, refused) = held::<L>(5).await;
        world.lnd.gives_back(refused).await;
        tokio::time::sleep(delay).await;
        let process = again(&world, process).await;
        world.bond_is(&world.taker_bond(), "state", "failed").await;
        assert_eq!(world.bond(&world.taker_bond()).await["payout_attempts"], 1);
        world.hears(&world.seller, Action::AddBondInvoice, 2).await;

        let (bolt11, hash) = world.invoice_of(world.share(), Fate::Paid).await;
        world.seller.send(&world.seller.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
        world.hears(&world.seller, Action::BondInvoiceAccepted, 2).await;
        let process = again(&world, process).await;
        done_once(&world, process, hash, 2).await;
        assert_eq!(world.lnd.times_paid(refused).await, 0);
    }
}
