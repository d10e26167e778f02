//! The older routes: rights by account of console users, policies of an account, the organization.

use serde_json::{Value, json};

use crate::support::{A, ADMIN, B, Server};

/// Id of a console user with a token, and the token.
async fn person(server: &Server, email: &str) -> (String, String) {
    let body = json!({"firstName": "Ada", "lastName": "L", "email": email, "password": "long enough"});
    let made = server
        .post(ADMIN, "/setup/user?generateToken=true", body)
        .await
        .expect(200);
    let text = |key: &str| made.item()[key].as_str().unwrap().to_owned();
    (text("userId"), text("personalAccessToken"))
}

async fn delete(server: &Server, path: &str, body: Value) -> crate::support::Answer {
    let request = server.http.delete(server.url(path)).bearer_auth(ADMIN);
    server.send(request.json(&body)).await
}

#[tokio::test]
async fn a_console_user_is_added_to_an_account_changed_and_taken_out() {
    let server = Server::start().await;
    let (id, token) = person(&server, "Ada@example.com").await;
    let path = format!("/setup/account/{A}/user");
    let groups = format!("/aws/ec2/group?accountId={A}");
    let as_role = |role: &str| json!({"userEmail": "ada@example.com", "role": role});
    server.get(&token, &groups).await.expect(403);
    let early = server.put(ADMIN, &path, as_role("editor")).await.expect(400);
    assert_eq!(early.error().0, "USER_NOT_IN_ACCOUNT");
    server.post(ADMIN, &path, as_role("viewer")).await.expect(200);
    server.get(&token, &groups).await.expect(200);
    let twice = server.post(ADMIN, &path, as_role("viewer")).await.expect(400);
    assert!(twice.error().1.contains("PUT changes the role"));
    let group = json!({"group": {"name": "g"}});
    server.post(&token, &groups, group.clone()).await.expect(403);
    server.put(ADMIN, &path, as_role("editor")).await.expect(200);
    server.post(&token, &groups, group).await.expect(200);

    let listed = server
        .get(ADMIN, "/setup/accountUserMapping?userEmail=ada@example.com")
        .await
        .expect(200);
    assert_eq!(
        *listed.item(),
        json!({"userId": id, "userEmail": "Ada@example.com", "accountId": A,
            "permissionStrategy": "ROLE_BASED", "role": "editor"})
    );
    // Only an administrator.
    server.post(&token, &path, as_role("editor")).await.expect(403);
    delete(&server, &path, json!({"userEmail": "ada@example.com"}))
        .await
        .expect(200);
    server.get(&token, &groups).await.expect(403);
    let again = delete(&server, &path, json!({"userId": id})).await.expect(400);
    assert_eq!(again.error().0, "USER_NOT_IN_ACCOUNT");
    let events = server.events("").await;
    let actions: Vec<_> = events
        .iter()
        .filter(|e| e["resourceId"] == id.as_str())
        .map(|e| e["actionType"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "createUser",
            "createUserMapping",
            "updateUserMapping",
            "deleteUserMapping"
        ]
    );
}

/// The form with policies, as the vendor's own example has it: what is asked for is what is given, whatever else is there.
#[tokio::test]
async fn a_console_user_is_given_policies_in_an_account() {
    let server = Server::start().await;
    let (id, token) = person(&server, "ada@example.com").await;
    let path = format!("/setup/account/{A}/user");
    let custom = json!([{"effect": "ALLOW", "actions": ["elastigroup:describe*"], "resources": ["*"]}]);
    let policy = server.policy("ACCOUNT", custom).await;
    let by_policy = json!({"userId": id, "permissionStrategy": "POLICY_BASED", "policyIds": [policy]});
    let mut with_role = by_policy.clone();
    with_role["role"] = json!("editor");
    let held = async || {
        let listed = server
            .get(ADMIN, "/setup/accountUserMapping?userEmail=ada@example.com")
            .await
            .expect(200);
        listed.item().clone()
    };
    let mut expected = by_policy.clone();
    expected["userEmail"] = json!("ada@example.com");
    expected["accountId"] = json!(A);
    server.post(ADMIN, &path, with_role).await.expect(200);
    assert_eq!(held().await, expected);
    let groups = format!("/aws/ec2/group?accountId={A}");
    server.get(&token, &groups).await.expect(200);
    let group = json!({"group": {"name": "g"}});
    server.post(&token, &groups, group).await.expect(403);

    let by_role = json!({"userId": id, "role": "editor"});
    server.put(ADMIN, &path, by_role).await.expect(200);
    assert_eq!(held().await["role"], "editor");
    server.put(ADMIN, &path, by_policy.clone()).await.expect(200);
    assert_eq!(held().await, expected);
    for (change, field, code) in [
        (json!({"policyIds": []}), "policyIds", "ValidationError"),
        (
            json!({"policyIds": ["pol-00000000"]}),
            "policyIds.0",
            "POLICY_DOESNT_EXIST",
        ),
        (
            json!({"permissionStrategy": "OTHER"}),
            "permissionStrategy",
            "ValidationError",
        ),
        (
            json!({"permissionStrategy": "ROLE_BASED"}),
            "role",
            "ValidationError",
        ),
        (json!({"permissionStrategy": null}), "role", "ValidationError"),
        // What is misspelled could have been meant to narrow.
        (
            json!({"permissionstrategy": "ROLE_BASED"}),
            "permissionstrategy",
            "ValidationError",
        ),
        (json!({"accountId": B}), "accountId", "ValidationError"),
    ] {
        let mut body = by_policy.clone();
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let refused = server.put(ADMIN, &path, body).await.expect(400);
        let error = refused.error();
        assert_eq!((error.0, error.2), (code, Some(field)), "{change}");
    }
    assert_eq!(held().await, expected);
}

