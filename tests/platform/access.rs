//! Roles and policies have an effect.

use serde_json::json;

use crate::support::{A, ADMIN, B, Server};

#[tokio::test]
async fn viewers_read_and_editors_change() {
    let server = Server::start().await;
    let (_, viewer) = server.user("viewer", A).await;
    let (_, editor) = server.user("editor", A).await;
    let group = json!({"group": {"name": "web"}});
    let path = format!("/aws/ec2/group?accountId={A}");
    server.post(&viewer, &path, group.clone()).await.expect(403);
    let made = server.post(&editor, &path, group.clone()).await.expect(200);
    let id = made.item()["id"].as_str().unwrap().to_owned();
    let one = format!("/aws/ec2/group/{id}?accountId={A}");
    for reader in [&viewer, &editor] {
        assert_eq!(server.get(reader, &path).await.expect(200).items().len(), 1);
        server.get(reader, &one).await.expect(200);
        // Not in an account that is not theirs, whether it exists or not.
        server
            .get(reader, &format!("/aws/ec2/group?accountId={B}"))
            .await
            .expect(403);
        server
            .get(reader, "/aws/ec2/group?accountId=act-0")
            .await
            .expect(403);
        server
            .get(reader, &format!("/aws/ec2/group/{id}?accountId={B}"))
            .await
            .expect(403);
        // Their only account is the default.
        assert_eq!(
            server
                .get(reader, "/aws/ec2/group")
                .await
                .expect(200)
                .items()
                .len(),
            1
        );
    }
    server.delete(&viewer, &one).await.expect(403);
    // The id of one account does not work through another.
    server
        .get(ADMIN, &format!("/aws/ec2/group/{id}?accountId={B}"))
        .await
        .expect(404);
    server.delete(&editor, &one).await.expect(200);
    let missing = server.get(ADMIN, "/aws/ec2/group").await.expect(400);
    let error = missing.error();
    assert_eq!(
        (error.0, error.1, error.2),
        (
            "ValidationError",
            "\"query.accountId\" is required",
            Some("query.accountId")
        )
    );
    server
        .get(ADMIN, "/aws/ec2/group?accountId=act-0")
        .await
        .expect(400);
}

