//! The platform's ways of writing a time.

use jiff::Timestamp;

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

/// Writes milliseconds and `Z`, which every known client can read.
#[must_use]
pub fn format_time(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::{format_time, parse_time};

    #[test]
    fn both_offsets_are_read() {
        let a = parse_time("2026-01-05T10:11:12.000+0000");
        assert!(a.is_some());
        assert_eq!(a, parse_time("2026-01-05T10:11:12Z"));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let now: jiff::Timestamp = "2026-01-05T10:11:12.345Z".parse().unwrap_or_default();
        assert_eq!(format_time(now), "2026-01-05T10:11:12.345Z");
        assert_eq!(parse_time(&format_time(now)), Some(now));
    }
}
