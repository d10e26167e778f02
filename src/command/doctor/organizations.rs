//! Whether the organizations' platforms can be reached, and take the credential.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::check::Check;
use crate::api::{CREDENTIAL_VALID, ORPHANS_FOUND, Organization, READY};
use crate::command::cluster::{Cluster, is_forbidden};
use crate::command::outcome::Failure;
use crate::command::platform::{PlatformArgs, TOKEN, connect};
use crate::command::{advice, objects};
use crate::plan;

/// Several checks an Organization.
pub(super) async fn all(cluster: &Cluster, args: &PlatformArgs) -> Vec<Check> {
    const NAME: &str = "organization";
    let one = ListParams::default().limit(1);
    let seen = objects::api::<Organization>(cluster, None).list(&one).await;
    if let Some(error) = seen.err().filter(is_forbidden) {
        return vec![Check::warning(NAME, "", cluster.explain(&error))];
    }
    let (organizations, unreadable) = match found(cluster, args.organization.as_deref()).await {
        Ok(found) => found,
        Err(Failure::Failed(message) | Failure::Usage(message)) => {
            return vec![Check::failed(
                NAME,
                args.organization.as_deref().unwrap_or_default(),
                message,
            )];
        }
    };
    let count = organizations.len() + unreadable.len();
    if count == 0 {
        return vec![Check::warning(
            NAME,
            "",
            "there is none: create one (docs/reference.md)",
        )];
    }
    // One token is good for one organization.
    let fits = count == 1 || std::env::var_os(TOKEN).is_none();
    let mut checks = unreadable;
    for organization in &organizations {
        checks.extend(conditions_of(organization));
        checks.push(limits(organization));
        if fits {
            checks.extend(reach(cluster, args, organization).await);
        } else {
            let message = format!("{TOKEN} is a token of one organization: choose it with --organization");
            checks.push(Check::warning("platform", &organization.name_any(), message));
        }
    }
    checks
}

/// The Organizations, and a check for each that cannot be read.
async fn found(cluster: &Cluster, name: Option<&str>) -> Result<(Vec<Organization>, Vec<Check>), Failure> {
    if name.is_some() {
        let one = objects::organization(cluster, name).await?;
        return Ok((vec![one], Vec::new()));
    }
    let (mut organizations, mut unreadable) = (Vec::new(), Vec::new());
    for object in objects::organizations(cluster).await? {
        let name = object.name_any();
        match object.try_parse() {
            Ok(organization) => organizations.push(organization),
            Err(error) => unreadable.push(Check::failed(
                "organization",
                &name,
                format!("cannot be read, so that the operator ignores it: {error}"),
            )),
        }
    }
    Ok((organizations, unreadable))
}

/// What the operator says of it.
fn conditions_of(organization: &Organization) -> Vec<Check> {
    const NAME: &str = "organization";
    let name = organization.name_any();
    let conditions = organization
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|c| c.type_ == kind);
    let Some(ready) = find(READY) else {
        let message = "has no status: no operator manages it";
        return vec![Check::failed(NAME, &name, message)];
    };
    let message_of = |c: &Condition| {
        let what = advice::about(&c.reason).or_else(|| advice::about(&c.type_));
        let what = what.map(|a| format!("; {}", a.text)).unwrap_or_default();
        format!("{}: {}{what}", c.reason, c.message)
    };
    let mut checks = Vec::new();
    if ready.status == "True" {
        checks.push(Check::ok(NAME, &name, "is ready"));
    } else {
        checks.push(Check::failed(
            NAME,
            &name,
            format!("is not ready: {}", message_of(ready)),
        ));
    }
    let refused = |c: &&Condition| c.status != "True" && c.message != ready.message;
    if let Some(credential) = find(CREDENTIAL_VALID).filter(refused) {
        checks.push(Check::failed(NAME, &name, message_of(credential)));
    }
    if let Some(orphans) = find(ORPHANS_FOUND).filter(|c| c.status == "True") {
        checks.push(Check::warning(NAME, &name, message_of(orphans)));
    }
    checks
}

fn limits(organization: &Organization) -> Check {
    let limits = plan::limits(&organization.spec.limits);
    let (requests, flight) = (limits.requests_per_minute, limits.max_in_flight);
    let creates = limits.creates_per_hour;
    let managed = organization
        .status
        .as_ref()
        .and_then(|s| s.users)
        .and_then(|u| usize::try_from(u.managed).ok());
    let message = format!("{requests} requests a minute, {flight} at once, {creates} new users an hour");
    let name = organization.name_any();
    match managed {
        // After a leak all tokens have to be replaced at once.
        Some(managed) if managed / creates >= 24 => Check::warning(
            "limits",
            &name,
            format!(
                "{message}: to replace the tokens of all {managed} users takes {} hours; raise limits.createsPerHour if that is too long",
                managed.div_ceil(creates)
            ),
        ),
        _ => Check::ok("limits", &name, message),
    }
}

/// What the platform itself says, to you.
async fn reach(cluster: &Cluster, args: &PlatformArgs, organization: &Organization) -> Vec<Check> {
    const NAME: &str = "platform";
    let name = organization.name_any();
    let reached = match connect(cluster, args, organization).await {
        Ok(reached) => reached,
        Err(Failure::Failed(message) | Failure::Usage(message)) => {
            return vec![Check::warning(NAME, &name, message)];
        }
    };
    match reached.client.list_users().await {
        Ok(users) => {
            let digits = reached.client.credential_digits();
            let previous = if reached.client.uses_previous() {
                ", the previous one,"
            } else {
                ""
            };
            let message = format!(
                "{} takes the token{previous} that ends in {digits}; {} users",
                reached.url,
                users.len()
            );
            vec![
                Check::ok(NAME, &name, message),
                Check::clock(
                    &format!("platform of {name}"),
                    reached
                        .gate
                        .now()
                        .or(reached.gate.skew().map(|skew| skew.platform)),
                    Timestamp::now(),
                ),
            ]
        }
        Err(error) => vec![Check::failed(NAME, &name, reached.explain(&error))],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::check::Verdict;
    use super::{Organization, limits};

    /// Ten new users an hour, and as many as the operator has counted.
    fn organization(managed: Option<i32>) -> Organization {
        let users = managed.map(|n| json!({"managed": n, "unmanaged": 0}));
        serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "Organization", "metadata": {"name": "acme"},
            "spec": {"endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": "admin"},
                "limits": {"createsPerHour": 10}},
            "status": {"users": users},
        }))
        .unwrap()
    }

    #[test]
    fn limits_that_make_a_day_of_replacing_all_tokens_are_a_warning() {
        for (managed, verdict, part) in [
            (None, Verdict::Ok, "10 new users an hour"),
            (Some(239), Verdict::Ok, "10 new users an hour"),
            (Some(240), Verdict::Warning, "of all 240 users takes 24 hours"),
            (Some(241), Verdict::Warning, "of all 241 users takes 25 hours"),
        ] {
            let check = limits(&organization(managed));
            assert_eq!(check.verdict, verdict, "{managed:?}");
            assert!(check.message.contains(part), "{managed:?}: {}", check.message);
        }
    }
}
