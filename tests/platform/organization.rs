//! What an organization has besides its users: policies, accounts and groups.

use serde_json::{Value, json};

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

/// What is passed over could be what was to narrow a right.
#[tokio::test]
async fn no_field_of_a_policy_is_ignored() {
    let server = Server::start().await;
    let allow = || json!({"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]});
    let with = |field: &str, value: Value| {
        let mut statement = allow();
        statement[field] = value;
        json!({"name": "p", "policyContent": {"statements": [allow(), statement]}})
    };
    let named = json!({"StringEquals": {"spot:elastigroup:name": "web"}});
    let id = server.policy("ACCOUNT", json!([allow()])).await;
    let one = format!("/setup/access/policy/{id}");
    let statement = "policy.policyContent.statements.1";
    let pattern = |text: &str| json!({"StringPatternMatch": {"spot:elastigroup:name": text}});
    let many = json!({"StringPatternMatch": {"spot:elastigroup:name": vec!["a"; 101]}});
    for (policy, place) in [
        (
            with("condition", pattern(&"a".repeat(513))),
            format!("{statement}.condition.StringPatternMatch.spot:elastigroup:name"),
        ),
        (
            with("condition", many),
            "policy.policyContent.statements".to_owned(),
        ),
        (with("Condition", named.clone()), format!("{statement}.Condition")),
        (
            with("conditions", named.clone()),
            format!("{statement}.conditions"),
        ),
        (
            with(
                "condition",
                json!({"stringEquals": {"spot:elastigroup:name": "web"}}),
            ),
            format!("{statement}.condition.stringEquals"),
        ),
        (
            with("actions", json!(["a:b", "a:b", "elastigroup", "c:d"])),
            format!("{statement}.actions.2"),
        ),
        (
            json!({"name": "p", "policyContent": {"statements": [allow()], "condition": named}}),
            "policy.policyContent.condition".to_owned(),
        ),
        (
            json!({"name": "p", "policycontent": {}, "policyContent": {"statements": [allow()]}}),
            "policy.policycontent".to_owned(),
        ),
    ] {
        let body = json!({"policy": policy});
        let made = server
            .post(ADMIN, "/setup/access/policy", body.clone())
            .await
            .expect(400);
        assert_eq!(made.error().2, Some(place.as_str()));
        let changed = server.put(ADMIN, &one, body).await.expect(400);
        assert_eq!(changed.error().2, Some(place.as_str()));
    }
    let beside = json!({"policy": {"name": "p"}, "policyContent": {"statements": [allow()]}});
    let refused = server.put(ADMIN, &one, beside).await.expect(400);
    assert_eq!(refused.error().2, Some("policyContent"));
    for (field, value) in [("type", "ORGANIZATION"), ("id", "pol-00000000")] {
        let mut body = json!({"policy": {"name": "p"}});
        body["policy"][field] = json!(value);
        let refused = server.put(ADMIN, &one, body).await.expect(400);
        let place = format!("policy.{field}");
        assert_eq!(refused.error().2, Some(place.as_str()));
    }
    // What an answer has can be sent back.
    let all = server.get(ADMIN, "/setup/organization/policy").await;
    let found = all.items().iter().find(|p| p["id"] == json!(id)).unwrap();
    server
        .put(ADMIN, &one, json!({"policy": found}))
        .await
        .expect(200);
    server
        .put(ADMIN, &one, json!({"policy": with("condition", named)}))
        .await
        .expect(200);
}

/// The vendor's description of user groups calls the accounts of a grant `accounts`.
#[tokio::test]
async fn a_grant_is_narrowed_by_either_name_of_its_accounts() {
    let server = Server::start().await;
    let group = async |grant: Value| {
        let body = json!({"name": "g", "policies": [grant]});
        server.post(ADMIN, "/setup/access/userGroup", body).await
    };
    for grant in [
        json!({"policyId": "1", "accounts": [A]}),
        json!({"policyId": "1", "accountIds": [A]}),
        json!({"policyId": "1", "accounts": [A], "accountIds": [A, A]}),
        json!({"policyId": "1", "accountIds": [A], "policyName": "Admin", "policyType": "SPOT_MANAGED_ORGANIZATION"}),
    ] {
        let made = group(grant.clone()).await.expect(200);
        let path = format!("/setup/access/userGroup/{}", made.item()["id"].as_str().unwrap());
        let details = server.get(ADMIN, &path).await.expect(200);
        assert_eq!(details.item()["policies"][0]["accountIds"], json!([A]), "{grant}");
    }
    for (grant, place) in [
        (json!({"policyId": "1", "account": [A]}), "policies.0.account"),
        (
            json!({"policyId": "1", "accountids": [A]}),
            "policies.0.accountids",
        ),
        (
            json!({"policyId": "1", "accounts": [A], "accountIds": [A, B]}),
            "policies.0.accounts",
        ),
        (
            json!({"policyId": "1", "accounts": [], "accountIds": [A]}),
            "policies.0.accounts",
        ),
        (json!({"policyId": "1", "accounts": A}), "policies.0.accounts"),
    ] {
        let refused = group(grant.clone()).await.expect(400);
        assert_eq!(refused.error().2, Some(place), "{grant}");
        let body = json!({"name": "u", "policies": [grant]});
        let refused = server
            .post(ADMIN, "/setup/user/programmatic", body)
            .await
            .expect(400);
        assert_eq!(refused.error().2, Some(place));
    }
}

#[tokio::test]
async fn actions_are_found_by_each_field_in_any_case() {
    let server = Server::start().await;
    let find = async |query: &str| {
        let path = format!("/setup/access/policyAction?{query}");
        server.get(ADMIN, &path).await.expect(200).items().clone()
    };
    let all = find("").await;
    for (query, field, value) in [
        ("name=Setup:UpdateAccount", "name", "setup:updateAccount"),
        ("service=ELASTIGROUP", "service", "elastigroup"),
        ("resourcePattern=Setup:*", "resourcePattern", "setup:*"),
        ("scope=account", "scope", "ACCOUNT"),
        ("scope=ORGANIZATION", "scope", "ORGANIZATION"),
        ("category=create", "category", "CREATE"),
        ("category=read", "category", "READ"),
        ("category=update", "category", "UPDATE"),
        ("category=DELETE", "category", "DELETE"),
    ] {
        let found = find(query).await;
        let expected: Vec<_> = all.iter().filter(|a| a[field] == value).cloned().collect();
        assert!(!found.is_empty() && found.len() < all.len(), "{query}");
        assert_eq!(found, expected, "{query}");
    }
    for (name, category) in [
        ("elastigroup:createGroup", "CREATE"),
        ("elastigroup:describeGroup", "READ"),
        ("setup:explainAccess", "READ"),
        ("setup:updateUserGroupUsers", "UPDATE"),
        ("elastigroup:deleteGroup", "DELETE"),
    ] {
        assert_eq!(
            find(&format!("name={name}")).await[0]["category"],
            category,
            "{name}"
        );
    }
    assert!(find("category=none").await.is_empty());
}
