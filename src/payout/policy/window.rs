//! When the winner is asked, until when, and when the node may keep the share.
//!
//! All times are Unix seconds. A sum that would overflow ends at the last second there is, so that a broken row or
//! setting never forfeits early.

const SECS_PER_DAY: i64 = 86_400;

/// How many request intervals a reopened asking lasts at least.
const REOPENED_INTERVALS: i64 = 12;

/// How far the clock may be ahead of lnd's best block before it is mistrusted, in seconds. Two blocks that far apart
/// are rarer than one in ten million; the hold then ends by itself with the next block.
pub const MAX_LEAD_OVER_BLOCKS_SECS: i64 = 3 * 3_600;

/// The time that the winner has to answer with an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimWindow {
    /// When the bond was slashed. Never changes: clients compute the deadline that they show from it.
    pub slashed_at: i64,
    /// `payout_claim_window_days` of the current settings; shortening and lengthening both act on running bonds.
    pub window_days: u32,
    /// `payout_invoice_window_seconds`: the time between two requests.
    pub request_interval_secs: u32,
    /// When an accepted invoice was found to have expired while lnd was away, if one was. The winner did answer, so
    /// the asking lasts for twelve more intervals at least, whatever the window says.
    pub reopened_at: Option<i64>,
}

/// What the daemon knows when a window may have closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// An invoice is in. From then on the window stops the asking, never the tracking or paying.
    pub invoice_in: bool,
    /// When the last catch-up *began* that read what a quorum of relays stored and whose events are all committed.
    pub caught_up_from: Option<i64>,
    /// The timestamp of lnd's best block, or `None` when it isn't known.
    pub best_block_at: Option<i64>,
}

/// Whether the share is forfeited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forfeiture {
    /// An invoice is in: never.
    Claimed,
    /// The winner still has time.
    Open {
        /// When the window closes.
        closes_at: i64,
    },
    /// The window is closed, but the node itself may have been absent or its clock wrong.
    Held(Hold),
    /// The window is closed and nothing speaks for the winner: the node keeps all.
    Due,
}

/// Why a forfeiture waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No catch-up begun since the deadline is committed: the winner's answer may lie at a relay.
    NotCaughtUp,
    /// The clock is hours ahead of lnd's best block, or that block isn't known. Deserves an alarm.
    ClockMistrusted,
}

impl ClaimWindow {
    /// What clients show: `slashed_at + window_days × 86 400`. This second already belongs to forfeiture.
    pub fn deadline(&self) -> i64 {
        self.slashed_at.saturating_add(i64::from(self.window_days) * SECS_PER_DAY)
    }

    /// The first second at which no invoice is taken any more: the deadline, or later after a reopening.
    pub fn closes_at(&self) -> i64 {
        let reopened =
            self.reopened_at.map(|at| at.saturating_add(i64::from(self.request_interval_secs) * REOPENED_INTERVALS));
        reopened.map_or(self.deadline(), |until| until.max(self.deadline()))
    }

    /// Whether the winner may still answer, and is still asked.
    pub fn is_open(&self, now: i64) -> bool {
        now < self.closes_at()
    }

    /// When the next request is due while no invoice is in: at once without a former request, else one interval after
    /// it; `None` when the window will have closed by then.
    pub fn next_request_at(&self, last_request_at: Option<i64>, now: i64) -> Option<i64> {
        let due = last_request_at.map_or(now, |last| last.saturating_add(i64::from(self.request_interval_secs)));
        let due = due.max(now);
        self.is_open(due).then_some(due)
    }

    /// Whether the node may keep the share at `now`. No one forfeits for the node's own absence.
    pub fn forfeiture(&self, now: i64, attendance: &Attendance) -> Forfeiture {
        let closes_at = self.closes_at();
        if attendance.invoice_in {
            Forfeiture::Claimed
        } else if now < closes_at {
            Forfeiture::Open { closes_at }
        } else if clock_mistrusted(now, attendance.best_block_at) {
            Forfeiture::Held(Hold::ClockMistrusted)
        } else if attendance.caught_up_from.is_none_or(|begun| begun < closes_at) {
            Forfeiture::Held(Hold::NotCaughtUp)
        } else {
            Forfeiture::Due
        }
    }
}

