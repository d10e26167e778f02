//! Rotation windows: when one is open, or opens next.
//!
//! The fields come from tenants, so that the search is bounded: it looks at no more days than [`DAYS`], at the minutes
//! of few of them, and adds to a date or a time only with a check.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::Refusal;
use crate::api::{Reason, RotationWindow};

/// A window that is open for longer is none.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// Days that a search looks at: the 29th of February falls on each day of the week at least once in 40 years.
const DAYS: usize = 40 * 366;
/// Bit of [`Cron::days`]: the last day of the month, whichever it is.
const LAST_DAY: u32 = 0;
/// First bit in [`Cron::weekdays`] of the last Sunday, Monday and so on of the month.
const LAST_WEEK: u32 = 5 * 7;

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A repeated span of time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    cron: Cron,
    zone: TimeZone,
    length: Duration,
}

impl Window {
    /// Reads a window, or says what is wrong with it.
    pub(super) fn new(window: &RotationWindow) -> Result<Self, Refusal> {
        let zone = window.time_zone.as_deref().unwrap_or("UTC");
        let invalid = |why: &str| {
            let message = format!(
                "rotation window {:?} in time zone {zone:?} cannot be read: {why}. Write five cron fields such as \"0 2 * * SUN\" and an IANA time zone such as Europe/Berlin",
                window.cron
            );
            Refusal::new(Reason::InvalidSpec, message)
        };
        let length = window.duration.get();
        if length.is_zero() {
            return Err(invalid("its duration is zero"));
        }
        if length > LONGEST {
            return Err(invalid("it is open for longer than a week"));
        }
        let cron = Cron::parse(&window.cron).map_err(|why| invalid(&why))?;
        let zone = TimeZone::get(zone).map_err(|_| invalid("there is no such time zone"))?;
        let window = Self { cron, zone, length };
        // Any moment will do: the days of a calendar come again.
        match window.next_start(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(window),
            None => Err(invalid("it never opens, since there is no such day")),
        }
    }

    /// `at`, if the window is open then, or else when it opens next.
    pub(super) fn open_at(&self, at: Timestamp) -> Option<Timestamp> {
        let length = SignedDuration::try_from(self.length).ok()?;
        let start = self.next_start(at.checked_sub(length).ok()?)?;
        Some(start.max(at))
    }

    /// The first start after `after`. Later days and times never become earlier moments (see [`Self::moment`]), so that
    /// the first one in the order of the calendar is the first one.
    fn next_start(&self, after: Timestamp) -> Option<Timestamp> {
        let from = self.zone.to_datetime(after);
        let mut date = from.date();
        for _ in 0..DAYS {
            if !has(self.cron.months, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
                continue;
            }
            if self.cron.is_on(date) {
                let times = self.cron.times().filter(|time| date.to_datetime(*time) >= from);
                let mut starts = times.filter_map(|time| self.moment(date, time));
                if let Some(start) = starts.find(|start| *start > after) {
                    return Some(start);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The moment at which clocks show a time. One that they show twice is the first of the two. One that they skip is the
    /// moment at which they go on.
    fn moment(&self, date: Date, time: Time) -> Option<Timestamp> {
        let shown = date.to_datetime(time);
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(shown).ok()
            }
            AmbiguousOffset::Gap { after, .. } => {
                let before_gap = after.to_timestamp(shown).ok()?;
                Some(self.zone.following(before_gap).next()?.timestamp())
            }
        }
    }
}

/// Five cron fields, each as a set of bits.
#[derive(Debug, Clone, PartialEq)]
struct Cron {
    minutes: u64,
    hours: u64,
    /// 1 to 31, and [`LAST_DAY`].
    days: u64,
    months: u64,
    /// Seven for each seventh of a month, the first to the seventh of the month being the first, and [`LAST_WEEK`].
    weekdays: u64,
    /// A day has to be in both sets, and not just in one of them: so it is in Vixie's cron if a field begins with `*`.
    both: bool,
}

impl Cron {
    fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("it has {} fields, not five", fields.len()));
        };
        let numbers = |name, field: &str, first, last| {
            let range = Range {
                name,
                first,
                last,
                names: &[],
            };
            set(field, |item| range.parse(item))
        };
        let day = Range {
            name: "day of month",
            first: 1,
            last: 31,
            names: &[],
        };
        let month = Range {
            name: "month",
            first: 1,
            last: 12,
            names: &MONTHS,
        };
        Ok(Self {
            minutes: numbers("minute", minutes, 0, 59)?,
            hours: numbers("hour", hours, 0, 23)?,
            days: set(days, |item| match item {
                "L" | "l" => Ok(bit(LAST_DAY)),
                _ => day.parse(item),
            })?,
            months: set(months, |item| month.parse(item))?,
            weekdays: set(weekdays, parse_weekday)?,
            both: days.starts_with('*') || weekdays.starts_with('*'),
        })
    }

    fn is_on(&self, date: Date) -> bool {
        let (day, days) = (date.day(), date.days_in_month());
        let weekday = date.weekday().to_sunday_zero_offset();
        let of_month = has(self.days, day) || (day == days && self.days & bit(LAST_DAY) != 0);
        let in_week = |week: u32| self.weekdays & (bit(week) << weekday) != 0;
        let seventh = u32::from(day.unsigned_abs().saturating_sub(1) / 7);
        let of_week = in_week(seventh * 7) || (days - day < 7 && in_week(LAST_WEEK));
        if self.both {
            of_month && of_week
        } else {
            of_month || of_week
        }
    }

    /// All times of a day, in order.
    fn times(&self) -> impl Iterator<Item = Time> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(move |hour| {
            let minutes = (0..60).filter(|minute| has(self.minutes, *minute));
            minutes.filter_map(move |minute| Time::new(hour, minute, 0, 0).ok())
        })
    }
}

