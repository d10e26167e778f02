//! An object that is not being deleted: there is one user, its token is in the Secret, its access is as asked for.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::access::{apply_access, resolve_access};
use super::conditions::{Outcome, verdict};
use super::spec::{Spec, validate};
use super::{
    Answer, Decision, Observed, Problem, Refusal, Requeue, Retry, STALLED_RECHECK, SecretView, Step, attempt,
    class, cleanup, consumers, deletion, granted, rotation,
};
use crate::api::{OnRevoked, ProgrammaticUserStatus, READY, RECONCILING, ROTATING, Reason, SecretValue};
use crate::platform::UserDetails;

/// A token that the platform has not accepted for so long is given up.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Why a decision could not be reached.
pub(super) enum Interrupt {
    /// Something has to be done or learned first.
    Next(Box<Decision>),
    /// Somebody has to act.
    Refused(Refusal),
    /// Something went wrong.
    Failed(Problem),
}

impl From<Problem> for Interrupt {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<Refusal> for Interrupt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

pub(super) fn do_first(step: Step) -> Interrupt {
    Interrupt::Next(Box::new(Decision::Do(step)))
}

pub(super) fn next(o: &Observed, now: Timestamp) -> Decision {
    let mut status = o.status();
    if !o.intact {
        return Decision::Done(verdict(
            o,
            status,
            None,
            &Outcome::Stalled(&journal_invalid()),
            now,
        ));
    }
    // Somebody may have taken it off; without it a deletion would leave the user behind. Not between the ticket
    // and the Secret: nothing may come between those.
    if o.has_begun() && !o.has_finalizer() && o.answers.create_permit.is_none() {
        return Decision::Do(Step::AddFinalizer);
    }
    let over = |end: &Timestamp| o.platform_now.is_some_and(|time| *end <= time);
    if let Some(end) = o.user.spec.expire_at.filter(over) {
        return deletion::expire(o, status, end, now);
    }
    rotation::note_end(o, &mut status);
    let wanted = validated_spec(o);
    let force = forced_rotation(o, &status).filter(|_| o.is_suspended());
    if o.is_suspended() && force.is_none() && o.answers.create_permit.is_none() {
        return suspended(o, status, wanted, now);
    }
    let (desired, outcome) = match wanted {
        Ok(desired) => {
            let outcome = proceed(o, &desired, &mut status, force, now);
            (Some(desired), outcome)
        }
        Err(halt) => (None, Err(finish_begun_work(o, &mut status, halt, now))),
    };
    conclude(o, status, desired.as_ref(), outcome, now)
}

/// What becomes of the object when there is nothing more to do in this reconcile.
fn conclude(
    o: &Observed,
    status: ProgrammaticUserStatus,
    desired: Option<&Spec>,
    outcome: Result<(), Interrupt>,
    now: Timestamp,
) -> Decision {
    let end = |status, outcome: &Outcome| Decision::Done(verdict(o, status, desired, outcome, now));
    let too_old = rotation::has_ended(o, &status) || was_too_old(&status);
    let outcome = outcome.map_err(|halt| granted::withdrawn(o, &status, halt));
    match outcome {
        Ok(()) if o.is_suspended() => Decision::Done(super::conditions::suspended(o, status, now)),
        Ok(()) => match class::retains(o) {
            Ok(()) => end(status, &Outcome::Ready),
            Err(refusal) => end(status, &Outcome::Stalled(&refusal)),
        },
        Err(Interrupt::Next(next)) => *next,
        Err(Interrupt::Refused(refusal)) if is_revoked(o, &refusal) => {
            deletion::revoke(o, status, &refusal, now)
        }
        Err(Interrupt::Refused(refusal)) if o.has_begun() && rotation::is_revoked(o, &status) => {
            deletion::revoke_now(o, status, &refusal, now)
        }
        Err(Interrupt::Refused(refusal)) if too_old => deletion::too_old(o, status, &refusal, now),
        Err(Interrupt::Refused(refusal)) => end(status, &Outcome::Stalled(&refusal)),
        Err(Interrupt::Failed(problem))
            if o.has_begun() && rotation::is_revoked(o, &status) && is_of_the_tenant(o, &problem) =>
        {
            deletion::revoke_now(o, status, &Refusal::new(problem.reason, problem.message), now)
        }
        Err(Interrupt::Failed(problem)) if too_old && is_of_the_tenant(o, &problem) => {
            deletion::too_old(o, status, &Refusal::new(problem.reason, problem.message), now)
        }
        Err(Interrupt::Failed(problem)) => end(status, &Outcome::Waiting(&problem)),
    }
}

/// Whether the operator has revoked a token that was too old, and nothing was made since.
fn was_too_old(status: &ProgrammaticUserStatus) -> bool {
    let told = |c: &Condition| c.type_ == READY && c.reason == Reason::TooOld;
    status.journal.is_empty() && status.conditions.iter().any(told)
}

/// Whether a tenant can bring this about in its own namespace, and so keep a token from being replaced. A request that the
/// platform refuses may be one of a description or a name that the tenant has changed since the current user was made.
pub(super) fn is_of_the_tenant(o: &Observed, problem: &Problem) -> bool {
    let pending = o
        .user
        .status
        .as_ref()
        .and_then(|status| status.journal.pending.as_ref());
    let is_changed = || {
        let current = o.current().zip(pending);
        current.is_some_and(|(current, pending)| current.fingerprint != pending.fingerprint)
    };
    problem.reason.is_of_tenant() || (problem.reason == Reason::RejectedByPlatform && is_changed())
}

/// Why the token of a suspended object is replaced all the same.
fn forced_rotation(o: &Observed, status: &ProgrammaticUserStatus) -> Option<&'static str> {
    if status.journal.current.is_some() && rotation::is_revoked(o, status) {
        return Some(rotation::REVOKED);
    }
    let latest = rotation::latest(o, status)?;
    o.platform_now
        .is_some_and(|now| latest <= now)
        .then_some(rotation::AGE)
}

