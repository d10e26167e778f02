//! Places for the users of each organization that are worked on at one time.
//!
//! The others wait, so that a platform that does not answer holds up nobody else's users. Namespaces take turns, and within
//! a namespace the order of coming counts: many users of one namespace hold up no other's for long. A user that waits is
//! a name in a line and no reconcile that has begun: the controller runtime asks all that have begun whenever one of them
//! ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::controller::context::Context;
use crate::controller::schedule::digest::{Digest, digest};
use crate::controller::schedule::triggers::{Triggers, UserRef};
use crate::controller::watch::cached_user::CachedUser;
use crate::plan;
use crate::platform::client::{FairQueue, Limits};

/// Users of one organization that are worked on at one time. Users that have no token yet have as many places of their own,
/// and so have those of which something is asked that was not done, and those whose tokens are to die at once: none of
/// them waits until all others were looked at after a start, or replaced because they are old.
const MAX_IN_FLIGHT: usize = 16;
/// Of the calls that an organization takes in a minute, the part that may wait in each of its lanes. Whoever makes a user
/// waits for its turn for ten seconds at most. Within them three lanes, with a call each, and the look at the organization are
/// through even if every second turn is a revocation's, where 50 calls a minute are allowed or more.
const PART: u32 = 45;
/// Of calls at one time as many may wait in each lane besides: in time while a call takes less than some 0.8 seconds.
const ROUNDS: usize = 2;

/// An organization, whether a user has a token there, and whether it is settled or revoked.
type SlotKey = Digest;

/// All lanes.
#[derive(Default)]
pub(in crate::controller) struct ConcurrencyLimiter(Mutex<State>);

/// Those who want places.
trait Waiters {
    fn exists(&self, user: &UserRef) -> bool;

    /// Has a user come again, if it is there.
    fn call(&self, user: &UserRef) -> bool;
}

impl Waiters for Triggers {
    fn exists(&self, user: &UserRef) -> bool {
        self.known(user).is_some()
    }

    fn call(&self, user: &UserRef) -> bool {
        Self::call(self, user)
    }
}

#[derive(Default)]
struct State {
    by_key: HashMap<SlotKey, Slots>,
    /// The lane in whose line a user stands.
    waiting: HashMap<Digest, SlotKey>,
    /// Users for which there is a place in a lane, and who have not come yet.
    called: HashMap<UserRef, SlotKey>,
}

#[derive(Default)]
struct Slots {
    /// How many there are.
    most: usize,
    /// Places that are taken, by whoever is worked on or was called.
    taken: usize,
    /// Some of them may have gone to another line, or stand here twice: [`State::waiting`] knows.
    users: FairQueue<String, UserRef>,
}

impl State {
    /// Whether one of so many places is this user's; if not, it is called when there is one.
    fn enter(&mut self, lane: SlotKey, most: usize, user: &UserRef, users: &impl Waiters) -> bool {
        match self.called.remove(user) {
            Some(of) if of == lane => return true,
            // It was called to a lane that is not its own any more.
            Some(of) => self.leave(of, users),
            None => self.tidy(users),
        }
        let id = name(user);
        let places = self.by_key.entry(lane).or_default();
        places.most = most;
        if places.taken < most {
            places.taken += 1;
            // It may stand in a line: it need not be called then.
            self.waiting.remove(&id);
            return true;
        }
        if self.waiting.insert(id, lane) != Some(lane) {
            let namespace = user.namespace.clone().unwrap_or_default();
            places.users.push(namespace, user.clone());
        }
        false
    }

    /// A place is free: it is the next one's.
    fn leave(&mut self, lane: SlotKey, users: &impl Waiters) {
        self.pass_on(lane, users);
        self.tidy(users);
    }

    /// Who was called and is gone does not come.
    fn tidy(&mut self, users: &impl Waiters) {
        let gone: Vec<SlotKey> = self
            .called
            .extract_if(|user, _| !users.exists(user))
            .map(|(_, lane)| lane)
            .collect();
        for lane in gone {
            self.pass_on(lane, users);
        }
    }

