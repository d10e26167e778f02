//! What a class allows can be taken back.

use kube::Api;
use kube::api::{Patch, PatchParams};
use programmatic_users::api::{OnRevoked, ProgrammaticUserClass};
use serde_json::json;

use crate::support::{BILLING, PAYMENTS, World};

/// What is taken from a class: the spec's fields, and the message.
fn withdrawals() -> [(serde_json::Value, &'static str); 4] {
    [
        (
            json!({"namespaces": {"matchNames": []}}),
            "is not open to namespace",
        ),
        (json!({"allow": {"accounts": [BILLING]}}), "does not allow act-"),
        (
            json!({"allow": {"groups": []}}),
            "does not allow readers among its groups",
        ),
        (
            json!({"rotation": {"maxAge": "1h"}}),
            "lets no token become older than 1h",
        ),
    ]
}

async fn change(world: &World, class: &str, spec: &serde_json::Value) {
    let classes: Api<ProgrammaticUserClass> = Api::all(world.client());
    let change = Patch::Merge(json!({"spec": spec}));
    classes
        .patch(class, &PatchParams::default(), &change)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_withdrawn_grant_leaves_the_token_unless_the_class_says_otherwise() {
    let world = World::new("withdrawn").await;
    world.platform().make_group("readers").await;
    for (n, (withdrawn, message)) in withdrawals().into_iter().enumerate() {
        for (policy, name) in [(OnRevoked::Keep, "keep"), (OnRevoked::Revoke, "revoke")] {
            let name = format!("{name}-{n}");
            let class = world
                .class(&name)
                .with(|spec| spec.on_revoked = policy)
                .apply()
                .await;
            world
                .user(&name)
                .viewer(PAYMENTS)
                .group("readers")
                .class(&class)
                .apply()
                .await;
            let user = world.ready(&name).await;
            let token = world.token(&name).await;
            let id = user.status.unwrap().user_id.unwrap();

            change(&world, &class, &withdrawn).await;
            let said = world.stalled(&name, "NotAllowed").await;
            assert!(said.contains(message), "{said}");
            if policy == OnRevoked::Keep {
                assert!(world.platform().accepts(&token).await, "{name}");
                assert!(world.secrets().get_opt(&name).await.unwrap().is_some());
                continue;
            }
            assert!(said.contains("onRevoked: Revoke"), "{said}");
            assert!(!world.platform().accepts(&token).await, "{name}");
            assert!(world.platform().user(&id).await.is_err(), "{name}");
            assert!(world.secrets().get_opt(&name).await.unwrap().is_none());
        }
    }
}

#[tokio::test]
async fn a_grant_that_comes_back_makes_a_new_user() {
    let world = World::new("regranted").await;
    let class = world
        .class("c")
        .with(|spec| spec.on_revoked = OnRevoked::Revoke)
        .apply()
        .await;
    world.user("ci").viewer(PAYMENTS).class(&class).apply().await;
    world.ready("ci").await;
    let before = world.token("ci").await;
    change(&world, &class, &json!({"allow": {"accounts": []}})).await;
    world.stalled("ci", "NotAllowed").await;
    change(&world, &class, &json!({"allow": {"accounts": ["*"]}})).await;
    world.ready("ci").await;
    assert_ne!(world.token("ci").await, before);
    assert_eq!(world.platform().users().await.len(), 1);
}

#[tokio::test]
async fn a_label_and_a_class_that_are_taken_away_are_noticed_at_once() {
    // No turn of the drift check tells of it.
    let world = World::builder("relabelled").drift("1h").start().await;
    let label = |change: &str| {
        let args = ["label", "namespace", world.namespace(), change];
        world.cluster().kubectl(&args).unwrap();
    };
    let open_by_label = |spec: &mut programmatic_users::api::ProgrammaticUserClassSpec| {
        spec.namespaces.match_names.clear();
        spec.namespaces.match_labels = [("tier".to_owned(), "open".to_owned())].into();
        spec.on_revoked = OnRevoked::Revoke;
    };
    let class = world.class("labelled").with(open_by_label).apply().await;
    world.user("ci").viewer(PAYMENTS).class(&class).apply().await;
    world.stalled("ci", "NotAllowed").await;
    label("tier=open");
    world.ready("ci").await;
    let token = world.token("ci").await;
    label("tier-");
    world.stalled("ci", "NotAllowed").await;
    assert!(!world.platform().accepts(&token).await);

    label("tier=open");
    world.ready("ci").await;
    let token = world.token("ci").await;
    let classes: Api<ProgrammaticUserClass> = Api::all(world.client());
    classes
        .delete(&class, &kube::api::DeleteParams::default())
        .await
        .unwrap();
    world.stalled("ci", "UnknownClass").await;
    assert!(!world.platform().accepts(&token).await);
}