/// A query for one account's events has what was done to it, too, though the right to that is the organization's.
#[tokio::test]
async fn the_audit_log_of_an_account_has_its_grants() {
    let server = Server::start().await;
    let (id, token) = person(&server, "ada@example.com").await;
    let path = format!("/setup/account/{A}/user");
    let as_role = |role: &str| json!({"userId": id, "role": role});
    server.post(ADMIN, &path, as_role("viewer")).await.expect(200);
    server.put(ADMIN, &path, as_role("owner")).await.expect(400);
    server.put(&token, &path, as_role("editor")).await.expect(403);
    delete(&server, &path, json!({"userId": id})).await.expect(200);
    let mapping = |account: &str| json!({"userId": id, "accountId": account, "role": "viewer"});
    let both = json!({"mappings": [mapping(A), mapping(B)]});
    server
        .post(ADMIN, "/setup/accountUserMapping", both)
        .await
        .expect(200);
    server
        .delete(ADMIN, &format!("/setup/account/{B}"))
        .await
        .expect(200);
    let events_of = async |account: &str| -> Vec<String> {
        let events = server.events(&format!("&accountId={account}")).await;
        let words = |e: &Value| format!("{} {}", e["actionType"].as_str().unwrap(), e["responseStatus"]);
        events.iter().map(words).collect()
    };
    assert_eq!(
        events_of(A).await,
        [
            "createUserMapping 200",
            "updateUserMapping 400",
            "updateUserMapping 403",
            "deleteUserMapping 200",
            "updateUserMapping 200",
        ]
    );
    assert_eq!(events_of(B).await, ["updateUserMapping 200", "deleteAccount 200"]);
}

