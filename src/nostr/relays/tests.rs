//! Over a real websocket, against the embedded relay.

use nostr_sdk::{EventBuilder, JsonUtil, Kind, Tag, Timestamp as NostrTime};

use super::*;
use crate::engine::VirtualClock;
use crate::sandbox::relay::{Limits, SandboxRelay};

/// Far enough ahead that no event counts as expired by the machine's clock.
const NOW: Timestamp = Timestamp::from_secs(4_000_000_000);
const LONG: Duration = Duration::from_secs(30);

struct World {
    relays: Relays,
    inbound: mpsc::Receiver<Inbound>,
    clock: VirtualClock,
}

async fn sandbox() -> SandboxRelay {
    SandboxRelay::start(0, Limits::default()).await.unwrap()
}

fn connect(urls: Vec<String>, node: Keys, patience: Patience) -> World {
    let clock = VirtualClock::starting_at(NOW);
    let first = Timestamp::from_secs(NOW.secs() - 100_000);
    let (relays, inbound) = Relays::connect(
        &urls,
        &node,
        Mail::To(node.public_key()),
        Arc::new(clock.clone()),
        &HashMap::new(),
        first,
        patience,
    )
    .unwrap();
    World { relays, inbound, clock }
}

fn patience() -> Patience {
    Patience { first_retry: Duration::from_millis(10), longest_retry: Duration::from_millis(50), ..Patience::default() }
}

fn letter(to: &Keys, secs: i64, text: &str) -> Event {
    EventBuilder::new(Kind::PrivateDirectMessage, text)
        .tag(Tag::public_key(to.public_key()))
        .custom_created_at(NostrTime::from_secs(u64::try_from(secs).unwrap()))
        .sign_with_keys(&Keys::generate())
        .unwrap()
}

impl World {
    async fn next(&mut self) -> Inbound {
        tokio::time::timeout(LONG, self.inbound.recv()).await.expect("nothing came in").unwrap()
    }

    /// The contents of the events up to the next marker that a reading is complete, and that marker.
    async fn until_caught_up(&mut self) -> (Vec<String>, Timestamp, Timestamp) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Inbound::Event { event, .. } => events.push(event.content),
                Inbound::CaughtUp { begun_at, since, .. } => return (events, begun_at, since),
                Inbound::Connected { .. } => {}
            }
        }
    }
}

#[tokio::test]
async fn what_is_published_is_acknowledged_once_stored_and_again_when_repeated() {
    let relay = sandbox().await;
    let mut world = connect(vec![relay.url()], Keys::generate(), patience());
    let event = letter(&Keys::generate(), NOW.secs(), "hello");
    world.until_caught_up().await;
    for _ in 0..2 {
        let outcome = world.relays.publish(&event.as_json()).await;
        assert!(outcome.acknowledged(), "{outcome:?}");
    }
    assert_eq!(relay.events().await, [event]);
    assert_eq!(world.relays.connected(), world.relays.names());
}

#[tokio::test]
async fn a_quorum_of_relays_is_enough_and_fewer_are_not() {
    let sandboxes = [sandbox().await, sandbox().await, sandbox().await];
    let urls = sandboxes.iter().map(SandboxRelay::url).collect();
    let mut world = connect(urls, Keys::generate(), patience());
    for _ in 0..3 {
        world.until_caught_up().await;
    }
    assert_eq!(world.relays.quorum(), 2);
    sandboxes[0].refuse(true);
    let event = letter(&Keys::generate(), NOW.secs(), "one refuses").as_json();
    assert!(world.relays.publish(&event).await.acknowledged());
    sandboxes[1].refuse(true);
    let event = letter(&Keys::generate(), NOW.secs(), "two refuse").as_json();
    let outcome = world.relays.publish(&event).await;
    assert!(!outcome.acknowledged() && outcome.refused(), "{outcome:?}");
    assert!(outcome.answers.iter().any(|(_, answer)| matches!(answer, Answer::Refused(why) if why.contains("test"))));
}

