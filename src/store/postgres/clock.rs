//! The database's clock, as all daemons on it read the time: their own machines' clocks may be
//! hours apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::engine::{Clock, Timestamp};

/// The longest single sleep: a clock that is set forward is noticed within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What was last heard of the database's clock, carried on by the time that has passed since.
///
/// It is never ahead of the database's: what the server said is old by the time of its way here.
/// So a lease that is over by the server's clock is over, or nearly, by this one, and one that is
/// good by this clock is good by the server's.
#[derive(Debug, Clone)]
pub struct DatabaseClock(Arc<Mutex<Heard>>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    time: Timestamp,
    at: Instant,
}

impl Heard {
    fn carried_to(self, at: Instant) -> Timestamp {
        self.time.after(at.saturating_duration_since(self.at))
    }
}

impl DatabaseClock {
    /// A clock that was heard now.
    pub(super) fn new(time: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Heard { time, at: Instant::now() })))
    }

    fn at(&self, at: Instant) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).carried_to(at)
    }

    /// Corrects the clock by what the server said between `asked` and now.
    pub(super) fn hear(&self, time: Timestamp, asked: Instant) {
        self.correct(time, asked, Instant::now());
    }

    fn correct(&self, time: Timestamp, asked: Instant, answered: Instant) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = heard.carried_to(answered);
        // Of two that are not ahead the later one is right. But a server's clock that can't have
        // got so far by now was set back.
        let most = time.after(answered.saturating_duration_since(asked));
        if time >= known || known > most {
            *heard = Heard { time, at: answered };
        }
    }
}

#[async_trait]
impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(self.now().until(at).min(LONGEST_SLEEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_between_two_answers() {
        let clock = DatabaseClock::new(Timestamp(1_000));
        let begun = clock.0.lock().unwrap().at;
        assert_eq!(clock.at(begun + Duration::from_millis(250)), Timestamp(1_250));
    }

    #[test]
    fn a_slow_answer_does_not_put_the_clock_back_and_a_clock_that_was_set_does() {
        let clock = DatabaseClock::new(Timestamp(1_000));
        let asked = clock.0.lock().unwrap().at;
        let answered = asked + Duration::from_millis(100);
        clock.correct(Timestamp(1_040), asked, answered);
        assert_eq!(clock.at(answered), Timestamp(1_100), "the answer was under way for 60 ms");
        clock.correct(Timestamp(1_130), asked, answered);
        assert_eq!(clock.at(answered), Timestamp(1_130), "the server's clock goes faster than this machine's");
        clock.correct(Timestamp(900), asked, answered);
        assert_eq!(clock.at(answered), Timestamp(900), "the server's clock can't have come to more than 1000 by now");
        clock.correct(Timestamp(9_000_000), answered, answered);
        assert_eq!(clock.at(answered), Timestamp(9_000_000));
    }
}
