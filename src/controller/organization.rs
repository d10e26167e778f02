//! One reconcile of an `Organization`: is the platform there, does it accept the credential, whom does it know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::PostParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::error::Error;
use super::platforms::{Platform, Snapshot, platform_problem};
use crate::api::{
    CREDENTIAL_VALID, CredentialStatus, Organization, OrganizationStatus, READY, RECONCILING, STALLED,
    UserCounts,
};
use crate::plan::{Marker, Notice, Problem, Retry, set_conditions};
use crate::platform::{UserSummary, UserType};

/// Longest pause between tries while something is wrong: everything else of the organization waits for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) async fn reconcile(
    organization: Arc<DeserializeGuard<Organization>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let name = organization.name_any();
    if !context.looks_after(&name) {
        return Ok(Action::await_change());
    }
    let organization = match &organization.0 {
        Ok(organization) => organization,
        Err(invalid) => {
            context.metrics.undecodable();
            tracing::warn!(
                name,
                error = invalid.error,
                "Organization cannot be read and is passed over"
            );
            return Ok(Action::await_change());
        }
    };
    if organization.metadata.deletion_timestamp.is_some() {
        context.platforms.forget(&name);
        return Ok(Action::await_change());
    }
    let found = look(&context, organization, &name).await;
    let pause = match &found {
        Ok(_) => {
            context.went_well(&name);
            organization.spec.drift.interval.get().max(Duration::from_secs(1))
        }
        Err(problem) => match problem.retry {
            Retry::After(span) => span,
            Retry::Backoff | Retry::OnChange => context.backoff(&name).min(LONGEST_PAUSE),
        },
    };
    let changed = write(&context, organization, found).await?;
    context
        .metrics
        .reconciled("Organization", if changed { "changed" } else { "unchanged" });
    Ok(Action::requeue(pause))
}

/// One list call, whatever the number of users.
async fn look(
    context: &Context,
    organization: &Organization,
    name: &str,
) -> Result<(Arc<Platform>, UserCounts), Problem> {
    let platform = context.platforms.refresh(organization).await?;
    let begun = Instant::now();
    let users = platform
        .client()
        .await
        .probe()
        .await
        .map_err(|e| platform_problem(name, &e))?;
    let counts = count(&users, &context.instance);
    let snapshot = Snapshot::new(begun, users, &context.instance);
    platform.seat().set_snapshot(Arc::new(snapshot));
    Ok((platform, counts))
}

fn count(users: &[UserSummary], instance: &str) -> UserCounts {
    let programmatic = users.iter().filter(|u| u.user_type == UserType::Programmatic);
    let mut counts = UserCounts::default();
    for user in programmatic {
        let ours = Marker::parse(&user.username).is_some_and(|m| m.instance == instance);
        *(if ours {
            &mut counts.managed
        } else {
            &mut counts.unmanaged
        }) += 1;
    }
    counts
}

async fn write(
    context: &Context,
    organization: &Organization,
    found: Result<(Arc<Platform>, UserCounts), Problem>,
) -> Result<bool, Error> {
    let old = organization.status.clone().unwrap_or_default();
    let mut status = old.clone();
    let (generation, now) = (organization.metadata.generation, Timestamp::now());
    status.observed_generation = generation;
    let notice = match found {
        Ok((platform, counts)) => {
            status.users = Some(counts);
            let last_digits = platform.credential_digits();
            if status
                .credential
                .as_ref()
                .is_none_or(|c| c.last_digits != last_digits)
            {
                status.credential = Some(CredentialStatus {
                    last_digits,
                    last_verified: now,
                });
            }
            let message = "the platform answers and accepts the admin credential";
            let wanted = [
                (READY, true, "Ready", message),
                (CREDENTIAL_VALID, true, "Accepted", message),
            ];
            set_conditions(&mut status.conditions, generation, now, &wanted);
            let was_down = old
                .conditions
                .iter()
                .any(|c| c.type_ == READY && c.status == "False");
            was_down.then(|| Notice {
                warning: false,
                reason: "Ready".to_owned(),
                message: message.to_owned(),
            })
        }
        Err(problem) => {
            let people = problem.retry == Retry::OnChange || problem.reason.starts_with("Credential");
            let message = problem.message.as_str();
            let mut wanted = vec![
                (READY, false, problem.reason, message),
                (
                    if people { STALLED } else { RECONCILING },
                    true,
                    problem.reason,
                    message,
                ),
            ];
            if problem.reason.starts_with("Credential") {
                wanted.push((CREDENTIAL_VALID, false, problem.reason, message));
            }
            set_conditions(&mut status.conditions, generation, now, &wanted);
            let same = old
                .conditions
                .iter()
                .any(|c| c.type_ == READY && c.reason == problem.reason);
            (!same).then(|| Notice {
                warning: true,
                reason: problem.reason.to_owned(),
                message: problem.message.clone(),
            })
        }
    };
    let changed = status != old;
    if changed {
        replace(context, organization, status).await?;
    }
    if let Some(notice) = notice {
        context.publish(organization, &notice).await;
    }
    Ok(changed)
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

#[expect(clippy::needless_pass_by_value, reason = "the runtime calls it so")]
pub(super) fn on_error(
    organization: Arc<DeserializeGuard<Organization>>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    tracing::warn!(name = organization.name_any(), reason = error.reason(), %error, "reconcile failed; it is tried again");
    error.again(|| context.backoff(&organization.name_any()).min(LONGEST_PAUSE))
}
