//! When a token may be replaced and when a replaced token ends: the rotation of the object within the bounds of its class.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::window::Window;
use super::{Observed, Refusal};
use crate::api::{ProgrammaticUser, ProgrammaticUserClass, Reason, Rotation};

/// How long an old token stays valid, unless object or class say otherwise: environment variables of running pods never
/// change, and most pods are replaced within a day.
const OVERLAP: Duration = Duration::from_hours(24);

/// Tokens are replaced up to this share of their age earlier.
const JITTER: f64 = 0.1;

/// When the token of one object is replaced because of its age.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    every: Option<Duration>,
    windows: Vec<Window>,
    /// The age at which the overlap still ends within the class's bound; no window is waited for beyond it.
    latest: Option<Duration>,
}

impl Schedule {
    /// What user and class say, or why it cannot be.
    pub fn new(user: &ProgrammaticUser, class: &ProgrammaticUserClass) -> Result<Self, Refusal> {
        let Some(rotation) = rotation(user, Some(class)) else {
            return Ok(Self::default());
        };
        let every = rotation.every.map(crate::api::Duration::get);
        let overlap = effective_overlap(Some(rotation), Some(class));
        if every.is_some_and(|every| overlap >= every) {
            let message = format!(
                "rotation.overlap, here {}, has to be shorter than rotation.every, or more and more old tokens stay valid: set a shorter overlap (it is 24h by default, and at least the class's minOverlap) or a longer every",
                crate::api::Duration::from(overlap)
            );
            return Err(Refusal::new(Reason::InvalidSpec, message));
        }
        if rotation.wait_for_consumers {
            bounded_wait(rotation, overlap)?;
        }
        let windows: Result<_, _> = rotation.windows.iter().map(Window::new).collect();
        let beside = longest_overlap(rotation, overlap);
        let latest = every.zip(max_age(Some(class))).map(|(every, max)| {
            // An overlap that takes nearly all of it is cut instead: tokens would be replaced all the time.
            max.saturating_sub(beside).max(every / 2)
        });
        Ok(Self {
            every,
            windows: windows?,
            latest,
        })
    }

    /// When a token of this age is replaced: not before `now`, and then within a window, unless its overlap would then not
    /// end before the token is older than the class allows.
    #[must_use]
    pub fn at(&self, issued: Timestamp, share: f64, now: Timestamp) -> Option<Timestamp> {
        let every = self.every?;
        let every = self.latest.map_or(every, |latest| latest.min(every));
        let age = SignedDuration::try_from(every.mul_f64(1.0 - JITTER * share)).ok()?;
        let old_enough = issued.checked_add(age).ok()?;
        if self.windows.is_empty() {
            return Some(old_enough);
        }
        let from = old_enough.max(now);
        let opens = self.windows.iter().filter_map(|w| w.open_at(from));
        let too_old = || {
            issued
                .checked_add(SignedDuration::try_from(self.latest?).ok()?)
                .ok()
        };
        opens.chain(too_old()).min()
    }
}

/// The user's own rotation, or the class's default.
fn rotation<'a>(
    user: &'a ProgrammaticUser,
    class: Option<&'a ProgrammaticUserClass>,
) -> Option<&'a Rotation> {
    let default = || class?.spec.defaults.as_ref()?.rotation.as_ref();
    user.spec.rotation.as_ref().or_else(default)
}

/// The rules of the CRD again: a class may want a longer overlap, and objects from before a rule never met it.
fn bounded_wait(rotation: &Rotation, overlap: Duration) -> Result<(), Refusal> {
    let max = rotation.max_overlap.map(crate::api::Duration::get);
    let every = rotation.every.map(crate::api::Duration::get);
    if max.is_some_and(|max| max >= overlap && every.is_none_or(|every| max < every)) {
        return Ok(());
    }
    let message = format!(
        "rotation.waitForConsumers needs a rotation.maxOverlap that is not shorter than the overlap, here {}, and shorter than rotation.every: set one",
        crate::api::Duration::from(overlap)
    );
    Err(Refusal::new(Reason::InvalidSpec, message))
}

/// Whether the class allows the rotation.
pub(super) fn check(user: &ProgrammaticUser, class: &ProgrammaticUserClass) -> Result<(), Refusal> {
    let none = Rotation::default();
    let rotation = rotation(user, Some(class)).unwrap_or(&none);
    let Some(bounds) = &class.spec.rotation else {
        return Ok(());
    };
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let refuse = |message: String| Err(Refusal::new(Reason::NotAllowed, message));
    if let Some(max) = bounds.max_age
        && rotation.every.is_none_or(|every| every > max)
    {
        return refuse(format!(
            "class {name} lets no token become older than {max}: set rotation.every to {max} or less"
        ));
    }
    match (bounds.min_overlap, rotation.overlap) {
        (Some(min), Some(overlap)) if overlap < min => refuse(format!(
            "class {name} wants old tokens to stay valid for {min} or longer: set rotation.overlap to {min} or more"
        )),
        _ => Ok(()),
    }
}

/// How long the token that is replaced now stays valid.
pub(super) fn overlap(o: &Observed) -> Duration {
    let class = o.class.as_deref();
    effective_overlap(rotation(&o.user, class), class)
}

