//! A queue in which several parties take turns: each pop is another party's, and within a party the order of coming counts.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The queue.
#[derive(Debug)]
pub struct FairQueue<K, V> {
    /// Parties that have something in the queue; the first is next.
    order: VecDeque<K>,
    queues: HashMap<K, VecDeque<V>>,
}

impl<K, V> Default for FairQueue<K, V> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            queues: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V> FairQueue<K, V> {
    /// Adds at the end of this party's own queue.
    pub fn push(&mut self, party: K, value: V) {
        let queue = self.queues.entry(party.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(party);
        }
        queue.push_back(value);
    }

    /// The first of the party whose turn it is.
    pub fn pop(&mut self) -> Option<V> {
        let party = self.order.pop_front()?;
        let queue = self.queues.get_mut(&party)?;
        let value = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&party);
        } else {
            self.order.push_back(party);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::FairQueue;

    #[test]
    fn parties_take_turns_and_nothing_is_kept_of_one_that_has_nothing() {
        let mut turns = FairQueue::default();
        for n in 0..3 {
            turns.push("a", n);
        }
        turns.push("b", 10);
        assert_eq!(turns.pop(), Some(0));
        turns.push("c", 20);
        turns.push("b", 11);
        let rest: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(rest, [10, 1, 20, 11, 2]);
        assert!(turns.order.is_empty() && turns.queues.is_empty());
        turns.push("b", 12);
        assert_eq!((turns.pop(), turns.pop()), (Some(12), None));
    }
}
