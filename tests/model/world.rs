//! What there is: the object, its Secrets, the platform's users, calls on their way, and two processes that know some
//! of it. Small and `Copy`, since tens of millions of worlds are looked at.

use std::hash::{Hash, Hasher};

use crate::act::Act;

/// An attempt, 1 to 6; 0: none. A number is used again once nothing anywhere knows it any more, so that any number of
/// attempts is covered, and only those known at the same time are bounded.
pub type Nonce = u8;
/// Attempts, one bit for each.
pub type Set = u8;

/// No attempt has a greater number.
pub const MOST: Nonce = 6;
/// The attempt that the plan is about to begin: it gets its number when the journal is written.
pub const FRESH: Nonce = 7;
/// In place of an attempt, where a user of somebody else is meant.
pub const ALIEN: Nonce = 0;

pub const fn bit(n: Nonce) -> Set {
    if n == 0 { 0 } else { 1 << n }
}

pub const fn has(set: Set, n: Nonce) -> bool {
    set & bit(n) != 0
}

pub fn items(set: Set) -> impl Iterator<Item = Nonce> {
    (1..8).filter(move |n| has(set, *n))
}

/// `set` with [`FRESH`] replaced by `n`.
const fn settle(set: Set, n: Nonce) -> Set {
    if has(set, FRESH) {
        set & !bit(FRESH) | bit(n)
    } else {
        set
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pending {
    /// 0: there is none.
    pub n: Nonce,
    /// Version of the spec that it is made by.
    pub spec: u8,
    /// Values of the annotations when it was begun.
    pub rotate: u8,
    pub revoke: u8,
    /// Its token replaces one that is to die at once.
    pub urgent: bool,
    /// Begun so long ago that its token is not waited for any more.
    pub old: bool,
    /// Versions of the spec whose access is recorded as granted, one bit for each.
    pub granted: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Current {
    /// 0: there is none.
    pub n: Nonce,
    pub spec: u8,
    /// The version of the access that was applied when its token was seen to work, from 1; 0: none.
    pub access: u8,
    /// As in [`Pending`].
    pub granted: u8,
    /// Its user id is the one of somebody else's user.
    pub alien: bool,
}

/// The status, as far as anything is decided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status {
    pub pending: Pending,
    pub current: Current,
    pub retiring: Set,
    /// Of these the overlap is over.
    pub due: Set,
    /// Of these the user id is somebody else's.
    pub alien: Set,
    /// Of these the token was in the Secret of this number, which is not the current user's.
    pub left: [Set; 2],
    /// Of these the access of this version is recorded as granted.
    pub granted: [Set; 2],
    pub abandoned: Set,
    pub rotate: u8,
    pub revoke: u8,
}

impl Status {
    pub const fn journal(&self) -> Set {
        bit(self.pending.n) | bit(self.current.n) | self.retiring | self.abandoned
    }

    /// Attempts of which something may be staged: what is staged of others is swept.
    pub const fn open(&self) -> Set {
        bit(self.pending.n) | self.abandoned
    }

    /// With a number in place of [`FRESH`].
    pub const fn named(mut self, n: Nonce) -> Self {
        if self.pending.n == FRESH {
            self.pending.n = n;
        }
        self.abandoned = settle(self.abandoned, n);
        self
    }
}

/// The `ProgrammaticUser`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    pub exists: bool,
    pub deleting: bool,
    pub finalizer: bool,
    /// Version of the spec.
    pub spec: u8,
    /// Annotations; 0: none.
    pub rotate: u8,
    pub revoke: u8,
    pub status: Status,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    #[default]
    Absent,
    Ours,
    /// Somebody else's.
    Foreign,
    /// It was ours, and stays when the object goes.
    Released,
}

/// A Secret, or what a process saw of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Secret {
    pub owner: Owner,
    /// The attempt whose token it carries; 0: none.
    pub n: Nonce,
    /// Its values are those that were written.
    pub intact: bool,
    /// Its annotation names somebody else's user.
    pub alien: bool,
}