    fn pass_on(&mut self, lane: SlotKey, users: &impl Waiters) {
        let Some(places) = self.by_key.get_mut(&lane) else {
            return;
        };
        // There may be fewer of them than there were.
        while places.taken <= places.most {
            let Some(user) = places.users.pop() else {
                break;
            };
            let id = name(&user);
            if self.waiting.get(&id) != Some(&lane) {
                continue;
            }
            self.waiting.remove(&id);
            if users.call(&user) {
                self.called.insert(user, lane);
                return;
            }
        }
        places.taken -= 1;
        if places.taken == 0 {
            self.by_key.remove(&lane);
        }
    }
}

impl ConcurrencyLimiter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever was called and is gone leaves its place to the next one.
    pub(in crate::controller) fn tidy(&self, triggers: &Triggers) {
        self.state().tidy(triggers);
    }

    /// How many wait, of all organizations.
    pub(in crate::controller) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }
}

/// A place, until it is dropped.
pub(in crate::controller) struct Slot {
    context: Arc<Context>,
    key: SlotKey,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.context
            .lanes
            .state()
            .leave(self.key, &*self.context.triggers);
    }
}

/// A place for this user, whose lane belongs to this organization. `None`: it waits, and is called when there is one.
pub(in crate::controller) fn enter(
    context: &Arc<Context>,
    user: &CachedUser,
    organization: &str,
) -> Option<Slot> {
    let has_token = user.index.journal.as_ref().is_some_and(|j| j.current.is_some());
    let lane = digest(&(
        organization,
        has_token || user.revoked,
        user.up_to_date,
        user.revoked,
    ));
    let most = max_in_flight(context, organization);
    // By name alone, since many may wait.
    let reference = ObjectRef::new(&user.name_any()).within(&user.namespace().unwrap_or_default());
    let mut state = context.lanes.state();
    let entered = state.enter(lane, most, &reference, &*context.triggers);
    entered.then(|| Slot {
        context: context.clone(),
        key: lane,
    })
}

/// How many users of an organization may be worked on at one time in each of its lanes.
fn max_in_flight(context: &Context, organization: &str) -> usize {
    let known = context.caches.organizations.get(&ObjectRef::new(organization));
    let readable = known.as_deref().and_then(|known| known.0.as_ref().ok());
    readable.map_or(MAX_IN_FLIGHT, |organization| {
        max_slots(&plan::limits(&organization.spec.limits))
    })
}

fn max_slots(limits: &Limits) -> usize {
    let by_pace = usize::try_from(limits.requests_per_minute / PART).unwrap_or(MAX_IN_FLIGHT);
    let by_slots = limits.max_in_flight.saturating_mul(ROUNDS);
    by_pace.min(by_slots).clamp(1, MAX_IN_FLIGHT)
}