#[tokio::test]
async fn several_are_assigned_at_once_or_none_is() {
    let server = Server::start().await;
    let (ada, token) = person(&server, "ada@example.com").await;
    let (_, other) = person(&server, "bob@example.com").await;
    let custom = json!([{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]);
    let policy = server.policy("ACCOUNT", custom).await;
    let mappings = json!({"mappings": [
        {"userEmail": "ada@example.com", "accountId": A, "role": "VIEWER"},
        {"userId": ada, "accountId": B, "permissionStrategy": "POLICY_BASED", "policyIds": [policy]},
        {"userEmail": "bob@example.com", "accountId": B, "role": "editor"},
    ]});
    server
        .post(ADMIN, "/setup/accountUserMapping", mappings.clone())
        .await
        .expect(200);
    let groups = |account: &str| format!("/aws/ec2/group?accountId={account}");
    let group = json!({"group": {"name": "g"}});
    server.post(&token, &groups(A), group.clone()).await.expect(403);
    server.post(&token, &groups(B), group.clone()).await.expect(200);
    server.post(&other, &groups(B), group).await.expect(200);
    let held = server
        .get(ADMIN, "/setup/accountUserMapping?userEmail=ADA@example.com")
        .await
        .expect(200);
    let strategies: Vec<_> = held.items().iter().map(|i| &i["permissionStrategy"]).collect();
    assert_eq!(strategies, ["ROLE_BASED", "POLICY_BASED"]);

    // One that is wrong spoils all, and is named.
    for (change, field, code) in [
        (
            json!({"userEmail": "unknown@example.com"}),
            "mappings.1.userEmail",
            "USER_DOESNT_EXIST",
        ),
        (
            json!({"accountId": "act-00000000"}),
            "mappings.1.accountId",
            "Account_DOESNT_EXIST",
        ),
        (json!({"role": "owner"}), "mappings.1.role", "ValidationError"),
        (
            json!({"userEmail": null}),
            "mappings.1.userEmail",
            "ValidationError",
        ),
        (
            json!({"userId": "u-1"}),
            "mappings.1.userEmail",
            "ValidationError",
        ),
        (
            json!({"permissionStrategy": "POLICY_BASED", "policyIds": ["pol-00000000"]}),
            "mappings.1.policyIds.0",
            "POLICY_DOESNT_EXIST",
        ),
        (
            json!({"permissionStrategy": "POLICY_BASED"}),
            "mappings.1.policyIds",
            "ValidationError",
        ),
        (
            json!({"permissionStrategy": "OTHER"}),
            "mappings.1.permissionStrategy",
            "ValidationError",
        ),
    ] {
        let mut second = json!({"userEmail": "bob@example.com", "accountId": A, "role": "viewer"});
        for (key, value) in change.as_object().unwrap() {
            second[key] = value.clone();
        }
        let first = json!({"userEmail": "ada@example.com", "accountId": A, "role": "editor"});
        let refused = server
            .post(
                ADMIN,
                "/setup/accountUserMapping",
                json!({"mappings": [first, second]}),
            )
            .await
            .expect(400);
        let (found, _, place) = refused.error();
        assert_eq!((found, place), (code, Some(field)), "{change}");
    }
    let after = server
        .get(ADMIN, "/setup/accountUserMapping?userEmail=ada@example.com")
        .await;
    assert_eq!(after.items(), held.items());

    // Programmatic users have their own route for this.
    let (programmatic, _) = server.user("viewer", A).await;
    let body = json!({"mappings": [{"userId": programmatic, "accountId": B, "role": "editor"}]});
    let refused = server
        .post(ADMIN, "/setup/accountUserMapping", body)
        .await
        .expect(400);
    assert!(refused.error().1.contains("policyMapping"));
    server.get(ADMIN, "/setup/accountUserMapping").await.expect(400);
}

/// The built-in ones, and those of the account's people: what a policy says that is used elsewhere is not shown.
#[tokio::test]
async fn the_policies_of_an_account_are_those_that_hold_there() {
    let server = Server::start().await;
    let statements = json!([{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]);
    let given = async |kind: &str, account: &str| {
        let policy = server.policy(kind, statements.clone()).await;
        let grant = json!([{"policyId": policy, "accountIds": [account]}]);
        server
            .user_with(json!({"name": "u", "policies": grant.clone()}))
            .await;
        let group = json!({"name": "g", "policies": grant});
        server
            .post(ADMIN, "/setup/access/userGroup", group)
            .await
            .expect(200);
        policy
    };
    let here = given("ACCOUNT", A).await;
    let everywhere = given("ACCOUNT", "*").await;
    given("ACCOUNT", B).await;
    given("ORGANIZATION", A).await;
    server.policy("ACCOUNT", statements.clone()).await;
    let (_, viewer) = server.user("viewer", A).await;
    for token in [&viewer, ADMIN] {
        let listed = server
            .get(token, &format!("/setup/access/policy?accountId={A}"))
            .await
            .expect(200);
        let ids: Vec<_> = listed.items().iter().map(|p| p["id"].as_str().unwrap()).collect();
        let mut wanted = vec!["2", "3", "4", "5", here.as_str(), everywhere.as_str()];
        wanted[4..].sort_unstable_by_key(|id| ids.iter().position(|other| other == id));
        assert_eq!(ids, wanted);
    }
    server
        .get(&viewer, &format!("/setup/access/policy?accountId={B}"))
        .await
        .expect(403);
}

#[tokio::test]
async fn there_is_one_organization() {
    let server = Server::start().await;
    let body = json!({"organization": {"name": "second"}});
    let refused = server
        .post(ADMIN, "/setup/organization", body.clone())
        .await
        .expect(400);
    assert!(
        refused.error().1.contains("start another platform"),
        "{refused:?}"
    );
    let (_, viewer) = server.user("viewer", A).await;
    server
        .post(&viewer, "/setup/organization", body)
        .await
        .expect(403);
    let nameless = server
        .post(ADMIN, "/setup/organization", json!({}))
        .await
        .expect(400);
    assert_eq!(nameless.error().2, Some("organization"));
    server.delete(ADMIN, "/setup/organization/1").await.expect(404);
    let own = server.get(ADMIN, "/setup/account").await.items()[0]["organizationId"].clone();
    let path = format!("/setup/organization/{}", own.as_str().unwrap());
    assert_eq!(
        server.delete(ADMIN, &path).await.expect(400).error().0,
        "ORGANIZATION_IN_USE"
    );
}
