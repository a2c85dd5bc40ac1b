//! Moments and spans as people type them.

use std::time::{SystemTime, UNIX_EPOCH};
use time::{Date, OffsetDateTime, Time, format_description::well_known::Rfc3339, macros::format_description};

/// Milliseconds since the Unix epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64)
}

/// Milliseconds of `90s`, `15m`, `2h`, `7d`, `1w`.
pub fn span(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no span of time; write 90s, 15m, 2h, 7d or 1w");
    let unit = text.char_indices().last().map_or("", |(at, _)| &text[at..]);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse::<u32>().map_err(|_| wrong())?.into();
    Ok(number * seconds * 1_000)
}

/// Milliseconds since the Unix epoch of `2026-01-02T03:04:05Z` or `2026-01-02` (its midnight in UTC).
pub fn moment(text: &str) -> Result<i64, String> {
    let date = || Date::parse(text, format_description!("[year]-[month]-[day]")).map(|date| date.with_time(Time::MIDNIGHT).assume_utc());
    let moment = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| date());
    let moment = moment.map_err(|_| format!("{text:?} is no time; write 2026-01-02T03:04:05Z or 2026-01-02"))?;
    Ok((moment.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// A point of time that is told by either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Milliseconds before now.
    Ago(i64),
    /// Milliseconds since the Unix epoch.
    At(i64),
}

impl Since {
    pub fn parse(text: &str) -> Result<Since, String> {
        let neither = || format!("{text:?} is neither a span (90s, 15m, 2h, 7d, 1w) nor a time (2026-01-02T03:04:05Z, 2026-01-02)");
        span(text).map(Since::Ago).or_else(|_| moment(text).map(Since::At)).map_err(|_| neither())
    }

    pub fn before(self, now: i64) -> i64 {
        match self {
            Since::Ago(span) => now - span,
            Since::At(moment) => moment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments_are_read_as_people_write_them() {
        assert_eq!(span("90s"), Ok(90_000));
        assert_eq!(span("2h"), Ok(7_200_000));
        assert_eq!(span("1w"), Ok(604_800_000));
        assert_eq!(moment("2026-01-02"), Ok(1_767_312_000_000));
        assert_eq!(moment("2026-01-02T01:00:00.250+01:00"), Ok(1_767_312_000_250));
        assert_eq!(Since::parse("15m").map(|since| since.before(1_000_000)), Ok(100_000));
        assert_eq!(Since::parse("2026-01-02").map(|since| since.before(7)), Ok(1_767_312_000_000));
    }

    #[test]
    fn what_is_neither_is_told_what_to_write() {
        for wrong in ["", "h", "-1h", "2 h", "1.5h", "99999999999d", "2h30m", "é", "2026-13-01", "yesterday"] {
            assert!(span(wrong).unwrap_err().contains("7d"), "{wrong}");
            assert!(moment(wrong).unwrap_err().contains("2026-01-02"), "{wrong}");
            assert!(Since::parse(wrong).unwrap_err().contains("neither"), "{wrong}");
        }
    }
}
