//! Policies and groups: given at creation, and changed in place.

use programmatic_users::api::Scope;
use serde_json::{Value, json};

use crate::support::{BILLING, PAYMENTS, World};

fn readers() -> Value {
    json!({"statements": [{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]})
}

async fn details(world: &World, name: &str) -> Value {
    let id = world.get(name).await.status.unwrap().user_id.unwrap();
    world.platform().user(&id).await.unwrap()
}

fn ids<'a>(details: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
    details[list]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| p[key].as_str())
        .collect()
}

#[tokio::test]
async fn policies_decide_what_a_policy_based_user_may_do() {
    let world = World::new("policies").await;
    world.platform().make_policy("scalers", &readers()).await;
    world
        .user("scaler")
        .policy_based(PAYMENTS)
        .policy("scalers")
        .apply()
        .await;
    world.ready("scaler").await;
    let token = world.token("scaler").await;
    let body = json!({"group": {"name": "web"}});
    let here = format!("/aws/ec2/group?accountId={PAYMENTS}");
    assert_eq!(world.platform().post(&here, &token, &body).await.status, 200);
    let elsewhere = format!("/aws/ec2/group?accountId={BILLING}");
    assert_eq!(world.platform().post(&elsewhere, &token, &body).await.status, 403);
}

#[tokio::test]
async fn changed_policies_and_groups_keep_user_and_token() {
    let world = World::new("in-place").await;
    let first = world.platform().make_policy("first", &readers()).await;
    let second = world.platform().make_policy("second", &readers()).await;
    let group = world.platform().make_group("deployers").await;
    world
        .user("changing")
        .policy_based(PAYMENTS)
        .policy("first")
        .with(|spec| spec.scope = Scope::Organization)
        .apply()
        .await;
    let before = world.ready("changing").await.status.unwrap();
    let token = world.token("changing").await;
    assert_eq!(
        ids(&details(&world, "changing").await, "policies", "policyId"),
        [first]
    );

    world
        .user("changing")
        .policy_based(PAYMENTS)
        .policy_id(&second)
        .group("deployers")
        .apply()
        .await;
    let after = world.ready("changing").await.status.unwrap();
    let now = details(&world, "changing").await;
    assert_eq!(ids(&now, "policies", "policyId"), [second]);
    assert_eq!(ids(&now, "groups", "id"), [group]);
    assert_eq!(
        (before.user_id, token),
        (after.user_id, world.token("changing").await)
    );

    world
        .user("changing")
        .policy_based(PAYMENTS)
        .policy("second")
        .with(|spec| spec.scope = Scope::Organization)
        .apply()
        .await;
    world.ready("changing").await;
    assert_eq!(
        ids(&details(&world, "changing").await, "groups", "id"),
        Vec::<&str>::new()
    );
}

#[tokio::test]
async fn a_user_is_in_its_groups_when_it_is_ready() {
    let world = World::new("groups").await;
    let group = world.platform().make_group("readers").await;
    world
        .user("member")
        .viewer(PAYMENTS)
        .group("readers")
        .apply()
        .await;
    world.ready("member").await;
    assert_eq!(ids(&details(&world, "member").await, "groups", "id"), [group]);
}
