//! What this process remembers of single objects, besides whether they can be skipped: failures, panics, a full check that is
//! due, a place under a class's maximum, abandoned attempts. Most objects have none of it, and no record.
//!
//! `remove` is the one place where a record ends with its object: at the watch's Delete, at a list without the object, and
//! at the end of a reconcile that was late.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::controller::schedule::digest::{Digest, digest};

/// First and longest pause between tries.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// First and longest pause between looks at an object that a person has to mend, without a change that a watch would show.
const RECHECK: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(10));
/// The first pause after a panic, and the longest.
pub(in crate::controller) const PANIC_PAUSES: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_hours(1));

/// By the object's UID.
#[derive(Default)]
pub(in crate::controller) struct Records(Mutex<HashMap<Digest, Record>>);

#[derive(Default)]
struct Record {
    /// Failed tries in a row.
    failures: u32,
    /// Looks in a row that found the same to mend.
    rechecks: u32,
    /// The next reconcile compares the user with the platform in full.
    full_check: bool,
    /// It has taken its place under its class's maximum; the cache may not show it yet.
    quota: bool,
    /// Abandoned attempts, by nonce, and when this process first saw each as abandoned.
    abandoned: HashMap<String, Instant>,
    panicked: Option<Panicked>,
}

struct Panicked {
    /// How often in a row.
    times: u32,
    /// When the object is tried again.
    until: Instant,
    /// The digest of the spec and annotations that it panicked on.
    desired: Digest,
}

impl Record {
    fn is_empty(&self) -> bool {
        self.failures == 0
            && self.rechecks == 0
            && !self.full_check
            && !self.quota
            && self.abandoned.is_empty()
            && self.panicked.is_none()
    }
}

impl Records {
    fn all(&self) -> MutexGuard<'_, HashMap<Digest, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record of an object; one that says nothing is not kept.
    fn change<T>(&self, uid: &str, change: impl FnOnce(&mut Record) -> T) -> T {
        let (mut all, uid) = (self.all(), digest(uid));
        let record = all.entry(uid).or_default();
        let answer = change(record);
        if record.is_empty() {
            all.remove(&uid);
        }
        answer
    }

    pub(in crate::controller) fn remove(&self, uid: &str) {
        self.all().remove(&digest(uid));
    }

    /// Counts a failure; the pause before the next try, without jitter.
    pub(in crate::controller) fn next_backoff(&self, uid: &str) -> Duration {
        self.change(uid, |record| next_pause(&mut record.failures, BACKOFF))
    }

    pub(in crate::controller) fn reset_backoff(&self, uid: &str) {
        self.change(uid, |record| record.failures = 0);
    }

    /// Counts a look at an object that a person has to mend; the pause before the next, without jitter.
    pub(in crate::controller) fn next_recheck(&self, uid: &str) -> Duration {
        self.change(uid, |record| next_pause(&mut record.rechecks, RECHECK))
    }

    /// Something else is to be mended, or nothing.
    pub(in crate::controller) fn reset_recheck(&self, uid: &str) {
        self.change(uid, |record| record.rechecks = 0);
    }

    pub(in crate::controller) fn request_full_check(&self, uid: &str) {
        self.change(uid, |record| record.full_check = true);
    }

    /// Whether a full check is due. The first call takes it.
    pub(in crate::controller) fn take_full_check(&self, uid: &str) -> bool {
        self.change(uid, |record| std::mem::take(&mut record.full_check))
    }