impl Secret {
    pub const fn carries(self, n: Nonce) -> bool {
        matches!(self.owner, Owner::Ours) && self.n == n && n != 0
    }
}

/// Answer to a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Known {
    #[default]
    Not,
    Yes,
    /// An error, or a certain no.
    No,
    Unknown,
}

/// Answer to `ReadUser`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    #[default]
    Not,
    Gone,
    /// Of this attempt; the versions of the spec in whose group it is, one bit for each.
    User(Nonce, u8),
    Alien,
    Failed,
}

/// Where a token is kept that was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kept {
    #[default]
    Nowhere,
    Published(u8),
    Staged(Nonce),
}

/// Answers to the steps of one reconcile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Learned {
    pub reserved: Known,
    pub ticket: Nonce,
    pub created: Known,
    pub committed: Known,
    pub staged: Known,
    pub published: Known,
    pub unstaged: Set,
    pub unstage_failed: Set,
    pub barred: Known,
    pub fenced: Known,
    pub compensated: Known,
    pub read: Read,
    /// Whose answer `read` is.
    pub read_of: Nonce,
    pub groups: Known,
    pub groups_of: Nonce,
    /// `Unknown` is an error here.
    pub verified: Known,
    pub verified_of: Kept,
    pub listed: Known,
    pub list: Set,
    pub deleted: Set,
    pub delete_failed: Set,
    /// `Unknown` is "not ours" here.
    pub alien: Known,
    pub secrets: [Known; 2],
    pub old_secrets: [Set; 2],
    pub old_secrets_failed: [Set; 2],
    pub recorded: Known,
    pub released: Known,
    pub unlocked: bool,
}

/// All that the plan decides by; the abstract form of `plan::Observed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seen {
    pub object: Object,
    /// Which Secret is the target, and which the current user's.
    pub target_at: u8,
    pub current_at: u8,
    pub target: Secret,
    pub current: Secret,
    pub staged: Set,
    pub barred: Set,
    pub settled: Set,
    pub learned: Learned,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    Idle,
    /// The object was read, the target Secret is next.
    ReadTarget,
    ReadCurrent,
    ReadStaged,
    Run,
}

/// The right to send one create call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permit {
    #[default]
    None,
    Held,
    /// It ended before the call.
    Ended,
}

/// A process that works on the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub phase: Phase,
    pub seen: Seen,
    /// Whether what was read is still the newest version: in place of resourceVersions, which would never repeat.
    pub object_fresh: bool,
    pub target_fresh: bool,
    pub current_fresh: bool,
    /// The platform did accept the token in this reconcile.
    pub accepted: bool,
    pub permit: Permit,
    /// What the plan says to `seen`.
    pub act: Act,
}

impl Hash for Process {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // An idle process knows nothing, and what it does next follows from what it knows.
        self.phase.hash(state);
        if self.phase != Phase::Idle {
            self.seen.hash(state);
            let fresh = [
                self.object_fresh,
                self.target_fresh,
                self.current_fresh,
                self.accepted,
                self.permit == Permit::Held,
                self.permit == Permit::Ended,
            ];
            state.write_u8(fresh.iter().fold(0, |bits, b| bits << 1 | u8::from(*b)));
        }
    }
}

impl Process {
    /// A create call that this process may still send. Without a permit it may not.
    pub fn unsent(&self) -> Nonce {
        let learned = &self.seen.learned;
        if learned.created == Known::Not && self.permit == Permit::Held {
            learned.ticket
        } else {
            0
        }
    }

    fn knows(&self) -> Set {
        let (s, l) = (&self.seen, &self.seen.learned);
        let old_secrets = l.old_secrets.iter().chain(&l.old_secrets_failed);
        let old_secrets = old_secrets.fold(0, |set, more| set | more);
        let staged = if let Kept::Staged(n) = l.verified_of {
            bit(n)
        } else {
            0
        };
        let asked_of = [l.read_of, l.groups_of].into_iter().filter(|n| *n != ALIEN);
        let asked_of = asked_of.fold(staged, |set, n| set | bit(n));
        s.object.status.journal()
            | bit(s.target.n)
            | bit(s.current.n)
            | s.staged
            | s.barred
            | s.settled
            | bit(l.ticket)
            | asked_of
            | l.unstaged
            | l.unstage_failed
            | l.list
            | l.deleted
            | l.delete_failed
            | old_secrets
    }
}