/// Whether the clock is hours ahead of what lnd's chain has seen. A block from the future is no reason: a clock that
/// is behind only gives the winner more time.
pub fn clock_mistrusted(now: i64, best_block_at: Option<i64>) -> bool {
    best_block_at.is_none_or(|block| now.saturating_sub(block) > MAX_LEAD_OVER_BLOCKS_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLASHED: i64 = 1_800_000_000;
    const DEADLINE: i64 = SLASHED + 15 * 86_400;

    fn window() -> ClaimWindow {
        ClaimWindow { slashed_at: SLASHED, window_days: 15, request_interval_secs: 300, reopened_at: None }
    }

    /// The node was there all the time.
    fn present(now: i64) -> Attendance {
        Attendance { invoice_in: false, caught_up_from: Some(now), best_block_at: Some(now) }
    }

    #[test]
    fn the_boundary_second_belongs_to_forfeiture() {
        let forfeiture = |now| window().forfeiture(now, &present(now));
        assert_eq!(window().deadline(), DEADLINE);
        assert_eq!(forfeiture(DEADLINE - 1), Forfeiture::Open { closes_at: DEADLINE });
        assert_eq!(forfeiture(DEADLINE), Forfeiture::Due);
        assert!(window().is_open(DEADLINE - 1) && !window().is_open(DEADLINE));
    }

    #[test]
    fn the_current_window_counts() {
        let days = |window_days| ClaimWindow { window_days, ..window() };
        assert!(!days(1).is_open(SLASHED + 86_400) && days(30).is_open(DEADLINE));
        assert!(!days(0).is_open(SLASHED));
    }

    #[test]
    fn an_invoice_ends_the_asking_and_never_forfeits() {
        let attendance = Attendance { invoice_in: true, ..present(DEADLINE) };
        assert_eq!(window().forfeiture(DEADLINE + 1, &attendance), Forfeiture::Claimed);
    }

    #[test]
    fn requests_keep_their_cadence_inside_the_window() {
        let next = |last, now| window().next_request_at(last, now);
        assert_eq!(next(None, SLASHED), Some(SLASHED));
        assert_eq!(next(Some(SLASHED), SLASHED), Some(SLASHED + 300));
        assert_eq!(next(Some(SLASHED), SLASHED + 299), Some(SLASHED + 300));
        assert_eq!(next(Some(SLASHED), SLASHED + 5_000), Some(SLASHED + 5_000), "one request, not all missed ones");
        assert_eq!(next(Some(DEADLINE - 301), DEADLINE - 301), Some(DEADLINE - 1));
        assert_eq!(next(Some(DEADLINE - 300), DEADLINE - 300), None);
        assert_eq!(next(None, DEADLINE), None);
    }

    #[test]
    fn a_reopened_asking_lasts_twelve_intervals_at_least() {
        let reopened = |at| ClaimWindow { reopened_at: Some(at), ..window() };
        assert_eq!(reopened(DEADLINE + 1_000).closes_at(), DEADLINE + 1_000 + 3_600);
        assert_eq!(reopened(DEADLINE - 3_599).closes_at(), DEADLINE + 1);
        assert_eq!(reopened(SLASHED).closes_at(), DEADLINE, "never shorter than the window");
        let late = reopened(DEADLINE + 1_000);
        assert_eq!(late.next_request_at(Some(SLASHED), DEADLINE + 1_000), Some(DEADLINE + 1_000));
        assert_eq!(late.deadline(), DEADLINE, "clients go on showing the same");
        // A catch-up between the old deadline and the new end proves nothing about the new end.
        let attendance = Attendance { caught_up_from: Some(DEADLINE + 2_000), ..present(DEADLINE + 4_600) };
        assert_eq!(late.forfeiture(DEADLINE + 4_600, &attendance), Forfeiture::Held(Hold::NotCaughtUp));
        assert_eq!(late.forfeiture(DEADLINE + 4_600, &present(DEADLINE + 4_600)), Forfeiture::Due);
    }

    #[test]
    fn the_nodes_own_absence_forfeits_nothing() {
        let now = DEADLINE + 10;
        for (caught_up_from, expected) in [
            (None, Forfeiture::Held(Hold::NotCaughtUp)),
            (Some(DEADLINE - 1), Forfeiture::Held(Hold::NotCaughtUp)),
            (Some(DEADLINE), Forfeiture::Due),
            (Some(now), Forfeiture::Due),
        ] {
            let attendance = Attendance { caught_up_from, ..present(now) };
            assert_eq!(window().forfeiture(now, &attendance), expected, "{caught_up_from:?}");
        }
        for (best_block_at, expected) in [
            (None, Forfeiture::Held(Hold::ClockMistrusted)),
            (Some(now - MAX_LEAD_OVER_BLOCKS_SECS - 1), Forfeiture::Held(Hold::ClockMistrusted)),
            (Some(now - MAX_LEAD_OVER_BLOCKS_SECS), Forfeiture::Due),
            (Some(now + 7_200), Forfeiture::Due),
        ] {
            let attendance = Attendance { best_block_at, ..present(now) };
            assert_eq!(window().forfeiture(now, &attendance), expected, "{best_block_at:?}");
        }
    }

    proptest! {
        #[test]
        fn never_due_and_open_at_once(
            slashed_at: i64, window_days: u32, request_interval_secs: u32, reopened_at: Option<i64>,
            now: i64, caught_up_from: Option<i64>, best_block_at: Option<i64>, invoice_in: bool,
            last: Option<i64>,
        ) {
            let window = ClaimWindow { slashed_at, window_days, request_interval_secs, reopened_at };
            let attendance = Attendance { invoice_in, caught_up_from, best_block_at };
            let due = window.forfeiture(now, &attendance) == Forfeiture::Due;
            prop_assert!(!due || (!invoice_in && !window.is_open(now) && now >= window.deadline()));
            prop_assert!(window.closes_at() >= window.deadline() && window.deadline() >= slashed_at);
            if let Some(next) = window.next_request_at(last, now) {
                prop_assert!(next >= now && window.is_open(next));
            }
        }
    }
}
