//! The failures of `docs/failures.md` that no other test produces on its way.

use programmatic_users::api::{
    Endpoint, Organization, ProgrammaticUser, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, Rotation,
};
use serde_json::json;

use crate::support::proxy::{Act, Seen};
use crate::support::{PAYMENTS, World, builders};

fn ready_reason(user: &ProgrammaticUser) -> Option<&str> {
    let conditions = &user.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|c| c.type_ == "Ready")
        .map(|c| c.reason.as_str())
}

fn ready_message(user: &ProgrammaticUser) -> String {
    let conditions = user.status.iter().flat_map(|s| &s.conditions);
    conditions
        .filter(|c| c.type_ == "Ready")
        .map(|c| c.message.clone())
        .collect()
}

/// Waits until `name` says this as the reason of not being Ready; the message.
async fn says(world: &World, name: &str, reason: &'static str) -> String {
    let user = world
        .until(name, &format!("to say {reason}"), |u| {
            ready_reason(u) == Some(reason)
        })
        .await;
    ready_message(&user)
}

#[tokio::test]
async fn faults_of_the_objects_that_a_user_depends_on_are_named() {
    let world = World::builder("around")
        .controller_flags(&["--organization", "nowhere"])
        .start()
        .await;
    let homeless = world
        .class("homeless")
        .with(|c| c.organization_name = "nowhere".to_owned())
        .apply()
        .await;
    world.user("a").viewer(PAYMENTS).class(&homeless).apply().await;
    assert!(
        says(&world, "a", "UnknownOrganization")
            .await
            .contains("Organization nowhere, which does not exist")
    );
    world
        .user("b")
        .viewer(PAYMENTS)
        .with(|s| s.access = None)
        .apply()
        .await;
    assert!(
        says(&world, "b", "AccessMissing")
            .await
            .contains("set spec.access")
    );
    assert_eq!(world.platform().users().await.len(), 0);
}

/// An Organization that differs from the world's in its endpoint, and a class in it.
async fn elsewhere(world: &World, name: &str, change: impl FnOnce(&mut Endpoint)) -> String {
    let mut organization = builders::organization(name, world.platform().url(), "15s");
    change(&mut organization.spec.endpoint);
    world.apply::<Organization>(&organization).await.unwrap();
    world
        .class(name)
        .with(|c| name.clone_into(&mut c.organization_name))
        .apply()
        .await
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_used_is_named() {
    let world = World::builder("endpoint")
        .controller_flags(&["--organization", "public", "--organization", "untrusted"])
        .start()
        .await;
    let public = elsewhere(&world, "public", |e| e.url = "http://198.51.100.7:80".to_owned()).await;
    world.user("clear").viewer(PAYMENTS).class(&public).apply().await;
    let message = says(&world, "clear", "InvalidEndpoint").await;
    assert!(message.contains("https"), "{message}");
    let untrusted = elsewhere(&world, "untrusted", |e| {
        e.ca_bundle = Some("no certificate".to_owned());
    })
    .await;
    world
        .user("bundle")
        .viewer(PAYMENTS)
        .class(&untrusted)
        .apply()
        .await;
    let message = says(&world, "bundle", "InvalidConfiguration").await;
    assert!(
        message.contains("endpoint.caBundle holds no PEM certificate"),
        "{message}"
    );
}

#[tokio::test]
async fn a_credential_that_may_not_be_read_is_named() {
    let world = World::builder("unreadable")
        .proxied()
        .controller_stopped()
        .start()
        .await;
    let admin = |seen: &Seen| seen.verb == "get" && seen.resource == "secrets" && seen.name == "admin";
    let fault = world
        .proxies()
        .api
        .arm_nth(Act::Refuse(403), 0, usize::MAX, admin);
    world.controller().resume().await.unwrap();
    world.user("waiting").viewer(PAYMENTS).apply().await;
    let message = says(&world, "waiting", "CredentialUnreadable").await;
    assert!(message.contains("/admin with the admin credential"), "{message}");
    fault.disarm();
    world.ready("waiting").await;
}

/// No Secret can be made in this namespace any more.
async fn forbid_secrets(world: &World, namespace: &str) {
    let quota = format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: none, namespace: {namespace}}}\nspec: {{hard: {{count/secrets: '0'}}}}\n"
    );
    let apply = ["--namespace", namespace, "apply", "-f", "-"];
    world.cluster().kubectl_with(&apply, Some(&quota)).unwrap();
    let get = [
        "-n",
        namespace,
        "get",
        "resourcequota",
        "none",
        "-o",
        "jsonpath={.status.hard}",
    ];
    world
        .eventually("the quota to hold", crate::support::wait::SOON, async || {
            let seen = world.cluster().kubectl(&get).unwrap();
            if seen.contains("secrets") {
                Ok(())
            } else {
                Err(seen)
            }
        })
        .await;
}