/// What people did that excuses something.
pub mod touched {
    pub const USER: u8 = 1;
    pub const SECRET: u8 = 2;
    pub const FINALIZER: u8 = 4;
    pub const FORGED: u8 = 8;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub object: Object,
    pub secrets: [Secret; 2],
    pub staged: Set,
    /// Of these no token can be staged.
    pub barred: Set,
    pub users: Set,
    /// Users that are recorded as retained.
    pub recorded: Set,
    /// Users that are in the group of this version of the spec.
    pub mapped: [Set; 2],
    /// Create calls that nobody waits for any more and that still take effect.
    pub inflight: Set,
    /// History: asked for, journaled, once carried by the Secret.
    pub posted: Set,
    pub journaled: Set,
    pub carried: Set,
    pub processes: [Process; 2],
    /// What may still happen.
    pub faults: u8,
    pub acts: u8,
    pub rotations: u8,
    pub rejections: u8,
    pub touched: u8,
    /// Properties of steps that were violated.
    pub broken: u16,
}

impl World {
    pub fn new(faults: u8, acts: u8, rotations: u8, rejections: u8) -> Self {
        Self {
            object: Object::default(),
            secrets: [Secret::default(); 2],
            staged: 0,
            barred: 0,
            users: 0,
            recorded: 0,
            mapped: [0; 2],
            inflight: 0,
            posted: 0,
            journaled: 0,
            carried: 0,
            processes: [Process::default(); 2],
            faults,
            acts,
            rotations,
            rejections,
            touched: 0,
            broken: 0,
        }
    }

    /// The versions of the spec in whose group a user is.
    pub fn groups(&self, n: Nonce) -> u8 {
        u8::from(has(self.mapped[0], n)) | u8::from(has(self.mapped[1], n)) << 1
    }

    /// A user is in no group any more.
    pub fn unmap(&mut self, n: Nonce) {
        self.mapped = self.mapped.map(|set| set & !bit(n));
    }

    /// Attempts that anything knows of.
    pub fn alive(&self) -> Set {
        let secrets = bit(self.secrets[0].n) | bit(self.secrets[1].n);
        let known = self.processes.iter().fold(0, |set, p| set | p.knows());
        self.object.status.journal()
            | secrets
            | self.staged
            | self.barred
            | self.users
            | self.recorded
            | self.inflight
            | known
    }

    /// A number for a new attempt.
    pub fn unused(&self, most: Nonce) -> Option<Nonce> {
        let alive = self.alive();
        (1..=most).find(|n| !has(alive, *n))
    }

    /// A write of the object: whoever else read it is behind now.
    pub fn wrote_object(&mut self, by: Option<usize>) {
        for (i, process) in self.processes.iter_mut().enumerate() {
            process.object_fresh = by == Some(i);
        }
    }

    /// A write of a Secret: every earlier read of it is behind now.
    pub fn wrote_secret(&mut self, at: u8) {
        for process in &mut self.processes {
            if process.seen.target_at == at {
                process.target_fresh = false;
            }
            if process.seen.current_at == at {
                process.current_fresh = false;
            }
        }
    }

    /// The object is gone, and with it what it owned.
    pub fn remove_object(&mut self) {
        self.object = Object::default();
        self.wrote_object(None);
        for at in 0..2 {
            if self.secrets[usize::from(at)].owner == Owner::Ours {
                self.secrets[usize::from(at)] = Secret::default();
                self.wrote_secret(at);
            }
        }
    }

    /// Makes equal what differs only in what can never matter again.
    pub fn normalize(&mut self) {
        let alive = self.alive();
        self.posted &= alive;
        self.journaled &= alive;
        self.carried &= alive;
        // The processes are alike.
        if self.processes[0] > self.processes[1] {
            self.processes.swap(0, 1);
        }
    }
}
