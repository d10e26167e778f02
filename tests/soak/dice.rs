//! Chance that can be repeated: decided by the seed and by what is asked for, not by when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::support::proxy::{Act, Fault, Proxy, Seen};

/// What may happen to a request, how often in 10,000, and whether only to one that changes something.
const FAULTS: [(Act, u64, bool); 9] = [
    (Act::KillBefore, 12, true),
    (Act::KillAfter, 12, true),
    (Act::DropAnswer, 120, true),
    (Act::Refuse(500), 80, false),
    (Act::Refuse(503), 60, false),
    (Act::Refuse(409), 60, true),
    (Act::Refuse(429), 20, false),
    (Act::ApplyThen(504), 100, true),
    (Act::DropAnswer, 40, false),
];

/// Decides by a seed.
pub struct Dice {
    seed: u64,
    /// How often each kind of request was asked for, and each fault struck.
    asked: Mutex<BTreeMap<String, u64>>,
    struck: Mutex<BTreeMap<String, u64>>,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            asked: Mutex::default(),
            struck: Mutex::default(),
        }
    }

    /// A number below `sides`, always the same for the same text.
    pub fn roll(&self, what: &str, sides: u64) -> u64 {
        let digest = Sha256::digest(format!("{}/{what}", self.seed));
        u64::from_be_bytes(digest[..8].try_into().unwrap_or_default()) % sides
    }

    /// Arms all faults at one place.
    pub fn arm(self: &Arc<Self>, proxy: &Proxy) -> Vec<Arc<Fault>> {
        let faults = FAULTS.iter().enumerate().map(|(i, &(act, often, writes))| {
            let dice = self.clone();
            proxy.arm_nth(act, 0, usize::MAX, move |seen| {
                dice.strikes(i, act, often, writes, seen)
            })
        });
        faults.collect()
    }

    fn strikes(&self, i: usize, act: Act, often: u64, writes: bool, seen: &Seen) -> bool {
        // Watches are long, and a Lease that is lost ends a controller: kills do that often enough.
        let spared = seen.watch || seen.resource == "leases" || (writes && !seen.is_write());
        if spared {
            return false;
        }
        // The platform's ids and names have chance in them; the display name has not.
        let name = if seen.resource.starts_with('/') {
            seen.user_name.split('/').next().unwrap_or_default()
        } else {
            &seen.name
        };
        let key = format!("{i}/{} {} {name} {:?}", seen.verb, seen.resource, seen.changes);
        let n = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let n = asked.entry(key.clone()).or_default();
            *n += 1;
            *n
        };
        let strikes = self.roll(&format!("{key} {n}"), 10_000) < often;
        if strikes {
            let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
            *struck.entry(format!("{act:?}")).or_default() += 1;
        }
        strikes
    }

    /// How many faults struck.
    pub fn struck(&self) -> u64 {
        self.struck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .sum()
    }

    pub fn summary(&self) -> String {
        let struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<String> = struck.iter().map(|(act, n)| format!("{act} {n}")).collect();
        all.join(", ")
    }
}
