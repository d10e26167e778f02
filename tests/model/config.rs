//! How large a world is looked at, and what may happen in it.

use crate::mutant::Mutant;

/// What people may do, each act at the cost of one of [`Config::acts`].
pub mod people {
    pub const SECRET: u8 = 1;
    pub const USER: u8 = 2;
    pub const RESTORE: u8 = 4;
    pub const FORGE: u8 = 8;
    pub const SQUAT: u8 = 16;
    pub const FINALIZER: u8 = 32;
    pub const EDIT: u8 = 64;
}

#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    /// 1 or 2; two work at the same time without any election of a leader.
    pub processes: usize,
    /// Attempts that anything may know of at the same time.
    pub attempts: u8,
    /// Crashes, refused and lost answers, late effects.
    pub faults: u8,
    pub acts: u8,
    pub people: u8,
    pub rotations: u8,
    /// The rotations are urgent ones: the old token dies at once.
    pub urgent: bool,
    /// How often the platform does not accept a good token yet.
    pub rejections: u8,
    /// The object may be deleted, at any time.
    pub delete: bool,
    pub retain: bool,
    pub groups: bool,
    /// Another version of the spec names another Secret.
    pub rename: bool,
    /// Every reconcile compares everything with the platform.
    pub check: bool,
    /// From the start, there is a Secret of somebody else.
    pub foreign: bool,
    pub mutant: Option<Mutant>,
}

/// Nothing goes wrong; the configurations differ from it.
pub const PLAIN: Config = Config {
    name: "plain",
    processes: 1,
    attempts: 4,
    faults: 0,
    acts: 0,
    people: 0,
    rotations: 0,
    urgent: false,
    rejections: 0,
    delete: true,
    retain: false,
    groups: false,
    rename: false,
    check: false,
    foreign: false,
    mutant: None,
};

impl Config {
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub const fn two(self) -> Self {
        Self { processes: 2, ..self }
    }

    pub const fn faults(self, faults: u8) -> Self {
        Self { faults, ..self }
    }

    pub const fn rotations(self, rotations: u8) -> Self {
        Self { rotations, ..self }
    }

    pub const fn people(self, acts: u8, people: u8) -> Self {
        Self { acts, people, ..self }
    }

    pub const fn attempts(self, attempts: u8) -> Self {
        Self { attempts, ..self }
    }

    pub const fn may(&self, what: u8) -> bool {
        self.people & what != 0
    }
}
