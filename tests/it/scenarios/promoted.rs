//! A standby of the database's server that lagged behind and was promoted: a paid debt looks unpaid in it.

use bondflow::app::lineage::Word;
use bondflow::sandbox::postgres::{Cluster, Ending, Place};
use mostro_core::message::Action;

use super::restored::{ALARM, done_once, goes_on, is_held, paid, say};
use super::world::{Setup, World};

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lagged_is_noticed_and_nobody_is_paid_again() {
    let primary = Cluster::start(Place::Memory, "").unwrap();
    let url = primary.database("template1").await.unwrap();
    let own_disk = tempfile::tempdir().unwrap();
    let witness = ("database", format!("witness = '{}'", own_disk.path().join("seen").display()));
    let mut world = World::left(Setup { server: true, settings: vec![witness], ..Setup::default() }).await;
    world.move_to(url.clone());
    world.take_over().await;
    world.start().await;
    world.rule(Action::AdminCancel, false, true).await;
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    world.rests(&world.taker_bond()).await;

    let standby = primary.standby().unwrap();
    standby.stop(Ending::Fast).unwrap();
    let hash = paid(&world).await;
    world.stop().await;
    primary.stop(Ending::Crash).unwrap();
    standby.again("").unwrap();
    standby.promote().unwrap();
    world.move_to(standby.url(url.rsplit_once('/').unwrap().1));

    world.start().await;
    let told = is_held(&world, |held| !held.waits_for.is_empty()).await;
    assert!(told.needs_word, "another daemon may be at work on the old primary: {told:?}");
    world.alarmed(ALARM, 1).await;
    world.pass(600).await;
    assert_eq!(world.bond(&world.taker_bond()).await["state"], "pending-payout");
    assert_eq!(world.sends(), 1);

    say(&world, Word::default()).await;
    goes_on(&world).await;
    done_once(&world, hash).await;
    world.stop().await;
}
