//! What the node says of itself in public: its info, its signs of life, by which a second daemon on its key is found
//! out, and whom it hears without the work that it asks of strangers.

use std::sync::Arc;
use std::time::Duration;

use bondflow::app::{AppError, Daemon};
use bondflow::config::Settings;
use bondflow::engine::{Clock, Timestamp};
use bondflow::sandbox::clients::Client;
use mostro_core::message::Action;
use nostr_sdk::{Event, EventBuilder, Keys, Kind, Tag, TagKind, Timestamp as NostrTime};

use super::world::{Setup, World};

const INFO: u16 = 38385;
const HEALTH: u16 = 38389;

fn tag<'a>(event: &'a Event, name: &'static str) -> &'a str {
    event.tags.find(TagKind::custom(name)).and_then(|tag| tag.content()).unwrap_or_default()
}

/// Waits for the newest event of a kind, published at that second or later.
async fn published_since(world: &World, kind: u16, secs: i64) -> Event {
    world
        .until(|| async {
            let events = world.public(kind).await;
            let made_at = events.first().map(|event| event.created_at.as_secs());
            let found = events.into_iter().find(|event| event.created_at.as_secs() as i64 >= secs);
            found.ok_or_else(|| format!("the newest of {kind} is from {made_at:?}"))
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_info_event_is_published_at_start_by_schedule_and_on_reload() {
    let schedule = ("schedules", "info_event = '0 0/10 * * * *'".to_owned());
    let mut world = World::new(Setup { settings: vec![schedule], ..Setup::default() }).await;
    let started = world.clock.now().secs();
    let first = published_since(&world, INFO, 0).await;
    assert_eq!((tag(&first, "bond_enabled"), tag(&first, "bond_payout_claim_window_days")), ("true", "15"));
    // Ten minutes later at most, on the clock's full ten minutes and not before.
    let due = (started / 600 + 1) * 600;
    world.clock.advance(Duration::from_secs(u64::try_from(due - 5 - started).unwrap_or(0)));
    world.drained().await;
    assert!(world.public(INFO).await.iter().all(|event| (event.created_at.as_secs() as i64) < due));
    world.clock.advance(Duration::from_secs(10));
    published_since(&world, INFO, due).await;

    world.drained().await;
    world.clock.advance(Duration::from_secs(1));
    let reloaded = world.clock.now().secs();
    world.reload("payout_claim_window_days", 3).await;
    let told = published_since(&world, INFO, reloaded).await;
    assert_eq!(tag(&told, "bond_payout_claim_window_days"), "3");
    assert_eq!(world.public(INFO).await.len(), 1, "each replaces the one before");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_of_life_comes_every_minute() {
    let mut world = World::new(Setup::default()).await;
    let first = published_since(&world, HEALTH, 0).await;
    assert_eq!((tag(&first, "status"), tag(&first, "seq"), tag(&first, "interval")), ("ok", "1", "60"));
    world.drained().await;
    world.lnd.stop().await;
    world.clock.advance(Duration::from_secs(60));
    let second = published_since(&world, HEALTH, world.clock.now().secs()).await;
    assert_eq!((tag(&second, "status"), tag(&second, "seq")), ("degraded", "2"));
    assert_eq!(tag(&second, "installation"), tag(&first, "installation"));
    assert_eq!(world.public(HEALTH).await.len(), 1);
    world.stop().await;
}

/// Settings of the same node on another database.
fn elsewhere(world: &World, database: &str) -> Settings {
    let own = world.database_url();
    let other = format!("sqlite://{}", world.folder.path().join(database).display());
    let path = world.settings_file();
    std::fs::write(&path, world.settings_text().replace(&own, &other)).unwrap();
    Settings::load(&path, std::iter::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_key_is_refused_until_the_first_is_long_gone() {
    let mut world = World::new(Setup::default()).await;
    published_since(&world, HEALTH, 0).await;
    let start = async |database: &str| {
        let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
        Daemon::start_in_time_of(clock, elsewhere(&world, database)).await
    };
    let Err(refused) = start("second.db").await else { panic!("two daemons on one key") };
    assert!(matches!(refused, AppError::OtherDaemon(_)), "{refused}");
    assert!(refused.to_string().contains("another daemon"), "{refused}");

    // On its own database it may start again at once, as after a crash.
    world.restart().await;
    world.drained().await;
    world.stop().await;
    let last = published_since(&world, HEALTH, 0).await.created_at.as_secs() as i64;
    let start = async |database: &str| {
        let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
        Daemon::start_in_time_of(clock, elsewhere(&world, database)).await
    };
    world.clock.set(Timestamp::from_secs(last + 119));
    assert!(matches!(start("third.db").await, Err(AppError::OtherDaemon(_))));
    world.clock.set(Timestamp::from_secs(last + 120));
    start("fourth.db").await.unwrap().stop().await;
}

/// A mostrod looks for nobody when it starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_started_beside_this_one_is_alarmed_of() {
    let mut world = World::new(Setup::default()).await;
    published_since(&world, HEALTH, 0).await;
    world.drained().await;
    let now = world.clock.now().secs();
    let tag = |name: &'static str, value: &str| Tag::custom(TagKind::custom(name), [value]);
    let mostrod = EventBuilder::new(Kind::Custom(HEALTH), "")
        .tags([
            Tag::identifier(world.node.public_key().to_hex()),
            tag("interval", "60"),
            tag("mostro_version", "0.20.2"),
        ])
        .custom_created_at(NostrTime::from_secs(u64::try_from(now + 2).unwrap()))
        .sign_with_keys(&world.node)
        .unwrap();
    world.seller.publish(&mostrod).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    world.alarmed("other-daemon", 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winner_is_no_stranger_while_sats_are_owed_though_the_order_is_over() {
    let work = ("mostro", "pow_first_contact = 40".to_owned());
    let mut world = World::asking(Setup { settings: vec![work], ..Setup::default() }).await;
    world.is_resolved().await;
    let (bolt11, _) = world.invoice(500);
    let (keys, clock) = (Keys::generate(), Arc::new(world.clock.clone()));
    let relays = [world.relay.url()];
    let stranger = Client::connect(&relays, keys.clone(), keys, world.node.public_key(), clock).await.unwrap();
    stranger.send(&stranger.bond_invoice(world.trade.order, &bolt11)).await.unwrap();
    assert_eq!(world.answer(&world.seller, &bolt11).await.action(), Action::BondInvoiceAccepted);
    world.drained().await;
    assert_eq!(world.told(&stranger).await.len(), 0, "dropped without an answer");
    world.stop().await;
}
