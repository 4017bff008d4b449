//! A message is offered until it is acknowledged or superfluous.

use bondflow::engine::Store;
use bondflow::engine::store::{Delivery, OutboxEntry, OutboxMessage, OutboxState};

use super::StoreUnderTest;
use super::sample::*;

async fn due(store: &dyn Store, n: i64) -> Vec<String> {
    store.outbox_due(at(n), 100).await.unwrap().into_iter().map(|entry| entry.message.id).collect()
}

async fn entry(store: &dyn Store, id: &str) -> OutboxEntry {
    store.outbox(id).await.unwrap().unwrap()
}

async fn deliver(store: &dyn Store, id: &str, state: OutboxState, due: i64) {
    let seq = entry(store, id).await.seq;
    store.delivered(vec![Delivery { seq, state, due_at: at(due) }]).await.unwrap();
}

pub async fn messages_are_offered_in_the_order_of_commits<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let full = OutboxMessage { expires_at: Some(at(99)), ..message("z", Some("slot")) };
    commit(store, sending(5, [full.clone(), message("b", None)])).await;
    commit(store, sending(4, [message("a", None)])).await;
    commit(store, sending(6, [message("late", None)])).await;
    assert_eq!(due(store, 3).await, [""; 0]);
    assert_eq!(due(store, 5).await, ["z", "b", "a"]);
    let first: Vec<_> = store.outbox_due(at(9), 2).await.unwrap();
    assert_eq!(first.iter().map(|entry| entry.message.id.as_str()).collect::<Vec<_>>(), ["z", "b"]);
    assert_eq!(store.outbox_next().await.unwrap(), Some(at(4)));
    assert_eq!(store.outbox_depth().await.unwrap(), (4, Some(at(4))));

    let stored = entry(store, "z").await;
    let (state, due_at, created_at) = (OutboxState::Pending, at(5), at(5));
    assert_eq!(stored, OutboxEntry { seq: stored.seq, message: full, state, attempts: 0, due_at, created_at });
    assert_eq!(first[0], stored);
}

pub async fn a_known_message_is_not_stored_again<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, sending(1, [message("a", None), message("a", Some("slot"))])).await;
    commit(store, sending(1, [message("current", Some("slot"))])).await;
    let again = OutboxMessage { body: "other".into(), ..message("a", Some("slot")) };
    commit(store, sending(2, [again])).await;
    assert_eq!(due(store, 9).await, ["a", "current"], "nor does it supersede anything");
    assert_eq!(entry(store, "a").await.message, message("a", None));

    deliver(store, "a", OutboxState::Acknowledged, 2).await;
    commit(store, sending(3, [message("a", None)])).await;
    assert_eq!(entry(store, "a").await.state, OutboxState::Acknowledged);
}

pub async fn a_newer_message_supersedes_its_slot<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let messages = [message("a", Some("slot")), message("b", Some("other")), message("c", None), message("d", None)];
    commit(store, sending(1, messages)).await;
    commit(store, sending(2, [message("e", Some("slot"))])).await;
    assert_eq!(due(store, 9).await, ["b", "c", "d", "e"]);
    assert_eq!(entry(store, "a").await.state, OutboxState::Superseded);
    commit(store, sending(3, [message("f", Some("slot")), message("g", Some("slot"))])).await;
    assert_eq!(due(store, 9).await, ["b", "c", "d", "g"]);

    deliver(store, "g", OutboxState::Acknowledged, 4).await;
    commit(store, sending(5, [message("h", Some("slot"))])).await;
    assert_eq!(entry(store, "g").await.state, OutboxState::Acknowledged, "what is closed stays as it is");
}

