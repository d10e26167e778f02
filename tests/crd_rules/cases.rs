//! What is wrong with a spec, and what the API server says against it.

use serde_json::{Value, json};

/// What is wrong, a JSON merge patch that makes a good spec wrong so, and the message.
pub type Case = (Value, &'static str);

pub fn user() -> Value {
    json!({"className": "c", "scope": "Account", "access": {"role": "Viewer", "accounts": [{"id": "act-11aa22bb"}]}})
}

pub fn organization() -> Value {
    json!({"endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": "admin"}})
}

pub fn class() -> Value {
    json!({"organizationName": "acme", "scopes": ["Account"]})
}

fn policy_based(policies: Value, more: &Value) -> Value {
    let mut spec = json!({"access": {"role": "PolicyBased"}});
    spec["access"]["policies"] = policies;
    merge(&mut spec, more);
    spec
}

pub fn user_cases() -> Vec<Case> {
    let two = json!([{"id": "act-11aa22bb"}, {"id": "act-33cc44dd"}]);
    let name_and_id = json!([{"name": "a", "id": "pol-1a2b3c4d"}]);
    let mut cases = access_cases("access");
    cases.extend([
        (
            json!({"displayName": "a+b"}),
            "displayName may not contain + = @ or /: the platform refuses them (use - or . instead)",
        ),
        (
            json!({"access": {"accounts": two}}),
            "scope Account takes exactly one account: name it in access.accounts, or use scope: Organization for several",
        ),
        (
            json!({"access": {"groups": [{"name": "readers"}]}}),
            "scope Account: a group acts wherever its policies hold, so access.groups needs scope: Organization",
        ),
        (
            json!({"secret": {"name": "sh.helm.release.v1.app.v2"}}),
            "a Secret is not named sh.helm.release.v1.…: Helm would take it for one of its releases",
        ),
        (
            json!({"scope": "Organization", "access": {"accounts": []}}),
            "role Viewer or Editor needs at least one account in access.accounts",
        ),
        (json!({"access": {"role": "PolicyBased"}}), "role PolicyBased needs at least one policy in access.policies"),
        (
            json!({"access": {"policies": [{"name": "a"}]}}),
            "access.policies needs role: PolicyBased; with role Viewer or Editor leave policies out",
        ),
        (
            policy_based(
                json!([{"name": "a"}]),
                &json!({"access": {"accounts": [{"id": "act-11aa22bb", "role": "Viewer"}]}}),
            ),
            "an account's own role goes with role Viewer or Editor only; with PolicyBased the policies say what is allowed",
        ),
        (
            policy_based(json!([{"name": "a", "accounts": ["act-33cc44dd"]}]), &json!({})),
            "scope Account: a policy holds in the one account of access.accounts; leave policies[].accounts out",
        ),
        (policy_based(name_and_id, &json!({})), "name a policy by exactly one of name and id"),
        (
            json!({"secret": {"extraKeys": {"a b": "token"}}}),
            "keys of a Secret consist of letters, digits, - _ and .",
        ),
        (
            json!({"secret": {"keys": {"token": "T"}, "extraKeys": {"T": "account"}}}),
            "a key may carry one value only: secret.extraKeys repeats a key of secret.keys",
        ),
    ]);
    cases.extend(template_cases());
    cases.extend(rotation_cases(|rotation| json!({"rotation": rotation})));
    cases
}

/// Rules of `SecretTemplate`.
fn template_cases() -> Vec<Case> {
    let put = |template: Value| json!({"secret": {"template": template}});
    let labels = "labels of Kubernetes, of GitOps tools and of this operator have a meaning of their own: use a key of your own domain (app.kubernetes.io/name, component, part-of and version may be set)";
    let annotations = "annotations of Kubernetes, of GitOps tools and of this operator have a meaning of their own: use a key of your own domain (app.kubernetes.io/name, component, part-of and version may be set)";
    let mut cases: Vec<Case> = [
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/instance",
        "kubernetes.io/service-account.name",
        "kubectl.kubernetes.io/last-applied-configuration",
        "argocd.argoproj.io/tracking-id",
        "kustomize.toolkit.fluxcd.io/prune",
        "meta.helm.sh/release-name",
        "programmatic-users.io/user-id",
    ]
    .into_iter()
    .flat_map(|key| {
        [
            (put(json!({"labels": {key: "x"}})), labels),
            (put(json!({"annotations": {key: "x"}})), annotations),
        ]
    })
    .collect();
    cases.extend([
        // As many characters as the schema allows, and four times as many bytes.
        (
            put(json!({"data": {"a": "𝄞".repeat(8192)}})),
            "each file of secret.template.data may have 8192 bytes, and all together 65536",
        ),
        (
            put(json!({"data": (0..9).map(|i| (format!("k{i}"), "x".repeat(8192).into())).collect::<serde_json::Map<_, Value>>()})),
            "each file of secret.template.data may have 8192 bytes, and all together 65536",
        ),
        (
            put(json!({"annotations": {"a.example/b": "é".repeat(4096), "a.example/c": "é".repeat(4096), "a.example/d": "x"}})),
            "secret.template.annotations may have 16384 bytes in all",
        ),
        (
            put(json!({"labels": {"a b": "x"}})),
            "keys of labels are letters, digits, - _ and ., after an optional domain and /",
        ),
        (
            put(json!({"annotations": {"/x": "x"}})),
            "keys of annotations are letters, digits, - _ and ., after an optional domain and /",
        ),
        (
            put(json!({"labels": {"team": "a b"}})),
            "values of labels are at most 63 letters, digits, - _ and .",
        ),
        (
            put(json!({"data": {"a b": "x"}})),
            "keys of a Secret consist of letters, digits, - _ and .",
        ),
    ]);
    cases
}