    /// How many places under a class's maximum others have: those of the UIDs `taken`, and those that `candidates` took. A
    /// user within `max` takes its place in the same moment, so that of many that begin at once no more than `max` go on.
    pub(in crate::controller) fn reserve_quota<'a>(
        &self,
        uid: &str,
        max: usize,
        candidates: impl Iterator<Item = &'a str>,
        mut taken: BTreeSet<String>,
    ) -> usize {
        let mut all = self.all();
        let has_place = |uid: &&str| all.get(&digest(*uid)).is_some_and(|record| record.quota);
        taken.extend(candidates.filter(has_place).map(str::to_owned));
        taken.remove(uid);
        if taken.len() < max {
            all.entry(digest(uid)).or_default().quota = true;
        }
        taken.len()
    }

    /// Gives the place back of a user that was not made after all.
    pub(in crate::controller) fn release_quota(&self, uid: &str) {
        self.change(uid, |record| record.quota = false);
    }

    /// The attempts among `nonces`, all that the object has abandoned, that this process has known as such for all of
    /// `settle`, by its own monotonic clock; and how long it takes until that is true of all.
    pub(in crate::controller) fn expired_attempts<'a>(
        &self,
        uid: &str,
        nonces: impl Iterator<Item = &'a String>,
        settle: Duration,
    ) -> (BTreeSet<String>, Duration) {
        let now = Instant::now();
        self.change(uid, |record| {
            let before = std::mem::take(&mut record.abandoned);
            let since = |nonce: &String| (nonce.clone(), before.get(nonce).copied().unwrap_or(now));
            record.abandoned = nonces.map(since).collect();
            let (mut expired, mut left) = (BTreeSet::new(), Duration::ZERO);
            for (nonce, since) in &record.abandoned {
                match settle.checked_sub(now.duration_since(*since)) {
                    Some(rest) if !rest.is_zero() => left = left.max(rest),
                    _ => {
                        expired.insert(nonce.clone());
                    }
                }
            }
            (expired, left)
        })
    }

    /// The rest of the pause after a panic. An object with another spec or other annotations is tried at once.
    pub(in crate::controller) fn panic_pause(&self, uid: &str, desired: Digest) -> Option<Duration> {
        let all = self.all();
        let last = all.get(&digest(uid))?.panicked.as_ref();
        let last = last.filter(|last| last.desired == desired)?;
        let left = last.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Records a panic; the pause before the next try.
    pub(in crate::controller) fn record_panic(&self, uid: &str, desired: Digest) -> Duration {
        let now = Instant::now();
        self.change(uid, |record| {
            let last = record.panicked.as_ref().filter(|last| last.desired == desired);
            let mut times = last.map_or(0, |last| last.times);
            let pause = next_pause(&mut times, PANIC_PAUSES);
            let until = now.checked_add(pause).unwrap_or(now);
            record.panicked = Some(Panicked {
                times,
                until,
                desired,
            });
            pause
        })
    }

    /// A reconcile of this object came to its end.
    pub(in crate::controller) fn reset_panics(&self, uid: &str) {
        self.change(uid, |record| record.panicked = None);
    }
}

/// Counts one more in a row; the pause after it, which doubles up to the longest.
fn next_pause(in_a_row: &mut u32, (first, longest): (Duration, Duration)) -> Duration {
    let pause = first.saturating_mul(1 << (*in_a_row).min(10));
    *in_a_row = in_a_row.saturating_add(1);
    pause.min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let records = Records::default();
        let minutes = |n| Duration::from_mins(n);
        let all: Vec<Duration> = (0..6).map(|_| records.next_recheck("a")).collect();
        assert_eq!(all, [1, 2, 4, 8, 10, 10].map(minutes));
        records.reset_recheck("a");
        assert_eq!(records.next_recheck("a"), minutes(1));
        assert_eq!(records.next_backoff("a"), Duration::from_secs(1));
        let last = (0..40).map(|_| records.next_backoff("a")).last();
        assert_eq!(last, Some(minutes(5)));
    }

    fn fill(records: &Records, uid: &str) {
        records.next_backoff(uid);
        records.next_recheck(uid);
        records.request_full_check(uid);
        records.reserve_quota(uid, 1, std::iter::empty(), BTreeSet::new());
        records.expired_attempts(uid, ["n".to_owned()].iter(), Duration::from_mins(1));
        records.record_panic(uid, 1);
    }

    #[test]
    fn nothing_is_kept_of_objects_that_come_and_go() {
        let records = Records::default();
        for n in 0..1000 {
            fill(&records, &n.to_string());
        }
        assert_eq!(records.all().len(), 1000);
        (0..1000).for_each(|n| records.remove(&n.to_string()));
        assert!(records.all().is_empty());
    }

    #[test]
    fn a_record_that_says_nothing_is_not_kept() {
        let records = Records::default();
        assert!(!records.take_full_check("a"));
        records.reset_backoff("a");
        assert!(records.all().is_empty());
        fill(&records, "a");
        assert!(records.take_full_check("a") && !records.take_full_check("a"));
        records.reset_backoff("a");
        records.reset_recheck("a");
        records.release_quota("a");
        records.expired_attempts("a", std::iter::empty(), Duration::ZERO);
        assert_eq!(records.all().len(), 1);
        records.reset_panics("a");
        assert!(records.all().is_empty());
    }

    #[test]
    fn of_users_that_begin_at_once_no_more_than_the_maximum_get_a_place() {
        let records = Records::default();
        let all = ["a", "b", "c"];
        let used = all.map(|uid| records.reserve_quota(uid, 2, all.into_iter(), BTreeSet::new()));
        assert_eq!(used, [0, 1, 2]);
        records.release_quota("a");
        assert_eq!(records.reserve_quota("c", 2, all.into_iter(), BTreeSet::new()), 1);
        let taken = BTreeSet::from(["c".to_owned(), "d".to_owned()]);
        assert_eq!(records.reserve_quota("a", 2, all.into_iter(), taken), 3);
    }
}
