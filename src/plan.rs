//! Decides. Pure: no IO, no clock, no randomness; the same observations give the same decision.
//!
//! [`next`] is asked again and again within one reconcile: it looks at what was observed and at what was
//! learned since, and answers with one [`Step`] to take or with the [`Rest`] to leave things at. The order of
//! the steps is the protocol that keeps tokens from being lost (`docs/concepts.md`):
//!
//! 1. the journal in the status names the attempt *before* the platform is asked for a user;
//! 2. the platform is asked once;
//! 3. the Secret with token, user id and attempt, written in one go, is the commit record;
//! 4. the journal calls the attempt current, and the user that it replaces retiring.
//!
//! A user that replaces another, or that has to be in groups, is *staged*: its token is first kept in a Secret of the
//! operator's own namespace, and published when its access is complete and the platform accepts the token.
//!
//! An attempt found pending by a later reconcile is rolled forward if its Secret carries it, taken up again if it is
//! staged, and otherwise given up: its Secret is fenced, so that no write on its way can publish it any more, its user
//! is looked for by the attempt's nonce, deleted, and a new attempt begins.

mod attempt;
mod class;
mod desired;
mod endpoint;
mod gone;
mod live;
mod marker;
mod rotation;
mod status;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{
    NONCE_ANNOTATION, Organization, ProgrammaticUser, ProgrammaticUserClass, ProgrammaticUserStatus,
    SecretValue, USER_ID_ANNOTATION,
};
use crate::platform::{
    Account, CreateProgrammaticUser, Policy, PolicyGrant, UserDetails, UserGroup, UserSummary, UserType,
};

pub use desired::{Desired, Grants, desired};
pub use endpoint::check_endpoint;
pub use marker::{INSTANCE_LEN, Marker, NONCE_LEN, base32, is_instance};
pub use status::set_conditions;

/// What is known at the start of a reconcile, and what was learned in it.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The object, read from the API server in this reconcile (not from a cache).
    pub user: Arc<ProgrammaticUser>,
    /// Its class, if there is one of that name.
    pub class: Option<Arc<ProgrammaticUserClass>>,
    /// The organization of the class, or, once the user exists, the one in the status.
    pub organization: Option<Arc<Organization>>,
    /// Labels of the object's namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// Users of the same class in the same namespace that exist or are being made, without this one.
    pub siblings: usize,
    /// The Secret of the current user, read after the object.
    pub secret: SecretView,
    /// The Secret that the pending attempt's token is meant for, or else the one that the spec names. Mostly the same.
    pub target: SecretView,
    /// Staged tokens of attempts that the journal names as pending or abandoned.
    pub staged: Vec<Staged>,
    /// Whether the status is as the operator left it, but for the conditions.
    pub intact: bool,
    /// Whether everything is to be compared with the platform, even where the journal says that it is done.
    pub check: bool,
    /// Users that carry this object's marker and that the journal does not know, by a list read before the object;
    /// `None`: there was no list yet.
    pub strays: Option<Vec<UserSummary>>,
    /// Now, by the platform's clock; unknown until the platform has answered once.
    pub platform_now: Option<Timestamp>,
    /// This installation.
    pub instance: String,
    /// A nonce that nobody has seen before.
    pub fresh_nonce: String,
    /// Attempts that this process has known as abandoned for the whole settle window: a create call for one of
    /// them cannot be on its way any more.
    pub settled: BTreeSet<String>,
    /// Answers to the steps of this reconcile.
    pub learned: Learned,
}

/// What is known of the Secret; never its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretView {
    /// There is none.
    Absent,
    /// Controlled by this object.
    Ours(OwnSecret),
    /// Somebody else's; the text says whose.
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
}

/// A token in the operator's own namespace that is not published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Name of the Secret.
    pub name: String,
    /// For deletion.
    pub uid: String,
    /// The attempt.
    pub nonce: String,
    /// The user whose token it is.
    pub user_id: String,
}

/// Answers to the steps of one reconcile.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// To [`Step::LookUp`].
    pub catalog: Option<Answer<Found>>,
    /// To [`Step::DryRun`].
    pub dry_run: Option<Answer<()>>,
    /// The attempt that this very reconcile wrote as pending: the ticket for one create call.
    pub ticket: Option<String>,
    /// To [`Step::Create`].
    pub created: Option<Created>,
    /// To [`Step::Commit`].
    pub committed: Option<Committed>,
    /// To [`Step::Stage`].
    pub staged: Option<Committed>,
    /// To [`Step::Publish`].
    pub published: Option<Committed>,
    /// To [`Step::Unstage`], by attempt.
    pub unstaged: BTreeMap<String, Answer<()>>,
    /// To [`Step::Fence`].
    pub fenced: Option<Answer<()>>,
    /// To [`Step::Compensate`].
    pub compensated: Option<Answer<()>>,
    /// To [`Step::ReadUser`]; `None` inside: the platform has no such user.
    pub details: Option<Answer<Option<UserDetails>>>,
    /// To [`Step::PutPolicies`].
    pub policies_put: Option<Answer<()>>,
    /// To [`Step::PutGroups`].
    pub groups_put: Option<Answer<()>>,
    /// To [`Step::Verify`]: whether the platform accepts the token in the Secret.
    pub verified: Option<Answer<bool>>,
    /// To [`Step::ListUsers`].
    pub listed: Option<Answer<Vec<UserSummary>>>,
    /// To [`Step::DeleteUser`], by user id.
    pub deleted: BTreeMap<String, Answer<Deletion>>,
    /// To [`Step::DeleteSecret`], by name.
    pub secrets_deleted: BTreeMap<String, Answer<()>>,
    /// To [`Step::DeleteOldSecret`], by name.
    pub old_secrets_deleted: BTreeMap<String, Answer<()>>,
    /// To [`Step::Release`].
    pub released: Option<Answer<()>>,
    /// To [`Step::RemoveFinalizer`].
    pub finalizer_removed: bool,
}

