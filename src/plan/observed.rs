//! What a reconcile knows: what was observed at its start, and the answers to its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Consumers, Marker, Pod, Problem, Refusal, Spec, TokenSource};
use crate::api::{
    Current, Organization, ProgrammaticUser, ProgrammaticUserClass, ProgrammaticUserStatus, WorkloadKind,
};
use crate::platform::client::Purpose;
use crate::platform::{Account, PolicyName, UserDetails, UserGroup, UserName};

/// What is known at the start of a reconcile, and what was learned in it.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The object, read from the API server in this reconcile (not from a cache).
    pub user: Arc<ProgrammaticUser>,
    /// Why something of the object cannot be read; it is left out of `user` then. `None`: all of it was read.
    pub unreadable: Option<String>,
    /// Its class, if there is one of that name.
    pub class: Option<Arc<ProgrammaticUserClass>>,
    /// The organization of the class, or, once the user exists, the one in the status.
    pub organization: Option<Arc<Organization>>,
    /// Labels of the object's namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// Whether the object is being deleted together with its namespace.
    pub namespace_ends: bool,
    /// Users of the same class in the same namespace that exist, are being made or were retained, without this one.
    pub quota_used: usize,
    /// The Secret of the current user, read after the object.
    pub current_secret: SecretView,
    /// The Secret that the pending attempt's token is meant for, or else the one that the spec names. Mostly the same.
    pub next_secret: SecretView,
    /// Staged tokens of attempts that the journal names as pending or abandoned.
    pub staged: Vec<Staged>,
    /// Whether the status is as the operator left it, but for the conditions.
    pub intact: bool,
    /// Whether everything is to be compared with the platform, even where the journal says that it is done.
    pub full_check: bool,
    /// Users that carry this object's marker and that the journal does not know, by a list read before the object;
    /// `None`: there was no list yet.
    pub unknown_users: Option<Vec<UserName>>,
    /// Workloads that read the Secret.
    pub consumers: Consumers,
    /// Now, by the platform's clock; unknown until the platform has answered once.
    pub platform_now: Option<Timestamp>,
    /// This installation.
    pub instance: String,
    /// A nonce that was never used.
    pub fresh_nonce: String,
    /// Attempts that this process has known as abandoned for the whole settle window: a create call for one of
    /// them cannot be on its way any more.
    pub expired_attempts: BTreeSet<String>,
    /// How long it takes until that is true of all abandoned attempts.
    pub next_expiry: Duration,
    /// What [`super::validate_object`] found, which is the same at each step; `None`: not asked yet.
    pub validated: Option<Result<Spec, Refusal>>,
    /// Answers to the steps of this reconcile.
    pub answers: Answers,
}

/// What is known of the Secret; never its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretView {
    /// There is none.
    Absent,
    /// Controlled by this object.
    Ours(OwnSecret),
    /// Not of this object; the text says whose it is.
    Foreign(String),
}

/// A Secret that this object controls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSecret {
    /// Name.
    pub name: String,
    /// For compare-and-swap.
    pub resource_version: String,
    /// For deletion.
    pub uid: String,
    /// The attempt that it carries.
    pub nonce: Option<String>,
    /// The user whose token it carries.
    pub user_id: Option<String>,
    /// Whether its values are the ones that the operator wrote.
    pub unedited: bool,
    /// Whether it is immutable.
    pub immutable: bool,
    /// When the operator last changed it, by the API server's clock.
    pub changed: Option<Timestamp>,
}

/// What is in the operator's own namespace of an attempt: a token that is not published yet, or the bar in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Name of the Secret.
    pub name: String,
    /// For deletion.
    pub uid: String,
    /// The attempt.
    pub nonce: String,
    /// The user whose token it is; `None`: there is no token, and none can be put there.
    pub user_id: Option<String>,
}

/// Answers to the steps of one reconcile.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// To [`super::Step::LookUp`].
    pub catalog: Option<Answer<Found>>,
    /// To [`super::Step::DryRun`].
    pub dry_run: Option<Answer<()>>,
    /// To [`super::Step::Reserve`], with what it was asked for.
    pub reserved: Option<(Purpose, Answer<()>)>,
    /// The attempt that this very reconcile wrote as pending.
    pub begun_attempt: Option<String>,
    /// To [`super::Step::Create`].
    pub created: Option<Created>,
    /// To [`super::Step::Commit`].
    pub committed: Option<Committed>,
    /// To [`super::Step::Stage`].
    pub staged: Option<Committed>,
    /// To [`super::Step::Publish`].
    pub published: Option<Committed>,
    /// When the Secret got its token in this reconcile, by the API server's clock.
    pub changed: Option<Timestamp>,
    /// To [`super::Step::Unstage`], by attempt.
    pub unstaged: BTreeMap<String, Answer<()>>,
    /// To [`super::Step::Bar`]; an error, if a token has been staged in the meantime.
    pub tombstoned: Option<Answer<()>>,
    /// To [`super::Step::Fence`].
    pub fenced: Option<Answer<()>>,
    /// To [`super::Step::Compensate`].
    pub compensated: Option<Answer<()>>,
    /// To [`super::Step::ReadUser`], by user id; `None` inside: the platform has no such user. One reconcile may read the
    /// staged user and the current one.
    pub details: BTreeMap<String, Answer<Option<UserDetails>>>,
    /// To [`super::Step::PutPolicies`], by user id.
    pub policies_put: BTreeMap<String, Answer<()>>,
    /// To [`super::Step::PutGroups`], by user id.
    pub groups_put: BTreeMap<String, Answer<()>>,
    /// To [`super::Step::Verify`], by where the token is kept: whether the platform accepts it.
    pub verified: BTreeMap<TokenSource, Answer<bool>>,
    /// To [`super::Step::ListUsers`].
    pub listed: Option<Answer<Vec<UserName>>>,
    /// Whether another object has the digest that this object's short markers have; learned with the list.
    pub shared_digest: bool,
    /// To [`super::Step::DeleteUser`], by user id.
    pub deleted: BTreeMap<String, Answer<Deletion>>,
    /// To [`super::Step::DeleteSecret`], by name.
    pub secrets_deleted: BTreeMap<String, Answer<()>>,
    /// To [`super::Step::DeleteOldSecret`], by name and attempt.
    pub old_secrets_deleted: BTreeMap<(String, String), Answer<()>>,
    /// To [`super::Step::Record`].
    pub recorded: Option<Answer<()>>,
    /// To [`super::Step::Release`].
    pub released: Option<Answer<()>>,
    /// To [`super::Step::ReadPods`].
    pub pods: Option<Answer<Vec<Pod>>>,
    /// To [`super::Step::Restart`], by workload: whether it still was the one that was seen.
    pub restarted: BTreeMap<(WorkloadKind, String), Answer<bool>>,
    /// To [`super::Step::RemoveFinalizer`].
    pub finalizer_removed: bool,
}

