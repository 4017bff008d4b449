//! The outbox on its way to the outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bondflow::engine::store::{Commit, OutboxEntry, OutboxMessage, OutboxState};
use bondflow::engine::{Clock, Courier, Offered, Publisher, Store, StoreError, Timestamp, VirtualClock};
use bondflow::store::memory::{Call, Fault, MemoryStore};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::scene::{Gate, START, ended, rest, secs, wait_for};

/// What an offer comes to.
#[derive(Clone)]
enum Answer {
    Yes,
    No,
    After(Gate),
    NoAfter(Gate),
    Panic,
}

/// The outside: notes every offer, and answers as told.
#[derive(Default)]
struct Outside {
    offers: Mutex<Vec<(String, String)>>,
    answers: Mutex<HashMap<String, Answer>>,
}

impl Outside {
    fn answer(&self, id: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(id.into(), answer);
    }

    fn offered(&self) -> Vec<String> {
        self.offers.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }
}

#[async_trait]
impl Publisher for Outside {
    async fn offer(&self, message: &OutboxMessage) -> Offered {
        self.offers.lock().unwrap().push((message.id.clone(), message.body.clone()));
        let answer = self.answers.lock().unwrap().get(&message.id).cloned().unwrap_or(Answer::Yes);
        match answer {
            Answer::Yes => Offered::Acknowledged,
            Answer::No => Offered::NotYet("nobody there".into()),
            Answer::After(gate) => {
                gate.pass().await;
                Offered::Acknowledged
            }
            Answer::NoAfter(gate) => {
                gate.pass().await;
                Offered::NotYet("nobody was there".into())
            }
            Answer::Panic => panic!("on purpose"),
        }
    }
}

struct Post {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    outside: Arc<Outside>,
    hurry: Arc<Notify>,
}

struct Running {
    store: Arc<MemoryStore>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Post {
    fn new() -> Self {
        Self {
            clock: VirtualClock::starting_at(START),
            store: Arc::new(MemoryStore::new(&[])),
            outside: Arc::default(),
            hurry: Arc::default(),
        }
    }

    fn courier(&self) -> Running {
        let store = Arc::new(self.store.reopen());
        let clock = Arc::new(self.clock.clone());
        let outside = Arc::clone(&self.outside) as Arc<dyn Publisher>;
        let hurry = Arc::clone(&self.hurry);
        let courier = Courier::new(Arc::clone(&store) as Arc<dyn Store>, clock, outside, hurry);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move { courier.run(stopped).await });
        Running { store, stop, task }
    }

    async fn send(&self, messages: impl IntoIterator<Item = OutboxMessage>) {
        let outbox = messages.into_iter().collect();
        self.store.commit(Commit { at: self.clock.now(), outbox, ..Commit::default() }).await.unwrap();
    }

    async fn entry(&self, id: &str) -> OutboxEntry {
        self.store.outbox(id).await.unwrap().unwrap()
    }

    async fn until(&self, id: &str, state: OutboxState) -> OutboxEntry {
        let look = || {
            self.store.snapshot().dump()["outbox"].iter().any(|row| row["id"] == id && row["state"] == state.as_str())
        };
        wait_for(id, look).await;
        self.entry(id).await
    }
}

fn message(id: &str, lane: &str) -> OutboxMessage {
    OutboxMessage {
        id: id.into(),
        lane: lane.into(),
        topic: "topic".into(),
        slot: None,
        body: format!("body of {id}"),
        expires_at: None,
    }
}

#[tokio::test]
async fn a_lane_is_offered_in_the_order_of_its_commits() {
    let post = Post::new();
    let gate = Gate::default();
    post.outside.answer("a1", Answer::After(gate.clone()));
    let _courier = post.courier();
    post.send([message("a1", "a"), message("a2", "a")]).await;
    wait_for("the first offer", || post.outside.offered() == ["a1"]).await;
    post.send([message("a3", "a"), message("b1", "b")]).await;
    post.until("b1", OutboxState::Acknowledged).await;
    rest().await;
    assert_eq!(post.outside.offered(), ["a1", "b1"], "nothing overtakes in its lane, other lanes go on");
    gate.open();
    post.until("a3", OutboxState::Acknowledged).await;
    assert_eq!(post.outside.offered(), ["a1", "b1", "a2", "a3"]);
}

