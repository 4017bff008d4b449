//! Finished runs are retired, and nothing that comes later has an effect.

use bondflow::engine::store::RunFilter;
use bondflow::engine::{RunId, Status};
use bondflow::payout::invariants::{Records, check};
use bondflow::payout::tables::HASHES;
use mostro_core::message::Action;
use serde_json::Value;

use super::commands::ctl;
use super::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_payout_is_retired_and_never_starts_again() {
    let mut world = World::new(Setup::default()).await;
    let bond = world.taker_bond();
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(500);
    world.answer(&world.seller, &bolt11).await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    let order = world.trade.order.to_string();
    let runs = [("bond_payout", bond.as_str()), ("bond_release", &world.maker_bond()), ("order_resolution", &order)]
        .map(|(workflow, key)| RunId::of(workflow, key));
    world.run_is("bond_release", &world.maker_bond(), "released", Status::Completed).await;
    world.run_is("order_resolution", &order, "resolved", Status::Completed).await;
    let row = world.bond(&bond).await;

    let retired = async |id: &RunId| world.store().run(id).await.unwrap().unwrap().retired_at.is_some();
    world.pass_days(89);
    world.pass(1).await;
    for id in &runs {
        assert!(!retired(id).await, "too early");
    }
    world.pass_days(2);
    for id in &runs {
        world.until(|| async { retired(id).await.then_some(()).ok_or_else(|| format!("{id} is not retired")) }).await;
    }
    assert_eq!(world.store().runs(&RunFilter::default()).await.unwrap(), vec![]);
    assert_eq!(world.bond(&bond).await, row);
    assert!(world.store().row(HASHES.name, &hex::encode(hash)).await.unwrap().is_some());
    assert_eq!(check(&Records::read(world.store().as_ref()).await.unwrap()), vec![]);
    let run = world.store().run(&runs[0]).await.unwrap().unwrap();
    let kept: Value = serde_json::from_str(&run.state).unwrap();
    assert_eq!(kept["paid"]["hash"], hex::encode(hash));
    assert_eq!(kept["paid"]["preimage"], row["payout_preimage"], "the proof of the payment stays");

    // Neither the solver nor the winner can start anything again, also after a restart.
    for _ in 0..2 {
        assert_eq!(world.rule(Action::AdminCancel, false, true).await.action(), Action::CantDo);
        for bolt11 in [&bolt11, &world.invoice(500).0] {
            assert_eq!(world.answer(&world.seller, bolt11).await.action(), Action::CantDo);
        }
        world.restart().await;
    }
    assert_eq!(world.store().runs(&RunFilter::default()).await.unwrap(), vec![]);
    assert_eq!((world.settled(), world.lnd.node.ledger().times_paid(hash)), (1, 1));
    assert_eq!(world.seller.count(&Action::AddBondInvoice), 1);

    let (_, shown, _) = ctl(&world, &["show", &runs[0].0[..8]]).await;
    assert!(shown.contains("retired") && shown.contains("slashed"), "{shown}");
    assert!(!shown.contains(row["payout_preimage"].as_str().unwrap()), "{shown}");
    let (_, why, _) = ctl(&world, &["why", &runs[0].0[..8]]).await;
    assert!(why.contains("is retired"), "{why}");
    let (code, history, told) = ctl(&world, &["history", &runs[0].0[..8], "-o", "jsonl"]).await;
    assert!(code == Some(0) && history.is_empty() && told.contains("is retired since"), "{history}{told}");
    world.stop().await;
}
