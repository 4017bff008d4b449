//! Times as people write and read them.

use std::str::FromStr;
use std::time::Duration;

use bondflow::engine::Timestamp;

/// A point in time as an operator says it: a date and time, a date, or how long ago (`90m`, `3d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At that time.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl Since {
    /// The time that is meant now.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => Timestamp(now.0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = || {
            let unit = match text.chars().last()? {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return None,
            };
            text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
        };
        let at = || {
            let date = format!("{text}T00:00:00Z");
            [text, &date].iter().find_map(|text| chrono::DateTime::parse_from_rfc3339(text).ok())
        };
        ago()
            .map(Self::Ago)
            .or_else(|| at().map(|at| Self::At(Timestamp(at.timestamp_millis()))))
            .ok_or_else(|| "write 90m, 12h, 3d, 2026-11-23 or 2026-11-23T09:00:00Z".to_owned())
    }
}

/// A duration in its two largest units.
pub fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (days, hours, minutes, seconds) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60, secs % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds:02}s"),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// How far a time is from now, before or after.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", span(now.until(at))) } else { format!("{} ago", span(at.until(now))) }
}

/// A time for people: absolute to the second, and how far from now.
pub fn dated(at: Timestamp, now: Timestamp) -> String {
    let whole = Timestamp::from_secs(at.secs()).to_string();
    format!("{} ({})", whole.replace(".000Z", "Z"), relative(at, now))
}
