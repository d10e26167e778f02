//! The class against what a token may do, where its object asks for something else since.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use programmatic_users::api::{
    DeletionPolicy, NONCE_ANNOTATION, OnRevoked, ProgrammaticUser, ProgrammaticUserClass,
    RETAINED_USER_LABEL, Role, USER_ID_ANNOTATION,
};
use serde_json::{Value, json};

use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World, builders};

/// A class whose users end when it does not allow them.
async fn revoking(world: &World) -> String {
    let class = world.class("revoking");
    class
        .with(|spec| spec.on_revoked = OnRevoked::Revoke)
        .apply()
        .await
}

async fn allow(world: &World, class: &str, allow: Value) {
    let classes: Api<ProgrammaticUserClass> = Api::all(world.client());
    let change = Patch::Merge(json!({"spec": {"allow": allow}}));
    classes
        .patch(class, &PatchParams::default(), &change)
        .await
        .unwrap();
}

async fn until_dead(world: &World, token: &str) {
    world
        .eventually("the token to be dead", SOON, async || {
            if world.platform().accepts(token).await {
                Err("it works".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
}

/// A Secret that no object may take.
async fn squat(world: &World, name: &str) {
    let secret = Secret {
        metadata: builders::named(name, world.namespace()),
        ..Secret::default()
    };
    world
        .secrets()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_tenant_does_not_keep_withdrawn_access_by_asking_for_less() {
    let world = World::new("withdrawn").await;
    let class = revoking(&world).await;
    squat(&world, "theirs").await;
    for name in ["conflict", "suspended", "unknown", "honest"] {
        world.user(name).editor(PAYMENTS).class(&class).apply().await;
    }
    let mut tokens = Vec::new();
    for name in ["conflict", "suspended", "unknown", "honest"] {
        world.ready(name).await;
        tokens.push(world.token(name).await);
    }
    let viewer = json!({"role": "Viewer", "accounts": [{"id": PAYMENTS}]});
    let asks = [
        (
            "conflict",
            json!({"access": viewer, "secret": {"name": "theirs"}}),
        ),
        ("suspended", json!({"access": viewer, "suspend": true})),
        (
            "unknown",
            json!({"access": {"role": "Viewer", "accounts": [{"id": "act-404"}]}}),
        ),
    ];
    for (name, spec) in asks {
        world.change(name, json!({ "spec": spec })).await.unwrap();
    }
    world.stalled("conflict", "SecretConflict").await;
    world.stalled("unknown", "UnknownAccount").await;
    for token in &tokens {
        assert!(world.platform().accepts(token).await, "the class still allows it");
    }
    allow(&world, &class, json!({"roles": ["Viewer"]})).await;
    for token in &tokens {
        until_dead(&world, token).await;
    }
    // An object that asks for what is allowed has a new token, at once and without an overlap.
    let change = json!({"spec": {"access": viewer}});
    world.change("honest", change).await.unwrap();
    world.ready("honest").await;
    let restored = json!({"spec": {"secret": null, "access": viewer}});
    world.change("conflict", restored).await.unwrap();
    world.ready("conflict").await;
}

#[tokio::test]
async fn a_replaced_token_has_no_overlap_beyond_its_class() {
    let world = World::new("no-overlap").await;
    let class = revoking(&world).await;
    world.user("changed").editor(PAYMENTS).class(&class).apply().await;
    world.ready("changed").await;
    let old = world.token("changed").await;
    let viewer = json!({"role": "Viewer", "accounts": [{"id": PAYMENTS}]});
    world
        .change("changed", json!({"spec": {"access": viewer}}))
        .await
        .unwrap();
    world
        .until("changed", "to have a new token", |u| {
            u.status.as_ref().is_some_and(|s| s.journal.retiring.len() == 1)
        })
        .await;
    assert!(world.platform().accepts(&old).await, "its overlap has a day");
    allow(&world, &class, json!({"roles": ["Viewer"]})).await;
    until_dead(&world, &old).await;
    let new = world.token("changed").await;
    assert!(new != old && world.platform().accepts(&new).await);
}

#[tokio::test]
async fn a_retained_user_ends_with_the_role_that_its_class_withdraws() {
    let world = World::builder("retained-role").drift("1s").start().await;
    let class = revoking(&world).await;
    let mut tokens = Vec::new();
    for (name, role) in [("writes", Role::Editor), ("reads", Role::Viewer)] {
        let user = match role {
            Role::Editor => world.user(name).editor(PAYMENTS),
            _ => world.user(name).viewer(PAYMENTS),
        };
        let user = user
            .class(&class)
            .with(|s| s.deletion_policy = DeletionPolicy::Retain);
        user.apply().await;
        world.ready(name).await;
        tokens.push(world.token(name).await);
        world.delete(name).await;
        world.gone(name).await;
    }
    allow(&world, &class, json!({"roles": ["Viewer"]})).await;
    until_dead(&world, &tokens[0]).await;
    assert!(world.platform().accepts(&tokens[1]).await);
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    world
        .eventually("one record to be left", SOON, async || {
            let records = own.list(&ListParams::default().labels(RETAINED_USER_LABEL)).await;
            let left = records.map_err(|e| e.to_string())?.items.len();
            if left == 1 { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
}

/// A tenant writes into its own Secret that it carries the token of the replaced user, and keeps it from being repaired.
#[tokio::test]
async fn an_annotation_of_the_secret_keeps_no_replaced_token_alive() {
    let world = World::new("forged").await;
    let class = revoking(&world).await;
    squat(&world, "theirs").await;
    world.user("forged").editor(PAYMENTS).class(&class).apply().await;
    world.ready("forged").await;
    let old = world.token("forged").await;
    let viewer = json!({"role": "Viewer", "accounts": [{"id": PAYMENTS}]});
    let change = json!({"spec": {"access": viewer}});
    world.change("forged", change).await.unwrap();
    let user = world
        .until("forged", "to have a new token", |u| {
            u.status.as_ref().is_some_and(|s| s.journal.retiring.len() == 1)
        })
        .await;
    let replaced = user.status.unwrap().journal.retiring[0].clone();
    let conflict = json!({"spec": {"secret": {"name": "theirs"}}});
    world.change("forged", conflict).await.unwrap();
    world.stalled("forged", "SecretConflict").await;
    let claim = json!({NONCE_ANNOTATION: replaced.nonce, USER_ID_ANNOTATION: replaced.user_id});
    let patch = Patch::Merge(json!({"metadata": {"annotations": claim}}));
    world
        .secrets()
        .patch("forged", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert!(world.platform().accepts(&old).await, "its overlap has a day");
    allow(&world, &class, json!({"roles": ["Viewer"]})).await;
    until_dead(&world, &old).await;
}

/// Its status is one that an older version wrote, and its object asks for less since, and is suspended.
#[tokio::test]
async fn a_user_of_an_older_version_ends_with_what_its_class_withdraws() {
    let world = World::new("unrecorded").await;
    let class = revoking(&world).await;
    world.user("older").editor(PAYMENTS).class(&class).apply().await;
    world.ready("older").await;
    let token = world.token("older").await;
    world.controller().stop().await;
    let viewer = json!({"role": "Viewer", "accounts": [{"id": PAYMENTS}]});
    let less = json!({"spec": {"access": viewer, "suspend": true}});
    world.change("older", less).await.unwrap();
    let forget = json!({"status": {"journal": {"fullChecksum": null, "current": {"granted": null}}}});
    world
        .users()
        .patch_status("older", &PatchParams::default(), &Patch::Merge(forget))
        .await
        .unwrap();
    world.controller().resume().await.unwrap();
    let recorded = |user: &ProgrammaticUser| {
        let current = user.status.as_ref().and_then(|s| s.journal.current.as_ref());
        let granted = current.and_then(|current| current.granted.as_ref());
        granted.is_some_and(|granted| granted.roles == [Role::Editor])
    };
    world
        .until("older", "to say what its token may do", recorded)
        .await;
    assert!(
        world.platform().accepts(&token).await,
        "the class still allows it"
    );
    allow(&world, &class, json!({"roles": ["Viewer"]})).await;
    until_dead(&world, &token).await;
}
