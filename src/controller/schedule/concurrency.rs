//! Bounds how many users of one organization are reconciled at once, so that a platform that does not answer delays only the
//! users of its own organization.
//!
//! Namespaces take turns, and within a namespace the first that waits is the first to get a slot. Waiting users are kept as
//! references, not as running futures: kube's `Controller` polls every running reconcile whenever one ends, which is
//! quadratic for thousands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::api::Organization;
use crate::controller::schedule::digest::{Digest, digest};
use crate::controller::schedule::triggers::{Triggers, UserRef};
use crate::controller::watch::cached_user::CachedUser;
use crate::controller::watch::streams::Guarded;
use crate::plan;
use crate::platform::client::{FairQueue, Limits};

/// Slots of one key. Users without a token, users that are not up to date, and users whose tokens are being revoked have
/// other keys, and as many slots of their own: none of them waits for the reconciles after a start, or for planned rotations.
const MAX_IN_FLIGHT: usize = 16;
/// Requests per minute for one slot of a key. A create call waits for the rate limiter for ten seconds at most. Where 50 calls
/// a minute are allowed or more, a call of each slot of three keys and the Organization's list call get through within that
/// time, even if every second turn goes to a revocation.
const REQUESTS_PER_SLOT: u32 = 45;
/// Slots of a key for each call in flight: the waiting calls are in time while a call takes less than some 0.8 seconds.
const SLOTS_PER_CALL: usize = 2;

/// Organization, whether the user has a token there, whether it is up to date, and whether it is being revoked.
type SlotKey = Digest;

pub(in crate::controller) struct ConcurrencyLimiter {
    state: Mutex<State>,
    triggers: Arc<Triggers>,
    organizations: Guarded<Organization>,
}

trait Waiters {
    fn exists(&self, user: &UserRef) -> bool;

    /// Enqueues a user, if it exists.
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
    /// The key whose queue a user waits in.
    waiting: HashMap<Digest, SlotKey>,
    /// Users that were enqueued for a free slot, and whose reconcile has not begun yet.
    called: HashMap<UserRef, SlotKey>,
}

#[derive(Default)]
struct Slots {
    most: usize,
    /// Slots in use, by running reconciles and by users that were called.
    taken: usize,
    /// An entry may be a duplicate, or of a user that waits under another key now: [`State::waiting`] decides.
    users: FairQueue<String, UserRef>,
}

impl State {
    /// Takes one of `most` slots for this user. `false`: none is free, and the user is called when one is.
    fn enter(&mut self, key: SlotKey, most: usize, user: &UserRef, users: &impl Waiters) -> bool {
        match self.called.remove(user) {
            Some(of) if of == key => return true,
            // It was called for a key that is not its own any more.
            Some(of) => self.leave(of, users),
            None => self.reap(users),
        }
        let id = name(user);
        let slots = self.by_key.entry(key).or_default();
        slots.most = most;
        if slots.taken < most {
            slots.taken += 1;
            // It may wait under another key: it need not be called then.
            self.waiting.remove(&id);
            return true;
        }
        if self.waiting.insert(id, key) != Some(key) {
            let namespace = user.namespace.clone().unwrap_or_default();
            slots.users.push(namespace, user.clone());
        }
        false
    }

    /// Hands the slot on to the next user that waits.
    fn leave(&mut self, key: SlotKey, users: &impl Waiters) {
        self.pass_on(key, users);
        self.reap(users);
    }

    /// Takes back the slots of users that were called and deleted since.
    fn reap(&mut self, users: &impl Waiters) {
        let gone: Vec<SlotKey> = self
            .called
            .extract_if(|user, _| !users.exists(user))
            .map(|(_, key)| key)
            .collect();
        for key in gone {
            self.pass_on(key, users);
        }
    }

    fn pass_on(&mut self, key: SlotKey, users: &impl Waiters) {
        let Some(slots) = self.by_key.get_mut(&key) else {
            return;
        };
        // The Organization's limits may have become smaller.
        while slots.taken <= slots.most {
            let Some(user) = slots.users.pop() else {
                break;
            };
            let id = name(&user);
            if self.waiting.get(&id) != Some(&key) {
                continue;
            }
            self.waiting.remove(&id);
            if users.call(&user) {
                self.called.insert(user, key);
                return;
            }
        }
        slots.taken -= 1;
        if slots.taken == 0 {
            self.by_key.remove(&key);
        }
    }
}

