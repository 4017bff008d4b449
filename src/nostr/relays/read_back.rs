//! Reading back: which page of a relay's stored events comes next.
//!
//! A relay answers a query with so many events at most (often 500), the newest first, and does
//! not say whether there were more. So each page is asked for up to the oldest event of the page
//! before, that second included, because a page may end in the middle of a second.

use std::collections::HashSet;

use nostr_sdk::{Event, EventId};

/// A reading under way. All times are Unix seconds, both ends included.
#[derive(Debug)]
pub(super) struct ReadBack {
    since: u64,
    until: Option<u64>,
    seen: HashSet<EventId>,
    page: Page,
}

#[derive(Debug, Default)]
struct Page {
    oldest: Option<u64>,
    new: usize,
}

/// The relay sends what was not asked for; what it has can't be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unordered;

impl ReadBack {
    pub(super) fn from(since: u64) -> Self {
        Self { since, until: None, seen: HashSet::new(), page: Page::default() }
    }

    /// From when on to ask.
    pub(super) const fn since(&self) -> u64 {
        self.since
    }

    /// Up to when to ask; none: the newest.
    pub(super) const fn until(&self) -> Option<u64> {
        self.until
    }

    /// Takes an event of the present page; tells whether it is new.
    pub(super) fn take(&mut self, event: &Event) -> Result<bool, Unordered> {
        let at = event.created_at.as_secs();
        if at < self.since || self.until.is_some_and(|until| at > until) {
            return Err(Unordered);
        }
        let new = self.seen.insert(event.id);
        self.page.new += usize::from(new);
        self.page.oldest = Some(self.page.oldest.map_or(at, |oldest| oldest.min(at)));
        Ok(new)
    }

    /// Ends the page; tells whether another is to be asked for.
    pub(super) fn turn(&mut self) -> bool {
        let page = std::mem::take(&mut self.page);
        // Nothing lies further back.
        let Some(oldest) = page.oldest else { return false };
        self.until = if page.new == 0 && self.until == Some(oldest) {
            // That second has given all that it will. Were it fuller than a page, asking for it
            // again would never get past it.
            oldest.checked_sub(1)
        } else {
            Some(oldest)
        };
        self.until.is_some_and(|until| until >= self.since)
    }
}

#[cfg(test)]
mod tests {
    use nostr_sdk::{EventBuilder, Keys, Timestamp};

    use super::*;

    /// Reads a relay that holds `stored` and sends `limit` events a page at most.
    fn read(stored: &[Event], limit: usize, since: u64) -> (HashSet<EventId>, usize) {
        let mut reading = ReadBack::from(since);
        let mut got = HashSet::new();
        for pages in 1..1000 {
            let until = reading.until().unwrap_or(u64::MAX);
            let mut page: Vec<_> =
                stored.iter().filter(|event| (since..=until).contains(&event.created_at.as_secs())).collect();
            page.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
            for event in page.into_iter().take(limit) {
                if reading.take(event).unwrap() {
                    got.insert(event.id);
                }
            }
            if !reading.turn() {
                return (got, pages);
            }
        }
        panic!("the reading never ends");
    }

    fn events(times: impl IntoIterator<Item = u64>) -> Vec<Event> {
        let keys = Keys::generate();
        let note = |(number, at): (usize, u64)| {
            EventBuilder::text_note(number.to_string())
                .custom_created_at(Timestamp::from_secs(at))
                .sign_with_keys(&keys)
                .unwrap()
        };
        times.into_iter().enumerate().map(note).collect()
    }

    fn ids(events: &[Event]) -> HashSet<EventId> {
        events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn every_event_is_read_whatever_the_pages_size() {
        let stored = events((0..60).map(|number| 1000 + number / 4));
        for limit in [5, 7, 20, 59, 60, 61] {
            assert_eq!(read(&stored, limit, 1000).0, ids(&stored), "pages of {limit}");
        }
    }

    #[test]
    fn a_second_fuller_than_a_page_hides_nothing_that_is_older() {
        let stored = events([1000, 1001].into_iter().chain(std::iter::repeat_n(1005, 40)));
        let (got, _) = read(&stored, 10, 900);
        assert!(got.is_superset(&ids(&stored[..2])));
    }

    #[test]
    fn an_empty_relay_is_asked_once_and_nothing_older_than_wanted_is_asked_for() {
        assert_eq!(read(&[], 10, 1000), (HashSet::new(), 1));
        let stored = events([998, 999, 1000, 1001]);
        assert_eq!(read(&stored, 10, 1000).0, ids(&stored[2..]));
    }

    #[test]
    fn a_relay_that_ignores_the_question_is_not_believed() {
        let stored = events([1000, 1001]);
        let mut reading = ReadBack::from(1000);
        reading.take(&stored[0]).unwrap();
        assert!(reading.turn());
        assert_eq!(reading.take(&stored[1]), Err(Unordered));
    }
}
