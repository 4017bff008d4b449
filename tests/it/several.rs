//! Daemons in this process on one database of a server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bondflow::app::{AppError, Daemon};
use bondflow::config::Settings;
use bondflow::engine::{Clock, SystemClock, Timestamp};
use bondflow::sandbox::postgres::{Cluster, Ending, Place};
use mostro_core::message::Action;
use nostr_sdk::{Keys, ToBech32};

use crate::conformance::subject::dump_postgres;
use crate::scenarios::world::{Setup, World};

/// A machine's clock that is wrong.
struct Wrong {
    by_hours: i64,
}

#[async_trait]
impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().millis() + self.by_hours * 3_600_000)
    }

    async fn sleep_until(&self, at: Timestamp) {
        SystemClock.sleep_until(Timestamp(at.millis() - self.by_hours * 3_600_000)).await;
    }
}

async fn world() -> World {
    world_on(Setup { server: true, ..Setup::default() }).await
}

async fn world_on(setup: Setup) -> World {
    let mut world = World::without_daemon(Setup { real_time: true, ..setup }).await;
    world.look().await;
    world
}

fn settings(world: &World) -> Settings {
    Settings::load(&world.settings_file(), std::iter::empty()).unwrap()
}

/// Each is sure of its own time, one a day behind the other.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_whose_clocks_are_hours_apart_pay_once_and_date_it_right() {
    let world = world().await;
    let begun = SystemClock.now().secs();
    let behind = Daemon::start(settings(&world), Arc::new(Wrong { by_hours: -12 })).await.unwrap();
    let ahead = Daemon::start(settings(&world), Arc::new(Wrong { by_hours: 12 })).await.unwrap();
    assert_eq!(world.rule(Action::AdminCancel, false, true).await.action(), Action::AdminCanceled);
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    let row = world.bond_is(&world.taker_bond(), "state", "slashed").await;
    world.hears(&world.seller, Action::BondPayoutCompleted, 1).await;
    let slashed_at = row["slashed_at"].as_i64().unwrap();
    assert!((begun - 2..begun + 60).contains(&slashed_at), "{slashed_at} and not {begun}");
    behind.stop().await;
    ahead.stop().await;
    let ledger = world.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.spent_msat), (1, 500_000));
    for action in [Action::AddBondInvoice, Action::BondInvoiceAccepted, Action::BondPayoutCompleted] {
        assert_eq!(world.seller.count(&action), 1, "{action:?}");
    }
    // Whatever each of them has seen and said, the relay has it under one id.
    let events = world.relay.events().await;
    let about = events.iter().filter(|event| event.tags.public_keys().any(|key| *key == world.seller.key())).count();
    assert_eq!(about, world.seller.heard().len());
}

#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_of_another_node_is_refused_and_stays_as_it_is() {
    let world = world().await;
    let own = Daemon::start(settings(&world), Arc::new(SystemClock)).await.unwrap();
    own.stop().await;
    let url = world.database_url();
    let before = dump_postgres(&url).await;
    let key = world.node.secret_key().to_bech32().unwrap();
    let other = Keys::generate();
    let text = world.settings_text().replace(&key, &other.secret_key().to_bech32().unwrap());
    let path = world.settings_file();
    std::fs::write(&path, text).unwrap();
    let refused = Daemon::start(Settings::load(&path, std::iter::empty()).unwrap(), Arc::new(SystemClock)).await;
    let Err(AppError::OtherNode { database, settings }) = refused else { panic!("it started") };
    assert_eq!((database, settings), (world.node.public_key().to_hex(), other.public_key().to_hex()));
    assert_eq!(dump_postgres(&url).await, before);
}

/// A server that is started anew under running daemons is waited for.
#[cfg_attr(not(postgres), ignore = "PostgreSQL is not installed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_outlives_a_restart_of_its_server() {
    let cluster = Cluster::start(Place::Disk, "").unwrap();
    let database = Some(cluster.database("template1").await.unwrap());
    let world = world_on(Setup { database, ..Setup::default() }).await;
    let mut daemon = Daemon::start(settings(&world), Arc::new(SystemClock)).await.unwrap();
    for ending in [Ending::Fast, Ending::Crash] {
        cluster.stop(ending).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.again("").unwrap();
    }
    let failed = tokio::time::timeout(Duration::from_millis(10), daemon.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(world.rule(Action::AdminCancel, false, true).await.action(), Action::AdminCanceled);
    world.hears(&world.seller, Action::AddBondInvoice, 1).await;
    let (bolt11, hash) = world.invoice(500);
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.bond_is(&world.taker_bond(), "state", "slashed").await;
    daemon.stop().await;
    assert_eq!(world.lnd.node.ledger().times_paid(hash), 1);
}
