//! What the class no longer allows: which users that ends, and which it does not.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::access::resolve_names;
use super::class::check_granted;
use super::flow::{Interrupt, answer};
use super::user::own_user;
use super::{Observed, Problem, Refusal, Step, journal};
use crate::api::{Access, Current, Granted, OnRevoked, ProgrammaticUserStatus, READY, Reason};

/// What a refusal says more where it cost the user.
pub(super) const REVOKED_BY_CLASS: &str =
    " (the class says onRevoked: Revoke: there is no user and no Secret for what it does not allow)";

/// Whether the class wants users gone that it does not allow.
pub(super) fn is_revoked(o: &Observed, refusal: &Refusal) -> bool {
    let revokes = refusal.revokes && revokes(o);
    // The status of an object that never had a user does not mention a revocation: it would show what exists on the platform.
    revokes && (o.has_begun() || was_revoked(o))
}

fn revokes(o: &Observed) -> bool {
    let class = o.class.as_ref();
    class.is_some_and(|class| class.spec.on_revoked == OnRevoked::Revoke)
}

/// Whether the operator has said that the class revoked the user, and nothing was made since.
fn was_revoked(o: &Observed) -> bool {
    let mut known = o.user.status.iter().flat_map(|status| &status.conditions);
    known.any(|c| c.type_ == READY && c.message.ends_with(REVOKED_BY_CLASS))
}

/// Whether the operator has revoked a token that was too old, and nothing was made since.
pub(super) fn was_too_old(status: &ProgrammaticUserStatus) -> bool {
    let is_too_old = |c: &Condition| c.type_ == READY && c.reason == Reason::TooOld;
    status.journal.is_empty() && status.conditions.iter().any(is_too_old)
}

/// Whether a tenant can bring this about in its own namespace, and so keep a token from being replaced. A request that the
/// platform refuses may be one of a description or a name that the tenant has changed since the current user was made.
pub(super) fn is_of_the_tenant(o: &Observed, problem: &Problem) -> bool {
    let status = o.user.status.as_ref();
    let pending = status.and_then(|status| status.journal.pending.as_ref());
    let is_changed = || {
        let current = o.current().zip(pending);
        // Without `access` the current user was about to get another than it was made with.
        o.current().is_some_and(|current| current.access.is_none())
            || current.is_some_and(|(current, pending)| {
                current.fingerprint != pending.fingerprint || current.granted != pending.granted
            })
    };
    problem.reason.is_of_tenant() || (problem.reason == Reason::RejectedByPlatform && is_changed())
}

/// Whether the class still allows what a token was given. That the platform cannot be asked for names right now says nothing.
pub(super) fn check(o: &Observed, granted: Option<&Granted>) -> Result<(), Interrupt> {
    let (Some(class), Some(granted)) = (&o.class, granted) else {
        return Ok(());
    };
    if class.spec.on_revoked != OnRevoked::Revoke {
        return Ok(());
    }
    check_granted(granted, class)?;
    if granted.is_named_by(class) {
        return Ok(());
    }
    match answer(o.answers.catalog.as_ref(), || Step::LookUp(false)) {
        Ok(found) => Ok(granted.check_names(class, &found.catalog)?),
        Err(Interrupt::Do(step)) => Err(Interrupt::Do(step)),
        Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => Ok(()),
    }
}

/// A version that did not record it made the current user: what the platform shows of the user is recorded before anything is
/// decided, since the spec may ask for something else by now.
pub(super) fn record_unknown(
    o: &Observed,
    status: &mut ProgrammaticUserStatus,
    now: Timestamp,
) -> Result<(), Interrupt> {
    let is_unknown = |current: &&mut Current| current.granted.is_none();
    let Some(current) = status.journal.current.as_mut().filter(is_unknown) else {
        return Ok(());
    };
    if !revokes(o) {
        return Ok(());
    }
    let granted = shown(o, &current.user_id, &current.nonce)?;
    let Some(granted) = granted else { return Ok(()) };
    current.granted = Some(granted);
    Err(journal::journal(o, status, now))
}

/// What the platform shows of a user.
fn shown(o: &Observed, user_id: &str, nonce: &str) -> Result<Option<Granted>, Interrupt> {
    let found = answer(o.answers.catalog.as_ref(), || Step::LookUp(false))?;
    let details = own_user(o, user_id, nonce)?;
    Ok(details.map(|details| Granted::of_user(o.user.spec.scope, &details, &found.catalog)))
}

/// An object that cannot be carried out keeps its token only if the class still allows what that token was given.
pub(super) fn withdrawn(o: &Observed, status: &ProgrammaticUserStatus, halt: Interrupt) -> Interrupt {
    let stays = match &halt {
        Interrupt::Do(_) => false,
        Interrupt::Refused(refusal) => !is_revoked(o, refusal),
        Interrupt::Failed(problem) => is_of_the_tenant(o, problem),
    };
    if !stays {
        return halt;
    }
    let current = status.journal.current.as_ref();
    match check(o, current.and_then(|current| current.granted.as_ref())) {
        Err(Interrupt::Do(step)) => Interrupt::Do(step),
        Err(Interrupt::Refused(refusal)) if is_revoked(o, &refusal) => Interrupt::Refused(refusal),
        Ok(()) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => halt,
    }
}

/// Whether the class allows the policies and groups of a user that is there already. That the platform cannot be asked
/// for their names right now says nothing about it.
pub(super) fn still_granted(o: &Observed, access: &Access) -> Result<(), Interrupt> {
    if access.policies.is_empty() && access.groups.is_empty() {
        return Ok(());
    }
    match resolve_names(o, access) {
        Err(Interrupt::Refused(refusal))
            if [Reason::NotAllowed, Reason::InvalidSpec].contains(&refusal.reason) =>
        {
            Err(refusal.into())
        }
        Err(Interrupt::Do(step)) => Err(Interrupt::Do(step)),
        Ok(_) | Err(Interrupt::Refused(_) | Interrupt::Failed(_)) => Ok(()),
    }
}

/// The class no longer allows what some replaced users may do: they do not live until their overlap ends.
pub(super) fn revoke_retiring(o: &Observed, status: &mut ProgrammaticUserStatus) -> Result<(), Interrupt> {
    let Some(now) = o.platform_now else {
        return Ok(());
    };
    let mut any = false;
    for old in status.journal.retiring.iter_mut().filter(|old| !old.is_revoked()) {
        let recorded = match &old.granted {
            Some(granted) => Ok(Some(granted.clone())),
            None if revokes(o) => shown(o, &old.user_id, &old.nonce),
            None => Ok(None),
        };
        match recorded.and_then(|granted| check(o, granted.as_ref())) {
            Ok(()) | Err(Interrupt::Failed(_)) => {}
            Err(Interrupt::Do(step)) => return Err(Interrupt::Do(step)),
            Err(Interrupt::Refused(_)) => {
                old.revoke(now);
                any = true;
            }
        }
    }
    if any {
        return Err(Interrupt::from(Step::Journal(Box::new(status.clone()), None)));
    }
    Ok(())
}
