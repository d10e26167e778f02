//! Organizations: each with its own limits, credential and troubles; what does not belong to any object.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{CREDENTIAL_VALID, Organization, OrganizationStatus, ProgrammaticUser};
use serde_json::{Value, json};

use crate::support::builders::{admin_secret, named, permissive_class};
use crate::support::wait::SOON;
use crate::support::{BILLING, Operator, PAYMENTS, Platform, World, platform};

fn condition(status: &OrganizationStatus, kind: &str) -> Option<Condition> {
    status.conditions.iter().find(|c| c.type_ == kind).cloned()
}

async fn until<T>(world: &World, what: &str, wanted: impl Fn(&Organization) -> Option<T>) -> T {
    world
        .eventually(what, SOON, async || {
            let organization = world.organization().await;
            wanted(&organization).ok_or_else(|| format!("{:?}", organization.status))
        })
        .await
}

/// Changes the spec of the world's organization.
pub async fn change(world: &World, spec: Value) {
    let api: Api<Organization> = Api::all(world.client());
    let patch = Patch::Merge(json!({"spec": spec}));
    api.patch(world.organization_name(), &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn tells(reason: &'static str) -> impl Fn(&ProgrammaticUser) -> bool {
    move |user| {
        let conditions = user.status.iter().flat_map(|s| &s.conditions);
        conditions.into_iter().any(|c| c.reason == reason)
    }
}

/// Requests that the platform has logged with this status.
fn answered(world: &World, status: u16) -> usize {
    let log = std::fs::read_to_string(world.platform().dir().join("platform.err")).unwrap();
    let status = format!("status={status} ");
    log.lines()
        .filter(|l| l.contains("path=\"/setup") && l.contains(&status))
        .count()
}

/// A user of this installation on the platform, without an object.
pub async fn orphan(world: &World, uid8: &str, nonce: &str) -> String {
    let secrets: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    let secret = secrets.get("programmatic-users-instance").await.unwrap();
    let instance = String::from_utf8(secret.data.unwrap()["instance-id"].0.clone()).unwrap();
    made_by_hand(world, &format!("old/k8s.{instance}.{uid8}.{nonce}")).await
}

async fn made_by_hand(world: &World, name: &str) -> String {
    let body = json!({"name": name, "accounts": [{"id": PAYMENTS, "role": "viewer"}]});
    let answer = world
        .platform()
        .post("/setup/user/programmatic", &world.platform().admin_token, &body)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.message());
    answer.items()[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_platform_that_does_not_answer_delays_no_user_of_another_organization() {
    let world = World::builder("isolation").controller_stopped().start().await;
    // The longest that the schema takes: a request to the frozen platform stays open for most of the test.
    change(&world, json!({"endpoint": {"timeout": "1m"}})).await;
    let options = platform::Options {
        address: "127.0.0.1".to_owned(),
        organization: "Other".to_owned(),
        accounts: vec![(BILLING.to_owned(), "billing".to_owned())],
        flags: vec![],
        database: None,
    };
    let other = Platform::start(&world.dir().join("other"), options)
        .await
        .unwrap();
    let name = world.unique("other");
    let token = [("token", other.admin_token.as_str())];
    let secret = admin_secret("other", world.operator_namespace(), other.url(), &token);
    world.apply(&secret).await.unwrap();
    let mut organization = crate::support::builders::organization(&name, other.url(), "5m");
    organization.spec.credentials.secret_name = "other".to_owned();
    world.apply(&organization).await.unwrap();
    let class = permissive_class(&name, &name, world.namespaces());
    world.apply(&class).await.unwrap();
    let mut options = world.controller().options().clone();
    options.organizations.push(name.clone());
    world.platform().freeze().await;
    for i in 0..40 {
        world.user(&format!("stuck{i}")).viewer(PAYMENTS).apply().await;
    }
    let controller = Operator::start(world.dir(), "both", options).await.unwrap();
    for i in 0..5 {
        let user = world.user(&format!("free{i}")).viewer(BILLING);
        user.with(|s| s.class_name.clone_from(&name)).apply().await;
    }
    for i in 0..5 {
        world.ready(&format!("free{i}")).await;
    }
    let stuck = world.get("stuck0").await.status.unwrap_or_default();
    assert!(stuck.journal.is_empty(), "nothing was asked for");
    world.platform().thaw().await;
    for i in 0..40 {
        world.ready(&format!("stuck{i}")).await;
    }
    controller.stop().await;
}

#[tokio::test]
async fn a_platform_that_asks_for_a_pause_gets_one() {
    let world = World::builder("pause")
        .platform_flags(&["--rate-limit", "15"])
        .start()
        .await;
    let names: Vec<String> = (0..20).map(|i| format!("u{i}")).collect();
    for name in &names {
        world.user(name).viewer(PAYMENTS).apply().await;
    }
    for name in &names {
        world
            .eventually("all to be Ready", SOON * 4, async || {
                let user = world.get(name).await;
                if tells("Ready")(&user) {
                    Ok(())
                } else {
                    Err(format!("{name}: {:?}", user.status))
                }
            })
            .await;
    }
    assert_eq!(world.platform().users().await.len(), names.len());
    let refused = answered(&world, 429);
    assert!(refused > 0, "the limit was met");
    // What was on its way already, at each of two or three pauses; without them each try would be refused.
    assert!(refused <= 24, "{refused} requests were refused");
}

#[tokio::test]
async fn users_beyond_creates_per_hour_wait_with_a_reason() {
    let world = World::builder("budget").controller_stopped().start().await;
    change(&world, json!({"limits": {"createsPerHour": 2}})).await;
    world.controller().resume().await.unwrap();
    world.user("one").viewer(PAYMENTS).apply().await;
    world.ready("one").await;
    world.user("three").viewer(PAYMENTS).apply().await;
    let user = world
        .until("three", "to tell", tells("CreateBudgetExhausted"))
        .await;
    let conditions = user.status.unwrap().conditions;
    let message = &conditions
        .iter()
        .find(|c| c.reason == "CreateBudgetExhausted")
        .unwrap()
        .message;
    assert!(message.contains("raise spec.limits.createsPerHour"), "{message}");
    assert!(
        message.contains("its share of limits.createsPerHour (half of 2)"),
        "{message}"
    );
    assert_eq!(world.platform().users().await.len(), 1, "nothing was asked for");
    change(&world, json!({"limits": {"createsPerHour": 10}})).await;
    world.ready("three").await;
}

#[tokio::test]
async fn a_refused_credential_stops_all_calls_and_a_good_one_starts_them_at_once() {
    let world = World::new("breaker").await;
    world.user("before").viewer(PAYMENTS).apply().await;
    world.ready("before").await;
    let token = world.token("before").await;
    world.set_credential(&"0".repeat(64)).await;
    until(&world, "the organization to tell", |o| {
        condition(o.status.as_ref()?, CREDENTIAL_VALID).filter(|c| c.status == "False")
    })
    .await;
    let refused = answered(&world, 401);
    let names: Vec<String> = (0..10).map(|i| format!("u{i}")).collect();
    for name in &names {
        world.user(name).viewer(PAYMENTS).apply().await;
    }
    for name in &names {
        world.until(name, "to tell", tells("CredentialInvalid")).await;
    }
    let more = answered(&world, 401) - refused;
    assert!(more <= 1, "one probe a minute, not {more} calls");
    assert!(world.platform().accepts(&token).await, "what exists is untouched");
    world.set_credential(&world.platform().admin_token).await;
    for name in &names {
        world.ready(name).await;
    }
    assert_eq!(world.platform().users().await.len(), names.len() + 1);
    // The Secret is watched: it is not read for each call.
    let entries = world.audit().await;
    let reads = entries.iter().filter(|e| {
        e.is_operator()
            && e.verb == "get"
            && e.object_ref.resource == "secrets"
            && e.object_ref.name == "admin"
    });
    let reads = reads.count();
    assert!(reads <= 10, "{reads} reads of the credential");
}

#[tokio::test]
async fn the_previous_token_is_used_while_the_current_one_is_refused() {
    let world = World::builder("previous").controller_stopped().start().await;
    change(&world, json!({"credentials": {"previousKey": "token-previous"}})).await;
    let good = world.platform().admin_token.clone();
    let secret = |current: &str| {
        let tokens = [("token", current), ("token-previous", good.as_str())];
        admin_secret("admin", world.operator_namespace(), world.platform_url(), &tokens)
    };
    world.apply(&secret(&"0".repeat(64))).await.unwrap();
    world.controller().resume().await.unwrap();
    world.user("bridged").viewer(PAYMENTS).apply().await;
    world.ready("bridged").await;
    let reported = until(&world, "the organization to tell", |o| {
        condition(o.status.as_ref()?, CREDENTIAL_VALID).filter(|c| c.reason == "PreviousAccepted")
    })
    .await;
    assert_eq!(reported.status, "True");
    assert!(
        reported.message.contains("put a valid token under token"),
        "{}",
        reported.message
    );
    let digits = |o: &Organization| {
        o.status
            .as_ref()?
            .credential
            .as_ref()
            .map(|c| c.last_digits.clone())
    };
    assert_eq!(digits(&world.organization().await).as_deref(), Some(&good[60..]));
    world.apply(&secret(&good)).await.unwrap();
    until(&world, "the current token to be used", |o| {
        condition(o.status.as_ref()?, CREDENTIAL_VALID).filter(|c| c.reason == "Accepted")
    })
    .await;
}

#[tokio::test]
async fn users_that_no_object_knows_are_reported_and_left_alone() {
    let world = World::builder("orphans").drift("1s").start().await;
    world.user("ours").viewer(PAYMENTS).apply().await;
    world.ready("ours").await;
    made_by_hand(&world, "by-hand").await;
    let id = orphan(&world, "aaaaaaaa", "aaaabbbbccccdddd").await;
    let found = until(&world, "the orphan to be reported", |o| {
        condition(o.status.as_ref()?, "OrphansFound")
    })
    .await;
    assert!(
        found.message.contains(&format!("1 user ({id})")),
        "{}",
        found.message
    );
    assert!(
        found.message.contains("set spec.orphanPolicy: Delete"),
        "{}",
        found.message
    );
    let counts = world.organization().await.status.unwrap().users.unwrap();
    assert_eq!((counts.managed, counts.unmanaged, counts.orphaned), (2, 1, 1));
    let path = format!("/setup/user/{id}");
    world
        .platform()
        .delete(&path, &world.platform().admin_token)
        .await;
    until(&world, "the condition to go", |o| {
        let status = o.status.as_ref()?;
        (condition(status, "OrphansFound").is_none() && status.users?.orphaned == 0).then_some(())
    })
    .await;
}

/// A Secret like those that earlier versions kept when objects were deleted, without a record of it.
async fn claims_retained(world: &World, name: &str, user_id: &str, nonce: &str) {
    let mut secret = Secret {
        metadata: named(name, world.namespace()),
        ..Secret::default()
    };
    let owned = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
    secret.labels_mut().extend(
        [
            ("app.kubernetes.io/managed-by", "programmatic-users"),
            ("programmatic-users.io/retained", "true"),
        ]
        .map(owned),
    );
    secret.annotations_mut().extend(
        [
            ("programmatic-users.io/user-id", user_id),
            ("programmatic-users.io/nonce", nonce),
        ]
        .map(owned),
    );
    let made = world.secrets().create(&PostParams::default(), &secret).await;
    made.unwrap();
}

#[tokio::test]
async fn orphans_are_deleted_where_the_policy_says_so() {
    let world = World::builder("sweep")
        .drift("1s")
        .all_namespaces()
        .controller_flags(&["--create-timeout", "2s", "--settle-slack", "0s"])
        .start()
        .await;
    let ours = world.user("ours").viewer(PAYMENTS).apply().await.uid().unwrap();
    world.ready("ours").await;
    let token = world.token("ours").await;
    let by_hand = made_by_hand(&world, "by-hand").await;
    let gone = orphan(&world, "aaaaaaaa", "aaaabbbbccccdddd").await;
    let kept = orphan(&world, "bbbbbbbb", "aaaabbbbccccdddd").await;
    // The label alone hides no user, and neither does an attempt that is not this user's.
    let hidden = orphan(&world, "cccccccc", "aaaabbbbccccdddd").await;
    claims_retained(&world, "retained", &kept, "aaaabbbbccccdddd").await;
    claims_retained(&world, "forged", &hidden, "bbbbbbbbccccdddd").await;
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    // One for an object that is gone, one for an attempt that its object does not know, one that is not ours.
    let namespace = world.namespace();
    for (name, uid, object) in [
        ("staged-gone", "11111111-2222", Some("gone")),
        ("staged-given-up", ours.as_str(), Some("ours")),
        ("staged-by-others", "11111111-2222", None),
    ] {
        let mut staged = Secret {
            metadata: named(name, world.operator_namespace()),
            ..Secret::default()
        };
        staged
            .labels_mut()
            .insert("programmatic-users.io/staging-for".to_owned(), uid.to_owned());
        let marks = object.map(|o| {
            [
                ("programmatic-users.io/staged-for", format!("{namespace}/{o}")),
                ("programmatic-users.io/nonce", "aaaabbbbccccdddd".to_owned()),
            ]
        });
        let marks = marks.into_iter().flatten().map(|(k, v)| (k.to_owned(), v));
        staged.annotations_mut().extend(marks);
        own.create(&PostParams::default(), &staged).await.unwrap();
    }
    for name in ["staged-gone", "staged-given-up"] {
        world
            .eventually("the staged Secret to go", SOON, async || {
                match own.get_opt(name).await {
                    Ok(None) => Ok(()),
                    other => Err(format!("{name}: {}", other.is_ok())),
                }
            })
            .await;
    }
    assert!(own.get_opt("staged-by-others").await.unwrap().is_some());

    // Reported only, although two lists have shown it for longer than a settle window.
    let reported = until(&world, "the orphan to be reported", |o| {
        condition(o.status.as_ref()?, "OrphansFound")
    })
    .await;
    assert!(
        [&gone, &kept, &hidden]
            .iter()
            .all(|id| reported.message.contains(*id)),
        "{}",
        reported.message
    );
    let there = async |id: &str| match world.platform().user(id).await {
        Ok(_) => Ok(()),
        Err(status) => Err(status.to_string()),
    };
    world
        .always("the orphan", Duration::from_secs(6), async || there(&gone).await)
        .await;

    change(&world, json!({"orphanPolicy": "Delete"})).await;
    // What an earlier version retained is reported and never deleted.
    until(&world, "the condition to name one", |o| {
        let message = condition(o.status.as_ref()?, "OrphansFound")?.message;
        (!message.contains(&gone) && !message.contains(&hidden) && message.contains(&kept)).then_some(())
    })
    .await;
    assert!(there(&gone).await.is_err() && there(&hidden).await.is_err());
    assert!(there(&kept).await.is_ok() && there(&by_hand).await.is_ok());
    assert!(world.platform().accepts(&token).await);
}

#[tokio::test]
async fn an_organization_with_users_is_kept_until_they_are_gone() {
    let world = World::new("protected").await;
    world.user("needy").viewer(PAYMENTS).apply().await;
    world.ready("needy").await;
    let token = world.token("needy").await;
    change(&world, json!({"deletionProtection": true})).await;
    until(&world, "its finalizer", |o| {
        o.finalizers()
            .iter()
            .any(|f| f == "programmatic-users.io/organization")
            .then_some(())
    })
    .await;
    let api: Api<Organization> = Api::all(world.client());
    api.delete(world.organization_name(), &DeleteParams::default())
        .await
        .unwrap();
    let reported = until(&world, "the organization to tell", |o| {
        condition(o.status.as_ref()?, "DeletionBlocked")
    })
    .await;
    assert!(
        reported
            .message
            .contains("1 ProgrammaticUsers still have users in this organization"),
        "{}",
        reported.message
    );
    assert_eq!(reported.reason, "UsersExist");
    world.delete("needy").await;
    world.gone("needy").await;
    assert!(!world.platform().accepts(&token).await);
    world
        .eventually("the organization to be gone", SOON, async || {
            match api.get_opt(world.organization_name()).await {
                Ok(None) => Ok(()),
                Ok(Some(o)) => Err(format!("{:?}", o.status)),
                Err(e) => Err(e.to_string()),
            }
        })
        .await;
}
