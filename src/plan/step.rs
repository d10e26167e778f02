//! The steps that a plan consists of, in the order of their first use.

use std::collections::BTreeMap;

use super::{Marker, OwnSecret, Restart, Retained, Staged};
use crate::api::{ProgrammaticUserStatus, SecretTemplate, SecretValue};
use crate::platform::client::Purpose;
use crate::platform::{CreateProgrammaticUser, PolicyGrant};

/// One thing to do. The answer goes into [`super::Answers`]; `AddFinalizer` and `Journal` also renew `Observed::user`.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Take the permit for one create call. Nothing of the attempt is written before.
    Reserve(Purpose),
    /// Read accounts, policies and groups; `true`: not from the cache.
    LookUp(bool),
    /// Put our finalizer on the object.
    AddFinalizer,
    /// Put our finalizer on the class.
    HoldClass,
    /// Write the Secret with a dummy token, without effect; and the staging Secret of this attempt, if it is to have one.
    DryRun(SecretDraft, Option<String>),
    /// Write the status, only if the object has not changed since it was read. The nonce is that of the attempt that
    /// the write begins, if it begins one.
    Journal(Box<ProgrammaticUserStatus>, Option<String>),
    /// Ask the platform for a user, with the permit: once, whatever comes.
    Create(CreateProgrammaticUser),
    /// Write the Secret with the token in hand. Nothing may come between [`Step::Create`] and this.
    Commit(SecretDraft),
    /// Keep the token in hand in a Secret of the operator's own namespace. Nothing may come between
    /// [`Step::Create`] and this.
    Stage {
        /// The attempt.
        nonce: String,
        /// The user whose token it is.
        user_id: String,
    },
    /// Write the Secret with the token of this staged attempt.
    Publish(String, SecretDraft),
    /// Delete what was staged of an attempt.
    Unstage(Staged),
    /// Take the place where the token of this attempt would be staged, so that it cannot be any more.
    Tombstone(String),
    /// Make every write of a Secret fail that is on its way.
    Fence(Fence),
    /// Delete the user just created, since its token cannot be kept.
    Compensate(String),
    /// Read the user of this id.
    ReadUser(String),
    /// Replace the direct policies of a user.
    PutPolicies(String, Vec<PolicyGrant>),
    /// Replace the groups of a user.
    PutGroups(String, Vec<String>),
    /// Ask the platform something with the token that is kept there.
    Verify(TokenSource),
    /// List all users.
    ListUsers,
    /// Delete the user of this id, if it carries this marker.
    DeleteUser(String, Marker),
    /// Delete the Secret, if it is still the one that was observed.
    DeleteSecret(OwnSecret),
    /// Delete the Secret of this name if it is ours and carries this attempt.
    DeleteOldSecret {
        /// Name.
        name: String,
        /// The attempt.
        nonce: String,
    },
    /// Record that a user stays when the object goes.
    Record(Box<Retained>),
    /// Take our owner reference off the Secret, so that it stays when the object goes.
    Release(OwnSecret),
    /// Read the pods of the namespace that read one of these Secrets.
    ReadPods(Vec<String>),
    /// Mark the pod template of a workload, so that its pods are replaced.
    Restart(Restart),
    /// Take our finalizer off the object.
    RemoveFinalizer,
}

impl Step {
    /// For logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reserve(..) => "reserve",
            Self::LookUp(..) => "look-up",
            Self::AddFinalizer => "finalizer",
            Self::HoldClass => "hold-class",
            Self::DryRun(..) => "dry-run",
            Self::Journal(..) => "journal",
            Self::Create(..) => "create",
            Self::Commit(..) => "commit",
            Self::Stage { .. } => "stage",
            Self::Publish(..) => "publish",
            Self::Unstage(..) => "unstage",
            Self::Tombstone(..) => "tombstone",
            Self::Fence(..) => "fence",
            Self::Compensate(..) => "compensate",
            Self::ReadUser(..) => "read",
            Self::PutPolicies(..) => "policies",
            Self::PutGroups(..) => "groups",
            Self::Verify(..) => "verify",
            Self::ListUsers => "list",
            Self::DeleteUser(..) => "delete-user",
            Self::DeleteSecret(..) => "delete-secret",
            Self::DeleteOldSecret { .. } => "delete-old-secret",
            Self::Record(..) => "record",
            Self::Release(..) => "release",
            Self::ReadPods(..) => "pods",
            Self::Restart(..) => "restart",
            Self::RemoveFinalizer => "remove-finalizer",
        }
    }
}

/// What makes a write of a Secret fail that is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The Secret.
    pub name: String,
    /// Mark the Secret of this version; `None`: there is none, and one is put in its place that no pod can start with.
    pub over: Option<String>,
    /// Keys of the Secret that is put in its place.
    pub keys: Vec<String>,
}

/// Where a token is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenSource {
    /// In hand, or else under this key of this Secret.
    Published {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// In hand, or else staged, of this attempt.
    Staged(String),
}

/// A Secret to be written, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDraft {
    /// Name.
    pub name: String,
    /// Key -> value.
    pub layout: BTreeMap<String, SecretValue>,
    /// Values other than the token.
    pub values: BTreeMap<SecretValue, String>,
    /// Labels, annotations and files that the user asked for.
    pub template: SecretTemplate,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Replace the Secret of this version; `None`: there must be none.
    pub replace: Option<String>,
}
