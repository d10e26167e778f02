//! Whether the cluster has our kinds, as this version knows them, and the admission policies of the chart.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::check::Check;
use crate::api::GROUP;
use crate::command::cluster::Cluster;
use crate::command::objects;

/// What brings the definitions up to date.
const APPLY: &str = "`programmatic-users crds | kubectl apply --server-side -f -`, with the program of the operator's version";

/// The policies of the chart by the ends of their names, and what is open without each.
const POLICIES: [(&str, &str); 6] = [
    (
        "use-of-a-class",
        "an account that may create ProgrammaticUsers may use every class that is open to the namespace",
    ),
    (
        "rotation",
        "an account that may change ProgrammaticUsers may have tokens replaced and revoked",
    ),
    (
        "status",
        "an account that may write the status decides which users are deleted",
    ),
    ("finalizer", "users may stay behind on the platform"),
    (
        "credential",
        "an account that may write Organizations may have credentials sent elsewhere, where their Secrets name no endpoint",
    ),
    (
        "protection",
        "an account that may write Organizations can leave users behind on the platform",
    ),
];

/// One check a kind.
pub(super) async fn definitions(cluster: &Cluster) -> Vec<Check> {
    const NAME: &str = "kind";
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let mut checks = Vec::new();
    for (_, wanted) in crate::api::crds() {
        let name = wanted.name_any();
        checks.push(match api.get_opt(&name).await {
            Ok(None) => Check::failed(
                NAME,
                &name,
                format!("is not in the cluster: install the chart, or {APPLY}"),
            ),
            Err(error) => Check::warning(NAME, &name, cluster.explain(&error)),
            Ok(Some(found)) if !is_established(&found) => {
                Check::failed(NAME, &name, "is not established: `kubectl describe crd` says why")
            }
            Ok(Some(found)) if schemas(&found) != schemas(&wanted) => Check::failed(
                NAME,
                &name,
                format!(
                    "differs from version {} of this program: update it by {APPLY}",
                    env!("CARGO_PKG_VERSION")
                ),
            ),
            Ok(Some(_)) => Check::ok(
                NAME,
                &name,
                format!("is there, as version {} knows it", env!("CARGO_PKG_VERSION")),
            ),
        });
    }
    checks
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Established" && c.status == "True")
}

/// Versions and what objects of them look like. Descriptions may differ: they decide nothing.
fn schemas(crd: &CustomResourceDefinition) -> Value {
    let version = |v: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion| {
        let mut schema = serde_json::to_value(&v.schema).unwrap_or_default();
        forget_words(&mut schema);
        json!({"name": v.name, "served": v.served, "storage": v.storage, "schema": schema})
    };
    crd.spec.versions.iter().map(version).collect()
}

fn forget_words(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            map.values_mut().for_each(forget_words);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_words),
        _ => {}
    }
}

/// One check a policy.
pub(super) async fn policies(cluster: &Cluster) -> Vec<Check> {
    const NAME: &str = "admission-policy";
    let all: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
    let found = match objects::list(&all, ListParams::default()).await {
        Ok(all) => objects::list(&bindings, ListParams::default())
            .await
            .map(|b| (all, b)),
        Err(error) => Err(error),
    };
    let (policies, bindings) = match found {
        Ok(found) => found,
        Err(error) => return vec![Check::warning(NAME, "", cluster.explain(&error))],
    };
    let ours: Vec<String> = policies
        .iter()
        .filter(|p| is_ours(p))
        .map(kube::ResourceExt::name_any)
        .collect();
    let denies = |policy: &str| {
        bindings.iter().filter_map(|b| b.spec.as_ref()).any(|b| {
            b.policy_name.as_deref() == Some(policy)
                && b.validation_actions.iter().flatten().any(|a| a == "Deny")
        })
    };
    POLICIES
        .iter()
        .map(|(end, without)| {
            let named: Vec<&String> = ours.iter().filter(|n| n.ends_with(&format!("-{end}"))).collect();
            match named.iter().find(|n| denies(n)) {
                Some(name) => Check::ok(NAME, end, format!("{name} is there and bound")),
                None if named.is_empty() => Check::warning(
                    NAME,
                    end,
                    format!("is not there (admission.enabled of the chart): {without}"),
                ),
                None => Check::warning(NAME, end, format!("has no binding that denies: {without}")),
            }
        })
        .collect()
}

fn is_ours(policy: &ValidatingAdmissionPolicy) -> bool {
    let constraints = policy.spec.as_ref().and_then(|s| s.match_constraints.as_ref());
    let rules = constraints.iter().flat_map(|c| c.resource_rules.iter().flatten());
    rules
        .into_iter()
        .any(|r| r.api_groups.iter().flatten().any(|g| g == GROUP))
}