/// Nothing is made or changed. What was begun is brought to an end, and what the class wants gone goes.
fn suspended(
    o: &Observed,
    mut status: ProgrammaticUserStatus,
    wanted: Result<Spec, Interrupt>,
    now: Timestamp,
) -> Decision {
    let granted = wanted.and_then(|desired| match o.current() {
        Some(current) => {
            granted::still_granted(o, &desired.access)?;
            granted::check(o, current.granted.as_ref())
        }
        None => Ok(()),
    });
    match granted.map_err(|halt| granted::withdrawn(o, &status, halt)) {
        Err(Interrupt::Next(next)) => return *next,
        Err(Interrupt::Refused(refusal))
            if is_revoked(o, &refusal) || rotation::has_ended(o, &status) || was_too_old(&status) =>
        {
            return conclude(o, status, None, Err(Interrupt::Refused(refusal)), now);
        }
        Ok(()) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => {}
    }
    let ended = clean_up(o, &mut status, now);
    let mut rest = super::conditions::suspended(o, status, now);
    match ended {
        Err(Interrupt::Next(next)) => return *next,
        Err(Interrupt::Failed(problem)) => {
            rest.requeue = match problem.retry {
                Retry::Backoff => Requeue::Backoff,
                Retry::After(span) => Requeue::After(span),
                Retry::OnChange => Requeue::After(STALLED_RECHECK),
            }
        }
        Ok(()) | Err(Interrupt::Refused(_)) => {}
    }
    Decision::Done(rest)
}

/// Whether the class wants users gone that it does not allow.
pub(super) fn is_revoked(o: &Observed, refusal: &Refusal) -> bool {
    let class = o.class.as_ref();
    let revokes = refusal.revokes && class.is_some_and(|c| c.spec.on_revoked == OnRevoked::Revoke);
    // An object that never had a user is not told of a revocation: that would tell what exists on the platform.
    revokes && (o.has_begun() || was_revoked(o))
}

