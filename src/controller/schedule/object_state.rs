//! Skips reconciles that cannot change anything: those for watch events that only show versions which this process read or
//! wrote itself.
//!
//! Each write of a reconcile comes back by a watch, and so does, after a start, each Secret. In doubt nothing is skipped. A
//! trigger for any other reason invalidates what is recorded here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::controller::schedule::digest::{Digest, digest};
use crate::controller::schedule::records::Records;
use crate::platform::client::Purpose;

/// One entry for each object that can be skipped, awaits the startup scan, or is being reconciled.
#[derive(Default)]
pub(in crate::controller) struct ObjectStates {
    /// By the object's UID.
    objects: Mutex<HashMap<Digest, State>>,
    pub(in crate::controller) records: Records,
}

/// Whether a reconcile can be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::controller) enum Skip {
    No,
    UntilChange,
    /// For this long, unless something changes.
    For(Duration),
    /// Until the limits of its organization leave room for a create call for this purpose, or for this long at most.
    UntilRoom(Purpose, Option<Duration>),
}

/// When the next reconcile of an object is needed, if nothing changes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::controller) struct Due {
    /// `None`: never.
    pub(in crate::controller) after: Option<Duration>,
    /// Then only if there is room for a create call for this purpose, and after this span in any case.
    pub(in crate::controller) room: Option<(Purpose, Option<Duration>)>,
}

impl Due {
    pub(in crate::controller) fn after(after: Option<Duration>) -> Self {
        Self { after, room: None }
    }
}

enum State {
    /// It awaits the startup scan; with the version of its Secret that the watch has shown.
    Listed(Option<Digest>),
    Working(Box<InProgress>),
    /// The last reconcile left nothing to do.
    Resting(Baseline),
}

#[derive(Default)]
struct InProgress {
    /// Versions of the object's Secrets that a watch has shown meanwhile.
    seen: Vec<Digest>,
    /// Versions of them that were written.
    written: Vec<Digest>,
    /// A trigger came meanwhile.
    disturbed: bool,
}

struct Baseline {
    /// Versions of the object that were read or written.
    object: Box<[Digest]>,
    /// Versions of its Secrets that were read or written.
    secrets: Box<[Digest]>,
    /// When something is due.
    until: Option<Instant>,
    /// See [`Due::room`].
    room: Option<(Purpose, Option<Instant>)>,
}

impl Baseline {
    fn new(object: Box<[Digest]>, secrets: Box<[Digest]>, due: Due) -> Self {
        let now = Instant::now();
        // What is due beyond all times is never due.
        let at = |span: Option<Duration>| span.and_then(|span| now.checked_add(span));
        Self {
            object,
            secrets,
            until: at(due.after),
            room: due.room.map(|(purpose, latest)| (purpose, at(latest))),
        }
    }
}

impl ObjectStates {
    fn objects(&self) -> MutexGuard<'_, HashMap<Digest, State>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a reconcile of the object can be skipped, of which the cache has this version.
    pub(in crate::controller) fn skip(&self, uid: &str, version: &str) -> Skip {
        match self.objects().get(&digest(uid)) {
            Some(State::Resting(rest)) if rest.object.contains(&digest(version)) => {
                let now = Instant::now();
                match (rest.until, rest.room) {
                    (None, _) => Skip::UntilChange,
                    (Some(until), _) if until > now => Skip::For(until - now),
                    (_, Some((purpose, latest))) if latest.is_none_or(|at| at > now) => {
                        Skip::UntilRoom(purpose, latest.map(|at| at.saturating_duration_since(now)))
                    }
                    _ => Skip::No,
                }
            }
            _ => Skip::No,
        }
    }

    /// The object awaits the startup scan, until [`Self::scanned`] or [`Self::release`].
    pub(in crate::controller) fn await_scan(&self, uid: &str) {
        self.objects().entry(digest(uid)).or_insert(State::Listed(None));
    }

    pub(in crate::controller) fn awaits_scan(&self, uid: &str) -> bool {
        matches!(self.objects().get(&digest(uid)), Some(State::Listed(_)))
    }

    pub(in crate::controller) fn awaiting_scan(&self) -> usize {
        let objects = self.objects();
        objects.values().filter(|s| matches!(s, State::Listed(_))).count()
    }

    /// The startup scan found these versions of an object and its Secret, and nothing to do. `false`: it has to be reconciled all
    /// the same, since the watch did not show the same Secret last, so that it might not show the next one.
    pub(in crate::controller) fn scanned(
        &self,
        uid: &str,
        version: &str,
        secret: &str,
        due: Option<Duration>,
    ) -> bool {
        let due = Due::after(due);
        let (uid, secret) = (digest(uid), digest(secret));
        let mut objects = self.objects();
        let Some(State::Listed(seen)) = objects.get(&uid) else {
            return false;
        };
        let rests = *seen == Some(secret);
        if rests {
            let rest = Baseline::new([digest(version)].into(), [secret].into(), due);
            objects.insert(uid, State::Resting(rest));
        } else {
            objects.remove(&uid);
        }
        rests
    }

