//! Every rule of the three kinds, with its exact message, on the real API server.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "crd_rules/cases.rs"]
mod cases;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use cases::{
    CHANGES, Case, NAMED, class, class_cases, merge, organization, organization_cases, user, user_cases,
};
use futures::{StreamExt as _, stream};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use programmatic_users::api::{Organization, ProgrammaticUser, ProgrammaticUserClass};
use serde_json::{Value, json};
use support::Cluster;
use support::schema::{self, Random};
use support::wait::{SOON, eventually};
use support::world::{fresh_suffix, make_namespace};

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
        (json!({"drift": {"interval": "9999999h"}}), "spec.drift.interval"),
        (
            json!({"limits": {"requestsPerMinute": 2_147_483_648_u64}}),
            "spec.limits.requestsPerMinute",
        ),
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
        (json!({"expireAt": "2030-01-01T00:00:00+99:00"}), "spec.expireAt"),
        (json!({"expireAt": "9999-12-31T23:59:59Z"}), "spec.expireAt"),
        (
            json!({"rotation": {"overlap": "99999999999999999999999999999s"}}),
            "spec.rotation.overlap",
        ),
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
async fn immutable_fields_cannot_be_changed() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    // No operator manages these objects, so they get no finalizer and go with what holds them.
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

#[tokio::test]
async fn an_object_is_not_named_after_a_helm_release() {
    let client = Cluster::shared().await.client().await;
    let (users, kind) = api::<ProgrammaticUser>(&client, Some("default"));
    let (name, message) = NAMED;
    let object = DynamicObject::new(name, &kind).data(json!({"spec": user()}));
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let said = users
        .create(&params, &object)
        .await
        .expect_err("the name is refused");
    assert!(said.to_string().contains(message), "{said}");
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
            .chain([NAMED.1.to_owned()])
            .collect();
        let missing: Vec<_> = rules.difference(&tested).collect();
        assert!(
            missing.is_empty(),
            "{name}: add a case to crd_rules/cases.rs for {missing:#?}"
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

/// Objects that the API server takes, of many that are made from the schema of one kind: each is read back as it is stored.
/// `base` is good, and one or two of its fields are made anew in each try.
async fn reads_what_is_stored<K>((api, kind): &(Api<DynamicObject>, ApiResource), file: &str, base: Value)
where
    K: kube::Resource<DynamicType = ()> + serde::de::DeserializeOwned,
{
    let schema = schema::of(file);
    let has_status = schema["properties"]["status"].is_object();
    let name = format!("shaped-{}", fresh_suffix());
    let first = DynamicObject::new(&name, kind).data(json!({ "spec": base }));
    let stored = api.create(&PostParams::default(), &first).await.unwrap();
    let part = |n: u64| {
        if has_status && n.is_multiple_of(3) {
            "status"
        } else {
            "spec"
        }
    };
    let tries = (0..900).map(|n| {
        let mut random = Random::new(n);
        let mut object = stored.clone();
        let part = part(n);
        let fields: Vec<&String> = schema["properties"][part]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        for _ in 0..=random.below(2) {
            let field = random.pick(&fields).as_str();
            let made = schema::value(&schema["properties"][part]["properties"][field], &mut random);
            object.data[part][field] = made;
        }
        async move {
            let params = PostParams {
                dry_run: true,
                field_manager: None,
            };
            let written = if part == "status" {
                api.replace_status(&object.name_any(), &params, &object).await
            } else {
                api.replace(&object.name_any(), &params, &object).await
            };
            match written {
                Ok(stored) => Some((part, stored)),
                Err(kube::Error::Api(status)) if status.code < 500 => None,
                Err(error) => panic!("{error}: {}", object.data),
            }
        }
    });
    let taken: Vec<_> = stream::iter(tries)
        .buffer_unordered(4)
        .filter_map(ready)
        .collect()
        .await;
    let mut parts = BTreeMap::new();
    for (part, stored) in &taken {
        *parts.entry(*part).or_insert(0) += 1;
        let read = serde_json::from_value::<K>(serde_json::to_value(stored).unwrap());
        if let Err(error) = read {
            panic!(
                "{file}: the API server stores what this version cannot read: {error}\n{}",
                stored.data
            );
        }
    }
    println!("{file}: of 900 objects the API server took {parts:?}, and all are read");
    assert!(
        parts["spec"] > 100 && parts.get("status").is_none_or(|n| *n > 50),
        "{parts:?}"
    );
    api.delete(&name, &kube::api::DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_api_server_stores_can_be_read() {
    let client = Cluster::shared().await.client().await;
    let namespace = format!("shapes-{}", fresh_suffix());
    make_namespace(&client, &namespace).await;
    let users = api::<ProgrammaticUser>(&client, Some(&namespace));
    reads_what_is_stored::<ProgrammaticUser>(&users, "programmaticusers.yaml", user()).await;
    let classes = api::<ProgrammaticUserClass>(&client, None);
    reads_what_is_stored::<ProgrammaticUserClass>(&classes, "programmaticuserclasses.yaml", class()).await;
    let organizations = api::<Organization>(&client, None);
    reads_what_is_stored::<Organization>(&organizations, "organizations.yaml", organization()).await;
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
