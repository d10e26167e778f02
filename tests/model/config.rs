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
    /// Another version of the spec names another group, and nothing else: the user stays.
    pub regroup: bool,
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
    regroup: false,
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

impl Config {
    pub const fn mutated(self, mutant: Mutant) -> Self {
        Self {
            name: "mutant",
            mutant: Some(mutant),
            ..self
        }
    }
}

const ONE: Config = PLAIN.faults(1);
const TWO: Config = PLAIN.two().faults(1).attempts(3);
const STAGED_BY_TWO: Config = PLAIN.two().rotations(1);
const ROTATED: Config = ONE.rotations(1);
const RENAMED: Config = Config {
    rename: true,
    ..PLAIN
};
const GROUPED: Config = Config {
    groups: true,
    ..PLAIN
};
/// With one process: a request of an earlier leader that arrives late puts access back, which the next full check corrects.
const REGROUPED: Config = Config {
    regroup: true,
    ..GROUPED
};
const CHECKED: Config = Config { check: true, ..PLAIN };
const RETAINED: Config = Config {
    retain: true,
    ..PLAIN
};

/// Looked at by every run of the tests.
pub const SMALL: [Config; 21] = [
    PLAIN.faults(2).named("one process, 2 faults"),
    TWO.named("two processes, 1 fault"),
    Config { foreign: true, ..TWO }.named("somebody else's Secret"),
    ROTATED.faults(2).named("one process, 2 faults, rotation"),
    Config {
        urgent: true,
        ..ROTATED
    }
    .rotations(2)
    .named("one process, 1 fault, 2 revocations"),
    Config {
        rejections: 1,
        ..ROTATED
    }
    .named("one process, 1 fault, rotation, token not accepted at first"),
    GROUPED.faults(2).named("one process, 2 faults, groups"),
    REGROUPED
        .faults(2)
        .rotations(1)
        .people(2, people::EDIT)
        .named("one process, 2 faults, rotation, other groups"),
    Config {
        check: true,
        ..REGROUPED
    }
    .faults(2)
    .people(2, people::EDIT | people::USER)
    .named("one process, 2 faults, other groups, checks, 2 acts of people"),
    RENAMED
        .faults(1)
        .people(2, people::EDIT)
        .named("one process, 1 fault, other Secrets"),
    PLAIN
        .faults(1)
        .people(2, people::SECRET | people::EDIT)
        .named("one process, 1 fault, people change Secret and spec"),
    CHECKED
        .faults(1)
        .people(1, people::USER | people::FINALIZER)
        .named("one process, 1 fault, people delete user and finalizer"),
    PLAIN
        .faults(1)
        .people(1, people::FORGE | people::SQUAT)
        .named("one process, 1 fault, people forge and squat"),
    ROTATED
        .people(1, people::RESTORE)
        .named("one process, 1 fault, rotation, people restore the Secret"),
    RETAINED
        .faults(1)
        .rotations(1)
        .named("one process, 1 fault, rotation, retained"),
    Config {
        delete: false,
        ..STAGED_BY_TWO
    }
    .attempts(2)
    .named("two processes, rotation, 2 attempts"),
    GROUPED
        .two()
        .attempts(2)
        .named("two processes, groups, 2 attempts"),
    GROUPED
        .two()
        .attempts(3)
        .named("two processes, groups, 3 attempts"),
    Config {
        delete: false,
        ..STAGED_BY_TWO
    }
    .attempts(3)
    .named("two processes, rotation, 3 attempts"),
    ROTATED
        .faults(3)
        .rotations(2)
        .attempts(5)
        .named("one process, 3 faults, 2 rotations"),
    Config {
        check: true,
        ..ROTATED
    }
    .people(1, EVERYTHING)
    .attempts(5)
    .named("one process, 1 fault, rotation, checks, an act of people"),
];

/// All but forging: a replaced user whose id was forged is not found again while the object lives.
const EVERYTHING: u8 =
    people::SECRET | people::USER | people::RESTORE | people::SQUAT | people::FINALIZER | people::EDIT;

