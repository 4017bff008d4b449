//! Many bonds at once: nothing is serial.

use std::time::Duration;

use bondflow::engine::{Clock, SystemClock};
use bondflow::sandbox::clients::Client;
use bondflow::sandbox::lnd::{Behaviour, InvoiceSpec, Payee, payment_hash};
use bondflow::sandbox::mostrod::Trade;
use futures_util::future::join_all;
use mostro_core::message::Action;

use super::world::{Setup, World};

/// What each payment takes at the payee.
const PAYMENT: Duration = Duration::from_millis(50);

/// Rules `bonds` trades and pays them all, each to a winner of its own; says how long it took.
async fn paid_at_once(bonds: usize) {
    let caps =
        [("lightning", "max_inflight_payouts = 10000"), ("lightning", "max_inflight_payouts_per_destination = 0")];
    let settings = caps.map(|(section, line)| (section, line.to_owned())).to_vec();
    let setup = Setup { more_trades: bonds, escrow: false, real_time: true, settings, ..Setup::default() };
    let mut world = World::without_daemon(setup).await;
    world.start().await;
    let payee = Payee::of(&world.lnd.node, "winner");
    payee.always(Behaviour::Pay { fee_sat: 1, after: PAYMENT });
    let patience = Duration::from_secs(600);

    let begun = SystemClock.now();
    let rulings = world.more.iter().map(|(trade, _)| async {
        let ruling = world.solver.ruling(trade.order, Action::AdminCancel, false, true);
        world.solver.send(&ruling).await.unwrap();
    });
    join_all(rulings).await;
    let asked = world.more.iter().map(|(_, seller)| async {
        seller.wait_for(patience, |heard| heard.action() == Action::AddBondInvoice).await.unwrap();
    });
    join_all(asked).await;
    let all_asked = SystemClock.now();

    let paid = world.more.iter().map(|(trade, seller): &(Trade, Client)| {
        let bolt11 = payee.invoice(500, InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() });
        async move {
            seller.send(&seller.bond_invoice(trade.order, &bolt11)).await.unwrap();
            seller.wait_for(patience, |heard| heard.action() == Action::BondPayoutCompleted).await.unwrap();
            payment_hash(&bolt11)
        }
    });
    let hashes = join_all(paid).await;
    let ended = SystemClock.now();

    let ledger = world.lnd.node.ledger();
    for hash in hashes {
        assert_eq!((ledger.times_paid(hash), ledger.sends_of(hash).len()), (1, 1));
    }
    for (trade, _) in &world.more {
        let row = world.bond(&trade.bonds[1].id.to_string()).await;
        assert_eq!((row["state"].as_str(), &row["payout_attempts"]), (Some("slashed"), &0.into()));
    }
    let (asking, paying, whole) = (begun.until(all_asked), all_asked.until(ended), begun.until(ended));
    let starts: Vec<u64> =
        ledger.sends.iter().filter(|send| send.outcome.is_ok()).map(|send| send.received_ms).collect();
    let spread = starts.iter().max().zip(starts.iter().min()).map_or(0, |(last, first)| last - first);
    println!("the sends came within {spread} ms");
    println!(
        "{bonds} bonds: all asked after {asking:?}, all paid {paying:?} later; {:.0} bonds/s, {:.0} paid/s",
        bonds as f64 / whole.as_secs_f64(),
        bonds as f64 / paying.as_secs_f64()
    );
    let overlapping = starts.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) < 50).count();
    assert!(overlapping > bonds / 2, "payments wait for each other: {overlapping} of {bonds} overlap");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_bonds_are_paid_at_once() {
    paid_at_once(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_thousand_bonds_are_paid_at_once() {
    paid_at_once(1_000).await;
}