#[tokio::test]
async fn a_relay_that_is_busy_frozen_or_away_is_to_be_tried_again() {
    let relay = SandboxRelay::start(0, Limits { notes_per_minute: 1, ..Limits::default() }).await.unwrap();
    let quick = Patience { acknowledge: Duration::from_millis(200), ..patience() };
    let mut world = connect(vec![relay.url()], Keys::generate(), quick);
    world.until_caught_up().await;
    let publish = async |world: &World, text| {
        let event = letter(&Keys::generate(), NOW.secs(), text).as_json();
        world.relays.publish(&event).await.answers.remove(0).1
    };
    assert_eq!(publish(&world, "first").await, Answer::Acknowledged);
    let busy = publish(&world, "second").await;
    assert!(matches!(&busy, Answer::Later(why) if why.starts_with("rate-limited")), "{busy:?}");
    relay.freeze(true);
    assert_eq!(publish(&world, "frozen").await, Answer::Later("no answer in time".to_owned()));
    relay.freeze(false);
    relay.shut().await;
    assert!(matches!(publish(&world, "away").await, Answer::Later(_)));
}

#[tokio::test]
async fn events_arrive_while_connected() {
    let relay = sandbox().await;
    let node = Keys::generate();
    let mut world = connect(vec![relay.url()], node.clone(), patience());
    assert!(matches!(world.next().await, Inbound::Connected { .. }));
    let (events, begun_at, since) = world.until_caught_up().await;
    assert_eq!((events.len(), begun_at, since.secs()), (0, NOW, NOW.secs() - 100_000));
    // Its own clock is an hour slow; a good connection brings it all the same.
    let late = letter(&node, NOW.secs() - 3600, "live");
    assert!(world.relays.publish(&late.as_json()).await.acknowledged());
    let Inbound::Event { event, .. } = world.next().await else { panic!("no event") };
    assert_eq!(*event, late);
}

#[tokio::test]
async fn an_absence_with_more_events_than_a_page_is_read_back_whole() {
    let relay = sandbox().await;
    let node = Keys::generate();
    let mut world = connect(vec![relay.url()], node.clone(), patience());
    world.until_caught_up().await;
    relay.shut().await;
    for number in 0..1203 {
        relay.store(&letter(&node, NOW.secs() + number / 3, &number.to_string())).await.unwrap();
    }
    let stale = letter(&node, NOW.secs() - 16 * 60, "before the margin");
    relay.store(&stale).await.unwrap();
    relay.store(&letter(&Keys::generate(), NOW.secs(), "for somebody else")).await.unwrap();
    world.clock.advance(Duration::from_secs(3600));
    relay.open().await.unwrap();
    let (events, begun_at, since) = world.until_caught_up().await;
    let read: std::collections::BTreeSet<i64> = events.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(read, (0..1203).collect());
    assert_eq!(events.len(), 1203, "each once");
    assert_eq!(begun_at.secs(), NOW.secs() + 3600);
    assert_eq!(since.secs(), NOW.secs() - 15 * 60);

    // From now on only what may have come since the last good contact is asked for.
    world.relays.catch_up();
    let (events, _, since) = world.until_caught_up().await;
    assert_eq!((events.len(), since.secs()), (0, NOW.secs() + 2700));
}

#[tokio::test]
async fn reading_begins_before_the_committed_cursor() {
    let relay = sandbox().await;
    let node = Keys::generate();
    let cursor = Timestamp::from_secs(NOW.secs() - 5000);
    relay.store(&letter(&node, cursor.secs() - 900, "in the margin")).await.unwrap();
    relay.store(&letter(&node, cursor.secs() - 901, "read long ago")).await.unwrap();
    let read_until = HashMap::from([(name(&relay.url()).unwrap(), cursor)]);
    let clock = VirtualClock::starting_at(NOW);
    let (relays, inbound) = Relays::connect(
        &[relay.url()],
        &node,
        Mail::To(node.public_key()),
        Arc::new(clock.clone()),
        &read_until,
        Timestamp(0),
        patience(),
    )
    .unwrap();
    let mut world = World { relays, inbound, clock };
    assert_eq!(world.until_caught_up().await.0, ["in the margin"]);
}

