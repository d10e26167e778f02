//! The life of users and tokens.

use serde_json::json;

use crate::support::{A, ADMIN, B, Server, on_disk};

#[tokio::test]
async fn a_programmatic_user_from_creation_to_deletion() {
    let server = Server::start().await;
    let body = json!({"name": "ci", "description": "pipeline", "accounts": [
        {"id": A, "role": "viewer"}, {"id": B, "role": "editor"}]});
    let made = server
        .post(ADMIN, "/setup/user/programmatic", body)
        .await
        .expect(200);
    assert_eq!(made.body["response"]["kind"], "spotinst:setup:programmaticUser");
    let item = made.item().as_object().unwrap();
    let mut keys: Vec<_> = item.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["id", "name", "token"]);
    let (id, token) = (item["id"].as_str().unwrap(), item["token"].as_str().unwrap());
    assert!(id.len() == 11 && id.starts_with("pu-"));
    assert!(token.len() == 64 && token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));

    let list = server.get(ADMIN, "/setup/organization/user").await.expect(200);
    assert_eq!(list.body["response"]["kind"], "spotinst:setup:organization:user");
    let types: Vec<_> = list.items().iter().map(|u| u["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["personal", "programmatic"]);
    assert_eq!(
        list.items()[1],
        json!({"userId": id, "username": "ci", "type": "programmatic", "email": null, "mfa": false,
            "groupNames": []})
    );
    assert!(!list.body.to_string().contains(token));

    // Used once, so that the time of use shows.
    server.get(token, "/setup/account").await.expect(200);
    let details = server.get(ADMIN, &format!("/setup/user/{id}")).await.expect(200);
    assert_eq!(details.body["response"]["kind"], "spotinst:setup:access:user");
    let user = details.item();
    assert_eq!(
        (&user["username"], &user["description"]),
        (&json!("ci"), &json!("pipeline"))
    );
    assert_eq!(
        user["policies"],
        json!([
            {"policyId": "3", "policyName": "Account Viewer", "policyType": "SPOT_MANAGED_ACCOUNT", "accountIds": [A]},
            {"policyId": "2", "policyName": "Account Editor", "policyType": "SPOT_MANAGED_ACCOUNT", "accountIds": [B]},
        ])
    );
    let known = &user["tokens"][0];
    assert_eq!(known["tokenLastDigits"], token[60..]);
    assert!(known["tokenId"].is_i64() && known["createdAt"].is_string() && known["lastUsedAt"].is_string());
    assert!(!details.body.to_string().contains(token));

    let path = format!("/setup/user/{id}");
    let gone = server.delete(ADMIN, &path).await.expect(200);
    assert!(gone.body["response"].get("items").is_none());
    server.get(token, "/setup/account").await.expect(401);
    assert_eq!(
        server.delete(ADMIN, &path).await.expect(404).error().0,
        "USER_DOESNT_EXIST"
    );
    assert_eq!(
        server.get(ADMIN, &path).await.expect(404).error().0,
        "USER_DOESNT_EXIST"
    );
}

#[tokio::test]
async fn the_token_is_stored_as_a_hash_only() {
    let server = Server::start().await;
    let (id, token) = server.user("viewer", A).await;
    let directory = server.stop().await;
    for secret in [token.as_str(), ADMIN, crate::support::PASSWORD] {
        assert!(!on_disk(&directory, secret));
    }
    assert!(on_disk(&directory, &id), "the files are being read");
}

#[tokio::test]
async fn errors_of_a_creation_are_reported_field_by_field() {
    let server = Server::start().await;
    let viewer = json!([{"id": A, "role": "viewer"}]);
    let policies = json!([{"policyId": "3", "accountIds": [A]}]);
    let cases = [
        (json!({"accounts": viewer}), "ValidationError", "name"),
        (json!({"name": "", "accounts": viewer}), "ValidationError", "name"),
        (json!({"name": 7, "accounts": viewer}), "ValidationError", "name"),
        (
            json!({"name": "a+b", "accounts": viewer}),
            "ValidationError",
            "name",
        ),
        (
            json!({"name": "a=b", "accounts": viewer}),
            "ValidationError",
            "name",
        ),
        (
            json!({"name": "a@b", "accounts": viewer}),
            "ValidationError",
            "name",
        ),
        (json!({"name": "n"}), "ValidationError", "accounts"),
        (
            json!({"name": "n", "accounts": []}),
            "ValidationError",
            "accounts",
        ),
        (
            json!({"name": "n", "policies": []}),
            "ValidationError",
            "policies",
        ),
        (
            json!({"name": "n", "accounts": viewer, "policies": policies}),
            "ValidationError",
            "accounts",
        ),
        (
            json!({"name": "n", "accounts": [{"id": A}]}),
            "ValidationError",
            "accounts.0.role",
        ),
        (
            json!({"name": "n", "accounts": [{"id": A, "role": "owner"}]}),
            "ValidationError",
            "accounts.0.role",
        ),
        (
            json!({"name": "n", "accounts": "x"}),
            "ValidationError",
            "accounts",
        ),
        (
            json!({"name": "n", "accounts": [{"id": "act-0", "role": "viewer"}]}),
            "Account_DOESNT_EXIST",
            "accounts.0.id",
        ),
        (
            json!({"name": "n", "policies": [{"policyId": "pol-0", "accountIds": ["*"]}]}),
            "POLICY_DOESNT_EXIST",
            "policies.0.policyId",
        ),
        (
            json!({"name": "n", "policies": [{"policyId": "3", "accountIds": ["act-0"]}]}),
            "Account_DOESNT_EXIST",
            "policies.0.accountIds.0",
        ),
        (
            json!({"name": "n", "policies": [{"policyId": "3"}]}),
            "ValidationError",
            "policies.0.accountIds",
        ),
        (json!([]), "ValidationError", "body"),
    ];
    for (body, code, field) in cases {
        let answer = server
            .post(ADMIN, "/setup/user/programmatic", body.clone())
            .await
            .expect(400);
        let error = answer.error();
        assert_eq!((error.0, error.2), (code, Some(field)), "{body} -> {error:?}");
        assert!(
            field == "body"
                || error.1.contains(field.split('.').next().unwrap())
                || error.1.contains("exist")
        );
    }
    assert_eq!(
        server.get(ADMIN, "/setup/organization/user").await.items().len(),
        1,
        "nothing was made"
    );
}

#[tokio::test]
async fn names_are_not_unique_and_slashes_are_allowed() {
    let server = Server::start().await;
    let body = json!({"name": "cluster/x", "policies": [{"policyId": "3", "accountIds": ["*"]}]});
    let (first, _) = server.user_with(body.clone()).await;
    let (second, _) = server.user_with(body).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn mappings_replace() {
    let server = Server::start().await;
    let (id, _) = server.user("viewer", A).await;
    let policy = server
        .policy(
            "ACCOUNT",
            json!([{"effect": "ALLOW", "actions": ["ocean:*"], "resources": ["*"]}]),
        )
        .await;
    for spelling in ["policyMapping", "PolicyMapping", "policyMapping/"] {
        let body = json!({"policies": [{"policyId": policy, "accountIds": ["*"]}, {"policyId": "3", "accountIds": [A]},
            {"policyId": "3", "accountIds": [B, A]}]});
        let done = server
            .put(ADMIN, &format!("/setup/user/{id}/{spelling}"), body)
            .await
            .expect(200);
        assert!(done.body["response"].get("items").is_none());
    }
    let details = server.get(ADMIN, &format!("/setup/user/{id}")).await;
    assert_eq!(details.item()["policies"][0]["policyId"], json!(policy));
    assert_eq!(details.item()["policies"][1]["accountIds"], json!([A, B]));
    server
        .put(
            ADMIN,
            &format!("/setup/user/{id}/policyMapping"),
            json!({"policies": []}),
        )
        .await
        .expect(200);
    let details = server.get(ADMIN, &format!("/setup/user/{id}")).await;
    assert_eq!(details.item()["policies"], json!([]));
    server
        .put(ADMIN, &format!("/setup/user/{id}/policyMapping"), json!({}))
        .await
        .expect(400);
    server
        .put(ADMIN, "/setup/user/pu-0/policyMapping", json!({"policies": []}))
        .await
        .expect(404);

    let made = server
        .post(
            ADMIN,
            "/setup/access/userGroup",
            json!({"name": "Deployers",
        "policies": [{"policyId": policy, "accountIds": [B]}]}),
        )
        .await
        .expect(200);
    let group = made.item()["id"].as_str().unwrap().to_owned();
    let path = format!("/setup/user/{id}/userGroupMapping");
    server
        .put(ADMIN, &path, json!({"userGroupIds": [group]}))
        .await
        .expect(200);
    let details = server.get(ADMIN, &format!("/setup/user/{id}")).await;
    assert_eq!(
        details.item()["groups"],
        json!([{"id": group, "name": "Deployers", "policyNames": ["custom"]}])
    );
    let shown = server
        .get(ADMIN, &format!("/setup/access/userGroup/{group}"))
        .await;
    assert_eq!(
        shown.item()["users"],
        json!([{"userId": id, "userName": "viewer", "type": "programmatic"}])
    );
    let missing = server
        .put(ADMIN, &path, json!({"userGroupIds": ["ugr-0"]}))
        .await
        .expect(400);
    assert_eq!(missing.error().0, "USER_GROUP_DOESNT_EXIST");
    // One SDK leaves the empty list out.
    server.put(ADMIN, &path, json!({})).await.expect(200);
    assert_eq!(
        server.get(ADMIN, &format!("/setup/user/{id}")).await.item()["groups"],
        json!([])
    );
}

#[tokio::test]
async fn console_users_may_get_a_token_once() {
    let server = Server::start().await;
    let body = json!({"firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "password": "long enough",
        "role": "admin"});
    let made = server
        .post(ADMIN, "/setup/user?generateToken=true", body.clone())
        .await
        .expect(200);
    let token = made.item()["personalAccessToken"].as_str().unwrap().to_owned();
    assert!(made.item()["userId"].as_str().unwrap().starts_with("u-"));
    for (key, value) in [
        ("firstName", "Ann"),
        ("lastName", "Lee"),
        ("displayName", "Ann Lee"),
        ("email", "ann@example.com"),
    ] {
        assert_eq!(made.item()[key], value, "{key}");
    }
    server.get(&token, "/setup/organization/user").await.expect(200);
    assert_eq!(
        server
            .post(ADMIN, "/setup/user", body)
            .await
            .expect(400)
            .error()
            .0,
        "EMAIL_IN_USE"
    );
}

/// The vendor's own example has `viewer`: in the account of the query, without one in the default account.
#[tokio::test]
async fn a_console_user_may_begin_with_a_role_in_an_account() {
    let server = Server::start().await;
    let create = async |name: &str, role: &str, query: &str| {
        let body = json!({"firstName": "Test", "lastName": name, "email": format!("{name}@example.com"),
            "password": "password1234", "role": role});
        let path = format!("/setup/user?generateToken=true{query}");
        server.post(ADMIN, &path, body).await
    };
    let in_b = format!("&accountId={B}");
    for (name, role, query, held) in [
        ("one", "viewer", "", vec![("3", A)]),
        ("two", "Editor", "", vec![("2", A)]),
        ("three", "viewer", in_b.as_str(), vec![("3", B)]),
        ("four", "admin", in_b.as_str(), vec![("1", "*")]),
        ("five", "user", in_b.as_str(), vec![]),
    ] {
        let made = create(name, role, query).await.expect(200);
        let id = made.item()["userId"].as_str().unwrap();
        let details = server.get(ADMIN, &format!("/setup/user/{id}")).await.expect(200);
        let policies = details.item()["policies"].as_array().unwrap();
        let shown: Vec<_> = policies
            .iter()
            .map(|p| (p["policyId"].as_str().unwrap(), &p["accountIds"]))
            .collect();
        let held: Vec<_> = held.iter().map(|(id, account)| (*id, json!([account]))).collect();
        let expected: Vec<_> = held.iter().map(|(id, accounts)| (*id, accounts)).collect();
        assert_eq!(shown, expected, "{role}{query}");
    }
    for (role, query, refusal) in [
        (
            "viewer",
            "&accountId=act-00000000",
            ("Account_DOESNT_EXIST", Some("query.accountId")),
        ),
        ("owner", "", ("ValidationError", Some("role"))),
    ] {
        let refused = create("six", role, query).await.expect(400);
        let (code, _, field) = refused.error();
        assert_eq!((code, field), refusal);
    }
    let users = server.get(ADMIN, "/setup/organization/user").await;
    assert!(!users.body.to_string().contains("six@example.com"));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let server = Server::start().await;
    let list = server.get(ADMIN, "/setup/organization/user").await;
    let admin = list.item()["userId"].as_str().unwrap().to_owned();
    let path = format!("/setup/user/{admin}");
    assert_eq!(
        server.delete(ADMIN, &path).await.expect(400).error().0,
        "LAST_ADMINISTRATOR"
    );
    let mapping = format!("{path}/policyMapping");
    server
        .put(ADMIN, &mapping, json!({"policies": []}))
        .await
        .expect(400);
    let narrowed = json!({"policies": [{"policyId": "1", "accountIds": [A]}]});
    server.put(ADMIN, &mapping, narrowed).await.expect(400);
    // A denial locks out as well as a missing right.
    let deny = server
        .policy(
            "ORGANIZATION",
            json!([{"effect": "DENY", "actions": ["*"], "resources": ["*"]}]),
        )
        .await;
    let denied = json!({"policies": [{"policyId": "1", "accountIds": ["*"]}, {"policyId": deny}]});
    server.put(ADMIN, &mapping, denied).await.expect(400);
    server.get(ADMIN, "/setup/organization/user").await.expect(200);
}

/// A user is made of what was looked up a moment before: whatever goes in between, it is made whole or refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_and_groups_deleted_during_a_creation_are_not_granted() {
    let server = std::sync::Arc::new(Server::start().await);
    let mut refused = 0;
    for round in 0..6 {
        let named = json!({"account": {"name": format!("account {round}")}});
        let account = server.post(ADMIN, "/setup/account", named).await.expect(200);
        let account = account.item()["id"].as_str().unwrap().to_owned();
        let policy = server
            .policy(
                "ACCOUNT",
                json!([{"effect": "ALLOW", "actions": ["*"], "resources": ["*"]}]),
            )
            .await;
        let wanted = [
            json!({"name": "by-role", "accounts": [{"id": account, "role": "viewer"}]}),
            json!({"name": "by-policy", "policies": [{"policyId": policy, "accountIds": ["*"]}]}),
            json!({"name": "untouched", "accounts": [{"id": A, "role": "viewer"}]}),
        ];
        let making: Vec<_> = (0..24)
            .map(|n| {
                let (server, body) = (server.clone(), wanted[n % 3].clone());
                tokio::spawn(async move { server.post(ADMIN, "/setup/user/programmatic", body).await })
            })
            .collect();
        let (account_path, policy_path) = (
            format!("/setup/account/{account}"),
            format!("/setup/access/policy/{policy}"),
        );
        let (gone, in_use) = tokio::join!(
            server.delete(ADMIN, &account_path),
            server.delete(ADMIN, &policy_path)
        );
        gone.expect(200);
        assert!(matches!(in_use.status, 200 | 400), "{in_use:?}");
        for (n, made) in making.into_iter().enumerate() {
            let made = made.await.unwrap();
            match made.status {
                200 => {
                    let token = made.item()["token"].as_str().unwrap();
                    server.get(token, "/setup/account").await.expect(200);
                }
                400 => {
                    refused += 1;
                    let (code, ..) = made.error();
                    let known = ["Account_DOESNT_EXIST", "POLICY_DOESNT_EXIST"];
                    assert!(n % 3 != 2 && known.contains(&code), "{made:?}");
                }
                _ => panic!("{made:?}"),
            }
        }
        if in_use.status == 400 {
            let users = server.get(ADMIN, "/setup/organization/user").await;
            for user in users.items().iter().filter(|u| u["username"] == "by-policy") {
                let path = format!("/setup/user/{}", user["userId"].as_str().unwrap());
                server.delete(ADMIN, &path).await.expect(200);
            }
            server.delete(ADMIN, &policy_path).await.expect(200);
        }
    }
    println!("{refused} of 96 creates were refused for what had gone");
    // Nothing is left of an account or policy that is not there any more.
    let users = server.get(ADMIN, "/setup/organization/user").await;
    for user in users.items() {
        let path = format!("/setup/user/{}", user["userId"].as_str().unwrap());
        for policy in server.get(ADMIN, &path).await.item()["policies"]
            .as_array()
            .unwrap()
        {
            let accounts: Vec<_> = policy["accountIds"].as_array().unwrap().iter().collect();
            assert!(accounts.iter().all(|a| *a == A || *a == "*"), "{policy}");
        }
    }
}