/// The oldest that a token may become.
pub(super) fn max_age(class: Option<&ProgrammaticUserClass>) -> Option<Duration> {
    let bounds = class?.spec.rotation.as_ref()?;
    bounds.max_age.map(crate::api::Duration::get)
}

/// How long a replaced token may stay valid, at the longest.
fn longest_overlap(rotation: &Rotation, overlap: Duration) -> Duration {
    let max = rotation.max_overlap.filter(|_| rotation.wait_for_consumers);
    max.map_or(overlap, |max| max.get().max(overlap))
}

/// What is asked for, or the default; never shorter than the class wants.
fn effective_overlap(rotation: Option<&Rotation>, class: Option<&ProgrammaticUserClass>) -> Duration {
    let asked = rotation.and_then(|r| r.overlap);
    let asked = asked.map_or(OVERLAP, crate::api::Duration::get);
    let min = class.and_then(|c| c.spec.rotation.as_ref()?.min_overlap);
    asked.max(min.map(crate::api::Duration::get).unwrap_or_default())
}

/// How much longer than its overlap a token may stay valid because pods use it; `None`: pods do not matter.
pub(super) fn wait(o: &Observed) -> Option<Duration> {
    let class = o.class.as_deref();
    let rotation = rotation(&o.user, class).filter(|r| r.wait_for_consumers)?;
    let max = rotation.max_overlap?.get();
    Some(max.saturating_sub(effective_overlap(Some(rotation), class)))
}

/// When a token that is replaced now may die.
pub(super) fn overlap_ends(o: &Observed, now: Timestamp) -> Timestamp {
    let overlap = SignedDuration::try_from(overlap(o)).unwrap_or(SignedDuration::MAX);
    now.saturating_add(overlap).unwrap_or(now)
}

/// When a token whose overlap ends then dies, whatever pods use it; `None`: when the overlap ends. The `end` that the class
/// sets is kept even where no pods are waited for: the object may ask for that later.
pub(super) fn wait_ends(o: &Observed, not_before: Timestamp, end: Option<Timestamp>) -> Option<Timestamp> {
    let end = end.map(|end| end.max(not_before));
    let Some(more) = wait(o).filter(|more| !more.is_zero()) else {
        return end;
    };
    let more = SignedDuration::try_from(more).unwrap_or(SignedDuration::MAX);
    let asked = not_before.saturating_add(more).ok()?;
    Some(end.map_or(asked, |end| end.min(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RotationWindow;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(every: &str, windows: &[(&str, &str, &str)]) -> Schedule {
        let windows = windows.iter().map(|(cron, zone, length)| {
            let window = RotationWindow {
                cron: (*cron).to_owned(),
                time_zone: Some((*zone).to_owned()),
                duration: crate::api::Duration::parse(length).unwrap(),
            };
            Window::new(&window).unwrap()
        });
        Schedule {
            every: crate::api::Duration::parse(every).map(crate::api::Duration::get),
            windows: windows.collect(),
            latest: None,
        }
    }

    #[test]
    fn without_windows_age_and_share_decide() {
        let issued = time("2026-01-01T00:00:00Z");
        let schedule = schedule("100h", &[]);
        assert_eq!(
            schedule.at(issued, 0.0, issued),
            Some(time("2026-01-05T04:00:00Z"))
        );
        assert_eq!(
            schedule.at(issued, 1.0, issued),
            Some(time("2026-01-04T18:00:00Z"))
        );
        assert_eq!(Schedule::default().at(issued, 0.0, issued), None);
    }

    #[test]
    fn windows_are_waited_for_in_their_time_zone_and_over_summer_time() {
        let nights = schedule("24h", &[("0 2 * * *", "Europe/Berlin", "2h")]);
        let winter = time("2026-01-10T12:00:00Z");
        assert_eq!(nights.at(winter, 0.0, winter), Some(time("2026-01-12T01:00:00Z")));
        let summer = time("2026-07-10T12:00:00Z");
        assert_eq!(nights.at(summer, 0.0, summer), Some(time("2026-07-12T00:00:00Z")));
        // Within an open window it is now, after it the next one.
        let inside = time("2026-01-12T02:30:00Z");
        assert_eq!(nights.at(winter, 0.0, inside), Some(inside));
        let after = time("2026-01-12T03:00:00Z");
        assert_eq!(nights.at(winter, 0.0, after), Some(time("2026-01-13T01:00:00Z")));
    }

    #[test]
    fn the_earliest_of_several_windows_counts() {
        let two = schedule("1h", &[("0 12 * * *", "UTC", "1h"), ("0 6 * * *", "UTC", "1h")]);
        let issued = time("2026-01-10T00:00:00Z");
        assert_eq!(two.at(issued, 0.0, issued), Some(time("2026-01-10T06:00:00Z")));
    }

    #[test]
    fn what_the_class_finds_too_old_does_not_wait_for_a_window() {
        let mut leap_days = schedule("24h", &[("0 0 29 2 *", "UTC", "1m")]);
        let issued = time("2026-01-01T00:00:00Z");
        assert_eq!(
            leap_days.at(issued, 0.0, issued),
            Some(time("2028-02-29T00:00:00Z"))
        );
        leap_days.latest = Some(Duration::from_hours(48));
        assert_eq!(
            leap_days.at(issued, 0.0, issued),
            Some(time("2026-01-03T00:00:00Z"))
        );
    }
}
