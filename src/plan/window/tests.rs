use std::collections::HashSet;
use std::time::Instant;

use jiff::civil::DateTime;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// Transitions of each zone around which windows are computed; of [`STRANGE`] ones all.
const SAMPLE: usize = 8;
/// Zones that go back or forth by half an hour, skip or repeat a day, have offsets of seconds, or change twice in a year
/// for one month.
const STRANGE: [&str; 10] = [
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Africa/Monrovia",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Asia/Pyongyang",
    "America/Caracas",
    "Europe/Dublin",
    "Asia/Gaza",
];

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(cron: &str, zone: &str, length: &str) -> Result<Window, Refusal> {
    Window::new(&RotationWindow {
        cron: cron.to_owned(),
        time_zone: Some(zone.to_owned()),
        duration: crate::api::Duration::parse(length).unwrap(),
    })
}

/// The next moments at which it opens.
fn starts(cron: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let window = window(cron, zone, "1m").unwrap();
    let next = |at: &Timestamp| window.next_start(*at);
    let all = std::iter::successors(next(&time(after)), next);
    all.take(n).map(|at| at.to_string()).collect()
}

/// A library's search went round for ever on the day when clocks go back by half an hour.
#[test]
fn a_window_on_a_day_with_half_an_hour_more_is_computed_at_once() {
    let begun = Instant::now();
    assert_eq!(
        starts("0 3 * 4 SUN", "Australia/Lord_Howe", "2026-11-30T00:00:00Z", 2),
        ["2027-04-03T16:30:00Z", "2027-04-10T16:30:00Z"]
    );
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn fields_mean_what_they_mean_in_cron() {
    let from = "2026-01-01T00:00:00Z";
    for (cron, expected) in [
        ("*/20 4-5 * * *", ["2026-01-01T04:00:00Z", "2026-01-01T04:20:00Z"]),
        ("50/5 4 * * *", ["2026-01-01T04:50:00Z", "2026-01-01T04:55:00Z"]),
        (
            "0 0 1 jan,JUL *",
            ["2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"],
        ),
        ("0 0 * * 0", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
        ("0 0 * * 7", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
        (
            "0 0 * * Sat-Sun",
            ["2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"],
        ),
        // Days of both kinds: either is enough, unless a field begins with an asterisk.
        ("0 0 5 * SUN", ["2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z"]),
        ("0 0 29 2 */7", ["2032-02-29T00:00:00Z", "2060-02-29T00:00:00Z"]),
        ("0 0 L * *", ["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"]),
        ("0 0 * * TUE#2", ["2026-01-13T00:00:00Z", "2026-02-10T00:00:00Z"]),
        ("0 0 * * friL", ["2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z"]),
        ("0 0 * * 1#5", ["2026-03-30T00:00:00Z", "2026-06-29T00:00:00Z"]),
    ] {
        assert_eq!(starts(cron, "UTC", from, 2), expected, "{cron}");
    }
    // No year of the century is a leap year, and the calendar ends.
    let leap = window("0 0 29 2 */7", "UTC", "1m").unwrap();
    assert_eq!(
        leap.next_start(time("2088-03-01T00:00:00Z")),
        Some(time("2128-02-29T00:00:00Z"))
    );
    assert_eq!(leap.open_at(Timestamp::MAX), None);
    assert_eq!(leap.open_at(Timestamp::MIN), None);
}

#[test]
fn a_time_shown_twice_counts_once_and_one_that_is_skipped_counts_when_clocks_go_on() {
    assert_eq!(
        starts("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        starts("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // The 30th of December 2011 was none.
    assert_eq!(
        starts("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 2),
        ["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]
    );
}

#[test]
fn a_window_is_open_from_its_start_until_its_length_is_over() {
    let nights = window("0 2 * * *", "UTC", "2h").unwrap();
    for (at, open) in [
        ("2026-01-01T01:59:59Z", "2026-01-01T02:00:00Z"),
        ("2026-01-01T02:00:00Z", "2026-01-01T02:00:00Z"),
        ("2026-01-01T03:59:59Z", "2026-01-01T03:59:59Z"),
        ("2026-01-01T04:00:00Z", "2026-01-02T02:00:00Z"),
    ] {
        assert_eq!(nights.open_at(time(at)), Some(time(open)), "{at}");
    }
}

#[test]
fn what_cannot_be_computed_is_refused_with_the_item_and_an_example() {
    for (cron, zone, why) in [
        ("0 0 30 2 *", "UTC", "never opens"),
        ("0 2 * *", "UTC", "has 4 fields"),
        ("0 2 * * * *", "UTC", "has 6 fields"),
        ("61 2 * * *", "UTC", "\"61\" is no minute from 0 to 59"),
        ("0 2 * FOO *", "UTC", "\"FOO\" is no month from 1 to 12"),
        ("0 2 15W * *", "UTC", "\"15W\" is no day of month from 1 to 31"),
        ("0 2 5-1 * *", "UTC", "5-1 ends before it begins"),
        ("*/0 2 * * *", "UTC", "*/0 has no step"),
        ("*/99999999999999999999 2 * * *", "UTC", "has no step"),
        ("0 2 * * MON#6", "UTC", "MON#6 names none of the weeks"),
        ("0 2 * * 8", "UTC", "\"8\" is no day of week from 0 to 7"),
        ("0 2 +1 * *", "UTC", "\"+1\" is no day"),
        ("0 2 1,,2 * *", "UTC", "\"\" is no day"),
        ("0 2 * * *", "Mars/Olympus", "no such time zone"),
        ("0 2 * * *", "../../etc/passwd", "no such time zone"),
        ("0 2 * * *", "UTC UTC", "no such time zone"),
    ] {
        let refusal = window(cron, zone, "1m").unwrap_err();
        assert_eq!(refusal.reason, crate::api::Reason::InvalidSpec);
        let message = &refusal.message;
        assert!(
            message.contains(why) && message.contains("0 2 * * SUN"),
            "{cron} {zone}: {message}"
        );
    }
    for length in ["0s", "168h1s"] {
        window("0 2 * * *", "UTC", length).unwrap_err();
    }
}

/// The costliest windows that the schema lets through.
#[test]
fn no_window_takes_long() {
    let begun = Instant::now();
    for cron in [
        "0 0 29 2 */7",
        "59 23 31 12 SUN#5",
        "* * * * *",
        "0 0 31 2,4,6,9,11 *",
    ] {
        if let Ok(window) = window(cron, "Europe/Berlin", "168h") {
            for year in 1970..2100 {
                let _ = window.open_at(time(&format!("{year}-03-01T00:00:00Z")));
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// The fields of a cron line, as sets; `None` is an asterisk.
struct Fields {
    minutes: Vec<i8>,
    hours: Vec<i8>,
    days: Option<i8>,
    months: Option<i8>,
    weekdays: Option<i8>,
}

impl Fields {
    /// Some that are likely to start a window near `at`.
    fn near(at: DateTime, dice: &mut StdRng) -> Self {
        let hour = |dice: &mut StdRng| (at.hour() + dice.random_range(-2..=2)).rem_euclid(24);
        let sometimes = |dice: &mut StdRng, n: i8| (dice.random_range(0..4) == 0).then_some(n);
        Self {
            minutes: (0..dice.random_range(1..=4))
                .map(|_| dice.random_range(0..60))
                .collect(),
            hours: (0..dice.random_range(1..=3)).map(|_| hour(dice)).collect(),
            days: sometimes(dice, at.day()),
            months: sometimes(dice, at.month()),
            weekdays: sometimes(dice, at.weekday().to_sunday_zero_offset()),
        }
    }

    fn text(&self) -> String {
        let list = |all: &[i8]| all.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        let one = |n: Option<i8>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let (minutes, hours) = (list(&self.minutes), list(&self.hours));
        let (days, months, weekdays) = (one(self.days), one(self.months), one(self.weekdays));
        format!("{minutes} {hours} {days} {months} {weekdays}")
    }

    fn has(&self, at: DateTime) -> bool {
        let weekday = at.weekday().to_sunday_zero_offset();
        let day = match (self.days, self.weekdays) {
            (Some(d), Some(w)) => d == at.day() || w == weekday,
            (d, w) => d.is_none_or(|d| d == at.day()) && w.is_none_or(|w| w == weekday),
        };
        day && self.months.is_none_or(|month| month == at.month())
            && self.hours.contains(&at.hour())
            && self.minutes.contains(&at.minute())
    }
}

/// Another way to the same result: goes through time step by step and reads the clock at each. `until`: nothing found.
fn by_steps(
    fields: &Fields,
    zone: &TimeZone,
    after: Timestamp,
    until: Timestamp,
    back: SignedDuration,
) -> Option<Timestamp> {
    let whole = |at| zone.to_offset(at).seconds() % 60 == 0;
    let step = if whole(after) && whole(until) { 60 } else { 30 };
    let mut second = (after.as_second() - back.as_secs()).div_euclid(step) * step;
    let mut seen = zone.to_datetime(Timestamp::from_second(second).unwrap());
    loop {
        second += step;
        let at = Timestamp::from_second(second).unwrap();
        if at > until {
            return None;
        }
        let shown = zone.to_datetime(at);
        // All minutes that no clock has shown before, those that are skipped too.
        while seen < shown {
            seen = seen
                .checked_add(SignedDuration::from_secs(60 - i64::from(seen.second())))
                .unwrap()
                .min(shown);
            if seen.second() == 0 && fields.has(seen) && at > after {
                return Some(at);
            }
        }
    }
}

/// A zone's name, its rules, and its transitions with the seconds from UTC after each.
type Zone = (String, TimeZone, Vec<(Timestamp, i32)>);

/// All zones that the library knows, one of those that are alike.
fn zones() -> Vec<Zone> {
    let (from, to) = (time("1970-01-02T00:00:00Z"), time("2060-01-01T00:00:00Z"));
    let mut known = HashSet::new();
    let mut zones = Vec::new();
    for name in jiff::tz::db().available() {
        let name = name.as_str().to_owned();
        // These count leap seconds, or are copies.
        if name.starts_with("right/") || name.starts_with("posix/") {
            continue;
        }
        let Ok(zone) = TimeZone::get(&name) else { continue };
        let transitions = zone.following(from).take_while(|t| t.timestamp() < to);
        let transitions: Vec<_> = transitions
            .map(|t| (t.timestamp(), t.offset().seconds()))
            .collect();
        let first = zone.to_offset(from).seconds();
        if known.insert((first, transitions.clone())) || STRANGE.contains(&name.as_str()) {
            zones.push((name, zone, transitions));
        }
    }
    zones
}

#[test]
fn every_time_zone_agrees_with_a_walk_through_its_minutes() {
    let zones = zones();
    assert!(zones.len() > 200, "{} zones", zones.len());
    for name in STRANGE {
        assert!(zones.iter().any(|(known, ..)| known == name), "{name}");
    }
    let mut dice = StdRng::seed_from_u64(17);
    let (mut found, mut cases) = (0, 0);
    for (name, zone, transitions) in &zones {
        let all = STRANGE.contains(&name.as_str());
        // A zone without any is looked at somewhere.
        let none = [(time("2026-01-01T00:00:00Z"), 0)];
        let transitions = if transitions.is_empty() {
            &none[..]
        } else {
            transitions
        };
        let rounds = if all { transitions.len() } else { SAMPLE };
        for round in 0..rounds {
            let (at, offset) = transitions[if all {
                round
            } else {
                dice.random_range(0..transitions.len())
            }];
            let after = at.checked_sub(MINUTE * dice.random_range(1..180)).unwrap();
            let until = at.checked_add(MINUTE * 300).unwrap();
            let by = (zone.to_offset(after).seconds() - offset).abs();
            let back = SignedDuration::from_secs(i64::from(by) + 3600);
            let shown = [zone.to_datetime(after), zone.to_datetime(at)];
            let fields = Fields::near(shown[dice.random_range(0..2)], &mut dice);
            let mine = window(&fields.text(), name, "1m")
                .ok()
                .and_then(|w| w.next_start(after));
            let walked = by_steps(&fields, zone, after, until, back);
            let mine_so_far = mine.filter(|at| *at <= until);
            cases += 1;
            found += usize::from(walked.is_some());
            assert_eq!(mine_so_far, walked, "{} in {name} after {after}", fields.text());
        }
    }
    assert!(
        cases > 2000 && found * 2 > cases,
        "{found} of {cases} windows began within the hours that were walked"
    );
}
