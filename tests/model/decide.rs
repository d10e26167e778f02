//! The shipped plan, asked once for each thing that a process can know.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{PoisonError, RwLock};

use crate::act::Act;
use crate::config::Config;
use crate::translate::Translator;
use crate::world::Seen;

const SHARDS: usize = 64;

/// A map that several threads fill.
pub struct Memo<K, V> {
    shards: Vec<RwLock<HashMap<K, V>>>,
    state: RandomState,
}

impl<K: Hash + Eq + Copy, V: Copy> Memo<K, V> {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            state: RandomState::new(),
        }
    }

    /// What was found for `key` before, or what `find` finds.
    pub fn get(&self, key: &K, find: impl FnOnce() -> V) -> V {
        let shard = usize::try_from(self.state.hash_one(key) >> 32).unwrap_or_default() % SHARDS;
        let shard = &self.shards[shard];
        let known = shard
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied();
        known.unwrap_or_else(|| {
            let value = find();
            shard
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(*key, value);
            value
        })
    }

    pub fn len(&self) -> usize {
        let lens = self
            .shards
            .iter()
            .map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len());
        lens.sum()
    }
}

/// What decides in the model: `plan::next` as it is shipped, but for a mutant.
pub struct Decider {
    pub config: Config,
    translator: Translator,
    memo: Memo<Seen, Act>,
}

impl Decider {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            translator: Translator::new(&config),
            memo: Memo::new(),
        }
    }

    pub fn decide(&self, seen: &Seen) -> Act {
        self.memo.get(seen, || {
            let mut shown = *seen;
            if let Some(mutant) = self.config.mutant {
                mutant.blind(&mut shown);
            }
            let act = self.translator.decide(&shown);
            self.config
                .mutant
                .map_or(act, |mutant| mutant.twist(&shown, &seen.object.status, act))
        })
    }

    /// How many different questions the plan was asked.
    pub fn asked(&self) -> usize {
        self.memo.len()
    }
}
