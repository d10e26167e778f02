//! Names that other programs may depend on: API group, finalizer, labels, annotations, condition types.

/// API group of the kinds, and prefix of our labels and annotations.
pub const GROUP: &str = "programmatic-users.io";
/// On every `ProgrammaticUser` from before its first effect on the platform until nothing of it is left there.
pub const FINALIZER: &str = "programmatic-users.io/user";
/// Label of the Secrets that the operator made; the operator watches only these.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`]; also the field manager of the operator's writes.
pub const MANAGER: &str = "programmatic-users";
/// Annotation of the Secret: the attempt whose token it carries.
pub const NONCE_ANNOTATION: &str = "programmatic-users.io/nonce";
/// Annotation of the Secret: the platform's id of the user whose token it carries.
pub const USER_ID_ANNOTATION: &str = "programmatic-users.io/user-id";

/// Everything asked for is true: user, access, Secret.
pub const READY: &str = "Ready";
/// Work is going on, or is being retried. Present only while it is true (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// Nothing will change until somebody changes something. Present only while it is true (kstatus).
pub const STALLED: &str = "Stalled";
/// The Secret carries the current token.
pub const SECRET_PUBLISHED: &str = "SecretPublished";
/// Policies and groups on the platform are as asked for.
pub const ACCESS_APPLIED: &str = "AccessApplied";
/// The platform accepts the organization's admin credential.
pub const CREDENTIAL_VALID: &str = "CredentialValid";