#[tokio::test]
async fn a_message_is_offered_until_it_is_acknowledged() {
    let post = Post::new();
    post.outside.answer("m", Answer::No);
    let _courier = post.courier();
    post.send([message("m", "a")]).await;
    let mut waits = vec![];
    for attempts in 1..=9 {
        wait_for("an offer", || post.outside.offered().len() == attempts).await;
        rest().await;
        let entry = post.entry("m").await;
        assert_eq!((entry.attempts as usize, entry.state), (attempts, OutboxState::Pending));
        let wait = post.clock.now().until(entry.due_at);
        waits.push(wait);
        post.clock.advance(wait - Duration::from_millis(1));
        rest().await;
        assert_eq!(post.outside.offered().len(), attempts, "not before its time");
        post.clock.advance(Duration::from_millis(1));
    }
    for (wait, full) in waits.iter().zip([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]) {
        assert!((full * 8 / 10..=full).contains(&wait.as_millis()), "{waits:?}");
    }
    post.outside.answer("m", Answer::Yes);
    post.clock.advance(secs(30));
    post.until("m", OutboxState::Acknowledged).await;
    post.clock.advance(secs(3_600));
    rest().await;
    let offers = post.outside.offers.lock().unwrap().clone();
    assert_eq!(offers.len(), 10);
    assert!(offers.iter().all(|offer| *offer == ("m".into(), "body of m".into())), "always the same");
}

#[tokio::test]
async fn an_unacknowledged_message_does_not_hold_up_its_lane() {
    let post = Post::new();
    post.outside.answer("a1", Answer::No);
    let _courier = post.courier();
    post.send([message("a1", "a"), message("a2", "a")]).await;
    post.until("a2", OutboxState::Acknowledged).await;
    assert_eq!(post.outside.offered(), ["a1", "a2"]);
}

#[tokio::test]
async fn who_is_in_a_hurry_need_not_wait_for_the_back_off() {
    let post = Post::new();
    post.outside.answer("m", Answer::No);
    let _courier = post.courier();
    post.send([message("m", "a")]).await;
    wait_for("the offer", || post.outside.offered() == ["m"]).await;
    rest().await;
    post.outside.answer("m", Answer::Yes);
    post.hurry.notify_one();
    post.until("m", OutboxState::Acknowledged).await;
}

#[tokio::test]
async fn a_hurry_is_remembered_for_what_is_just_being_offered_in_vain() {
    let post = Post::new();
    let gate = Gate::default();
    post.outside.answer("m", Answer::NoAfter(gate.clone()));
    let _courier = post.courier();
    post.send([message("m", "a")]).await;
    wait_for("the offer", || post.outside.offered() == ["m"]).await;
    post.hurry.notify_one();
    rest().await;
    post.outside.answer("m", Answer::Yes);
    gate.open();
    post.until("m", OutboxState::Acknowledged).await;
}

#[tokio::test]
async fn a_slow_lane_does_not_hide_the_next_offer_of_another() {
    let post = Post::new();
    post.outside.answer("slow", Answer::After(Gate::default()));
    post.outside.answer("m", Answer::No);
    let _courier = post.courier();
    post.send([message("slow", "a"), message("m", "b")]).await;
    for offers in 2..5 {
        wait_for("another offer", || post.outside.offered().len() == offers).await;
        rest().await;
        post.clock.advance(secs(30));
    }
}

#[tokio::test]
async fn nothing_is_offered_before_its_time_to_live_ends_or_after() {
    let post = Post::new();
    post.outside.answer("m", Answer::No);
    post.send([OutboxMessage { expires_at: Some(START.after(secs(1))), ..message("m", "a") }]).await;
    let late = OutboxMessage { expires_at: Some(Timestamp(START.millis())), ..message("late", "a") };
    post.send([late]).await;
    let _courier = post.courier();
    post.until("late", OutboxState::Expired).await;
    assert_eq!(post.outside.offered(), ["m"]);
    post.clock.advance(secs(1));
    post.until("m", OutboxState::Expired).await;
    assert_eq!(post.outside.offered(), ["m"]);
}

#[tokio::test]
async fn a_superseded_message_is_offered_no_more() {
    let post = Post::new();
    post.outside.answer("old", Answer::No);
    let _courier = post.courier();
    let slotted = |id| OutboxMessage { slot: Some("slot".into()), ..message(id, "a") };
    post.send([slotted("old")]).await;
    wait_for("the offer", || post.outside.offered() == ["old"]).await;
    rest().await;
    post.send([slotted("new")]).await;
    post.until("new", OutboxState::Acknowledged).await;
    post.clock.advance(secs(3_600));
    rest().await;
    assert_eq!(post.outside.offered(), ["old", "new"]);
    assert_eq!(post.entry("old").await.state, OutboxState::Superseded);
}