/// Whether the operator has said that the class revoked the user, and nothing was made since.
fn was_revoked(o: &Observed) -> bool {
    let mut known = o.user.status.iter().flat_map(|status| &status.conditions);
    known.any(|c| c.type_ == READY && c.message.ends_with(deletion::REVOKED_BY_CLASS))
}

/// Nothing may be decided by a status that somebody else wrote or that was damaged.
pub(super) fn journal_invalid() -> Refusal {
    let message = "the status was changed by something else than the operator, so that nothing in it can be relied on and nothing is done: restore the status from a backup, or remove status.journal (a new user is made then, and users known before are reported as unknown ones)";
    Refusal::new(Reason::JournalInvalid, message.to_owned())
}

/// Where nothing new may be asked for, what was begun is still brought to an end.
fn finish_begun_work(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    halt: Interrupt,
    now: Timestamp,
) -> Interrupt {
    match clean_up(o, status, now) {
        Err(Interrupt::Next(next)) => Interrupt::Next(next),
        Ok(()) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => halt,
    }
}

fn clean_up(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) -> Result<(), Interrupt> {
    attempt::recover(o, None, status, now)?;
    cleanup::finish_publication(o, status, now)?;
    cleanup::expedite_retiring(o, status)?;
    granted::revoke_retiring(o, status)?;
    cleanup::clean_up_abandoned(o, status, false)?;
    cleanup::delete_retired(o, status)
}

/// Conditions of a status that is written in the middle of the work. What was wrong stays said until it is well:
/// otherwise each new try would be news. A user that is in use stays ready while another is being made.
pub(super) fn set_progress_conditions(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) {
    let generation = o.user.metadata.generation;
    if status.journal.current.is_some() {
        let reason = status
            .journal
            .pending
            .as_ref()
            .map_or(Reason::Recovering.as_str(), |p| p.reason.as_str())
            .to_owned();
        let wanted = (
            ROTATING,
            true,
            reason.as_str(),
            "a user is being made that will replace the current one",
        );
        super::conditions::set_condition(&mut status.conditions, generation, now, &wanted);
        return;
    }
    let mut known = status.conditions.iter();
    if known.any(|c| c.type_ == READY && c.status == "False") {
        return;
    }
    let message = "a user is being made on the platform";
    let wanted = [
        (READY, false, Reason::Creating.as_str(), message),
        (RECONCILING, true, Reason::Creating.as_str(), message),
    ];
    super::set_conditions(&mut status.conditions, generation, now, &wanted);
}

/// What the objects ask for, if the class allows it.
fn validated_spec(o: &Observed) -> Result<Spec, Interrupt> {
    let class_name = &o.user.spec.class_name;
    let class = o.class.as_ref().ok_or_else(|| {
        let message = format!(
            "there is no ProgrammaticUserClass {class_name}: correct spec.className, or create the class"
        );
        Refusal::new(Reason::UnknownClass, message)
    })?;
    // First of all: nothing that a tenant writes hides it.
    let namespace = o.user.metadata.namespace.as_deref().unwrap_or_default();
    class::open_to(class, namespace, &o.namespace_labels)?;
    let organization = o.organization.as_ref().ok_or_else(|| {
        let name = &class.spec.organization_name;
        Refusal::new(
            Reason::UnknownOrganization,
            format!("class {class_name} names Organization {name}, which does not exist: create it"),
        )
    })?;
    let lives_in = organization.metadata.name.as_deref().unwrap_or_default();
    if lives_in != class.spec.organization_name {
        let message = format!(
            "class {class_name} now names Organization {}, but this object's user lives in {lives_in}: delete this object and create it again",
            class.spec.organization_name
        );
        return Err(Refusal::new(Reason::OrganizationChanged, message).into());
    }
    let outcome = if let Some(why) = &o.unreadable {
        // What cannot be read, such as a rotation, is not held against the object.
        class::check_access_of(&o.user, class).and_then(|()| Err(cannot_be_read(why)))
    } else {
        // The number of users is a bound for new ones.
        let siblings = (!o.has_begun()).then_some(o.quota_used);
        class::check(&o.user, class, &o.namespace_labels, siblings)?;
        validate(&o.user, class, organization)
    };
    let desired = match (outcome, super::spec::access(&o.user, class)) {
        (Ok(desired), _) => desired,
        // An object that cannot be used keeps no token that the class wants gone.
        (Err(refusal), Some(access)) if o.has_begun() && !refusal.revokes => {
            granted::still_granted(o, access)?;
            return Err(refusal.into());
        }
        (Err(refusal), _) => return Err(refusal.into()),
    };
    if o.current().is_none() {
        consumers::allowed(o, &desired)?;
    }
    if !o.has_begun() {
        class::retains(o)?;
    }
    Ok(desired)
}