#[tokio::test]
async fn publishing_does_not_wait_for_a_reading_that_nobody_takes() {
    let relay = sandbox().await;
    let node = Keys::generate();
    for number in 0..3000 {
        relay.store(&letter(&node, NOW.secs() - number, &number.to_string())).await.unwrap();
    }
    let mut world = connect(vec![relay.url()], node, patience());
    assert!(matches!(world.next().await, Inbound::Connected { .. }));
    assert!(matches!(world.next().await, Inbound::Event { .. }));
    let event = letter(&Keys::generate(), NOW.secs(), "meanwhile").as_json();
    assert!(world.relays.publish(&event).await.acknowledged());
    assert_eq!(world.until_caught_up().await.0.len(), 2999, "and nothing is lost");
}

#[tokio::test]
async fn a_dead_connection_is_noticed_by_reading_back() {
    let relay = sandbox().await;
    let node = Keys::generate();
    let quick = Patience { read: Duration::from_millis(200), ..patience() };
    let mut world = connect(vec![relay.url()], node.clone(), quick);
    world.until_caught_up().await;
    relay.freeze(true);
    relay.store(&letter(&node, NOW.secs(), "unseen")).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    // The frozen connection is given up; the one after it is good again.
    while !world.relays.connected().is_empty() {
        tokio::task::yield_now().await;
    }
    relay.freeze(false);
    assert_eq!(world.until_caught_up().await.0, ["unseen"]);
}

#[tokio::test]
async fn a_relay_that_wants_an_introduction_gets_it() {
    let relay = SandboxRelay::start(0, Limits { introduction: true, ..Limits::default() }).await.unwrap();
    let node = Keys::generate();
    relay.store(&letter(&node, NOW.secs(), "stored")).await.unwrap();
    let mut world = connect(vec![relay.url()], node.clone(), patience());
    assert_eq!(world.until_caught_up().await.0, ["stored"]);
    let event = letter(&node, NOW.secs(), "live");
    assert!(world.relays.publish(&event.as_json()).await.acknowledged());
    assert!(matches!(world.next().await, Inbound::Event { event, .. } if event.content == "live"));
}

#[test]
fn a_relay_is_one_vote_however_it_is_written_and_there_must_be_one() {
    let clock = Arc::new(VirtualClock::starting_at(NOW));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let connect = |urls: &[&str]| {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        let keys = Keys::generate();
        Relays::connect(
            &urls,
            &keys,
            Mail::To(keys.public_key()),
            clock.clone(),
            &HashMap::new(),
            NOW,
            Patience::default(),
        )
        .map(|(relays, _)| relays.names().len())
    };
    assert_eq!(connect(&["ws://127.0.0.1:1", "ws://127.0.0.1:1/"]), Ok(1));
    assert_eq!(connect(&[]), Err(BadRelays::None));
    assert_eq!(connect(&["https://127.0.0.1"]), Err(BadRelays::Url("https://127.0.0.1".to_owned())));
    assert_eq!([quorum(1), quorum(2), quorum(3), quorum(4)], [1, 2, 2, 3]);
}

#[test]
fn a_cursor_says_how_far_a_relay_was_read() {
    let row = cursor("ws://r", Timestamp::from_secs(7), Timestamp::from_secs(9));
    assert_eq!((row.table, row.key.as_str()), ("cursors", "ws://r"));
    let RowChange::Upsert(row) = row.change else { panic!("not an upsert") };
    assert_eq!((&row["read_until"], &row["complete_at"]), (&json!(7), &json!(9)));
}