impl ConcurrencyLimiter {
    pub(in crate::controller) fn new(triggers: Arc<Triggers>, organizations: Guarded<Organization>) -> Self {
        Self {
            state: Mutex::default(),
            triggers,
            organizations,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back the slots of users that were called and deleted since.
    pub(in crate::controller) fn reap(&self) {
        self.state().reap(&*self.triggers);
    }

    /// How many wait, of all organizations.
    pub(in crate::controller) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// A slot for this user. `None`: it waits, and is enqueued when a slot is free.
    pub(in crate::controller) fn enter(
        self: &Arc<Self>,
        user: &CachedUser,
        organization: &str,
    ) -> Option<Slot> {
        let has_token = user.index.journal.as_ref().is_some_and(|j| j.current.is_some());
        let key = digest(&(
            organization,
            has_token || user.revoked,
            user.up_to_date,
            user.revoked,
        ));
        let most = self.max_in_flight(organization);
        // By name alone, since many may wait.
        let reference = ObjectRef::new(&user.name_any()).within(&user.namespace().unwrap_or_default());
        let entered = self.state().enter(key, most, &reference, &*self.triggers);
        entered.then(|| Slot {
            limiter: self.clone(),
            key,
        })
    }

    /// The slots of each key of an organization.
    fn max_in_flight(&self, organization: &str) -> usize {
        let known = self.organizations.get(&ObjectRef::new(organization));
        let readable = known.as_deref().and_then(|known| known.0.as_ref().ok());
        readable.map_or(MAX_IN_FLIGHT, |organization| {
            max_slots(&plan::limits(&organization.spec.limits))
        })
    }
}

/// A slot. Dropping it hands it on.
pub(in crate::controller) struct Slot {
    limiter: Arc<ConcurrencyLimiter>,
    key: SlotKey,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.limiter.state().leave(self.key, &*self.limiter.triggers);
    }
}

fn max_slots(limits: &Limits) -> usize {
    let by_pace = usize::try_from(limits.requests_per_minute / REQUESTS_PER_SLOT).unwrap_or(MAX_IN_FLIGHT);
    let by_slots = limits.max_in_flight.saturating_mul(SLOTS_PER_CALL);
    by_pace.min(by_slots).clamp(1, MAX_IN_FLIGHT)
}

fn name(user: &UserRef) -> Digest {
    digest(&(&user.namespace, &user.name))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

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

    /// A key without a free slot, and with so many users that wait.
    fn full(waiting: usize) -> (State, Some16) {
        let (mut state, all) = (State::default(), Some16::default());
        for n in 0..MAX_IN_FLIGHT + waiting {
            assert_eq!(state.enter(1, MAX_IN_FLIGHT, &user(n), &all), n < MAX_IN_FLIGHT);
        }
        (state, all)
    }

    #[test]
    fn waiting_users_get_slots_in_the_order_of_their_arrival() {
        let (mut state, all) = full(3);
        assert!(
            !state.enter(1, MAX_IN_FLIGHT, &user(16), &all),
            "a second event changes nothing"
        );
        assert!(
            state.enter(2, MAX_IN_FLIGHT, &user(100), &all),
            "another key has free slots"
        );
        state.leave(1, &all);
        assert!(
            !state.enter(1, MAX_IN_FLIGHT, &user(200), &all),
            "the slot is reserved for the user that was called"
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
            "three slots are kept for the users that were called"
        );
    }

    /// 500 users of one namespace wait before the first of another one arrives.
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
    fn no_slot_is_lost() {
        let (mut state, all) = full(3);
        // The first that waits was deleted.
        all.gone.borrow_mut().push(16);
        state.leave(1, &all);
        assert_eq!(*all.called.borrow(), [17]);
        // The user that is called instead enters under another key.
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
    fn a_slow_organization_has_few_slots() {
        let slots = |requests_per_minute: u32, max_in_flight: usize| {
            max_slots(&Limits {
                requests_per_minute,
                max_in_flight,
                ..Limits::default()
            })
        };
        let by_pace = [1, 30, 60, 300, 480, 6000].map(|n| slots(n, 8));
        assert_eq!(by_pace, [1, 1, 1, 6, 10, 16]);
        for per_minute in 50..1000 {
            let calls = 3 * slots(per_minute, 8) + 1;
            let seconds = 2.0 * 60.0 * f64::from(u32::try_from(calls).unwrap()) / f64::from(per_minute);
            assert!(seconds < 10.0, "{per_minute} a minute: {seconds} s");
        }
        assert_eq!([1, 2, 7, 8, 100].map(|n| slots(6000, n)), [2, 4, 14, 16, 16]);
        let (mut state, all) = full(2);
        // From now on there are two slots.
        assert!(!state.enter(1, 2, &user(100), &all));
        for _ in 0..MAX_IN_FLIGHT - 2 {
            state.leave(1, &all);
        }
        assert!(all.called.borrow().is_empty(), "these slots no longer exist");
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