    /// The startup scan decides nothing about this object any more; whether it was to.
    pub(in crate::controller) fn release(&self, uid: &str) -> bool {
        let uid = digest(uid);
        let mut objects = self.objects();
        let listed = matches!(objects.get(&uid), Some(State::Listed(_)));
        if listed {
            objects.remove(&uid);
        }
        listed
    }

    /// The startup scan has ended. Objects that still await it do not exist any more.
    pub(in crate::controller) fn end_scan(&self) {
        self.objects().retain(|_, s| !matches!(s, State::Listed(_)));
    }

    /// A reconcile begins, before it reads anything.
    pub(in crate::controller) fn begin(&self, uid: &str) {
        self.objects().insert(digest(uid), State::Working(Box::default()));
    }

    /// It has written a Secret of the object, which has this version now.
    pub(in crate::controller) fn wrote(&self, uid: &str, version: &str) {
        if let Some(State::Working(work)) = self.objects().get_mut(&digest(uid)) {
            work.written.push(digest(version));
        }
    }

    /// The reconcile succeeded. `versions` are those of the object, `secrets` those of its Secrets that it read; `due` is when
    /// the next reconcile is needed in any case.
    pub(in crate::controller) fn end<'a>(
        &self,
        uid: &str,
        versions: impl Iterator<Item = &'a str>,
        secrets: impl Iterator<Item = &'a str>,
        due: Due,
    ) {
        let uid = digest(uid);
        let mut objects = self.objects();
        let Some(State::Working(work)) = objects.remove(&uid) else {
            return;
        };
        let secrets: Box<[Digest]> = secrets.map(digest).chain(work.written.iter().copied()).collect();
        if work.disturbed || !work.seen.iter().all(|version| secrets.contains(version)) {
            return;
        }
        let rest = Baseline::new(versions.map(digest).collect(), secrets, due);
        objects.insert(uid, State::Resting(rest));
    }

    /// A watch shows a Secret of the object. Whether that is news.
    pub(in crate::controller) fn secret_is_news(&self, uid: &str, version: &str) -> bool {
        let (uid, version) = (digest(uid), digest(version));
        let mut objects = self.objects();
        match objects.get_mut(&uid) {
            Some(State::Working(work)) => {
                work.seen.push(version);
                true
            }
            Some(State::Listed(seen)) if seen.is_none_or(|v| v == version) => {
                *seen = Some(version);
                false
            }
            Some(State::Resting(rest)) if rest.secrets.contains(&version) => false,
            _ => {
                objects.remove(&uid);
                true
            }
        }
    }

    /// The next reconcile is not skipped.
    pub(in crate::controller) fn invalidate(&self, uid: &str) {
        let uid = digest(uid);
        let mut objects = self.objects();
        match objects.get_mut(&uid) {
            Some(State::Working(work)) => work.disturbed = true,
            _ => drop(objects.remove(&uid)),
        }
    }

    /// The object is gone.
    pub(in crate::controller) fn remove(&self, uid: &str) {
        self.forget(uid);
        self.records.remove(uid);
    }

    /// The next event has the object reconciled.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.objects().remove(&digest(uid));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Due, ObjectStates, Skip};
    use crate::platform::client::Purpose;

    /// An object that was read as version 1, written as 2, and whose Secret was read as `old` and written as `new`.
    fn rested(due: Option<Duration>, meanwhile: impl Fn(&ObjectStates)) -> ObjectStates {
        waiting(Due::after(due), meanwhile)
    }

    fn waiting(due: Due, meanwhile: impl Fn(&ObjectStates)) -> ObjectStates {
        let all = ObjectStates::default();
        all.begin("a");
        all.wrote("a", "new");
        meanwhile(&all);
        all.end("a", ["1", "2"].into_iter(), ["old"].into_iter(), due);
        all
    }

    #[test]
    fn nothing_is_kept_of_objects_that_come_and_go() {
        let all = ObjectStates::default();
        for n in 0..1000 {
            let uid = n.to_string();
            all.begin(&uid);
            all.end(&uid, ["1"].into_iter(), [].into_iter(), Due::default());
            all.records.next_backoff(&uid);
        }
        assert_eq!(all.objects().len(), 1000);
        (0..1000).for_each(|n| all.remove(&n.to_string()));
        assert!(all.objects().is_empty() && !all.records.take_full_check("1"));
    }

    #[test]
    fn the_echo_of_its_own_writes_does_not_wake_an_object() {
        let all = rested(None, |all| {
            assert!(
                all.secret_is_news("a", "new"),
                "a running reconcile may have read an older Secret"
            );
        });
        assert_eq!(all.skip("a", "1"), Skip::UntilChange);
        assert_eq!(all.skip("a", "2"), Skip::UntilChange);
        assert!(!all.secret_is_news("a", "new"));
        assert!(!all.secret_is_news("a", "old"));
        assert_eq!(all.skip("a", "2"), Skip::UntilChange);
    }

    #[test]
    fn a_foreign_write_wakes_an_object() {
        let all = rested(None, |_| ());
        assert_eq!(all.skip("a", "3"), Skip::No);
        assert_eq!(all.skip("b", "1"), Skip::No);
        assert!(all.secret_is_news("a", "foreign"));
        assert_eq!(
            all.skip("a", "2"),
            Skip::No,
            "and no reconcile is skipped until one has run"
        );
        let all = rested(None, |all| assert!(all.secret_is_news("a", "foreign")));
        assert_eq!(all.skip("a", "2"), Skip::No, "also a write during a reconcile");
    }

    #[test]
    fn a_trigger_wakes_an_object_also_during_a_reconcile() {
        let all = rested(None, |all| all.invalidate("a"));
        assert_eq!(all.skip("a", "2"), Skip::No);
        let all = rested(None, |_| ());
        all.invalidate("a");
        assert_eq!(all.skip("a", "2"), Skip::No);
    }

    #[test]
    fn the_startup_scan_skips_objects_that_are_as_the_watches_show_them() {
        let listed = |meanwhile: &dyn Fn(&ObjectStates)| {
            let all = ObjectStates::default();
            all.await_scan("a");
            assert!(all.awaits_scan("a") && all.awaiting_scan() == 1);
            meanwhile(&all);
            let rests = all.scanned("a", "1", "s", None);
            assert_eq!(rests, all.skip("a", "1") == Skip::UntilChange);
            assert!(!all.awaits_scan("a"), "the scan is over for it");
            all
        };
        let all = listed(&|all| assert!(!all.secret_is_news("a", "s")));
        assert_eq!(all.skip("a", "1"), Skip::UntilChange);
        assert_eq!(all.skip("a", "2"), Skip::No, "it has changed since it was listed");
        assert!(!all.secret_is_news("a", "s"));
        assert!(all.secret_is_news("a", "t"), "and so has its Secret");

        let awake = |meanwhile: &dyn Fn(&ObjectStates)| listed(meanwhile).skip("a", "1") == Skip::No;
        assert!(awake(&|_| ()), "no watch would show the deletion of the Secret");
        assert!(awake(&|all| assert!(!all.secret_is_news("a", "t"))));
        assert!(awake(&|all| {
            all.secret_is_news("a", "s");
            assert!(all.secret_is_news("a", "t"));
        }));
        assert!(awake(&|all| {
            all.secret_is_news("a", "s");
            all.invalidate("a");
        }));
        assert!(awake(&|all| {
            all.secret_is_news("a", "s");
            assert!(all.release("a") && !all.release("a"));
        }));
        // A reconcile has begun: that one decides.
        assert!(awake(&|all| {
            all.secret_is_news("a", "s");
            all.begin("a");
        }));
    }

    #[test]
    fn it_wakes_when_something_is_due() {
        let all = rested(Some(Duration::from_hours(1)), |_| ());
        let how = all.skip("a", "2");
        assert!(
            matches!(how, Skip::For(left) if left > Duration::from_mins(59)),
            "{how:?}"
        );
        let all = rested(Some(Duration::ZERO), |_| ());
        assert_eq!(all.skip("a", "2"), Skip::No);
    }

    #[test]
    fn an_object_that_waits_for_room_is_reconciled_when_something_else_is_due() {
        let until = |latest| Due {
            after: Some(Duration::ZERO),
            room: Some((Purpose::First, latest)),
        };
        let skip = |latest| waiting(until(latest), |_| ()).skip("a", "2");
        assert_eq!(skip(None), Skip::UntilRoom(Purpose::First, None));
        let Skip::UntilRoom(_, Some(left)) = skip(Some(Duration::from_hours(1))) else {
            panic!("something else is due in an hour");
        };
        assert!(left > Duration::from_mins(59) && left <= Duration::from_hours(1));
        assert_eq!(skip(Some(Duration::ZERO)), Skip::No);
        let changed = waiting(until(None), |_| ());
        changed.invalidate("a");
        assert_eq!(
            (changed.skip("a", "2"), changed.skip("a", "3")),
            (Skip::No, Skip::No)
        );
    }
}
