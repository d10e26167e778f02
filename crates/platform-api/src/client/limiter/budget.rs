//! The users that may be made within an hour, and how namespaces share them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a user is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its object has no token yet.
    First,
    /// It replaces another one, whose token still works.
    Replacement,
    /// It replaces another one, whose token has to die at once.
    Revocation,
}

/// The namespace and purpose of a place in the hour's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// The namespace of the user's object: none may use up what all have.
    pub(super) namespace: &'a str,
    /// What the user is made for.
    pub(super) purpose: Purpose,
}

impl Purpose {
    /// How many users there may be within an hour for one more of this purpose. A tenth of the limit is kept from replacements,
    /// which can wait. A leaked token cannot: whatever else was made, a tenth beyond the limit is left to revocations.
    pub(super) fn most(self, all: usize) -> usize {
        match self {
            Self::Replacement if all > 1 => all - all.div_ceil(10),
            Self::First | Self::Replacement => all,
            Self::Revocation => all.saturating_add(all.div_ceil(10)),
        }
    }
}

/// What one namespace may take of `all` that may be made within an hour: half, and at least one.
pub(super) fn share(all: usize) -> usize {
    (all / 2).max(1)
}

/// When it was taken, and for which namespace.
pub(super) type Place = (Instant, Arc<str>);

/// The users made in the last hour, each with the namespace of its object. An object that is deleted and made anew finds what
/// its namespace has used.
pub(super) struct Budget {
    hour: Duration,
    made: VecDeque<Place>,
    by_namespace: HashMap<Arc<str>, usize>,
}

/// There is no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// For how long.
    pub(super) after: Duration,
    /// Whether other namespaces may still have one.
    pub(super) of_namespace: bool,
}

impl Budget {
    pub(super) fn new(hour: Duration) -> Self {
        Self {
            hour,
            made: VecDeque::new(),
            by_namespace: HashMap::new(),
        }
    }

    /// Whether there is room for this claim among `all` that may be made within an hour.
    pub(super) fn room(&mut self, claim: Claim<'_>, all: usize, now: Instant) -> Result<(), Full> {
        let spent = self.spent(now);
        let used = self
            .by_namespace
            .get(claim.namespace)
            .copied()
            .unwrap_or_default();
        let (most, most_here) = (claim.purpose.most(all), claim.purpose.most(share(all)));
        if used >= most_here {
            let here = self.made.iter().filter(|(_, n)| **n == *claim.namespace);
            let oldest = here.map(|(at, _)| *at).nth(used.saturating_sub(most_here));
            return Err(Full {
                after: self.left(oldest, now),
                of_namespace: true,
            });
        }
        if spent >= most {
            let oldest = self
                .made
                .get(spent.saturating_sub(most.max(1)))
                .map(|(at, _)| *at);
            return Err(Full {
                after: self.left(oldest, now),
                of_namespace: false,
            });
        }
        Ok(())
    }

    /// Takes a place, if there is room.
    pub(super) fn take(&mut self, claim: Claim<'_>, all: usize, now: Instant) -> Result<Place, Full> {
        self.room(claim, all, now)?;
        let known = self.by_namespace.get_key_value(claim.namespace);
        let name = known.map_or_else(|| claim.namespace.into(), |(name, _)| name.clone());
        self.made.push_back((now, name.clone()));
        *self.by_namespace.entry(name.clone()).or_default() += 1;
        Ok((now, name))
    }

    /// Gives back a place for which no user was asked.
    pub(super) fn give_back(&mut self, place: &Place) {
        if let Some(at) = self.made.iter().rposition(|made| made == place) {
            self.made.remove(at);
            self.leave(&place.1);
        }
    }

    /// How long it takes until this one is an hour old.
    fn left(&self, oldest: Option<Instant>, now: Instant) -> Duration {
        oldest.map_or(self.hour, |at| {
            self.hour.saturating_sub(now.saturating_duration_since(at))
        })
    }

    fn leave(&mut self, namespace: &str) {
        if let Some(used) = self.by_namespace.get_mut(namespace) {
            *used -= 1;
            if *used == 0 {
                self.by_namespace.remove(namespace);
            }
        }
    }

    /// How many were made within an hour.
    pub(super) fn spent(&mut self, now: Instant) -> usize {
        let hour = self.hour;
        let old = |(at, _): &mut (Instant, Arc<str>)| now.saturating_duration_since(*at) >= hour;
        while let Some((_, name)) = self.made.pop_front_if(old) {
            self.leave(&name);
        }
        self.made.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Budget, Claim, Full, Purpose};

    const FIRST: Claim<'static> = of("payments", Purpose::First);

    const fn of(namespace: &str, purpose: Purpose) -> Claim<'_> {
        Claim { namespace, purpose }
    }

    #[test]
    fn a_budget_frees_itself_as_its_hour_passes() {
        let now = Instant::now();
        let minutes = |m: u64| now + Duration::from_mins(m);
        let full = |m: u64, of_namespace: bool| {
            Err(Full {
                after: Duration::from_mins(m),
                of_namespace,
            })
        };
        let mut budget = Budget::new(Duration::from_hours(1));
        let (a, b, c) = (FIRST, of("b", Purpose::First), of("c", Purpose::First));
        let mut take = |claim, all, now| budget.take(claim, all, now).map(drop);
        assert_eq!(take(a, 2, now), Ok(()));
        assert_eq!(take(b, 2, minutes(10)), Ok(()));
        assert_eq!(take(c, 2, minutes(20)), full(40, false));
        assert_eq!(take(b, 2, minutes(20)), full(50, true));
        assert_eq!(take(c, 2, minutes(60)), Ok(()));
        assert_eq!(take(a, 2, minutes(60)), full(10, false));
        // A limit that was lowered in the meantime.
        assert_eq!(take(a, 1, minutes(60)), full(60, false));
        assert_eq!(take(c, 1, minutes(61)), full(59, true));
        // What is used up is not kept.
        assert_eq!((budget.spent(minutes(200)), budget.by_namespace.len()), (0, 0));
    }

    /// One namespace that makes and deletes users again and again: what is deleted gives nothing back.
    #[test]
    fn no_namespace_uses_up_what_all_have() {
        let now = Instant::now();
        let purposes = [Purpose::First, Purpose::Replacement, Purpose::Revocation];
        for all in [1, 2, 3, 10, 11, 1000] {
            // The extra tenth of a revocation is one user at least: where two may be made it is all that is left.
            for purpose in purposes.into_iter().take(if all > 2 { 3 } else { 2 }) {
                let mut budget = Budget::new(Duration::from_hours(1));
                let mut made = 0;
                while budget.take(of("a", purpose), all, now).is_ok() {
                    made += 1;
                }
                assert!(
                    made >= 1 && made <= purpose.most((all / 2).max(1)),
                    "{all} {purpose:?}: {made}"
                );
                let other = budget.take(of("b", Purpose::First), all, now);
                assert_eq!(other.is_ok(), all > 1, "{all} {purpose:?}: {made}");
            }
            // Its own revocations do not wait until its other users are an hour old.
            let mut budget = Budget::new(Duration::from_hours(1));
            while budget.take(of("a", Purpose::First), all, now).is_ok() {}
            assert!(
                budget.take(of("a", Purpose::Revocation), all, now).is_ok(),
                "{all}"
            );
        }
    }
}
