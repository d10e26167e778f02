//! Conditions, counts and Events of an organization; written only where something differs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use crate::api::{
    CLOCK_SKEWED, CREDENTIAL_VALID, CredentialStatus, DELETION_BLOCKED, ORPHANS_FOUND, Organization,
    OrganizationStatus, OrphanPolicy, READY, RECONCILING, Reason, STALLED,
};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::organizations::connections::Connection;
use crate::controller::organizations::deletion::DeletionHold;
use crate::controller::organizations::inspection::Inspection;
use crate::controller::organizations::orphans::watches_all_namespaces;
use crate::plan::{EventDraft, Problem, Retry, set_conditions};

/// Ids that are named; there may be many.
const NAMED: usize = 10;

/// A condition to be set, with a message of its own.
type Wanted = (&'static str, bool, String, String);

/// Writes the status; `found` is `None` where no list call was due. Whether the status changed.
pub(in crate::controller) async fn write(
    context: &Context,
    organization: &Organization,
    found: Option<Result<Inspection, Problem>>,
    hold: DeletionHold,
) -> Result<bool, Error> {
    let old = organization.status.clone().unwrap_or_default();
    let mut status = old.clone();
    let now = Timestamp::now();
    status.observed_generation = organization.metadata.generation;
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut notices: Vec<EventDraft> = Vec::new();
    match found {
        Some(Ok(inspection)) => {
            good(organization, &inspection, &mut wanted);
            clock(&old.conditions, &inspection, &mut wanted);
            orphans(context, organization, &inspection, &mut wanted, &mut notices);
            status.users = Some(inspection.counts);
            verified(&mut status, &inspection.connection, now);
        }
        Some(Err(problem)) => {
            keep(&old.conditions, &[ORPHANS_FOUND, CLOCK_SKEWED], &mut wanted);
            bad(&problem, &mut wanted);
        }
        None => keep(
            &old.conditions,
            &[READY, ORPHANS_FOUND, CLOCK_SKEWED, STALLED, RECONCILING],
            &mut wanted,
        ),
    }
    if let DeletionHold::Needed { objects, retained } = hold {
        let message = needed(objects, retained);
        wanted.push((DELETION_BLOCKED, true, Reason::UsersExist.to_string(), message));
    }
    set(&mut status, now, &wanted);
    notices.extend(news(&old.conditions, &wanted));
    let changed = status != old;
    if changed {
        replace(context, organization, status).await?;
    }
    for notice in &notices {
        context.publish(organization, notice).await;
    }
    Ok(changed)
}

/// The credential, with the time of the first list for which it was used.
fn verified(status: &mut OrganizationStatus, connection: &Connection, now: Timestamp) {
    let last_digits = connection.credential_digits();
    let known = status.credential.as_ref();
    if known.is_none_or(|c| c.last_digits != last_digits) {
        status.credential = Some(CredentialStatus {
            last_digits,
            last_verified: connection.now().unwrap_or(now),
        });
    }
}

fn set(status: &mut OrganizationStatus, now: Timestamp, wanted: &[Wanted]) {
    // Present only while they are true.
    for type_ in [ORPHANS_FOUND, CLOCK_SKEWED, DELETION_BLOCKED] {
        if !wanted.iter().any(|w| w.0 == type_) {
            status.conditions.retain(|c| c.type_ != type_);
        }
    }
    let borrowed: Vec<_> = wanted
        .iter()
        .map(|w| (w.0, w.1, w.2.as_str(), w.3.as_str()))
        .collect();
    let generation = status.observed_generation;
    set_conditions(&mut status.conditions, generation, now, &borrowed);
}

/// What a deleted organization waits for.
fn needed(objects: usize, retained: usize) -> String {
    let or = "or set spec.deletionProtection: false to let them go without being deleted on the platform";
    if retained == 0 {
        return format!(
            "{objects} ProgrammaticUsers still have users in this organization: delete them first, {or}"
        );
    }
    format!(
        "{objects} ProgrammaticUsers still have users in this organization, and {retained} retained users, whose objects are gone, are there, too: delete the objects, and the retained users on the platform, {or}"
    )
}

/// The platform answers.
fn good(organization: &Organization, inspection: &Inspection, wanted: &mut Vec<Wanted>) {
    let message = "the platform answers and accepts the admin credential".to_owned();
    wanted.push((READY, true, Reason::Ready.to_string(), message.clone()));
    if inspection.connection.uses_previous() {
        let c = &organization.spec.credentials;
        let message = format!(
            "the platform refuses the token under key {} of Secret {} and accepts the one under {}: put a valid token under {}",
            c.key,
            c.secret_name,
            c.previous_key.as_deref().unwrap_or_default(),
            c.key
        );
        wanted.push((
            CREDENTIAL_VALID,
            true,
            Reason::PreviousAccepted.to_string(),
            message,
        ));
    } else {
        wanted.push((CREDENTIAL_VALID, true, Reason::Accepted.to_string(), message));
    }
}

/// Its time is one that cannot be right. What was said of it first stays said: other words with each list would be as many
/// writes.
fn clock(old: &[Condition], inspection: &Inspection, wanted: &mut Vec<Wanted>) {
    let Some(skew) = inspection.state.limiter.skew() else {
        return;
    };
    let said = old
        .iter()
        .find(|c| c.type_ == CLOCK_SKEWED)
        .map(|c| c.message.clone());
    let message = said.unwrap_or_else(|| {
        format!(
            "the platform said that it was {} when the operator's clock said {}: they are more than a day apart, so that the operator does not use the platform's time. Until it is right no overlap and no expireAt ends, and no token is replaced because of its age. Set the clock that is wrong, by NTP; with an http endpoint find out what answers there",
            skew.platform, skew.here
        )
    });
    wanted.push((CLOCK_SKEWED, true, Reason::ImplausibleTime.to_string(), message));
}

/// It does not, or refuses us.
fn bad(problem: &Problem, wanted: &mut Vec<Wanted>) {
    let credential = problem.reason.is_of_credential();
    let people = credential || problem.retry == Retry::OnChange;
    let say = |type_, truth| (type_, truth, problem.reason.to_string(), problem.message.clone());
    wanted.push(say(READY, false));
    wanted.push(say(if people { STALLED } else { RECONCILING }, true));
    if credential {
        wanted.push(say(CREDENTIAL_VALID, false));
    }
}

/// Users that no object knows, and those that were deleted for it.
fn orphans(
    context: &Context,
    organization: &Organization,
    inspection: &Inspection,
    wanted: &mut Vec<Wanted>,
    notices: &mut Vec<EventDraft>,
) {
    if !inspection.deleted.is_empty() {
        notices.push(EventDraft {
            warning: false,
            reason: Reason::OrphansDeleted,
            message: format!(
                "deleted {} on the platform: no ProgrammaticUser knows them",
                some(&inspection.deleted)
            ),
        });
    }
    if inspection.orphans.is_empty() {
        return;
    }
    let ids: Vec<String> = inspection.orphans.iter().cloned().collect();
    let next = match organization.spec.orphan_policy {
        OrphanPolicy::Delete if watches_all_namespaces(context) => {
            "those whose object is gone are deleted when another list shows them, too"
        }
        OrphanPolicy::Delete => {
            "this operator watches some namespaces only, so that it deletes none: find out who uses them, and delete them on the platform"
        }
        OrphanPolicy::Report => {
            "find out who uses them, and delete them on the platform or set spec.orphanPolicy: Delete"
        }
    };
    let message = format!(
        "{} of this installation belong to no ProgrammaticUser that knows them; {next}",
        some(&ids)
    );
    wanted.push((ORPHANS_FOUND, true, Reason::UnknownUsers.to_string(), message));
}

/// Such as `3 users (pu-1, pu-2, pu-3)`.
fn some(ids: &[String]) -> String {
    let named = ids.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if ids.len() > NAMED { ", …" } else { "" };
    let users = if ids.len() == 1 { "user" } else { "users" };
    format!("{} {users} ({named}{more})", ids.len())
}

/// Conditions that stay as they are.
fn keep(old: &[Condition], types: &[&'static str], wanted: &mut Vec<Wanted>) {
    for type_ in types {
        if let Some(c) = old.iter().find(|c| c.type_ == *type_) {
            wanted.push((type_, c.status == "True", c.reason.clone(), c.message.clone()));
        }
    }
}

/// What people should hear of: something became true or false, or is so for another reason.
fn news(old: &[Condition], wanted: &[Wanted]) -> Vec<EventDraft> {
    let mut notices = Vec::new();
    for (type_, truth, reason, message) in wanted {
        let known = old.iter().find(|c| c.type_ == *type_);
        if known.is_some_and(|c| c.reason == *reason) {
            continue;
        }
        let said = Reason::parse(reason);
        let (warning, reason) = match (*type_, truth, said) {
            // The first time that all is well is no news.
            (READY, true, _) if known.is_none_or(|c| c.status == "True") => continue,
            (READY, truth, Some(reason)) => (!truth, reason),
            (ORPHANS_FOUND, true, _) => (true, Reason::OrphansFound),
            (DELETION_BLOCKED, true, _) => (true, Reason::DeletionBlocked),
            (CREDENTIAL_VALID, true, Some(reason @ Reason::PreviousAccepted))
            | (CLOCK_SKEWED, true, Some(reason)) => (true, reason),
            _ => continue,
        };
        notices.push(EventDraft {
            warning,
            reason,
            message: message.clone(),
        });
    }
    notices
}

async fn replace(
    context: &Context,
    organization: &Organization,
    status: OrganizationStatus,
) -> Result<(), Error> {
    let api: Api<Organization> = Api::all(context.client.clone());
    let mut new = organization.clone();
    new.status = Some(status);
    let written = api
        .replace_status(&new.name_any(), &PostParams::default(), &new)
        .await;
    written
        .map(drop)
        .map_err(Error::from_kube("write the status of the Organization"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{CREDENTIAL_VALID, ORPHANS_FOUND, READY, Wanted, news, set_conditions, some};

    fn reasons(steps: &[&[(&'static str, bool, &str)]]) -> Vec<Vec<String>> {
        let mut conditions = Vec::new();
        let mut all = Vec::new();
        for step in steps {
            let wanted: Vec<Wanted> = step
                .iter()
                .map(|(t, truth, reason)| (*t, *truth, (*reason).to_owned(), "x".to_owned()))
                .collect();
            all.push(
                news(&conditions, &wanted)
                    .into_iter()
                    .map(|n| n.reason.to_string())
                    .collect(),
            );
            let wanted: Vec<_> = wanted.iter().map(|w| (w.0, w.1, w.2.as_str(), "x")).collect();
            set_conditions(&mut conditions, Some(1), Timestamp::UNIX_EPOCH, &wanted);
        }
        all
    }

    #[test]
    fn events_tell_of_changes_only() {
        let good: &[_] = &[(READY, true, "Ready"), (CREDENTIAL_VALID, true, "Accepted")];
        let down: &[_] = &[(READY, false, "PlatformUnreachable")];
        let refused: &[_] = &[
            (READY, false, "CredentialInvalid"),
            (CREDENTIAL_VALID, false, "CredentialInvalid"),
        ];
        let found = reasons(&[good, good, down, down, refused, refused, good]);
        let expected: [&[&str]; 7] = [
            &[],
            &[],
            &["PlatformUnreachable"],
            &[],
            &["CredentialInvalid"],
            &[],
            &["Ready"],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_old_token_in_use_and_unknown_users_are_reported_once() {
        let step: &[_] = &[
            (READY, true, "Ready"),
            (CREDENTIAL_VALID, true, "PreviousAccepted"),
            (ORPHANS_FOUND, true, "UnknownUsers"),
        ];
        assert_eq!(reasons(&[step, step])[0], ["PreviousAccepted", "OrphansFound"]);
        assert_eq!(reasons(&[step, step])[1], Vec::<String>::new());
    }

    #[test]
    fn many_ids_are_cut() {
        let ids: Vec<String> = (0..12).map(|i| format!("pu-{i}")).collect();
        assert_eq!(some(&ids[..1]), "1 user (pu-0)");
        assert!(some(&ids).starts_with("12 users (pu-0, ") && some(&ids).ends_with("pu-9, …)"));
    }
}
