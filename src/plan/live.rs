//! An object that is not being deleted: create its user, publish the token, keep access as asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::desired::{Desired, Grants, desired, resolve};
use super::status::{CREATING, Outcome, rest};
use super::{
    Answer, Committed, Created, Next, Observed, Problem, Refusal, Retry, SecretView, Step, class, draft,
};
use crate::api::{
    Abandoned, Current, Pending, ProgrammaticUserStatus, READY, RECONCILING, Role, SecretValue,
};
use crate::platform::{CreateProgrammaticUser, PolicyGrant, UserDetails};

/// How often a settling attempt is looked at.
const SETTLE_RECHECK: Duration = Duration::from_secs(15);

/// Why a decision could not be reached.
enum Halt {
    /// Something has to be done or learned first.
    Next(Box<Next>),
    /// Somebody has to act.
    Refused(Refusal),
    /// Something went wrong.
    Failed(Problem),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn do_first(step: Step) -> Halt {
    Halt::Next(Box::new(Next::Do(step)))
}

pub(super) fn next(o: &Observed, now: Timestamp) -> Next {
    let mut status = o.status();
    // Somebody may have taken it off; without it a deletion would leave the user behind. Not between the ticket
    // and the Secret: nothing may come between those.
    if o.has_begun() && !o.has_finalizer() && o.learned.ticket.is_none() {
        return Next::Do(Step::AddFinalizer);
    }
    if let Some(step) = recover(o, &mut status, now) {
        return Next::Do(step);
    }
    let (desired, outcome) = match wanted(o) {
        Ok(desired) => {
            let outcome = proceed(o, &desired, &mut status, now);
            (Some(desired), outcome)
        }
        Err(halt) => (None, Err(sweep_first(o, &mut status, halt))),
    };
    let digest = desired.as_ref().map(|d| d.access_digest.as_str());
    let end = |status, outcome: &Outcome| Next::Stop(rest(o, status, digest, outcome, now));
    match outcome {
        Ok(()) => end(status, &Outcome::Ready),
        Err(Halt::Next(next)) => *next,
        Err(Halt::Refused(refusal)) => end(status, &Outcome::Stalled(&refusal)),
        Err(Halt::Failed(problem)) => end(status, &Outcome::Waiting(&problem)),
    }
}

/// An attempt that an earlier reconcile left pending: rolled forward if the Secret carries it, given up if not.
/// Never repeated, and no question to the platform is needed for this.
fn recover(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) -> Option<Step> {
    let pending = status.journal.pending.clone()?;
    if o.learned.ticket.as_ref() == Some(&pending.nonce) {
        return None;
    }
    match o.secret_with(&pending.nonce).and_then(|s| s.user_id.clone()) {
        // What was asked for then is compared with what is asked for now in the next round; whether the user is
        // really ours, when it is read.
        Some(user_id) => promote(status, &pending.nonce, &user_id, pending.fingerprint),
        None => abandon(status, &pending.nonce),
    }
    working(o, status, now);
    Some(Step::Journal(Box::new(status.clone()), None))
}

fn promote(status: &mut ProgrammaticUserStatus, nonce: &str, user_id: &str, fingerprint: String) {
    status.journal.pending = None;
    status.user_id = Some(user_id.to_owned());
    status.journal.current = Some(Current {
        nonce: nonce.to_owned(),
        user_id: user_id.to_owned(),
        fingerprint,
        access: None,
    });
}

fn abandon(status: &mut ProgrammaticUserStatus, nonce: &str) {
    status.journal.pending = None;
    status.journal.abandoned.push(Abandoned {
        nonce: nonce.to_owned(),
    });
}

/// Conditions of a status that is written in the middle of the work. What was wrong stays said until it is well:
/// otherwise each new try would be news.
fn working(o: &Observed, status: &mut ProgrammaticUserStatus, now: Timestamp) {
    if status
        .conditions
        .iter()
        .any(|c| c.type_ == READY && c.status == "False")
    {
        return;
    }
    let message = "a user is being made on the platform";
    let wanted = [
        (READY, false, CREATING, message),
        (RECONCILING, true, CREATING, message),
    ];
    super::set_conditions(&mut status.conditions, o.user.metadata.generation, now, &wanted);
}

/// What the objects ask for, if the class allows it.
fn wanted(o: &Observed) -> Result<Desired, Halt> {
    let class_name = &o.user.spec.class_name;
    let class = o.class.as_ref().ok_or_else(|| {
        let message = format!(
            "there is no ProgrammaticUserClass {class_name}: correct spec.className, or create the class"
        );
        Refusal::new("UnknownClass", message)
    })?;
    let organization = o.organization.as_ref().ok_or_else(|| {
        let name = &class.spec.organization_name;
        Refusal::new(
            "UnknownOrganization",
            format!("class {class_name} names Organization {name}, which does not exist: create it"),
        )
    })?;
    let lives_in = organization.metadata.name.as_deref().unwrap_or_default();
    if lives_in != class.spec.organization_name {
        let message = format!(
            "class {class_name} now names Organization {}, but this object's user lives in {lives_in}: delete this object and create it again",
            class.spec.organization_name
        );
        return Err(Refusal::new("OrganizationChanged", message).into());
    }
    let desired = desired(&o.user, class, organization)?;
    // The number of users is a bound for new ones.
    let siblings = (!o.has_begun()).then_some(o.siblings);
    class::check(&o.user, class, &desired, &o.namespace_labels, siblings)?;
    Ok(desired)
}

fn proceed(
    o: &Observed,
    desired: &Desired,
    status: &mut ProgrammaticUserStatus,
    now: Timestamp,
) -> Result<(), Halt> {
    if let Some(ticket) = &o.learned.ticket {
        return attempt(o, desired, status, ticket, now);
    }
    sweep(o, status)?;
    let Some(current) = status.journal.current.clone() else {
        return begin(o, desired, status, now);
    };
    if current.fingerprint != desired.fingerprint {
        return Err(Refusal::new(
            "ReplacementRequired",
            "name, description, role, scope, accounts of a role, and the Secret's name, keys and account (secret.account) are fixed when the user is made, and this version does not replace users: undo the change, or delete this object and create it again".to_owned(),
        )
        .into());
    }
    if o.secret_with(&current.nonce).is_none() {
        return Err(secret_lost(o, desired).into());
    }
    if current.access.as_ref() == Some(&desired.access_digest) {
        return Ok(());
    }
    let grants = grants(o, desired)?;
    let details = answer(o.learned.details.as_ref(), || {
        Step::ReadUser(current.user_id.clone())
    })?;
    let Some(details) = details else {
        return Err(Refusal::new(
            "UserMissing",
            format!("user {} was deleted on the platform, and this version does not replace users: delete this object and create it again", current.user_id),
        )
        .into());
    };
    if !super::is_marked(&details, &o.marker(&current.nonce)) {
        return Err(Refusal::new(
            "UserNotOurs",
            format!("user {}, which the journal and the Secret name, was not made for this object: nothing is done to it. Delete this object and create it again; find out who changed its status or Secret", current.user_id),
        )
        .into());
    }
    note_token(status, &details);
    let policy_based = desired.access.role == Role::PolicyBased;
    if policy_based && !same_policies(&details, &grants.policies) {
        let step = || Step::PutPolicies(current.user_id.clone(), grants.policies.clone());
        answer(o.learned.policies_put.as_ref(), step)?;
    }
    let groups: BTreeSet<&str> = details.groups.iter().map(|g| g.id.as_str()).collect();
    if groups != grants.groups.iter().map(String::as_str).collect() {
        let step = || Step::PutGroups(current.user_id.clone(), grants.groups.clone());
        answer(o.learned.groups_put.as_ref(), step)?;
    }
    verify(o, desired, status)
}

/// Before the first effect: everything that can be found wrong is found now, while it costs nothing.
fn begin(
    o: &Observed,
    desired: &Desired,
    status: &mut ProgrammaticUserStatus,
    now: Timestamp,
) -> Result<(), Halt> {
    if let SecretView::Foreign(owner) = &o.secret {
        let name = &desired.secret_name;
        let message = format!(
            "Secret {name} {owner}; it is left alone and no user is made: choose another spec.secret.name, or delete that Secret"
        );
        return Err(Refusal::new("SecretConflict", message).into());
    }
    grants(o, desired)?;
    if !o.has_finalizer() {
        return Err(do_first(Step::AddFinalizer));
    }
    answer(o.learned.dry_run.as_ref(), || {
        Step::DryRun(draft(o, desired, &o.fresh_nonce, "pu-00000000"))
    })?;
    status.organization_name = Some(desired.organization.clone());
    status.secret_name = Some(desired.secret_name.clone());
    status.journal.pending = Some(Pending {
        nonce: o.fresh_nonce.clone(),
        started_at: now,
        reason: "Create".to_owned(),
        fingerprint: desired.fingerprint.clone(),
    });
    working(o, status, now);
    Err(do_first(Step::Journal(
        Box::new(status.clone()),
        Some(o.fresh_nonce.clone()),
    )))
}

/// The attempt that this reconcile holds the ticket for.
fn attempt(
    o: &Observed,
    desired: &Desired,
    status: &mut ProgrammaticUserStatus,
    nonce: &str,
    now: Timestamp,
) -> Result<(), Halt> {
    let grants = grants(o, desired)?;
    let Some(created) = &o.learned.created else {
        return Err(do_first(Step::Create(CreateProgrammaticUser {
            name: o.marker(nonce).name(&desired.display_name),
            description: desired.description.clone(),
            accounts: grants.accounts,
            policies: grants.policies,
        })));
    };
    let (user_id, last_digits) = match created {
        Created::Yes { user_id, last_digits } => (user_id, last_digits),
        Created::No(problem) => {
            status.journal.pending = None;
            return Err(Halt::Failed(problem.clone()));
        }
        Created::Unknown(problem) => {
            abandon(status, nonce);
            return Err(Halt::Failed(problem.clone()));
        }
    };
    match &o.learned.committed {
        None => return Err(do_first(Step::Commit(draft(o, desired, nonce, user_id)))),
        Some(Committed::Yes) => {}
        // The attempt stays pending: the next reconcile looks at the Secret and decides.
        Some(Committed::Unknown(problem)) => return Err(Halt::Failed(problem.clone())),
        Some(Committed::No(problem)) => {
            match &o.learned.compensated {
                None => return Err(do_first(Step::Compensate(user_id.clone()))),
                Some(Ok(())) => status.journal.pending = None,
                Some(Err(_)) => abandon(status, nonce),
            }
            return Err(Halt::Failed(problem.clone()));
        }
    }
    promote(status, nonce, user_id, desired.fingerprint.clone());
    status.token_last_digits = Some(last_digits.clone());
    status.token_issued_at = Some(now);
    if !grants.groups.is_empty() {
        answer(o.learned.groups_put.as_ref(), || {
            Step::PutGroups(user_id.clone(), grants.groups.clone())
        })?;
    }
    verify(o, desired, status)
}

/// Deletes what given-up attempts left behind, and forgets an attempt once nothing of it can appear any more.
fn sweep(o: &Observed, status: &mut ProgrammaticUserStatus) -> Result<(), Halt> {
    if status.journal.abandoned.is_empty() {
        return Ok(());
    }
    remains(o, status, false).map_err(|halt| match halt {
        Remains::Do(step) => do_first(*step),
        Remains::Failed(problem) => Halt::Failed(problem),
        Remains::Settling => Halt::Failed(settling()),
    })
}

/// Whatever else stands in the way, what given-up attempts left behind is deleted.
fn sweep_first(o: &Observed, status: &mut ProgrammaticUserStatus, otherwise: Halt) -> Halt {
    match sweep(o, status) {
        Err(Halt::Next(next)) => Halt::Next(next),
        Ok(()) | Err(Halt::Refused(_) | Halt::Failed(_)) => otherwise,
    }
}

/// What keeps abandoned attempts from being forgotten.
pub(super) enum Remains {
    /// This has to be done first.
    Do(Box<Step>),
    /// This went wrong.
    Failed(Problem),
    /// A create call may still be on its way.
    Settling,
}

pub(super) fn settling() -> Problem {
    Problem {
        reason: "Recovering",
        message:
            "an earlier attempt ended without a certain answer: waiting until none of it can appear any more"
                .to_owned(),
        retry: Retry::After(SETTLE_RECHECK),
    }
}

/// The list of users is read after the journal was, and only attempts that the journal held then are forgotten.
/// With `all`, users of this object go that the journal does not know, too: nothing of it may stay.
pub(super) fn remains(o: &Observed, status: &mut ProgrammaticUserStatus, all: bool) -> Result<(), Remains> {
    let listed = match &o.learned.listed {
        None => return Err(Remains::Do(Box::new(Step::ListUsers))),
        Some(Err(problem)) => return Err(Remains::Failed(problem.clone())),
        Some(Ok(listed)) => listed,
    };
    for user in listed {
        let Some(marker) = super::Marker::parse(&user.username) else {
            continue;
        };
        let given_up = status.journal.abandoned.iter().any(|a| a.nonce == marker.nonce);
        if marker != o.marker(&marker.nonce) || !(all || given_up) {
            continue;
        }
        match o.learned.deleted.get(&user.user_id) {
            None => {
                return Err(Remains::Do(Box::new(Step::DeleteUser(
                    user.user_id.clone(),
                    marker,
                ))));
            }
            Some(Err(problem)) => return Err(Remains::Failed(problem.clone())),
            Some(Ok(_)) => {}
        }
    }
    status.journal.abandoned.retain(|a| !o.settled.contains(&a.nonce));
    if status.journal.abandoned.is_empty() {
        Ok(())
    } else {
        Err(Remains::Settling)
    }
}

fn grants(o: &Observed, desired: &Desired) -> Result<Grants, Halt> {
    let found = answer(o.learned.catalog.as_ref(), || Step::LookUp(false))?;
    let Some(class) = &o.class else {
        return Ok(Grants::default());
    };
    resolve(desired, &found.catalog, class).map_err(|refusal| {
        // Somebody may have made it a moment ago.
        if found.fresh {
            Halt::Refused(refusal)
        } else {
            do_first(Step::LookUp(true))
        }
    })
}

fn verify(o: &Observed, desired: &Desired, status: &mut ProgrammaticUserStatus) -> Result<(), Halt> {
    let token = desired
        .layout
        .iter()
        .find(|(_, value)| **value == SecretValue::Token);
    let key = token.map(|(key, _)| key.clone()).unwrap_or_default();
    if answer(o.learned.verified.as_ref(), || Step::Verify {
        secret: desired.secret_name.clone(),
        key,
    })? {
        set_current(status, |c| c.access = Some(desired.access_digest.clone()));
        return Ok(());
    }
    Err(Halt::Failed(Problem {
        reason: "TokenNotAccepted",
        message: "the platform does not accept the token in the Secret (some platforms need a few seconds)"
            .to_owned(),
        retry: Retry::Backoff,
    }))
}

fn secret_lost(o: &Observed, desired: &Desired) -> Refusal {
    let name = &desired.secret_name;
    let what = match &o.secret {
        SecretView::Absent => format!("Secret {name} was deleted"),
        SecretView::Ours(_) => format!("Secret {name} was changed and no longer carries the current token"),
        SecretView::Foreign(owner) => format!("Secret {name} {owner}"),
    };
    Refusal::new(
        "SecretMissing",
        format!(
            "{what}; the platform shows a token once, and this version does not replace users: delete this object and create it again"
        ),
    )
}

/// The answer to a step, the step itself, or what went wrong with it.
fn answer<T: Clone>(known: Option<&Answer<T>>, step: impl FnOnce() -> Step) -> Result<T, Halt> {
    match known {
        Some(Ok(value)) => Ok(value.clone()),
        Some(Err(problem)) => Err(Halt::Failed(problem.clone())),
        None => Err(do_first(step())),
    }
}

fn set_current(status: &mut ProgrammaticUserStatus, change: impl FnOnce(&mut Current)) {
    if let Some(current) = &mut status.journal.current {
        change(current);
    }
}

fn note_token(status: &mut ProgrammaticUserStatus, details: &UserDetails) {
    if let Some(token) = details.tokens.first() {
        status
            .token_last_digits
            .get_or_insert_with(|| token.token_last_digits.clone());
        if status.token_issued_at.is_none() {
            status.token_issued_at = crate::platform::parse_time(&token.created_at);
        }
    }
}

fn same_policies(details: &UserDetails, wanted: &[PolicyGrant]) -> bool {
    let set = |pairs: Vec<(&str, &[String])>| -> BTreeSet<(String, BTreeSet<String>)> {
        pairs
            .into_iter()
            .map(|(id, accounts)| (id.to_owned(), accounts.iter().cloned().collect()))
            .collect()
    };
    set(details
        .policies
        .iter()
        .map(|p| (p.policy_id.as_str(), p.account_ids.as_slice()))
        .collect())
        == set(wanted
            .iter()
            .map(|p| (p.policy_id.as_str(), p.account_ids.as_slice()))
            .collect())
}
