//! Time that passes only when everybody waits for it.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bondflow::engine::Timestamp;
use tokio::runtime::Runtime;

/// When every world begins.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// The one time of a world. Clones share it.
#[derive(Clone)]
pub struct Time(Arc<Mutex<Sleepers>>);

struct Sleepers {
    now: Timestamp,
    next: u64,
    waiting: BTreeMap<(Timestamp, u64), Waker>,
}

impl Time {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Sleepers { now: START, next: 0, waiting: BTreeMap::new() })))
    }

    pub fn now(&self) -> Timestamp {
        self.0.lock().unwrap().now
    }

    /// Waits until then.
    pub fn until(&self, at: Timestamp) -> Sleep {
        Sleep { time: self.clone(), at, place: None }
    }

    /// When the next of those who wait is to be woken.
    pub fn next(&self) -> Option<Timestamp> {
        self.0.lock().unwrap().waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Sets the time, back too, and wakes those whose time has come, the earliest first.
    pub fn set(&self, now: Timestamp) {
        let mut woken = Vec::new();
        let mut sleepers = self.0.lock().unwrap();
        sleepers.now = now;
        while let Some(first) = sleepers.waiting.first_entry().filter(|first| first.key().0 <= now) {
            woken.push(first.remove());
        }
        drop(sleepers);
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Waits for a time.
pub struct Sleep {
    time: Time,
    at: Timestamp,
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (time, at) = (self.time.clone(), self.at);
        let mut sleepers = time.0.lock().unwrap();
        if sleepers.now >= at {
            return Poll::Ready(());
        }
        let place = *self.place.get_or_insert_with(|| {
            sleepers.next += 1;
            sleepers.next
        });
        sleepers.waiting.insert((at, place), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.time.0.lock().unwrap().waiting.remove(&(self.at, place));
        }
    }
}

/// Tells when nobody has anything to do at the present time. Clones share it.
#[derive(Clone, Default)]
pub struct Rest(Arc<Mutex<(Option<Waker>, bool)>>);

impl Rest {
    /// A runtime of one thread, and how to find out that all its tasks wait.
    pub fn runtime() -> (Runtime, Self) {
        let rest = Self::default();
        let parked = rest.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || {
                let mut waiting = parked.0.lock().unwrap();
                if let Some(waker) = waiting.0.take() {
                    waiting.1 = true;
                    waker.wake();
                }
            })
            .build()
            .unwrap();
        (runtime, rest)
    }

    /// Waits until all other tasks wait.
    pub async fn come(&self) {
        self.0.lock().unwrap().1 = false;
        poll_fn(|cx| {
            let mut waiting = self.0.lock().unwrap();
            if waiting.1 {
                return Poll::Ready(());
            }
            waiting.0 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