fn cannot_be_read(why: &str) -> Refusal {
    let message = format!(
        "the operator cannot read this object in full, and makes and changes nothing until it can: {why}. Correct that field, or take an operator of the version that the custom resource definitions are of. A deletion, a revocation, an expiry and the class's rules are carried out all the same"
    );
    Refusal::new(Reason::InvalidSpec, message)
}

fn proceed(
    o: &Observed,
    desired: &Spec,
    status: &mut ProgrammaticUserStatus,
    force: Option<&'static str>,
    now: Timestamp,
) -> Result<(), Interrupt> {
    if let Some(ticket) = &o.answers.create_permit {
        return attempt::continue_attempt(o, desired, status, ticket, now);
    }
    if attempt::recover(o, Some(desired), status, now)? {
        return Ok(());
    }
    cleanup::finish_publication(o, status, now)?;
    cleanup::expedite_retiring(o, status)?;
    granted::revoke_retiring(o, status)?;
    let unsettled = tolerate_failure(cleanup::clean_up_abandoned(o, status, false))?;
    let unretired = tolerate_failure(cleanup::delete_retired(o, status))?;
    // Before anything that may have to wait until earlier users are gone.
    consumers::request_pods(o, status)?;
    consumers::restart(o, desired, status, now)?;
    confirm_unknown_users(o)?;
    let replace = |status: &mut ProgrammaticUserStatus, reason| match &unsettled {
        Some(problem) => Interrupt::Failed(problem.clone()),
        None => attempt::begin(o, desired, status, reason, now),
    };
    let Some(current) = status.journal.current.clone() else {
        return Err(replace(status, rotation::CREATE));
    };
    granted::still_granted(o, &desired.access)?;
    if let Some(reason) = force.or_else(|| rotation::due(o, desired, status, &current)) {
        return Err(replace(status, reason));
    }
    if current.access.as_ref() != Some(&desired.access_digest) || o.full_check {
        let grants = resolve_access(o, desired)?;
        let Some(details) = own_user(o, &current.user_id, &current.nonce)? else {
            forget_access(status);
            return Err(replace(status, rotation::USER_MISSING));
        };
        record_token(status, &details, o.time(now));
        if !granted::record_current(o, status, &desired.access, now)? {
            return Err(replace(status, rotation::SPEC_CHANGED));
        }
        apply_access(o, desired, &grants, &details)?;
        if !is_accepted(o, published(desired))? {
            let issued = status.token_issued_at.unwrap_or(now);
            let too_long = o
                .platform_now
                .is_some_and(|t| t.duration_since(issued) > PATIENCE);
            return Err(if current.access.is_some() || too_long {
                forget_access(status);
                replace(status, rotation::TOKEN_REJECTED)
            } else {
                not_accepted()
            });
        }
        attempt::record_applied_access(o, status, desired);
    } else if current.granted.is_none() {
        // An older version made the user.
        attempt::record_applied_access(o, status, desired);
    }
    unretired.map_or(Ok(()), |problem| Err(Interrupt::Failed(problem)))
}

/// What does not work any more is not ready, and is looked at again until it is replaced.
fn forget_access(status: &mut ProgrammaticUserStatus) {
    if let Some(current) = &mut status.journal.current {
        current.access = None;
    }
}

/// What goes wrong with what is left of earlier users need not keep the current one from being looked after.
fn tolerate_failure(outcome: Result<(), Interrupt>) -> Result<Option<Problem>, Interrupt> {
    match outcome {
        Ok(()) => Ok(None),
        Err(Interrupt::Failed(problem)) => Ok(Some(problem)),
        Err(halt) => Err(halt),
    }
}