fn name(user: &UserRef) -> Digest {
    digest(&(&user.namespace, &user.name))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Numbers of those who are gone, and of those who were called.
    #[derive(Default)]
    struct Some16 {
        gone: RefCell<Vec<usize>>,
        called: RefCell<Vec<usize>>,
    }

    fn user(n: usize) -> UserRef {
        ObjectRef::new(&n.to_string()).within("a")
    }

    fn number(user: &UserRef) -> usize {
        user.name.parse().unwrap()
    }

    impl Waiters for Some16 {
        fn exists(&self, user: &UserRef) -> bool {
            !self.gone.borrow().contains(&number(user))
        }

        fn call(&self, user: &UserRef) -> bool {
            let there = self.exists(user);
            if there {
                self.called.borrow_mut().push(number(user));
            }
            there
        }
    }

    /// A lane whose places are all taken, by the first users, with so many more in line.
    fn full(waiting: usize) -> (State, Some16) {
        let (mut state, all) = (State::default(), Some16::default());
        for n in 0..MAX_IN_FLIGHT + waiting {
            assert_eq!(state.enter(1, MAX_IN_FLIGHT, &user(n), &all), n < MAX_IN_FLIGHT);
        }
        (state, all)
    }

    #[test]
    fn whoever_waits_is_called_in_the_order_of_coming_and_nobody_comes_before() {
        let (mut state, all) = full(3);
        assert!(
            !state.enter(1, MAX_IN_FLIGHT, &user(16), &all),
            "to come again changes nothing"
        );
        assert!(
            state.enter(2, MAX_IN_FLIGHT, &user(100), &all),
            "another lane is free"
        );
        state.leave(1, &all);
        assert!(
            !state.enter(1, MAX_IN_FLIGHT, &user(200), &all),
            "the place is another one's"
        );
        assert!(state.enter(1, MAX_IN_FLIGHT, &user(16), &all));
        for _ in 0..3 {
            state.leave(1, &all);
        }
        assert_eq!(*all.called.borrow(), [16, 17, 18, 200]);
        state.leave(1, &all);
        assert!(state.enter(1, MAX_IN_FLIGHT, &user(300), &all));
        assert!(
            !state.enter(1, MAX_IN_FLIGHT, &user(301), &all),
            "three places are kept for who was called"
        );
    }

    /// 500 users of one namespace stand in line before the first of another one comes.
    #[test]
    fn namespaces_take_turns_however_many_users_one_of_them_has() {
        let (mut state, all) = full(500 - MAX_IN_FLIGHT);
        let of = |namespace: &str, n: usize| ObjectRef::new(&n.to_string()).within(namespace);
        for (namespace, n) in [("b", 1000), ("c", 2000), ("b", 1001)] {
            assert!(!state.enter(1, MAX_IN_FLIGHT, &of(namespace, n), &all));
        }
        for _ in 0..7 {
            state.leave(1, &all);
        }
        assert_eq!(*all.called.borrow(), [16, 1000, 2000, 17, 1001, 18, 19]);
    }

    #[test]
    fn no_place_is_lost() {
        let (mut state, all) = full(3);
        // The first in line is gone when its turn comes.
        all.gone.borrow_mut().push(16);
        state.leave(1, &all);
        assert_eq!(*all.called.borrow(), [17]);
        // Who is called instead goes to another lane.
        assert!(state.enter(2, MAX_IN_FLIGHT, &user(17), &all));
        assert_eq!(*all.called.borrow(), [17, 18]);
        // The last one is gone after it was called.
        all.gone.borrow_mut().push(18);
        assert!(state.enter(1, MAX_IN_FLIGHT, &user(19), &all));
        assert!(!state.enter(1, MAX_IN_FLIGHT, &user(20), &all));
        // When all have left, nothing is kept.
        state.leave(2, &all);
        state.leave(1, &all);
        assert!(state.enter(1, MAX_IN_FLIGHT, &user(20), &all));
        for _ in 0..MAX_IN_FLIGHT {
            state.leave(1, &all);
        }
        assert!(state.by_key.is_empty() && state.waiting.is_empty() && state.called.is_empty());
    }

    #[test]
    fn where_few_calls_are_let_through_few_wait() {
        let places = |requests_per_minute: u32, max_in_flight: usize| {
            max_slots(&Limits {
                requests_per_minute,
                max_in_flight,
                ..Limits::default()
            })
        };
        let by_pace = [1, 30, 60, 300, 480, 6000].map(|n| places(n, 8));
        assert_eq!(by_pace, [1, 1, 1, 6, 10, 16]);
        for per_minute in 50..1000 {
            let calls = 3 * places(per_minute, 8) + 1;
            let seconds = 2.0 * 60.0 * f64::from(u32::try_from(calls).unwrap()) / f64::from(per_minute);
            assert!(seconds < 10.0, "{per_minute} a minute: {seconds} s");
        }
        assert_eq!([1, 2, 7, 8, 100].map(|n| places(6000, n)), [2, 4, 14, 16, 16]);
        let (mut state, all) = full(2);
        // From now on there are two places.
        assert!(!state.enter(1, 2, &user(100), &all));
        for _ in 0..MAX_IN_FLIGHT - 2 {
            state.leave(1, &all);
        }
        assert!(all.called.borrow().is_empty(), "these places are no more");
        state.leave(1, &all);
        assert!(state.enter(1, 2, &user(16), &all));
        for next in [17, 100] {
            state.leave(1, &all);
            assert!(state.enter(1, 2, &user(next), &all));
        }
        state.leave(1, &all);
        state.leave(1, &all);
        assert!(state.by_key.is_empty() && state.waiting.is_empty() && state.called.is_empty());
    }
}