pub async fn a_message_is_offered_until_it_is_closed<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, sending(1, ["a", "b", "c"].map(|id| message(id, None)))).await;
    deliver(store, "a", OutboxState::Pending, 50).await;
    assert_eq!(due(store, 49).await, ["b", "c"]);
    assert_eq!(due(store, 50).await, ["a", "b", "c"]);
    let offered = entry(store, "a").await;
    assert_eq!((offered.attempts, offered.due_at, offered.state), (1, at(50), OutboxState::Pending));

    deliver(store, "b", OutboxState::Acknowledged, 2).await;
    deliver(store, "c", OutboxState::Expired, 2).await;
    assert_eq!(due(store, 50).await, ["a"]);
    assert_eq!(store.outbox_next().await.unwrap(), Some(at(50)));
    assert_eq!(entry(store, "b").await.state, OutboxState::Acknowledged);
    assert_eq!(entry(store, "c").await.state, OutboxState::Expired);
    deliver(store, "a", OutboxState::Acknowledged, 60).await;
    assert_eq!(entry(store, "a").await.attempts, 2);
    assert_eq!(store.outbox_next().await.unwrap(), None);
}

pub async fn a_closed_message_stays_closed<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    commit(store, sending(1, [message("a", Some("slot"))])).await;
    // While `a` is being offered, `b` takes its place.
    commit(store, sending(2, [message("b", Some("slot"))])).await;
    deliver(store, "a", OutboxState::Pending, 3).await;
    assert_eq!(entry(store, "a").await.state, OutboxState::Superseded);
    assert_eq!(due(store, 9).await, ["b"]);

    deliver(store, "b", OutboxState::Acknowledged, 3).await;
    deliver(store, "b", OutboxState::Pending, 4).await;
    assert_eq!(entry(store, "b").await.state, OutboxState::Acknowledged);
    store.delivered(vec![]).await.unwrap();
    store.delivered(vec![Delivery { seq: 999, state: OutboxState::Pending, due_at: at(1) }]).await.unwrap();
    assert_eq!(store.outbox_next().await.unwrap(), None);
}

pub async fn the_newest_message_of_a_topic_is_found<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let about = |id: &str, topic: &str| OutboxMessage { topic: topic.into(), ..message(id, None) };
    assert_eq!(store.outbox_topic("ask").await.unwrap(), None);
    commit(store, sending(5, [about("b", "ask"), about("a", "ask"), about("c", "Ask")])).await;
    commit(store, sending(4, [about("d", "other")])).await;
    deliver(store, "a", OutboxState::Acknowledged, 6).await;
    let newest = store.outbox_topic("ask").await.unwrap().unwrap();
    assert_eq!(newest, entry(store, "a").await, "whatever has become of it");
    commit(store, sending(3, [about("e", "ask")])).await;
    assert_eq!(store.outbox_topic("ask").await.unwrap().unwrap().message.id, "e");
}

pub async fn old_messages_are_forgotten_but_the_newest_of_a_topic<S: StoreUnderTest>() {
    let subject = S::fresh().await;
    let store = subject.store();
    let of = |id: &str, topic: &str| OutboxMessage { topic: topic.into(), ..message(id, None) };
    commit(store, sending(1, [of("a", "x"), of("b", "x"), of("c", "x"), of("d", "y"), of("pending", "x")])).await;
    commit(store, sending(5, [of("late", "x"), of("last", "x")])).await;
    for (id, state) in [("a", OutboxState::Acknowledged), ("b", OutboxState::Superseded), ("c", OutboxState::Expired)] {
        deliver(store, id, state, 2).await;
    }
    for id in ["d", "late", "last"] {
        deliver(store, id, OutboxState::Acknowledged, 6).await;
    }
    let left = async || {
        let mut left = Vec::new();
        for id in ["a", "b", "c", "d", "pending", "late", "last"] {
            left.extend(store.outbox(id).await.unwrap().map(|_| id));
        }
        left.join(" ")
    };
    assert_eq!(store.forget_messages(at(1), 9).await.unwrap(), 0);
    assert_eq!(store.forget_messages(at(5), 2).await.unwrap(), 2);
    assert_eq!(left().await, "c d pending late last", "the oldest first");
    assert_eq!(store.forget_messages(at(5), 9).await.unwrap(), 1);
    assert_eq!(store.forget_messages(at(9), 9).await.unwrap(), 1);
    assert_eq!(left().await, "d pending last");
    assert_eq!(store.outbox_topic("x").await.unwrap().unwrap().message.id, "last");
    // Numbers go on from the last one.
    let last = entry(store, "last").await.seq;
    commit(store, sending(9, [message("next", None)])).await;
    assert!(entry(store, "next").await.seq > last);
}