fn allow_secrets(world: &World, namespace: &str) {
    let delete = ["-n", namespace, "delete", "resourcequota", "none"];
    world.cluster().kubectl(&delete).unwrap();
}

#[tokio::test]
async fn a_secret_that_may_not_be_written_costs_no_user_and_is_tried_again() {
    let world = World::new("quota").await;
    forbid_secrets(&world, world.namespace()).await;
    world.user("poor").viewer(PAYMENTS).apply().await;
    let message = says(&world, "poor", "SecretRejected").await;
    assert!(message.contains("403"), "{message}");
    assert_eq!(
        world.platform().users().await.len(),
        0,
        "found before the platform was asked"
    );
    allow_secrets(&world, world.namespace());
    world.ready("poor").await;
}

#[tokio::test]
async fn a_token_that_may_not_be_staged_costs_no_user_and_is_made_later() {
    let world = World::new("quota-staged").await;
    world.user("rich").viewer(PAYMENTS).apply().await;
    world.ready("rich").await;
    forbid_secrets(&world, world.operator_namespace()).await;
    let ask = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}});
    world.change("rich", ask).await.unwrap();
    let refused = |user: &ProgrammaticUser| {
        let conditions = user.status.iter().flat_map(|s| &s.conditions);
        conditions
            .into_iter()
            .any(|c| c.reason == "SecretRejected" && c.message.contains("of the staged token"))
    };
    world.until("rich", "to say what is refused", refused).await;
    assert_eq!(
        world.platform().users().await.len(),
        1,
        "found before the platform was asked"
    );
    allow_secrets(&world, world.operator_namespace());
    let rotated = |user: &ProgrammaticUser| {
        let last = user
            .status
            .as_ref()
            .and_then(|s| s.last_handled_rotate_at.as_deref());
        last == Some("1")
    };
    world.until("rich", "to be rotated", rotated).await;
}

/// With one call in flight a permit for a user that is not made must not hold up the end of the old one.
#[tokio::test]
async fn a_revocation_whose_new_secret_is_refused_does_not_wait_for_its_own_permit() {
    let world = World::new("quota-revoked").await;
    crate::organizations::change(&world, json!({"limits": {"maxInFlight": 1}})).await;
    world.user("leaked").viewer(PAYMENTS).apply().await;
    world.ready("leaked").await;
    let token = world.token("leaked").await;
    forbid_secrets(&world, world.operator_namespace()).await;
    let ask = json!({"metadata": {"annotations": {REVOKE_NOW_ANNOTATION: "1"}}});
    world.change("leaked", ask).await.unwrap();
    world
        .eventually("the token to be dead", crate::support::wait::SOON, async || {
            if world.platform().accepts(&token).await {
                Err("it works".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
}

#[tokio::test]
async fn a_busy_platform_is_waited_for() {
    let world = World::builder("busy")
        .platform_flags(&["--rate-limit", "2"])
        .controller_stopped()
        .start()
        .await;
    for i in 0..4 {
        world.user(&format!("u{i}")).viewer(PAYMENTS).apply().await;
    }
    world.controller().resume().await.unwrap();
    world
        .eventually("a user to wait", crate::support::wait::SOON, async || {
            let mut reasons = Vec::new();
            for i in 0..4 {
                reasons.push(ready_reason(&world.get(&format!("u{i}")).await).map(str::to_owned));
            }
            let waits = reasons.iter().flatten().any(|r| r == "RateLimited");
            if waits {
                Ok(())
            } else {
                Err(format!("{reasons:?}"))
            }
        })
        .await;
}

#[tokio::test]
async fn no_more_than_four_users_wait_for_the_end_of_their_overlap() {
    let world = World::new("beside").await;
    let day = Rotation {
        overlap: programmatic_users::api::Duration::parse("24h"),
        ..Rotation::default()
    };
    world
        .user("restless")
        .viewer(PAYMENTS)
        .with(|s| s.rotation = Some(day))
        .apply()
        .await;
    world.ready("restless").await;
    for n in 0..5 {
        let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: n.to_string()}}});
        world.change("restless", rotate).await.unwrap();
        if n < 4 {
            world
                .until("restless", "to be rotated", |u| {
                    let status = u.status.as_ref().unwrap();
                    status.last_handled_rotate_at.as_deref() == Some(&n.to_string())
                        && status.journal.pending.is_none()
                })
                .await;
        }
    }
    let message = says(&world, "restless", "TooManyUsers").await;
    assert!(message.contains("spec.rotation.overlap"), "{message}");
    assert_eq!(world.platform().users().await.len(), 5);
    assert!(world.platform().accepts(&world.token("restless").await).await);
}
