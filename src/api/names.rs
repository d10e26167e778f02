//! Names that other programs may depend on: API group, finalizer, labels, annotations, condition types.

/// API group of the kinds, and prefix of our labels and annotations.
pub const GROUP: &str = "programmatic-users.io";
/// On every `ProgrammaticUser` from before its first effect on the platform until nothing of it is left there.
pub const FINALIZER: &str = "programmatic-users.io/user";
/// On every `Organization` with `deletionProtection` until no `ProgrammaticUser` has a user there.
pub const ORGANIZATION_FINALIZER: &str = "programmatic-users.io/organization";
/// On every `ProgrammaticUserClass` from before its first user is made until, when the class is deleted, no user is of it.
pub const CLASS_FINALIZER: &str = "programmatic-users.io/class";
/// Label of the Secrets that the operator made; the operator watches only these.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`]; also the field manager of the operator's writes.
pub const MANAGER: &str = "programmatic-users";
/// Annotation of the Secret: the attempt whose token it carries.
pub const NONCE_ANNOTATION: &str = "programmatic-users.io/nonce";
/// Annotation of the Secret: the platform's id of the user whose token it carries.
pub const USER_ID_ANNOTATION: &str = "programmatic-users.io/user-id";
/// Annotation of the Secret: digest of the values that the operator wrote, by which an edit is seen.
pub const DIGEST_ANNOTATION: &str = "programmatic-users.io/digest";
/// Annotation of the Secret: changed to make a write fail that is still on its way.
pub const FENCE_ANNOTATION: &str = "programmatic-users.io/fence";
/// Label of the Secrets, in the operator's own namespace, that keep a new token until its access is complete; its
/// value is the UID of the object that it is for.
pub const STAGING_LABEL: &str = "programmatic-users.io/staging-for";
/// Annotation of such a Secret: namespace and name of that object.
pub const STAGED_FOR_ANNOTATION: &str = "programmatic-users.io/staged-for";
/// Label of a Secret whose object was deleted with `deletionPolicy: Retain`.
pub const RETAINED_LABEL: &str = "programmatic-users.io/retained";
/// Label of the Secrets without data, in the operator's own namespace, that record such a user; its value is the UID of the
/// object.
pub const RETAINED_USER_LABEL: &str = "programmatic-users.io/retained-user";
/// Annotation of a record: the class by which the user was made.
pub const CLASS_ANNOTATION: &str = "programmatic-users.io/class";
/// Annotation of a record: the `Organization` in which the user lives.
pub const ORGANIZATION_ANNOTATION: &str = "programmatic-users.io/organization";
/// Annotation of a record: namespace and name of the Secret that carries the token.
pub const SECRET_ANNOTATION: &str = "programmatic-users.io/secret";
/// Annotation of a record: when the token was made.
pub const ISSUED_AT_ANNOTATION: &str = "programmatic-users.io/issued-at";
/// Annotation of the record of a retained user: its object's `spec.expireAt`.
pub const EXPIRE_AT_ANNOTATION: &str = "programmatic-users.io/expire-at";
/// Annotation of the record of a retained user: what it may do, as JSON.
pub const GRANTED_ANNOTATION: &str = "programmatic-users.io/granted";
/// Annotation of a `ProgrammaticUser`: a new value has the token replaced, with the usual overlap.
pub const ROTATE_AT_ANNOTATION: &str = "programmatic-users.io/rotate-at";
/// Annotation of a `ProgrammaticUser`: a new value has the token replaced and the old one deleted at once.
pub const REVOKE_NOW_ANNOTATION: &str = "programmatic-users.io/revoke-now";
/// Annotation of the operator's Lease: how much the controllers log, in the form of `RUST_LOG`.
pub const LOG_LEVEL_ANNOTATION: &str = "programmatic-users.io/log-level";
/// On the Secret of an admin credential: the only Organization, by name, for which the operator sends it.
pub const CREDENTIAL_ORGANIZATION_ANNOTATION: &str = "programmatic-users.io/organization";
/// On the Secret of an admin credential: the only endpoint, as `https://HOST[:PORT]`, that the operator sends it to.
pub const CREDENTIAL_ENDPOINT_ANNOTATION: &str = "programmatic-users.io/endpoint";

/// Prefix of the annotation of pod templates by which workloads are restarted; the name of the `ProgrammaticUser` follows.
pub const RESTART_PREFIX: &str = "rotation.programmatic-users.io/";

/// Everything asked for is true: user, access, Secret.
pub const READY: &str = "Ready";
/// Work is going on, or is being retried. Present only while it is true (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// Nothing changes until a person changes an object. Present only while it is true (kstatus).
pub const STALLED: &str = "Stalled";
/// The Secret carries the current token.
pub const SECRET_PUBLISHED: &str = "SecretPublished";
/// Policies and groups on the platform are as asked for.
pub const ACCESS_APPLIED: &str = "AccessApplied";
/// A new user is being made that will replace the current one. Present only while it is true.
pub const ROTATING: &str = "Rotating";
/// The platform has users of this object that its journal does not know: the cluster's state went back in time, or
/// another program changed the status. Present only while it is true.
pub const HISTORY_REWOUND: &str = "HistoryRewound";
/// Workloads that read the Secret are being restarted, or cannot be. Present only while it is true.
pub const RESTARTING_CONSUMERS: &str = "RestartingConsumers";
/// A replaced user is kept after its overlap, because pods may still use its token. Present only while it is true.
pub const WAITING_FOR_CONSUMERS: &str = "WaitingForConsumers";
/// `spec.suspend` is true. `False`, and present, if the class does not allow that.
pub const SUSPENDED: &str = "Suspended";
/// The platform accepts the organization's admin credential.
pub const CREDENTIAL_VALID: &str = "CredentialValid";
/// The platform's time cannot be right: it is more than a day from the operator's. Present only while it is true.
pub const CLOCK_SKEWED: &str = "ClockSkewed";
/// The organization has users of this installation that no object knows. Present only while it is true.
pub const ORPHANS_FOUND: &str = "OrphansFound";
/// The object is to be deleted and waits for others. Present only while it is true.
pub const DELETION_BLOCKED: &str = "DeletionBlocked";
