//! A flood of garbage does not hold up a good message.

use std::time::Duration;

use bondflow::engine::{Clock, SystemClock};
use futures_util::{StreamExt, stream};
use mostro_core::message::Action;
use nostr_sdk::{Event, EventBuilder, Keys, Kind, Tag};
use uuid::Uuid;

use super::world::{PATIENCE, Setup, World};

/// Garbage for a minute, and the delay that a good message may have by it.
const GARBAGE: u32 = 10_000;
const DELAY: Duration = Duration::from_secs(1);

/// Addressed to the node, signed, and nothing that it could open.
fn garbage(world: &World, from: &Keys, number: u32) -> Event {
    EventBuilder::new(Kind::from(14), format!("garbage {number}"))
        .tag(Tag::public_key(world.node.public_key()))
        .sign_with_keys(from)
        .unwrap()
}

/// How long the node takes to refuse a ruling over an order that it does not know.
async fn asked(world: &World) -> Duration {
    let begun = SystemClock.now();
    let ruling = world.solver.ruling(Uuid::new_v4(), Action::AdminCancel, false, false);
    let heard = world.solver.request(&ruling, PATIENCE).await.unwrap();
    assert_eq!(heard.action(), Action::CantDo);
    begun.until(SystemClock.now())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_delays_no_good_message() {
    let mut world = World::without_daemon(Setup { real_time: true, ..Setup::default() }).await;
    world.start().await;
    asked(&world).await;
    let quiet = asked(&world).await;
    let from = Keys::generate();
    let (mut slowest, mut answered) = (Duration::ZERO, 0);
    let begun = SystemClock.now();
    let flood = stream::iter(0..GARBAGE)
        .map(|number| {
            let (event, world) = (garbage(&world, &from, number), &world);
            async move { world.buyer.publish(&event).await.unwrap() }
        })
        .buffer_unordered(16)
        .for_each(|()| async {});
    let good = async {
        loop {
            slowest = slowest.max(asked(&world).await);
            answered += 1;
        }
    };
    tokio::select! {
        () = flood => {}
        () = good => {}
    }
    let took = begun.until(SystemClock.now());
    println!("{GARBAGE} in {took:?}; the slowest of {answered} answers took {slowest:?}, a quiet one {quiet:?}");
    assert!(took < Duration::from_secs(60), "no flood: {took:?}");
    assert!(answered > 0 && slowest < quiet + DELAY, "{slowest:?}");
    world.stop().await;
}
