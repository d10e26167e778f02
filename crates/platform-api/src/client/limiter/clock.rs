//! A platform's clock, from the `Date` of its answers.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// How far a platform's clock may be from this machine's, either way, to be believed: no machine that keeps time at all is
/// off by as much.
const PLAUSIBLE: SignedDuration = SignedDuration::from_hours(24);

/// A platform's time that is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// What the platform said.
    pub platform: Timestamp,
    /// This machine's time then.
    pub here: Timestamp,
}

/// The last time that the platform sent, and when; or one that cannot be its time.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Clock(Option<Result<(Timestamp, Instant), Skew>>);

impl Clock {
    /// Notes what the platform says. What cannot be its time makes the time unknown: overlaps and lives of users end by
    /// this clock, and whatever answers in the platform's place may write anything into a `Date`.
    pub(super) fn note(&mut self, platform: Timestamp) {
        let here = Timestamp::now();
        let plausible = platform.duration_since(here).abs() <= PLAUSIBLE;
        self.0 = Some(if plausible {
            Ok((platform, Instant::now()))
        } else {
            Err(Skew { platform, here })
        });
    }

    /// The time by the platform's clock, as far as it is known.
    pub(super) fn now(self) -> Option<Timestamp> {
        let (at, heard) = self.0?.ok()?;
        at.checked_add(heard.elapsed()).ok()
    }

    /// What the platform says instead of a time that can be its own.
    pub(super) fn skew(self) -> Option<Skew> {
        self.0?.err()
    }
}
