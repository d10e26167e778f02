//! Every rule of the three kinds, with its exact message, on the real API server.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use programmatic_users::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};
use serde_json::{Value, json};
use support::Cluster;
use support::wait::{SOON, eventually};
use support::world::{fresh_suffix, make_namespace};

/// What is wrong, a JSON merge patch that makes a good spec wrong so, and the message.
type Case = (Value, &'static str);

fn user() -> Value {
    json!({"className": "c", "scope": "Account", "access": {"role": "Viewer", "accounts": [{"id": "act-11aa22bb"}]}})
}

fn organization() -> Value {
    json!({"endpoint": {"url": "https://api.example.com"}, "credentials": {"secretName": "admin"}})
}

fn class() -> Value {
    json!({"organizationName": "acme", "scopes": ["Account"]})
}

fn policy_based(policies: Value, more: &Value) -> Value {
    let mut spec = json!({"access": {"role": "PolicyBased"}});
    spec["access"]["policies"] = policies;
    merge(&mut spec, more);
    spec
}

fn user_cases() -> Vec<Case> {
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

fn organization_cases() -> Vec<Case> {
    vec![(
        json!({"endpoint": {"url": "http://127.0.0.1:8700"}}),
        "the admin credential must not travel in clear text: use an https:// url, or, for a platform on loopback or \
             inside the cluster only, set insecure: true",
    )]
}

fn class_cases() -> Vec<Case> {
    let mut cases = access_cases("defaults.access");
    cases.extend(rotation_cases(
        |rotation| json!({"defaults": {"rotation": rotation}}),
    ));
    cases
}

/// Rules about changes.
const CHANGES: [&str; 2] = [
    "className cannot be changed: delete this object and make one with the other class",
    "organizationName cannot be changed: users of this class live in that organization. Make another class",
];

/// JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
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

fn api<K: kube::Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
) -> (Api<DynamicObject>, ApiResource) {
    let kind = ApiResource::erase::<K>(&());
    let api = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    (api, kind)
}

/// Creates without effect; what the API server says against it.
async fn refusal((api, kind): &(Api<DynamicObject>, ApiResource), spec: &Value) -> Result<(), String> {
    let object = DynamicObject::new("tried", kind).data(json!({"spec": spec}));
    match api
        .create(
            &PostParams {
                dry_run: true,
                field_manager: None,
            },
            &object,
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

async fn refuses(api: &(Api<DynamicObject>, ApiResource), good: Value, cases: Vec<Case>) {
    assert_eq!(
        refusal(api, &good).await,
        Ok(()),
        "the object that the cases start from is good"
    );
    for (patch, message) in cases {
        let mut spec = good.clone();
        merge(&mut spec, &patch);
        let said = refusal(api, &spec).await.expect_err(&format!("accepted: {spec}"));
        assert!(
            said.contains(message),
            "for {spec}\nexpected: {message}\nsaid:     {said}"
        );
    }
}

#[tokio::test]
async fn users_that_make_no_sense_are_refused() {
    let client = Cluster::shared().await.client().await;
    refuses(
        &api::<ProgrammaticUser>(&client, Some("default")),
        user(),
        user_cases(),
    )
    .await;
}

#[tokio::test]
async fn organizations_that_make_no_sense_are_refused() {
    let client = Cluster::shared().await.client().await;
    refuses(
        &api::<Organization>(&client, None),
        organization(),
        organization_cases(),
    )
    .await;
}

#[tokio::test]
async fn classes_that_make_no_sense_are_refused() {
    let client = Cluster::shared().await.client().await;
    refuses(
        &api::<ProgrammaticUserClass>(&client, None),
        class(),
        class_cases(),
    )
    .await;
}

#[tokio::test]
async fn every_forbidden_character_of_a_display_name_is_refused() {
    let client = Cluster::shared().await.client().await;
    let users = api::<ProgrammaticUser>(&client, Some("default"));
    let cases = ["a+b", "a=b", "a@b", "a/b"];
    let message = "displayName may not contain + = @ or /: the platform refuses them (use - or . instead)";
    refuses(
        &users,
        user(),
        cases.map(|name| (json!({"displayName": name}), message)).into(),
    )
    .await;
}

#[tokio::test]
async fn values_of_the_wrong_shape_are_refused_with_the_field() {
    let client = Cluster::shared().await.client().await;
    let cases = vec![
        (json!({"drift": {"interval": "5 minutes"}}), "spec.drift.interval"),
        (json!({"drift": {"interval": "1.5h"}}), "spec.drift.interval"),
        (
            json!({"endpoint": {"url": "https://user:password@api.example.com/path"}}),
            "spec.endpoint.url",
        ),
        (
            json!({"credentials": {"secretName": ""}}),
            "spec.credentials.secretName",
        ),
    ];
    refuses(&api::<Organization>(&client, None), organization(), cases).await;
    let cases = vec![
        (json!({"className": ""}), "spec.className"),
        (json!({"scope": "Galaxy"}), "spec.scope"),
        (
            json!({"consumers": {"restart": "Always"}}),
            "spec.consumers.restart",
        ),
        (json!({"access": {"role": "Owner"}}), "spec.access.role"),
        (
            json!({"access": {"accounts": [{"id": "11aa22bb"}]}}),
            "spec.access.accounts[0].id",
        ),
        (json!({"secret": {"name": "Upper"}}), "spec.secret.name"),
        (
            json!({"secret": {"template": {"annotations": {"note": "x".repeat(4097)}}}}),
            "spec.secret.template.annotations.note: Too long",
        ),
        (
            json!({"secret": {"template": {"data": {"f": "x".repeat(8193)}}}}),
            "spec.secret.template.data.f: Too long",
        ),
        (
            json!({"secret": {"extraKeys": {"A": "password"}}}),
            "spec.secret.extraKeys.A",
        ),
        (
            json!({"scope": "Organization", "access": {"accounts": [{"id": "act-11aa22bb"}, {"id": "act-11aa22bb"}]}}),
            "spec.access.accounts[1]: Duplicate value",
        ),
    ];
    refuses(&api::<ProgrammaticUser>(&client, Some("default")), user(), cases).await;
}

#[tokio::test]
async fn what_must_not_change_cannot_be_changed() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    // Nobody looks after these objects, so they get no finalizer and go with what holds them.
    let namespace = format!("rules-{}", fresh_suffix());
    make_namespace(&client, &namespace).await;
    let users = api::<ProgrammaticUser>(&client, Some(&namespace));
    let classes = api::<ProgrammaticUserClass>(&client, None);
    let tries = [
        (&users, user(), json!({"className": "other"}), CHANGES[0]),
        (
            &classes,
            class(),
            json!({"organizationName": "other"}),
            CHANGES[1],
        ),
    ];
    for ((api, kind), good, change, message) in tries {
        let name = format!("fixed-{}", fresh_suffix());
        let object = DynamicObject::new(&name, kind).data(json!({"spec": good}));
        api.create(&PostParams::default(), &object).await.unwrap();
        let said = api
            .patch(
                &name,
                &PatchParams::default(),
                &Patch::Merge(json!({"spec": change})),
            )
            .await;
        let said = said.expect_err("the change is refused").to_string();
        assert!(said.contains(message), "expected: {message}\nsaid:     {said}");
        let harmless = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
        api.patch(&name, &PatchParams::default(), &harmless)
            .await
            .unwrap();
        api.delete(&name, &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }
}

#[test]
fn no_rule_is_without_a_test() {
    for (name, crd) in programmatic_users::api::crds() {
        let mut rules = BTreeSet::new();
        messages(&serde_json::to_value(&crd).unwrap(), &mut rules);
        let cases = match name {
            "organizations.yaml" => organization_cases(),
            "programmaticuserclasses.yaml" => class_cases(),
            _ => user_cases(),
        };
        let tested: BTreeSet<String> = cases
            .iter()
            .map(|(_, message)| (*message).to_owned())
            .chain(CHANGES.map(str::to_owned))
            .collect();
        let missing: Vec<_> = rules.difference(&tested).collect();
        assert!(
            missing.is_empty(),
            "{name}: add a case to this file for {missing:#?}"
        );
    }
}

fn messages(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for rule in map
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let message = rule["message"]
                    .as_str()
                    .expect("every rule says what to write instead");
                found.insert(message.to_owned());
            }
            map.values().for_each(|v| messages(v, found));
        }
        Value::Array(all) => all.iter().for_each(|v| messages(v, found)),
        _ => {}
    }
}

#[tokio::test]
async fn kubectl_explains_the_fields() {
    let cluster = Cluster::shared().await;
    // The API server publishes documentation a moment after it serves a kind.
    let text = eventually("kubectl explain", SOON, async || {
        cluster.kubectl(&["explain", "pu.spec.access"])
    })
    .await;
    let text = text.unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "What the user may do",
        "The accounts in which the role holds",
        "Policies by name or id",
    ] {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    for (field, words) in [
        ("pu.spec.secret.template.data", "{{ token }}"),
        ("pu.spec.rotation", "by the platform's clock"),
        ("pu.spec.consumers.restart", "one after the other"),
        ("pu.status.consumers", "from before the Secret changed"),
        ("pu.spec.deletionPolicy", "Retain"),
        ("pu.status.journal", "Not for other programs"),
        ("puc.spec.allow", "accounts"),
        ("puc.spec.onRevoked", "Revoke"),
        ("puo.spec.credentials", "operator's namespace"),
    ] {
        let text = cluster.kubectl(&["explain", field]).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{words:?} is missing in {field}: {text}");
    }
}