/// Rules of `Rotation`, which users have and classes have as a default.
fn rotation_cases(put: impl Fn(Value) -> Value) -> Vec<Case> {
    vec![
        (
            put(json!({"every": "59s"})),
            "rotation.every has to be 1m or longer",
        ),
        (
            put(json!({"windows": [{"cron": "0 2 * * SUN", "duration": "2h"}]})),
            "rotation.windows needs rotation.every: windows say when a token that is old enough is replaced",
        ),
        (
            put(json!({"every": "24h", "overlap": "24h"})),
            "rotation.overlap, 24h by default, has to be shorter than rotation.every, or more and more old tokens stay valid",
        ),
        (
            put(json!({"every": "12h"})),
            "rotation.overlap, 24h by default, has to be shorter than rotation.every",
        ),
        (
            put(json!({"waitForConsumers": true})),
            "rotation.waitForConsumers needs rotation.maxOverlap: without a bound a rollout that is stuck would keep an old token valid for ever",
        ),
        (
            put(json!({"maxOverlap": "48h"})),
            "rotation.maxOverlap needs rotation.waitForConsumers: true; without it rotation.overlap says how long the old token stays valid",
        ),
        (
            put(json!({"maxOverlap": "48h", "waitForConsumers": false})),
            "rotation.maxOverlap needs rotation.waitForConsumers: true",
        ),
        (
            put(json!({"overlap": "2h", "maxOverlap": "1h", "waitForConsumers": true})),
            "rotation.maxOverlap has to be as long as rotation.overlap, 24h by default, or longer",
        ),
        (
            put(json!({"maxOverlap": "12h", "waitForConsumers": true})),
            "rotation.maxOverlap has to be as long as rotation.overlap, 24h by default, or longer",
        ),
        (
            put(json!({"every": "72h", "maxOverlap": "72h", "waitForConsumers": true})),
            "rotation.maxOverlap has to be shorter than rotation.every, or more and more old tokens stay valid",
        ),
        (
            put(json!({"every": "720h", "windows": [{"cron": "0 2 * * SUN", "duration": "169h"}]})),
            "the duration of a rotation window is longer than 0s and at most 168h",
        ),
    ]
}

/// Rules of `Access`, which is in the user at `access` and in the class at `defaults.access`.
fn access_cases(at: &str) -> Vec<Case> {
    let put = |access: Value| {
        if at == "access" {
            json!({"access": access})
        } else {
            json!({"defaults": {"access": access}})
        }
    };
    let based = |policy: Value| json!({"role": "PolicyBased", "accounts": [{"id": "act-11aa22bb"}], "policies": [policy]});
    vec![
        (
            put(json!({"role": "Viewer", "accounts": [{"id": "act-11aa22bb", "role": "PolicyBased"}]})),
            "an account's own role is Viewer or Editor",
        ),
        (
            put(
                json!({"role": "Viewer", "accounts": [{"id": "act-11aa22bb"}], "groups": [{"name": "a", "id": "ugr-1a2b3c4d"}]}),
            ),
            "name a group by exactly one of name and id",
        ),
        (
            put(based(json!({"accounts": ["act-11aa22bb"]}))),
            "name a policy by exactly one of name and id",
        ),
        (
            put(based(json!({"name": "a", "accounts": ["*", "act-11aa22bb"]}))),
            "\"*\" already means all accounts: name no other beside it",
        ),
    ]
}

pub fn organization_cases() -> Vec<Case> {
    vec![
        (
            json!({"endpoint": {"url": "http://127.0.0.1:8700"}}),
            "the admin credential must not travel in clear text: use an https:// url, or, for a platform on loopback or \
             inside the cluster only, set insecure: true",
        ),
        (
            json!({"endpoint": {"url": "https://api.example.com", "timeout": "61s"}}),
            "endpoint.timeout is longer than 0s and at most 1m",
        ),
    ]
}

pub fn class_cases() -> Vec<Case> {
    let mut cases = access_cases("defaults.access");
    cases.extend(rotation_cases(
        |rotation| json!({"defaults": {"rotation": rotation}}),
    ));
    cases.push((
        json!({"rotation": {"maxAge": "1h", "minOverlap": "1h"}}),
        "rotation.minOverlap has to be shorter than rotation.maxAge: a token is replaced, and its overlap over, before it is older than maxAge",
    ));
    cases
}

/// A rule about the name of an object, and a name that it refuses.
pub const NAMED: (&str, &str) = (
    "sh.helm.release.v1.app.v2",
    "an object is not named sh.helm.release.v1.…: Helm would take a Secret of that name for one of its releases",
);

/// Rules about changes.
pub const CHANGES: [&str; 2] = [
    "className cannot be changed: delete this object and make one with the other class",
    "organizationName cannot be changed: users of this class live in that organization. Make another class",
];

/// JSON merge patch.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(
                target
                    .as_object_mut()
                    .unwrap()
                    .entry(key.clone())
                    .or_insert(Value::Null),
                value,
            );
        }
    }
}
