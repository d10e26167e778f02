//! What the operator may do, and what you may do.

use std::collections::BTreeSet;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::check::Check;
use crate::api::GROUP;
use crate::command::cluster::{Cluster, is_forbidden};
use crate::command::view::UserView;

/// The most namespaces whose rights are checked.
const NAMESPACES: usize = 50;

/// The name of the checks of the operator's rights.
const OPERATOR: &str = "operator-rights";

/// API group, resource, verbs.
type Rule = (&'static str, &'static str, &'static [&'static str]);

/// Of the whole cluster. These are the chart's roles; a test compares them.
pub(super) const CLUSTER: [Rule; 7] = [
    (
        GROUP,
        "programmaticuserclasses",
        &["get", "list", "watch", "patch"],
    ),
    (GROUP, "organizations", &["get", "list", "watch", "patch"]),
    (GROUP, "organizations/status", &["update"]),
    (GROUP, "programmaticusers/status", &["update"]),
    (GROUP, "programmaticusers", &["get", "list", "watch", "patch"]),
    ("", "namespaces", &["get", "list", "watch"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];
/// In a namespace with users.
pub(super) const NAMESPACE: [Rule; 5] = [
    (
        "",
        "secrets",
        &["get", "list", "watch", "create", "update", "patch", "delete"],
    ),
    ("apps", "deployments", &["list", "watch"]),
    ("apps", "statefulsets", &["list", "watch"]),
    ("apps", "daemonsets", &["list", "watch"]),
    ("", "pods", &["list"]),
];
/// There besides, with `--consumers=restart`.
pub(super) const RESTART: [Rule; 3] = [
    ("apps", "deployments", &["patch"]),
    ("apps", "statefulsets", &["patch"]),
    ("apps", "daemonsets", &["patch"]),
];
/// In the operator's own namespace.
pub(super) const OWN: [Rule; 2] = [
    ("", "secrets", &["get", "list", "watch", "create", "delete"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update"]),
];

/// The namespaces that have users, and how many more there are.
pub(super) fn namespaces(users: &[UserView]) -> (Vec<String>, usize) {
    let all: BTreeSet<&String> = users.iter().map(|u| &u.namespace).collect();
    let more = all.len().saturating_sub(NAMESPACES);
    (all.into_iter().take(NAMESPACES).cloned().collect(), more)
}

fn asked(rules: &[Rule], namespace: Option<&str>) -> Vec<ResourceAttributes> {
    let each = |(group, resource, verbs): &Rule| {
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, sub)) => (resource, Some(sub.to_owned())),
            None => (*resource, None),
        };
        let attributes = ResourceAttributes {
            group: Some((*group).to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let with = move |verb: &&str| ResourceAttributes {
            verb: Some((*verb).to_owned()),
            ..attributes.clone()
        };
        verbs.iter().map(with).collect::<Vec<_>>()
    };
    rules.iter().flat_map(each).collect()
}

/// `list secrets`.
fn shown(asked: &ResourceAttributes) -> String {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let sub = asked
        .subresource
        .as_ref()
        .map(|s| format!("/{s}"))
        .unwrap_or_default();
    format!("{} {}{sub}", text(&asked.verb), text(&asked.resource))
}

/// Whether an installation that has nothing to do with workloads does without the right.
fn is_of_workloads(right: &ResourceAttributes) -> bool {
    right.group.as_deref() == Some("apps") || right.resource.as_deref() == Some("pods")
}

/// One check a place. Needs the right to create `SubjectAccessReview`s. `consumers` is the operator's flag, if it is known.
pub(super) async fn of_operator(
    cluster: &Cluster,
    own: &str,
    account: &str,
    (namespaces, more): (&[String], usize),
    consumers: Option<&str>,
) -> Vec<Check> {
    let user = format!("system:serviceaccount:{own}:{account}");
    let places = [
        ("the cluster".to_owned(), asked(&CLUSTER, None)),
        (own.to_owned(), asked(&OWN, Some(own))),
    ];
    let in_each = |namespace: &String| {
        let mut rights = asked(&NAMESPACE, Some(namespace));
        match consumers {
            Some("off") => rights.retain(|right| !is_of_workloads(right)),
            Some("restart") => rights.extend(asked(&RESTART, Some(namespace))),
            _ => {}
        }
        (namespace.clone(), rights)
    };
    let others = namespaces.iter().map(in_each);
    let mut checks = Vec::new();
    for (place, rights) in places.into_iter().chain(others) {
        match in_place(cluster, &user, own, &place, &rights, consumers).await {
            Ok(check) => checks.push(check),
            Err(check) => {
                checks.push(check);
                return checks;
            }
        }
    }
    if more > 0 {
        let message = format!("{more} more namespaces with users were not checked: choose one with -n");
        checks.push(Check::warning(OPERATOR, "other namespaces", message));
    }
    checks
}

/// `Err`: the rights cannot be checked, here or elsewhere.
async fn in_place(
    cluster: &Cluster,
    user: &str,
    own: &str,
    place: &str,
    rights: &[ResourceAttributes],
    consumers: Option<&str>,
) -> Result<Check, Check> {
    let answers = join_all(rights.iter().map(|r| may(cluster, user, own, r))).await;
    let (mut missing, mut workloads) = (Vec::new(), true);
    for (right, answer) in rights.iter().zip(answers) {
        let allowed = answer.map_err(|error| {
            let message = if is_forbidden(&error) {
                "you have no right to check the operator's rights (create subjectaccessreviews)".to_owned()
            } else {
                cluster.explain(&error)
            };
            Check::warning(OPERATOR, place, message)
        })?;
        if !allowed {
            workloads &= consumers.is_none() && is_of_workloads(right);
            missing.push(shown(right));
        }
    }
    if missing.is_empty() {
        let message = format!("{user} has all rights that it needs");
        return Ok(Check::ok(OPERATOR, place, message));
    }
    let missing = missing.join(", ");
    Ok(if workloads {
        let message = format!(
            "{user} may not {missing}: as intended with `--consumers off`; otherwise install the chart's roles"
        );
        Check::warning(OPERATOR, place, message)
    } else {
        let message = format!(
            "{user} may not {missing}: install the chart's roles (rbac.namespaces in mode strict); --service-account names another one"
        );
        Check::failed(OPERATOR, place, message)
    })
}

async fn may(
    cluster: &Cluster,
    user: &str,
    namespace: &str,
    asked: &ResourceAttributes,
) -> Result<bool, kube::Error> {
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(groups.into()),
            resource_attributes: Some(asked.clone()),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

/// To find the platform.
const ORGANIZATIONS: Rule = (GROUP, "organizations", &["get", "list"]);

/// Where a right is needed.
#[derive(Clone, Copy)]
enum Place {
    Cluster,
    /// That of the context or of -n.
    Namespace,
    /// The operator's.
    Operator,
}

/// Commands, and the rights that they need.
const COMMANDS: [(&str, &[Rule], Place); 8] = [
    (
        "get (all namespaces)",
        &[(GROUP, "programmaticusers", &["list"])],
        Place::Cluster,
    ),
    (
        "get, why",
        &[(GROUP, "programmaticusers", &["get", "list"])],
        Place::Namespace,
    ),
    (
        "rotate, revoke",
        &[(GROUP, "programmaticusers", &["get", "patch"])],
        Place::Namespace,
    ),
    (
        "rotate --wait, revoke --wait",
        &[(GROUP, "programmaticusers", &["list", "watch"])],
        Place::Namespace,
    ),
    ("audit", &[ORGANIZATIONS], Place::Cluster),
    (
        "unmanaged",
        &[ORGANIZATIONS, (GROUP, "programmaticusers", &["list"])],
        Place::Cluster,
    ),
    (
        "import",
        &[ORGANIZATIONS, (GROUP, "programmaticuserclasses", &["get"])],
        Place::Cluster,
    ),
    (
        "audit, unmanaged, import without SPOTINST_TOKEN",
        &[("", "secrets", &["get"])],
        Place::Operator,
    ),
];

/// One check a group of commands.
pub(super) async fn own(cluster: &Cluster, operator_namespace: &str) -> Vec<Check> {
    const NAME: &str = "your-rights";
    let mut checks = Vec::new();
    for (commands, rules, place) in COMMANDS {
        let place = match place {
            Place::Cluster => None,
            Place::Namespace => Some(&*cluster.namespace),
            Place::Operator => Some(operator_namespace),
        };
        let rights = asked(rules, place);
        let answers = join_all(rights.iter().map(|r| may_i(cluster, r))).await;
        let place = place.map_or_else(|| "the cluster".to_owned(), |n| format!("namespace {n}"));
        let mut missing = Vec::new();
        let mut unknown = None;
        for (right, answer) in rights.iter().zip(answers) {
            match answer {
                Ok(true) => {}
                Ok(false) => missing.push(shown(right)),
                Err(error) => unknown = Some(error),
            }
        }
        checks.push(match unknown {
            Some(error) => Check::warning(NAME, commands, cluster.explain(&error)),
            None if missing.is_empty() => Check::ok(NAME, commands, format!("you may, in {place}")),
            None => Check::warning(
                NAME,
                commands,
                format!("you may not {} in {place}", missing.join(", ")),
            ),
        });
    }
    checks
}

async fn may_i(cluster: &Cluster, asked: &ResourceAttributes) -> Result<bool, kube::Error> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(asked.clone()),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{CLUSTER, NAMESPACE, OWN, Rule};

    /// What the chart renders, which a test of the chart keeps current.
    const CHART: &str = include_str!("../../../tests/chart/snapshots/default.yaml");

    fn flat(rules: &[Rule]) -> BTreeSet<String> {
        let each = |(group, resource, verbs): &Rule| {
            verbs
                .iter()
                .map(|v| format!("{v} {resource} of {group:?}"))
                .collect::<Vec<_>>()
        };
        rules.iter().flat_map(each).collect()
    }

    fn rendered(kind: &str, name: &str) -> BTreeSet<String> {
        let objects = CHART
            .split("\n---\n")
            .filter_map(|d| serde_saphyr::from_str::<Value>(d).ok());
        let role = objects
            .into_iter()
            .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
            .unwrap();
        let texts = |v: &Value| -> Vec<String> {
            let all = v.as_array().unwrap().iter();
            all.map(|t| t.as_str().unwrap().to_owned()).collect()
        };
        let mut all = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    all.extend(
                        texts(&rule["verbs"])
                            .iter()
                            .map(|v| format!("{v} {resource} of {group:?}")),
                    );
                }
            }
        }
        all
    }

    #[test]
    fn the_rights_are_those_of_the_chart() {
        assert_eq!(flat(&CLUSTER), rendered("ClusterRole", "pu-programmatic-users"));
        assert_eq!(
            flat(&NAMESPACE),
            rendered("ClusterRole", "pu-programmatic-users-namespace")
        );
        assert_eq!(flat(&OWN), rendered("Role", "pu-programmatic-users"));
    }
}
