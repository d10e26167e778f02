//! A rule: which request, the how-manieth of them, and what becomes of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

use super::seen::Seen;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The controller is killed before the server saw the request.
    KillBefore,
    /// The request takes effect, and the controller is killed before it hears of it.
    KillAfter,
    /// The request takes effect, and the connection is severed.
    DropAnswer,
    /// It is refused with this status, without effect.
    Refuse(u16),
    /// It is refused with this status, without effect, and the reply repeats the request with its headers.
    Echo(u16),
    /// It takes effect, and is answered with this status all the same.
    ApplyThen(u16),
    /// It waits until it is released, and then takes effect, also if no client waits for the answer any more.
    Hold,
    /// It is answered with an older version of the object.
    Stale,
    /// It takes effect, and the answer is not what it should be.
    Lie(Lie),
    /// Nothing; it is only noted.
    Note,
}

/// An answer that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// 200 with an empty list.
    NoItems,
    /// 200, and the JSON ends in the middle.
    Truncated,
    /// 200, and the JSON lacks its last character.
    Unfinished,
    /// As it is, but for a `Date` at the end of all times.
    FarFuture,
    /// A list whose first object has one more field, an array of so many bytes.
    Padded(usize),
    /// 200 with a page for people.
    Html,
    /// A list without its last user.
    LacksNewest,
    /// 404, though it is there.
    Missing,
    /// A byte now and then, to the end.
    Slow,
    /// Half of it, and then nothing more.
    Stalls,
}

type Matches = Box<dyn Fn(&Seen) -> bool + Send + Sync>;

/// A rule that was armed, and what has become of it.
pub struct Fault {
    matches: Matches,
    pub(super) act: Act,
    /// Matching requests that are let through first.
    skip: AtomicUsize,
    /// How often it acts.
    times: AtomicUsize,
    disarmed: AtomicBool,
    /// It has acted for the last time.
    pub fired: Flag,
    /// A held request may go on.
    pub released: Flag,
    /// Who sent a held request does not wait for its answer any more.
    pub given_up: Flag,
    /// The request was handled to its end.
    pub over: Flag,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("act", &self.act)
            .finish_non_exhaustive()
    }
}

impl Fault {
    pub(super) fn new(matches: Matches, act: Act, skip: usize, times: usize) -> Arc<Self> {
        Arc::new(Self {
            matches,
            act,
            skip: AtomicUsize::new(skip),
            times: AtomicUsize::new(times),
            disarmed: AtomicBool::new(false),
            fired: Flag::default(),
            released: Flag::default(),
            given_up: Flag::default(),
            over: Flag::default(),
        })
    }

    /// Takes one turn if the request is meant.
    pub(super) fn takes(&self, seen: &Seen) -> bool {
        if self.disarmed.load(Ordering::SeqCst) || !(self.matches)(seen) {
            return false;
        }
        let less = |n: usize| n.checked_sub(1);
        if self
            .skip
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            return false;
        }
        self.times
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }

    /// Gives a turn back that could not be used.
    pub(super) fn give_back(&self) {
        self.times.fetch_add(1, Ordering::SeqCst);
    }

    /// A turn was used.
    pub(super) fn used(&self) {
        if self.times.load(Ordering::SeqCst) == 0 {
            self.fired.set();
        }
    }

    /// Acts no more.
    pub fn disarm(&self) {
        self.disarmed.store(true, Ordering::SeqCst);
    }
}

/// Something that happens once and can be waited for.
#[derive(Debug)]
pub struct Flag(watch::Sender<bool>);

impl Default for Flag {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Flag {
    pub fn set(&self) {
        self.0.send_replace(true);
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    pub async fn wait(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|set| *set).await;
    }
}