#[tokio::test]
async fn accounts_are_those_of_the_caller() {
    let server = Server::start().await;
    let (_, viewer) = server.user("viewer", B).await;
    let (_, ocean) = server
        .user_with(json!({"name": "o", "policies": [{"policyId": "5", "accountIds": ["*"]}]}))
        .await;
    let ids = |answer: &crate::support::Answer| {
        answer
            .items()
            .iter()
            .map(|a| a["accountId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&server.get(&viewer, "/setup/account").await.expect(200)), [B]);
    assert_eq!(
        ids(&server.get(&ocean, "/setup/account").await.expect(200)),
        [A, B]
    );
    assert_eq!(
        ids(&server
            .get(ADMIN, &format!("/setup/account/?accountId={A}"))
            .await
            .expect(200)),
        [A, B]
    );
    server
        .get(&viewer, &format!("/setup/account/{B}"))
        .await
        .expect(200);
    server
        .get(&viewer, &format!("/setup/account/{A}"))
        .await
        .expect(403);
    server.get(&viewer, "/setup/account/act-0").await.expect(403);
    let rename = json!({"account": {"name": "x"}});
    server
        .put(&viewer, &format!("/setup/account/{B}"), rename)
        .await
        .expect(403);
}

#[tokio::test]
async fn only_administrators_administer() {
    let server = Server::start().await;
    let (id, editor) = server.user("editor", A).await;
    // The widest custom policy does not make an administrator, nor does Admin in one account.
    let everything = json!([{"effect": "ALLOW", "actions": ["*"], "resources": ["*"]}]);
    let policy = server.policy("ORGANIZATION", everything).await;
    let (_, wide) = server
        .user_with(json!({"name": "w", "policies": [{"policyId": policy}]}))
        .await;
    let (_, local) = server
        .user_with(json!({"name": "l", "policies": [{"policyId": "1", "accountIds": [A]}]}))
        .await;
    let user = json!({"name": "n", "accounts": [{"id": A, "role": "viewer"}]});
    for token in [&editor, &wide, &local] {
        for (path, body) in [
            ("/setup/user/programmatic", user.clone()),
            ("/setup/user", json!({})),
            ("/setup/account", json!({"account": {"name": "n"}})),
            ("/setup/access/policy", json!({})),
            ("/setup/access/userGroup", json!({"name": "g"})),
        ] {
            assert_eq!(
                server.post(token, path, body).await.expect(403).error().0,
                "FORBIDDEN"
            );
        }
        for path in ["policyMapping", "userGroupMapping"] {
            let body = json!({"policies": [{"policyId": "1", "accountIds": ["*"]}]});
            server
                .put(token, &format!("/setup/user/{id}/{path}"), body)
                .await
                .expect(403);
        }
        server
            .delete(token, &format!("/setup/user/{id}"))
            .await
            .expect(403);
        server
            .delete(token, &format!("/setup/account/{B}"))
            .await
            .expect(403);
        server
            .delete(token, &format!("/setup/access/policy/{policy}"))
            .await
            .expect(403);
    }
    for path in [
        "/setup/organization/user",
        "/setup/organization/policy",
        "/setup/access/userGroup",
    ] {
        server.get(&editor, path).await.expect(403);
        server.get(&local, path).await.expect(403);
        server.get(&wide, path).await.expect(200);
    }
    server
        .get(&editor, "/audit/events?fromDate=0&toDate=1")
        .await
        .expect(403);
    // A programmatic user with the Admin policy is an administrator.
    let (_, admin) = server
        .user_with(json!({"name": "a", "policies": [{"policyId": "1"}]}))
        .await;
    server
        .post(&admin, "/setup/user/programmatic", user)
        .await
        .expect(200);
}

#[tokio::test]
async fn policies_decide_and_groups_inherit() {
    let server = Server::start().await;
    let path = format!("/aws/ec2/group?accountId={A}");
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let made = server
            .post(ADMIN, &path, json!({"group": {"name": name}}))
            .await
            .expect(200);
        ids.push(made.item()["id"].as_str().unwrap().to_owned());
    }
    let allow = server
        .policy(
            "ACCOUNT",
            json!([{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]),
        )
        .await;
    let deny = server
        .policy(
            "ACCOUNT",
            json!([{"effect": "DENY", "actions": ["elastigroup:delete*", "*:describe*"],
        "resources": [format!("elastigroup:{}", ids[0])]}]),
        )
        .await;
    let (user, token) = server
        .user_with(json!({"name": "p", "policies": [{"policyId": allow, "accountIds": [A]}]}))
        .await;
    assert_eq!(server.get(&token, &path).await.expect(200).items().len(), 2);
    let group = server
        .post(
            ADMIN,
            "/setup/access/userGroup",
            json!({"name": "careful", "userIds": [user],
        "policies": [{"policyId": deny, "accountIds": ["*"]}]}),
        )
        .await
        .expect(200);
    let left = server.get(&token, &path).await.expect(200);
    assert_eq!(left.item()["id"], json!(ids[1]));
    server
        .delete(&token, &format!("/aws/ec2/group/{}?accountId={A}", ids[0]))
        .await
        .expect(403);
    let group = group.item()["id"].as_str().unwrap();
    server
        .delete(ADMIN, &format!("/setup/access/userGroup/{group}"))
        .await
        .expect(200);
    server
        .delete(&token, &format!("/aws/ec2/group/{}?accountId={A}", ids[0]))
        .await
        .expect(200);
    // Changed policies hold at once.
    let changed = json!({"policy": {"policyContent": {"statements": [
        {"effect": "ALLOW", "actions": ["elastigroup:describe*"], "resources": ["*"]}]}}});
    server
        .put(ADMIN, &format!("/setup/access/policy/{allow}"), changed)
        .await
        .expect(200);
    server
        .delete(&token, &format!("/aws/ec2/group/{}?accountId={A}", ids[1]))
        .await
        .expect(403);
    server.get(&token, &path).await.expect(200);
}