/// What a field may hold.
struct Range<'a> {
    name: &'static str,
    first: u32,
    last: u32,
    /// Words for the numbers from `first` on.
    names: &'a [&'a str],
}

impl Range<'_> {
    /// One item of a list: `*`, `4`, `MON`, `1-5`, each with or without a step behind a `/`.
    fn parse(&self, item: &str) -> Result<u64, String> {
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => (span, Some(step)),
            None => (item, None),
        };
        let (first, last) = match span.split_once('-') {
            _ if span == "*" => (self.first, self.last),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            // With a step it is where the steps begin.
            None if step.is_some() => (self.value(span)?, self.last),
            None => (self.value(span)?, self.value(span)?),
        };
        if first > last {
            return Err(format!("{item} ends before it begins"));
        }
        let step = match step.map(str::parse::<usize>) {
            None => 1,
            Some(Ok(step)) if step > 0 => step,
            Some(_) => return Err(format!("{item} has no step that is a number above 0")),
        };
        Ok((first..=last).step_by(step).fold(0, |all, n| all | bit(n)))
    }

    fn value(&self, word: &str) -> Result<u32, String> {
        let named = (self.first..)
            .zip(self.names)
            .find(|(_, name)| name.eq_ignore_ascii_case(word));
        let digits = word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit());
        let number = word.parse().ok().filter(|_| digits);
        match named.map(|(n, _)| n).or(number) {
            Some(n) if (self.first..=self.last).contains(&n) => Ok(n),
            _ => Err(format!(
                "{word:?} is no {} from {} to {}",
                self.name, self.first, self.last
            )),
        }
    }
}

/// One item of the days of the week: as others, and `FRI#2`, the second Friday of the month, and `FRIL`, the last one.
fn parse_weekday(item: &str) -> Result<u64, String> {
    // Sunday is 0 and 7.
    let weekday = Range {
        name: "day of week",
        first: 0,
        last: 7,
        names: &WEEKDAYS,
    };
    let one = |word: &str| weekday.value(word).map(|n| n % 7);
    if let Some((word, week)) = item.split_once('#') {
        let week = week.parse().ok().filter(|week| (1..=5).contains(week));
        let week: u32 = week.ok_or_else(|| format!("{item} names none of the weeks 1 to 5"))?;
        return Ok(bit((week - 1) * 7 + one(word)?));
    }
    if let Some(word) = item.strip_suffix(['L', 'l']).filter(|word| !word.is_empty()) {
        return Ok(bit(LAST_WEEK + one(word)?));
    }
    // A week that ends with Sunday ends with the seventh day.
    let to_sunday = item.to_ascii_uppercase().replace("-SUN", "-7");
    let days = weekday.parse(&to_sunday)?;
    let days = (days | days >> 7) & 0x7f;
    Ok((0..5).fold(0, |all, week| all | days << (7 * week)))
}

/// All items of a list.
fn set(field: &str, parse: impl Fn(&str) -> Result<u64, String>) -> Result<u64, String> {
    field.split(',').try_fold(0, |all, item| Ok(all | parse(item)?))
}

fn bit(n: u32) -> u64 {
    1_u64.checked_shl(n).unwrap_or_default()
}

fn has(set: u64, n: i8) -> bool {
    u32::try_from(n).is_ok_and(|n| set & bit(n) != 0)
}

#[cfg(test)]
mod tests;
