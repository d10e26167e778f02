//! What people change on the platform is put back or replaced, and found without asking about every user.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

async fn id_of(world: &World, name: &str) -> String {
    world.get(name).await.status.unwrap().user_id.unwrap()
}

fn ids(details: &Value, list: &str, key: &str) -> Vec<String> {
    let items = details[list].as_array().into_iter().flatten();
    items.filter_map(|i| i[key].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn policies_and_groups_that_people_change_are_put_back() {
    let world = World::builder("drift-access").drift("1s").start().await;
    let platform = world.platform();
    let all = json!({"statements": [{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]});
    let wanted = platform.make_policy("wanted", &all).await;
    let other = platform.make_policy("other", &all).await;
    let body = json!({"name": "deployers", "userIds": [], "policies": []});
    let made = platform
        .post("/setup/access/userGroup", &platform.admin_token, &body)
        .await;
    let group = made.items()[0]["id"].as_str().unwrap().to_owned();
    world
        .user("drifting")
        .policy_based(PAYMENTS)
        .policy("wanted")
        .group("deployers")
        .apply()
        .await;
    world.ready("drifting").await;
    let (id, token) = (id_of(&world, "drifting").await, world.token("drifting").await);

    let policies = json!({"policies": [{"policyId": other, "accountIds": [PAYMENTS]}]});
    let groups = json!({"userGroupIds": []});
    for (route, body) in [("policyMapping", policies), ("userGroupMapping", groups)] {
        let changed = platform
            .put(&format!("/setup/user/{id}/{route}"), &platform.admin_token, &body)
            .await;
        assert_eq!(changed.status, 200, "{}", changed.message());
    }
    world
        .eventually("access to be put back", SOON, async || {
            let details = platform.user(&id).await.unwrap();
            let has = (
                ids(&details, "policies", "policyId"),
                ids(&details, "groups", "id"),
            );
            if has == (vec![wanted.clone()], vec![group.clone()]) {
                Ok(())
            } else {
                Err(format!("{has:?}"))
            }
        })
        .await;
    assert_eq!(world.token("drifting").await, token, "the token stays");
}

#[tokio::test]
async fn a_role_that_people_change_is_put_back() {
    let world = World::builder("drift-role").drift("1s").start().await;
    world.user("viewer").viewer(PAYMENTS).apply().await;
    world.ready("viewer").await;
    let (id, token) = (id_of(&world, "viewer").await, world.token("viewer").await);
    let platform = world.platform();
    let has = async || platform.user(&id).await.unwrap()["policies"].clone();
    let asked_for = has().await;
    // By its number: the administrator of the organization.
    let body = json!({"policies": [{"policyId": "1"}]});
    let route = format!("/setup/user/{id}/policyMapping");
    let changed = platform.put(&route, &platform.admin_token, &body).await;
    assert_eq!(changed.status, 200, "{}", changed.message());
    assert_ne!(has().await, asked_for);
    world
        .eventually("the role to be put back", SOON, async || {
            let now = has().await;
            if now == asked_for {
                Ok(())
            } else {
                Err(now.to_string())
            }
        })
        .await;
    assert_eq!(world.token("viewer").await, token, "the token stays");
}

#[tokio::test]
async fn a_user_that_people_delete_on_the_platform_is_made_anew() {
    let world = World::builder("drift-user").drift("1s").start().await;
    for name in ["lost", "other"] {
        world.user(name).viewer(PAYMENTS).apply().await;
        world.ready(name).await;
    }
    let (old, other) = (id_of(&world, "lost").await, world.token("other").await);
    let platform = world.platform();
    let deleted = platform
        .delete(&format!("/setup/user/{old}"), &platform.admin_token)
        .await;
    assert_eq!(deleted.status, 200);
    world
        .until("lost", "to be replaced", |u| {
            u.status.as_ref().unwrap().user_id.as_deref() != Some(&old)
        })
        .await;
    world.ready("lost").await;
    assert!(platform.accepts(&world.token("lost").await).await);
    assert_eq!(world.token("other").await, other);
}

#[tokio::test]
async fn unmanaged_users_are_counted_and_not_changed() {
    let world = World::builder("unmanaged").drift("1s").start().await;
    world.user("managed").viewer(PAYMENTS).apply().await;
    world.ready("managed").await;
    let platform = world.platform();
    let body = json!({"name": "by-hand", "accounts": [{"id": PAYMENTS, "role": "viewer"}]});
    assert_eq!(
        platform
            .post("/setup/user/programmatic", &platform.admin_token, &body)
            .await
            .status,
        200
    );
    world
        .eventually("the numbers", SOON, async || {
            let users = world
                .organization()
                .await
                .status
                .and_then(|s| s.users)
                .unwrap_or_default();
            let numbers = (users.managed, users.unmanaged, users.orphaned, users.retiring);
            if numbers == (1, 1, 0, 0) {
                Ok(())
            } else {
                Err(format!("{numbers:?}"))
            }
        })
        .await;
    world
        .always("two users", Duration::from_secs(3), async || {
            let users = platform.users().await.len();
            if users == 2 {
                Ok(())
            } else {
                Err(users.to_string())
            }
        })
        .await;
}