/// An answer, or what stood in its way.
pub type Answer<T> = Result<T, Problem>;

/// Outcome of the one create call of an attempt. The token itself stays in the executor, which made the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// There is a user, and its token is in hand.
    Yes {
        /// The platform's id.
        user_id: String,
        /// Last characters of the token.
        last_digits: String,
    },
    /// There certainly is none.
    No(Problem),
    /// There may be one, and its token is lost.
    Unknown(Problem),
}

/// Outcome of the write of the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The Secret carries the token.
    Yes,
    /// It certainly does not: the API server refused the write.
    No(Problem),
    /// It may: no answer came. Only a look at the Secret can tell, and nothing may be deleted before.
    Unknown(Problem),
}

/// Outcome of a guarded deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Gone,
    /// The user of that id does not carry our marker; it was left alone.
    NotOurs,
}

/// What the platform has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// Accounts of the organization.
    pub accounts: Vec<Account>,
    /// Policies of the organization.
    pub policies: Vec<PolicyName>,
    /// Groups of the organization.
    pub groups: Vec<UserGroup>,
}

/// A catalog, and how new it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the platform has.
    pub catalog: Arc<Catalog>,
    /// Read after it was asked for, so that what is not in it does not exist.
    pub fresh: bool,
    /// The organization has had its look-up out of turn: a newer catalog may be asked for after this span.
    pub again: Option<Duration>,
}

impl Observed {
    pub(super) fn uid(&self) -> &str {
        self.user.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn marker(&self, nonce: &str) -> Marker {
        Marker::new(&self.instance, self.uid(), nonce)
    }

    pub(super) fn status(&self) -> ProgrammaticUserStatus {
        self.user.status.clone().unwrap_or_default()
    }

    /// The user whose token is in use, as the journal read has it.
    pub(super) fn current(&self) -> Option<&Current> {
        self.user.status.as_ref()?.journal.current.as_ref()
    }

    pub(super) fn has_finalizer(&self) -> bool {
        self.user
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|f| f == crate::api::FINALIZER)
    }

    /// Whether the class stays, when it is deleted, for as long as it has users.
    pub(super) fn class_is_held(&self) -> bool {
        let class = self.class.iter();
        let mut finalizers = class.flat_map(|c| c.metadata.finalizers.iter().flatten());
        finalizers.any(|f| f == crate::api::CLASS_FINALIZER)
    }

    /// Whether the class lets the object be left alone.
    pub(super) fn is_suspended(&self) -> bool {
        self.user.spec.suspend && self.class.as_ref().is_some_and(|c| c.spec.allow.suspend)
    }

    /// Whether the journal names anything that may be on the platform.
    pub(super) fn has_begun(&self) -> bool {
        self.user.status.as_ref().is_some_and(|s| !s.journal.is_empty())
    }

    /// The Secret that carries this attempt, if one does.
    pub(super) fn secret_with(&self, nonce: &str) -> Option<&OwnSecret> {
        [&self.next_secret, &self.current_secret]
            .into_iter()
            .find_map(|view| match view {
                SecretView::Ours(secret) if secret.nonce.as_deref() == Some(nonce) => Some(secret),
                _ => None,
            })
    }

    /// What is staged of this attempt.
    pub(super) fn staged(&self, nonce: &str) -> Option<&Staged> {
        self.staged.iter().find(|s| s.nonce == nonce)
    }

    /// The best that is known of the time: the platform's clock, else our own.
    pub(super) fn time(&self, now: Timestamp) -> Timestamp {
        self.platform_now.unwrap_or(now)
    }

    /// When settling attempts are checked again. An attempt that this reconcile gave up is checked at once.
    pub(super) fn settle_recheck(&self) -> Duration {
        /// A little later than it has to be.
        const MARGIN: Duration = Duration::from_millis(50);
        self.next_expiry + MARGIN
    }
}
