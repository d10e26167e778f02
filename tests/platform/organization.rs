//! What an organization has besides its users: policies, accounts and groups.

use serde_json::json;

use crate::support::{A, ADMIN, B, Server};

#[tokio::test]
async fn policies_live_and_die() {
    let server = Server::start().await;
    let statements = json!([{"effect": "ALLOW", "actions": ["ocean:*"], "resources": ["*"]}]);
    let policy = server.policy("ACCOUNT", statements.clone()).await;
    let path = format!("/setup/access/policy/{policy}");
    server
        .put(ADMIN, &path, json!({"policy": {"name": "renamed"}}))
        .await
        .expect(200);
    let all = server.get(ADMIN, "/setup/organization/policy").await;
    let found = all.items().iter().find(|p| p["id"] == json!(policy)).unwrap();
    assert_eq!(
        (&found["name"], &found["policyContent"]["statements"]),
        (&json!("renamed"), &statements)
    );
    let (id, _) = server
        .user_with(json!({"name": "u", "policies": [{"policyId": policy, "accountIds": [B]}]}))
        .await;
    assert_eq!(
        server.delete(ADMIN, &path).await.expect(400).error().0,
        "POLICY_IN_USE"
    );
    server
        .put(
            ADMIN,
            &format!("/setup/user/{id}/policyMapping"),
            json!({"policies": []}),
        )
        .await
        .expect(200);
    server.delete(ADMIN, &path).await.expect(200);
    server.delete(ADMIN, &path).await.expect(404);
    assert_eq!(
        server
            .delete(ADMIN, "/setup/access/policy/3")
            .await
            .expect(400)
            .error()
            .0,
        "POLICY_IS_MANAGED"
    );
    let bad = json!({"policy": {"name": "c", "policyContent": {"statements": [{"effect": "ALLOW", "actions": ["a:b"],
        "resources": ["*"], "condition": {"And": []}}]}}});
    let refused = server.post(ADMIN, "/setup/access/policy", bad).await.expect(400);
    assert_eq!(
        refused.error().2,
        Some("policy.policyContent.statements.0.condition.And")
    );
}

#[tokio::test]
async fn an_account_goes_with_every_right_in_it() {
    let server = Server::start().await;
    let made = server
        .post(ADMIN, "/setup/account", json!({"account": {"name": "third"}}))
        .await
        .expect(200);
    let account = made.item()["id"].as_str().unwrap().to_owned();
    assert!(made.item()["organizationId"].is_string());
    server
        .put(
            ADMIN,
            &format!("/setup/account/{account}"),
            json!({"account": {"name": "3rd"}}),
        )
        .await
        .expect(200);
    let shown = server
        .get(ADMIN, &format!("/setup/account/{account}"))
        .await
        .expect(200);
    assert_eq!(shown.item()["name"], "3rd");
    // An organization policy narrowed to one account must not widen to all when that account goes.
    let wide = server
        .policy(
            "ORGANIZATION",
            json!([{"effect": "ALLOW", "actions": ["*"], "resources": ["*"]}]),
        )
        .await;
    let (id, token) = server
        .user_with(json!({"name": "n", "policies": [{"policyId": wide, "accountIds": [account]}]}))
        .await;
    server.get(&token, "/setup/organization/user").await.expect(403);
    server
        .delete(ADMIN, &format!("/setup/account/{account}"))
        .await
        .expect(200);
    server.get(&token, "/setup/organization/user").await.expect(403);
    assert_eq!(
        server.get(ADMIN, &format!("/setup/user/{id}")).await.item()["policies"],
        json!([])
    );
    server
        .get(ADMIN, &format!("/setup/account/{account}"))
        .await
        .expect(404);
    assert_eq!(
        server
            .delete(ADMIN, &format!("/setup/account/{A}"))
            .await
            .expect(400)
            .error()
            .0,
        "CANT_DELETE_DEFAULT_ACCOUNT"
    );
}

#[tokio::test]
async fn groups_live_and_die() {
    let server = Server::start().await;
    let (id, token) = server.user("viewer", B).await;
    let made = server
        .post(ADMIN, "/setup/access/userGroup", json!({"name": "g"}))
        .await
        .expect(200);
    let group = made.item()["id"].as_str().unwrap().to_owned();
    let path = format!("/setup/access/userGroup/{group}");
    server
        .put(ADMIN, &path, json!({"name": "h", "description": "d"}))
        .await
        .expect(200);
    server
        .put(ADMIN, &format!("{path}/userMapping"), json!({"userIds": [id]}))
        .await
        .expect(200);
    server
        .put(
            ADMIN,
            &format!("{path}/policyMapping"),
            json!({"policies": [{"policyId": "3", "accountIds": [A]}]}),
        )
        .await
        .expect(200);
    let list = server.get(ADMIN, "/setup/access/userGroup").await;
    assert_eq!(list.item()["usersCount"], 1);
    assert_eq!(list.item()["policyNames"], json!(["Account Viewer"]));
    server
        .get(&token, &format!("/setup/account/{A}"))
        .await
        .expect(200);
    server.delete(ADMIN, &path).await.expect(200);
    server
        .get(&token, &format!("/setup/account/{A}"))
        .await
        .expect(403);
}