/// An answer, or what stood in its way.
pub type Answer<T> = Result<T, Problem>;

/// Outcome of the one create call of an attempt. The token itself stays with whoever made the call.
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
    pub policies: Vec<Policy>,
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
}

/// Something that only a change by somebody can mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One word.
    pub reason: &'static str,
    /// What is wrong, on which object, what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// Something that went wrong on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word.
    pub reason: &'static str,
    /// What failed, and what the other side said.
    pub message: String,
    /// When trying again makes sense.
    pub retry: Retry,
}

/// When trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Soon, then less and less often.
    Backoff,
    /// Not before this.
    After(Duration),
    /// Only a change by somebody helps; looked at again now and then, since not every change is seen.
    OnChange,
}

/// One thing to do. The answer goes into [`Learned`]; `AddFinalizer` and `Journal` also renew `Observed::user`.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Read accounts, policies and groups; `true`: not from the cache.
    LookUp(bool),
    /// Put our finalizer on the object.
    AddFinalizer,
    /// Write the Secret with a dummy token, without effect.
    DryRun(SecretDraft),
    /// Write the status, only if nobody has changed the object since it was read. The nonce is the ticket that
    /// the write hands out, if it begins an attempt.
    Journal(Box<ProgrammaticUserStatus>, Option<String>),
    /// Ask the platform for a user: once, whatever comes.
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
    Verify(Kept),
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
    /// Make the Secret nobody's, so that it stays when the object goes.
    Release(OwnSecret),
    /// Take our finalizer off the object.
    RemoveFinalizer,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
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
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Replace the Secret of this version; `None`: there must be none.
    pub replace: Option<String>,
}

/// How a reconcile ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Rest {
    /// The status to leave; it is written only if it differs. `None`: there is nobody left to read it.
    pub status: Option<Box<ProgrammaticUserStatus>>,
    /// When to look again.
    pub again: Again,
    /// An Event, if something changed that people should hear of.
    pub event: Option<Notice>,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// When something changes.
    OnChange,
    /// After a span that grows from try to try.
    Backoff,
    /// After this span.
    After(Duration),
}

/// A Kubernetes Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should act.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Take this step, and ask again.
    Do(Step),
    /// Leave it at that.
    Stop(Rest),
}

/// How long a stalled object is left alone when no watched object changes.
pub const STALLED_RECHECK: Duration = Duration::from_mins(1);

/// Decides what to do next. `now` is the local clock: nothing is deleted because of it.
#[must_use]
pub fn next(observed: &Observed, now: Timestamp) -> Next {
    if observed.user.metadata.deletion_timestamp.is_some() {
        gone::delete(observed, now)
    } else {
        live::next(observed, now)
    }
}

/// Whether the platform's user is the one of this marker: the guard before every deletion.
#[must_use]
pub fn is_marked(details: &UserDetails, marker: &Marker) -> bool {
    details.user_type == UserType::Programmatic && Marker::parse(&details.username).as_ref() == Some(marker)
}

impl Observed {
    fn uid(&self) -> &str {
        self.user.metadata.uid.as_deref().unwrap_or_default()
    }

    fn marker(&self, nonce: &str) -> Marker {
        Marker::new(&self.instance, self.uid(), nonce)
    }

    fn status(&self) -> ProgrammaticUserStatus {
        self.user.status.clone().unwrap_or_default()
    }

    fn has_finalizer(&self) -> bool {
        self.user
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|f| f == crate::api::FINALIZER)
    }

    /// Whether the journal names anything that may be on the platform.
    fn has_begun(&self) -> bool {
        self.user.status.as_ref().is_some_and(|s| !s.journal.is_empty())
    }

    /// The Secret that carries this attempt, if one does.
    fn secret_with(&self, nonce: &str) -> Option<&OwnSecret> {
        [&self.target, &self.secret]
            .into_iter()
            .find_map(|view| match view {
                SecretView::Ours(secret) if secret.nonce.as_deref() == Some(nonce) => Some(secret),
                _ => None,
            })
    }

    /// What is staged of this attempt.
    fn staged(&self, nonce: &str) -> Option<&Staged> {
        self.staged.iter().find(|s| s.nonce == nonce)
    }

    /// The best that is known of the time: the platform's clock, else our own.
    fn time(&self, now: Timestamp) -> Timestamp {
        self.platform_now.unwrap_or(now)
    }
}

/// The Secret that will carry the token of one user.
fn draft(observed: &Observed, desired: &Desired, nonce: &str, user_id: &str) -> SecretDraft {
    let mut values = BTreeMap::from([
        (SecretValue::Endpoint, desired.endpoint.clone()),
        (SecretValue::Organization, desired.organization.clone()),
    ]);
    if let Some(account) = &desired.account {
        values.insert(SecretValue::Account, account.clone());
    }
    SecretDraft {
        name: desired.secret_name.clone(),
        layout: desired.layout.clone(),
        values,
        annotations: BTreeMap::from([
            (NONCE_ANNOTATION.to_owned(), nonce.to_owned()),
            (USER_ID_ANNOTATION.to_owned(), user_id.to_owned()),
        ]),
        replace: version(&observed.target),
    }
}

/// The version of a Secret of ours.
fn version(view: &SecretView) -> Option<String> {
    match view {
        SecretView::Ours(secret) => Some(secret.resource_version.clone()),
        SecretView::Absent | SecretView::Foreign(_) => None,
    }
}
