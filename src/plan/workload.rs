//! Workloads and pods that read a Secret, as a reconcile sees them, and what an installation may do with them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::WorkloadKind;

/// What an installation may do with workloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It does not look at them.
    #[default]
    Off,
    /// It looks at them and at pods.
    Observe,
    /// It also restarts them.
    Restart,
}

/// What is known of workloads at the start of a reconcile.
#[derive(Debug, Clone, Default)]
pub struct Consumers {
    /// What may be done.
    pub level: Level,
    /// Those of the namespace that read a Secret of this object, by kind and name; `None`: not known yet.
    pub workloads: Option<Vec<Workload>>,
    /// They are unknown for so long that a person has to see why.
    pub missing: bool,
}

/// A workload, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// What it is.
    pub kind: WorkloadKind,
    /// Name.
    pub name: String,
    /// For compare-and-swap.
    pub version: String,
    /// Secrets that its pods read.
    pub secrets: BTreeSet<String>,
    /// Marks of restarts on its pod template, see [`crate::api::RESTART_PREFIX`].
    pub marks: BTreeMap<String, String>,
    /// When the operator last wrote it, by the API server's clock.
    pub written: Option<Timestamp>,
    /// Pods that are of its template.
    pub updated: i32,
    /// When these last became more, as far as this process saw it.
    pub moved: Option<Timestamp>,
    /// Whether its own controller says when its rollout does not get on.
    pub timed: bool,
    /// How far its pods are what its template says.
    pub rollout: Rollout,
}

/// How far the pods of a workload are what its template says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// All of them are.
    Complete,
    /// All of them are, and some are not available: they may be new, or ail for a reason of their own.
    Unavailable,
    /// They become so.
    Going,
    /// Its deadline has passed.
    Stuck,
    /// A changed template does not replace them; the words say why, as in "Deployment a …".
    Held(&'static str),
}

/// A pod that may run and reads a Secret of this object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// The workload that made it, if it is one of those that are looked at.
    pub workload: Option<(WorkloadKind, String)>,
    /// By the API server's clock.
    pub created: Option<Timestamp>,
    /// Secrets that it reads.
    pub secrets: BTreeSet<String>,
    /// Marks of restarts that it was made with.
    pub marks: BTreeMap<String, String>,
    /// Since when, or as of when, it should be gone: its deletion gave it so long; `None`: it stays.
    pub ends: Option<Timestamp>,
}

/// A workload whose pods are to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// The workload, as it was seen.
    pub workload: (WorkloadKind, String),
    /// Only this version of it.
    pub version: String,
    /// Annotation of its pod template, and its new value.
    pub mark: (String, String),
}

impl Level {
    /// As the flag names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Restart => "restart",
        }
    }
}