/// Looked at now and then.
pub const LARGE: [Config; 12] = [
    TWO.attempts(4).faults(2).named("two processes, 2 faults"),
    GROUPED.two().named("two processes, groups"),
    STAGED_BY_TWO.named("two processes, rotation"),
    PLAIN
        .two()
        .people(1, people::EDIT)
        .named("two processes, another spec"),
    STAGED_BY_TWO
        .attempts(3)
        .faults(1)
        .named("two processes, 1 fault, rotation, 3 attempts"),
    ROTATED
        .faults(5)
        .rotations(3)
        .attempts(6)
        .named("one process, 5 faults, 3 rotations"),
    Config {
        urgent: true,
        rejections: 2,
        ..ROTATED
    }
    .faults(4)
    .rotations(3)
    .attempts(6)
    .named("one process, 4 faults, 3 revocations, token not accepted at first"),
    Config {
        check: true,
        ..RETAINED
    }
    .faults(3)
    .rotations(1)
    .people(2, people::USER | people::EDIT | people::FINALIZER)
    .attempts(6)
    .named("one process, 3 faults, rotation, retained, checks, 2 acts of people"),
    Config {
        check: true,
        ..REGROUPED
    }
    .faults(4)
    .rotations(1)
    .people(3, people::EDIT | people::USER)
    .attempts(6)
    .named("one process, 4 faults, rotation, other groups, checks, 3 acts of people"),
    Config {
        check: true,
        ..RENAMED
    }
    .faults(3)
    .people(2, EVERYTHING & !people::RESTORE)
    .attempts(6)
    .named("one process, 3 faults, other Secrets, checks, 2 acts of people"),
    Config {
        check: true,
        ..GROUPED
    }
    .faults(4)
    .people(3, EVERYTHING)
    .attempts(6)
    .named("one process, 4 faults, groups, checks, 3 acts of people"),
    Config {
        check: true,
        ..ROTATED
    }
    .faults(3)
    .rotations(2)
    .people(2, EVERYTHING)
    .attempts(6)
    .named("one process, 3 faults, 2 rotations, checks, 2 acts of people"),
];

/// Each wrong protocol, and a world that is large enough to find it in.
pub const MUTANTS: [(Mutant, Config); 40] = [
    (Mutant::NoIntent, ONE),
    (Mutant::NoFence, TWO),
    (Mutant::NoBar, STAGED_BY_TWO),
    (Mutant::BlindBar, STAGED_BY_TWO),
    (Mutant::BlindFence, TWO),
    (Mutant::BlindSecret, TWO),
    (Mutant::BlindRetry, TWO),
    (Mutant::BlindStatus, TWO),
    (Mutant::NoSettling, ONE),
    (Mutant::NoSettlingAtEnd, ONE),
    (Mutant::SendsAfterSettling, TWO),
    (Mutant::LateFinalizer, ONE),
    (Mutant::FinalizerFirst, ONE),
    (Mutant::Repost, ONE),
    (Mutant::ResumeCreate, ONE),
    (Mutant::PromoteBlind, ONE),
    (Mutant::DeleteFirst, ROTATED),
    (Mutant::ForgetUnknown, ONE),
    (Mutant::UnknownIsNo, ONE),
    (Mutant::SuccessBeforeSecret, ONE),
    (Mutant::CompensateUnknown, ONE),
    (Mutant::AdoptForeign, Config { foreign: true, ..ONE }),
    (Mutant::ListBeforeRead, TWO),
    (Mutant::NoOverlap, ROTATED),
    (Mutant::RetireUnseen, ROTATED.people(1, people::RESTORE)),
    (Mutant::NoRetiring, ROTATED),
    (Mutant::PublishUnverified, ROTATED),
    (Mutant::PublishIncomplete, GROUPED),
    (Mutant::UnstageFirst, ROTATED),
    (Mutant::TrustIds, ONE.people(1, people::FORGE)),
    (Mutant::ForgetFailedDeletion, ONE),
    (Mutant::DeletionSkipsPending, ONE),
    (Mutant::OldSecretUnseen, RENAMED.people(2, people::EDIT)),
    (Mutant::ReleaseUnrecorded, RETAINED),
    (Mutant::IgnoreRetain, RETAINED),
    (Mutant::GrantUnrecorded, REGROUPED.people(1, people::EDIT)),
    (Mutant::ForgetGranted, GROUPED.rotations(1)),
    (Mutant::NoPermit, PLAIN),
    (Mutant::PermitUsedTwice, ONE),
    (Mutant::PermitOutlivesLeadership, TWO),
];
