//! In-memory state of one Organization that outlives a change of its credential: rate limiter, connection, the last list of
//! the platform's users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;

use crate::api::Journal;
use crate::controller::organizations::connections::connection::Connection;
use crate::plan::Marker;
use crate::platform::client::RateLimiter;
use crate::platform::{UserName, UserType};

/// The state of one Organization. [`super::lifetimes::Lifetimes`] holds it; nothing that it holds points back to it.
pub(in crate::controller) struct OrganizationState {
    pub(in crate::controller) limiter: Arc<RateLimiter>,
    pub(super) connection: AsyncMutex<Option<Arc<Connection>>>,
    listing: Mutex<Option<Arc<UserListing>>>,
    /// Whether the last list call succeeded.
    listing_is_current: Mutex<bool>,
    /// Why it failed, as the last Event about it says.
    reported: Mutex<Option<String>>,
    /// Users on the platform that no object knows, and when the first list that showed them so had ended.
    orphans: Mutex<BTreeMap<String, Instant>>,
    /// The last UID whose turn of a full check it was.
    checked: Mutex<String>,
}

/// The programmatic users of an organization, from one list call. There may be many, and it is kept until the next.
pub(in crate::controller) struct UserListing {
    /// When the call was begun: what happened before is in it.
    pub(in crate::controller) begun: Instant,
    /// When the answer was there: what happened later is not in it.
    pub(in crate::controller) ended: Instant,
    /// In the order of their ids.
    listed: Box<[UserName]>,
    /// Places of those with a marker of this installation, in the order of the digest of their object's UID.
    ours: Box<[u32]>,
}

impl UserListing {
    /// Sorts a list.
    pub(in crate::controller) fn new(begun: Instant, mut listed: Vec<UserName>, instance: &str) -> Self {
        listed.retain(|user| user.user_type == UserType::Programmatic);
        listed.sort_unstable_by(|a, b| a.user_id.cmp(&b.user_id));
        let ours = (0u32..).zip(&listed).filter_map(|(place, user)| {
            let marker = Marker::parse(&user.username).filter(|m| m.instance == instance)?;
            Some((marker.object, place))
        });
        let mut ours: Vec<(String, u32)> = ours.collect();
        ours.sort_unstable();
        Self {
            begun,
            ended: Instant::now(),
            listed: listed.into(),
            ours: ours.into_iter().map(|(_, place)| place).collect(),
        }
    }

    /// The name of a programmatic user.
    pub(in crate::controller) fn name_of(&self, id: &str) -> Option<&str> {
        let place = self
            .listed
            .binary_search_by(|user| (*user.user_id).cmp(id))
            .ok()?;
        Some(&self.listed[place].username)
    }

    /// How many programmatic users there are.
    pub(in crate::controller) fn count(&self) -> usize {
        self.listed.len()
    }

    /// Users with a marker of this installation: ids and markers.
    pub(in crate::controller) fn ours(&self) -> impl Iterator<Item = (&str, Marker)> {
        let ours = self.ours.iter().filter_map(|place| self.at(*place));
        ours.map(|(user, marker)| (&*user.user_id, marker))
    }

    /// The user at this place, and its marker.
    fn at(&self, place: u32) -> Option<(&UserName, Marker)> {
        let user = self.listed.get(usize::try_from(place).ok()?)?;
        Some((user, Marker::parse(&user.username)?))
    }

    fn digest(&self, place: u32) -> Option<String> {
        self.at(place).map(|(_, marker)| marker.object)
    }

    /// Users of the object with this UID whose attempts are in none of `journals`, without those that are known to
    /// be `deleted`.
    pub(in crate::controller) fn strays(
        &self,
        instance: &str,
        uid: &str,
        journals: &[&Journal],
        deleted: &[String],
    ) -> Vec<UserName> {
        let marker = Marker::new(instance, uid, "");
        let theirs = [marker.short(), marker].into_iter().flat_map(|m| {
            let digest = Some(m.object);
            let from = self.ours.partition_point(|place| self.digest(*place) < digest);
            let to = self.ours.partition_point(|place| self.digest(*place) <= digest);
            self.ours[from..to].iter().filter_map(|place| self.at(*place))
        });
        let strays = theirs.filter(|(user, marker)| {
            !deleted.iter().any(|id| **id == *user.user_id)
                && !journals.iter().any(|j| names(j, &marker.nonce))
        });
        strays.map(|(user, _)| user.clone()).collect()
    }
}