#[tokio::test]
async fn nothing_is_offered_before_its_commit() {
    let post = Post::new();
    let _courier = post.courier();
    let failing = post.store.reopen();
    for fault in [Fault::Unavailable, Fault::Unknown { applied: false }] {
        failing.on_call(move |_| Some(fault));
        let commit = Commit { at: START, outbox: vec![message("m", "a")], ..Commit::default() };
        failing.commit(commit).await.unwrap_err();
        rest().await;
        assert!(post.outside.offered().is_empty());
    }
}

#[tokio::test]
async fn a_crash_between_offer_and_note_offers_the_same_again() {
    for applied in [true, false] {
        let post = Post::new();
        let courier = post.courier();
        courier.store.on_call(move |call| matches!(call, Call::Delivered(_)).then_some(Fault::Crash { applied }));
        post.send([message("m", "a")]).await;
        ended(courier.store.crashed()).await;
        courier.task.abort();
        assert_eq!(post.outside.offered(), ["m"]);
        let _courier = post.courier();
        post.send([message("n", "a")]).await;
        post.until("n", OutboxState::Acknowledged).await;
        let expected: &[&str] = if applied { &["m", "n"] } else { &["m", "m", "n"] };
        assert_eq!(post.outside.offered(), expected);
    }
}

/// A thousand lanes are not offered at once, and none of them is forgotten.
#[tokio::test]
async fn a_crowd_of_lanes_is_offered_part_by_part() {
    let post = Post::new();
    let gate = Gate::default();
    let lanes: Vec<String> = (0..600).map(|lane| format!("lane-{lane}")).collect();
    for lane in &lanes {
        post.outside.answer(lane, Answer::After(gate.clone()));
    }
    post.send(lanes.iter().flat_map(|lane| [message(lane, lane), message(&format!("{lane}, then"), lane)])).await;
    let _courier = post.courier();
    wait_for("the first offers", || post.outside.offered().len() >= 100).await;
    rest().await;
    assert!(post.outside.offered().len() <= 256, "{}", post.outside.offered().len());
    gate.open();
    wait_for("all offers", || post.outside.offered().len() == 2 * lanes.len()).await;
}

#[tokio::test]
async fn a_note_that_can_t_be_written_is_not_tried_without_pause() {
    let post = Post::new();
    let courier = post.courier();
    courier.store.on_call(move |call| matches!(call, Call::Delivered(_)).then_some(Fault::Unavailable));
    post.send([message("m", "a")]).await;
    wait_for("the offer", || post.outside.offered() == ["m"]).await;
    rest().await;
    assert_eq!(post.outside.offered(), ["m"]);
    courier.store.on_call(|_| None);
    post.clock.advance(secs(1));
    post.until("m", OutboxState::Acknowledged).await;
}

#[tokio::test]
async fn a_publisher_that_panics_is_asked_again() {
    let post = Post::new();
    post.outside.answer("m", Answer::Panic);
    let _courier = post.courier();
    post.send([message("m", "a"), message("n", "a")]).await;
    post.until("n", OutboxState::Acknowledged).await;
    post.outside.answer("m", Answer::Yes);
    post.clock.advance(secs(1));
    post.until("m", OutboxState::Acknowledged).await;
}

#[tokio::test]
async fn a_stop_lets_the_offer_under_way_end_and_begins_no_other() {
    let post = Post::new();
    let gate = Gate::default();
    post.outside.answer("m", Answer::After(gate.clone()));
    let courier = post.courier();
    post.send([message("m", "a"), message("n", "a")]).await;
    wait_for("the offer", || post.outside.offered() == ["m"]).await;
    courier.stop.send_replace(true);
    rest().await;
    assert!(!courier.task.is_finished());
    gate.open();
    ended(courier.task).await.unwrap().unwrap();
    assert_eq!(post.entry("m").await.state, OutboxState::Acknowledged);
    assert_eq!(post.outside.offered(), ["m"]);
    let _courier = post.courier();
    post.until("n", OutboxState::Acknowledged).await;
}
