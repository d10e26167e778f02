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

#[tokio::test]
async fn conditions_are_about_names_and_tags_and_each_answer_can_be_explained() {
    let server = Server::start().await;
    let statements = json!([
        {"effect": "ALLOW", "actions": ["elastigroup:describe*"], "resources": ["*"]},
        {"effect": "ALLOW", "actions": ["elastigroup:deleteGroup"], "resources": ["*"],
            "condition": {"StringPatternMatch": {"spot:elastigroup:name": "^dev-.*$"}}},
        {"effect": "DENY", "actions": ["elastigroup:deleteGroup"], "resources": ["*"],
            "condition": {"StringEquals": {"spot:elastigroup:tags/keep": ["yes", "true"]}}},
        {"effect": "ALLOW", "actions": ["elastigroup:deleteGroup"], "resources": ["*"],
            "condition": {"StringEquals": {"spot:elastigroup:tags/Owner": "${spot:userEmail}"}}}
    ]);
    let policy = server.policy("ACCOUNT", statements).await;
    let grant = json!([{"policyId": policy, "accountIds": [A]}]);
    let (robot, token) = server
        .user_with(json!({"name": "robot", "policies": grant}))
        .await;
    let person = json!({"firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "password": "long enough", "role": "user"});
    let person = server
        .post(ADMIN, "/setup/user?generateToken=true", person)
        .await
        .expect(200);
    let ann = person.item()["personalAccessToken"].as_str().unwrap().to_owned();
    let ann_id = person.item()["userId"].as_str().unwrap().to_owned();
    server
        .put(
            ADMIN,
            &format!("/setup/user/{ann_id}/policyMapping"),
            json!({"policies": grant}),
        )
        .await
        .expect(200);
    let make = async |name: &str, tags: serde_json::Value| {
        let group = json!({"group": {"name": name, "compute": {"launchSpecification": {"tags": tags}}}});
        let made = server
            .post(ADMIN, &format!("/aws/ec2/group?accountId={A}"), group)
            .await
            .expect(200);
        made.item()["id"].as_str().unwrap().to_owned()
    };
    let own = json!([{"tagKey": "Owner", "tagValue": "ann@example.com"}]);
    let kept = json!([{"tagKey": "keep", "tagValue": "yes"}]);
    let groups = [
        make("dev-1", json!([])).await,
        make("prod", json!([])).await,
        make("dev-2", kept).await,
        make("prod", own).await,
    ];
    let explain = async |user: &str, group: &str| {
        let query = format!(
            "userId={user}&action=elastigroup:deleteGroup&resource=elastigroup:{group}&accountId={A}"
        );
        let answer = server
            .get(ADMIN, &format!("/setup/access/explain?{query}"))
            .await
            .expect(200);
        let item = answer.item();
        (item["decision"].clone(), item["statement"].clone())
    };
    let expected = [
        (&groups[0], ("ALLOW", json!(1)), ("ALLOW", json!(1))),
        (&groups[1], ("DENY", json!(null)), ("DENY", json!(null))),
        (&groups[2], ("DENY", json!(2)), ("DENY", json!(2))),
        (&groups[3], ("DENY", json!(null)), ("ALLOW", json!(3))),
    ];
    for (group, for_robot, for_ann) in &expected {
        assert_eq!(
            explain(&robot, group).await,
            (json!(for_robot.0), for_robot.1.clone()),
            "{group}"
        );
        assert_eq!(
            explain(&ann_id, group).await,
            (json!(for_ann.0), for_ann.1.clone()),
            "{group}"
        );
    }
    // What is explained is what is done.
    for (group, for_robot, for_ann) in expected {
        let path = format!("/aws/ec2/group/{group}?accountId={A}");
        let mut gone = false;
        for (token, (decision, _)) in [(&token, for_robot), (&ann, for_ann)] {
            // Of a group that is gone, no condition holds.
            let allowed = decision == "ALLOW" && !gone;
            let status = server.delete(token, &path).await.status;
            assert_eq!(status, if allowed { 200 } else { 403 }, "{group}, {decision}");
            gone |= allowed;
        }
    }
    assert_eq!(
        server
            .get(ADMIN, &format!("/aws/ec2/group?accountId={A}"))
            .await
            .items()
            .len(),
        2
    );
}

#[tokio::test]
async fn only_administrators_may_ask_for_an_explanation() {
    let server = Server::start().await;
    let (id, token) = server.user("viewer", A).await;
    let path = format!("/setup/access/explain?userId={id}&action=setup:createProgrammaticUser");
    server.get(&token, &path).await.expect(403);
    let answer = server.get(ADMIN, &path).await.expect(200);
    assert_eq!(
        (&answer.item()["decision"], &answer.item()["administratorOnly"]),
        (&json!("DENY"), &json!(true))
    );
    for (query, field) in [
        ("userId=u-0&action=x", "query.action"),
        ("action=a:b", "query.userId"),
        ("userId=u-0&action=a:b", "query.userId"),
    ] {
        let wrong = server
            .get(ADMIN, &format!("/setup/access/explain?{query}"))
            .await
            .expect(400);
        assert_eq!(wrong.error().2, Some(field), "{query}");
    }
}