/// Whether a journal names this attempt.
fn names(journal: &Journal, nonce: &str) -> bool {
    journal.pending.as_ref().is_some_and(|p| p.nonce == nonce)
        || journal.current.as_ref().is_some_and(|c| c.nonce == nonce)
        || journal.retiring.iter().any(|r| r.nonce == nonce)
        || journal.abandoned.iter().any(|a| a.nonce == nonce)
}

impl OrganizationState {
    pub(in crate::controller) fn new(limiter: RateLimiter) -> Self {
        Self {
            limiter: Arc::new(limiter),
            connection: AsyncMutex::default(),
            listing: Mutex::default(),
            listing_is_current: Mutex::default(),
            reported: Mutex::default(),
            orphans: Mutex::default(),
            checked: Mutex::default(),
        }
    }

    /// The connection, if there is one and no reconcile is making another.
    pub(in crate::controller) fn connected(&self) -> Option<Arc<Connection>> {
        self.connection.try_lock().ok()?.clone()
    }

    /// The last list of users.
    pub(in crate::controller) fn listing(&self) -> Option<Arc<UserListing>> {
        lock(&self.listing).clone()
    }

    /// Takes a new list; `None`: the call failed, and the next one is due at once.
    pub(in crate::controller) fn listing_succeeded(&self, listing: Option<Arc<UserListing>>) {
        *lock(&self.listing_is_current) = listing.is_some();
        if listing.is_some() {
            *lock(&self.reported) = None;
            *lock(&self.listing) = listing;
        }
    }

    /// Whether the reason why a list failed is another one than before.
    pub(in crate::controller) fn is_news(&self, why: &str) -> bool {
        let before = lock(&self.reported).replace(why.to_owned());
        before.as_deref() != Some(why)
    }

    /// Whether it is time for another list.
    pub(in crate::controller) fn is_due(&self, interval: Duration) -> bool {
        !*lock(&self.listing_is_current) || self.listing().is_none_or(|s| s.begun.elapsed() >= interval)
    }