/// Users that the journal does not know are looked for once more before they are reported: an attempt may have been
/// swept after the list was made in which they were seen.
fn confirm_unknown_users(o: &Observed) -> Result<(), Interrupt> {
    let suspected = o.unknown_users.as_ref().is_some_and(|s| !s.is_empty());
    if suspected && o.answers.listed.is_none() {
        return Err(do_first(Step::ListUsers));
    }
    Ok(())
}

/// The user, if the platform has it. One that is not of this object is left alone, whatever journal and Secret say.
pub(super) fn own_user(o: &Observed, user_id: &str, nonce: &str) -> Result<Option<UserDetails>, Interrupt> {
    let details = answer(o.answers.details.get(user_id), || {
        Step::ReadUser(user_id.to_owned())
    })?;
    if details
        .as_ref()
        .is_some_and(|d| !super::is_marked(d, &o.marker(nonce)))
    {
        return Err(Refusal::new(
            Reason::UserNotOurs,
            format!("user {user_id}, which the journal and the Secret name, was not made for this object: nothing is done to it. Delete this object and create it again; find out who changed its status or Secret"),
        )
        .into());
    }
    Ok(details)
}

/// Where the published token is.
pub(super) fn published(desired: &Spec) -> super::TokenSource {
    let token = desired
        .layout
        .iter()
        .find(|(_, value)| **value == SecretValue::Token);
    super::TokenSource::Published {
        secret: desired.secret_name.clone(),
        key: token.map(|(key, _)| key.clone()).unwrap_or_default(),
    }
}

/// Whether the platform accepts the token that is kept there.
pub(super) fn is_accepted(o: &Observed, token: super::TokenSource) -> Result<bool, Interrupt> {
    answer(o.answers.verified.get(&token), || Step::Verify(token.clone()))
}

pub(super) fn not_accepted() -> Interrupt {
    Interrupt::Failed(Problem {
        reason: Reason::TokenNotAccepted,
        message: "the platform does not accept the new token yet (some platforms need a few seconds)"
            .to_owned(),
        retry: Retry::Backoff,
    })
}

/// A Secret of that name that is not ours, or that nothing can be written into.
pub(super) fn conflict(o: &Observed, name: &str) -> Result<(), Refusal> {
    match &o.next_secret {
        SecretView::Foreign(owner) => {
            let message = format!(
                "Secret {name} {owner}; it is left alone and no user is made: choose another spec.secret.name, or delete that Secret"
            );
            Err(Refusal::new(Reason::SecretConflict, message))
        }
        SecretView::Ours(secret) if secret.immutable => {
            let message = format!(
                "Secret {name} was made immutable, so that its token cannot be replaced: delete that Secret, and one with a new token is made at once"
            );
            Err(Refusal::new(Reason::SecretImmutable, message))
        }
        SecretView::Ours(_) | SecretView::Absent => Ok(()),
    }
}

/// The answer to a step, the step itself, or what went wrong with it.
pub(super) fn answer<T: Clone>(
    known: Option<&Answer<T>>,
    step: impl FnOnce() -> Step,
) -> Result<T, Interrupt> {
    match known {
        Some(Ok(value)) => Ok(value.clone()),
        Some(Err(problem)) => Err(Interrupt::Failed(problem.clone())),
        None => Err(do_first(step())),
    }
}

/// What the platform says of the token. A time that cannot be its own does not count: the token's age is counted from now.
pub(super) fn record_token(status: &mut ProgrammaticUserStatus, details: &UserDetails, now: Timestamp) {
    if let Some(token) = details.tokens.first() {
        status
            .token_last_digits
            .get_or_insert_with(|| token.token_last_digits.clone());
        if status.token_issued_at.is_none() {
            let issued = crate::platform::parse_token_time(&token.created_at, now);
            status.token_issued_at = Some(issued.unwrap_or(now));
        }
    }
}
