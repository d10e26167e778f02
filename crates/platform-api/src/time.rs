//! The platform's ways of writing a time.

use jiff::{SignedDuration, Timestamp};

/// No token is older: 2010, before any platform of this kind.
const OLDEST: i64 = 1_262_304_000;
/// How much later than now a token may have been made by the clock that wrote the time.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Reads `2026-01-05T10:11:12.000+0000` as well as RFC 3339; `None` for anything else.
///
/// Resource times carry an offset without a colon, request times a `Z`.
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text)
            .ok()?
            .to_timestamp()
            .ok()
    })
}

/// The same of the moment when a token was made; `None` also for one that cannot be it: before 2010, or more than a day
/// after `now`.
#[must_use]
pub fn parse_token_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    parse_time(text).filter(|at| at.as_second() >= OLDEST && at.duration_since(now) <= AHEAD)
}

/// Writes milliseconds and `Z`, which every known client can read.
#[must_use]
pub fn format_time(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::{format_time, parse_time, parse_token_time};

    #[test]
    fn both_offsets_are_read() {
        let a = parse_time("2026-01-05T10:11:12.000+0000");
        assert!(a.is_some());
        assert_eq!(a, parse_time("2026-01-05T10:11:12Z"));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn a_token_was_made_since_2010_and_not_in_the_future() {
        let now: jiff::Timestamp = "2026-01-05T10:11:12Z".parse().unwrap_or_default();
        let read = |text| parse_token_time(text, now).is_some();
        for plausible in [
            "2026-01-05T10:11:12.000+0000",
            "2010-01-01T00:00:00Z",
            "2026-01-06T10:11:12Z",
        ] {
            assert!(read(plausible), "{plausible}");
        }
        for not in [
            "2009-12-31T23:59:59Z",
            "-009999-01-02T01:59:59Z",
            "2026-01-06T10:11:13Z",
            "9999-12-30T22:00:00Z",
            "never",
        ] {
            assert!(!read(not), "{not}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let now: jiff::Timestamp = "2026-01-05T10:11:12.345Z".parse().unwrap_or_default();
        assert_eq!(format_time(now), "2026-01-05T10:11:12.345Z");
        assert_eq!(parse_time(&format_time(now)), Some(now));
    }
}