    /// Takes up the orphans of a list; those among them that another list, which had ended `settle` before this one
    /// was begun, had shown as well.
    pub(in crate::controller) fn settled_orphans<'a>(
        &self,
        found: impl Iterator<Item = &'a String> + Clone,
        (begun, ended): (Instant, Instant),
        settle: Duration,
    ) -> BTreeSet<String> {
        let mut orphans = lock(&self.orphans);
        orphans.retain(|id, _| found.clone().any(|f| f == id));
        for id in found {
            orphans.entry(id.clone()).or_insert(ended);
        }
        let old = |first: &Instant| {
            begun
                .checked_duration_since(*first)
                .is_some_and(|age| age >= settle)
        };
        let settled = orphans.iter().filter(|(_, first)| old(first));
        settled.map(|(id, _)| id.clone()).collect()
    }

    /// The next UIDs whose turn of a full check it is.
    pub(in crate::controller) fn take_turn(&self, choose: impl FnOnce(&str) -> Vec<String>) -> Vec<String> {
        let mut checked = lock(&self.checked);
        let chosen = choose(&checked);
        if let Some(last) = chosen.last() {
            checked.clone_from(last);
        }
        chosen
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::{Duration, Instant};

    use super::{OrganizationState, UserListing};
    use crate::api::{Abandoned, Journal};
    use crate::plan::Marker;
    use crate::platform::client::{LimiterEvents, Limits, RateLimiter};
    use crate::platform::{UserName, UserType};

    fn user(id: &str, name: String, user_type: UserType) -> UserName {
        UserName {
            user_id: id.into(),
            username: name.into(),
            user_type,
        }
    }

    fn of(uid: &str, nonce: &str) -> String {
        Marker::new("abcdef", uid, nonce).name("ci")
    }

    const S: Duration = Duration::from_secs(1);

    fn organization() -> OrganizationState {
        OrganizationState::new(RateLimiter::new(Limits::default(), LimiterEvents::default()))
    }

    #[test]
    fn an_orphan_is_settled_when_two_lists_far_enough_apart_have_shown_it() {
        let (state, zero) = (organization(), Instant::now());
        let one = ["pu-1".to_owned()];
        let at = |ids: &[String], begun: u32| {
            let times = (zero + S * begun, zero + S * (begun + 1));
            state.settled_orphans(ids.iter(), times, S * 50)
        };
        assert!(at(&one, 0).is_empty());
        assert!(at(&one, 50).is_empty(), "the first list had ended at 1");
        assert_eq!(at(&one, 51), BTreeSet::from(one.clone()));
        assert!(at(&[], 60).is_empty());
        assert!(at(&one, 120).is_empty(), "a list without it was between");
    }

    #[test]
    fn a_listing_finds_the_users_of_an_object_and_the_attempts_that_no_journal_names() {
        let (one, two, three) = ("aaaabbbbccccdddd", "eeeeffffgggghhhh", "iiiijjjjkkkkllll");
        let users = vec![
            user("pu-3", of("b", three), UserType::Programmatic),
            user("pu-2", of("a", two), UserType::Programmatic),
            user("pu-1", of("a", one), UserType::Programmatic),
            user("pu-4", "by hand".to_owned(), UserType::Programmatic),
            user(
                "pu-5",
                Marker::new("zzzzzz", "a", one).name("ci"),
                UserType::Programmatic,
            ),
            user("u-1", of("a", one), UserType::Personal),
        ];
        let list = UserListing::new(Instant::now(), users, "abcdef");
        assert_eq!(list.count(), 5);
        assert_eq!(
            (list.name_of("pu-4"), list.name_of("u-1")),
            (Some("by hand"), None)
        );
        let mut groups = BTreeMap::<String, usize>::new();
        list.ours()
            .for_each(|(_, marker)| *groups.entry(marker.object).or_default() += 1);
        let mut sizes: Vec<usize> = groups.into_values().collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2]);
        let mut journal = Journal::default();
        journal.abandoned.push(Abandoned {
            nonce: one.to_owned(),
        });
        let strays = |uid: &str, deleted: &[String]| {
            let found = list.strays("abcdef", uid, &[&journal], deleted);
            found
                .into_iter()
                .map(|u| u.user_id.into_string())
                .collect::<Vec<_>>()
        };
        // By digest "b" comes before "a".
        assert_eq!(
            (strays("a", &[]), strays("b", &[])),
            (vec!["pu-2".to_owned()], vec!["pu-3".to_owned()])
        );
        assert!(strays("a", &["pu-2".to_owned()]).is_empty());
        assert!(list.strays("abcdef", "c", &[], &[]).is_empty());
    }

    #[test]
    fn a_listing_finds_the_users_of_an_object_by_markers_of_either_length() {
        let (one, two, three) = ("aaaabbbbccccdddd", "eeeeffffgggghhhh", "iiiijjjjkkkkllll");
        // Of the same object, by a version whose markers were shorter.
        let earlier = Marker::new("abcdef", "a", three).short().name("ci");
        let both = vec![
            user("pu-1", of("a", one), UserType::Programmatic),
            user("pu-2", earlier, UserType::Programmatic),
            user("pu-3", of("b", two), UserType::Programmatic),
        ];
        let list = UserListing::new(Instant::now(), both, "abcdef");
        let mut all: Vec<_> = list
            .strays("abcdef", "a", &[], &[])
            .into_iter()
            .map(|u| u.user_id)
            .collect();
        all.sort_unstable();
        assert_eq!(all, ["pu-1".into(), "pu-2".into()]);
    }

    #[test]
    fn a_turn_goes_on_where_the_last_one_ended() {
        let state = organization();
        let mut seen = vec![];
        for chosen in [vec!["b".to_owned()], vec![], vec!["c".to_owned()]] {
            state.take_turn(|last| {
                seen.push(last.to_owned());
                chosen
            });
        }
        assert_eq!(seen, ["", "b", "b"]);
    }
}
