//! Rights that depend on the resource, where the resource is not known yet: lists, and what is about to be made. And what
//! a denial takes away.

use serde_json::{Value, json};

use crate::support::{A, ADMIN, B, Server};

async fn make(server: &Server, token: &str, account: &str, name: &str) -> u16 {
    let path = format!("/aws/ec2/group?accountId={account}");
    let group = json!({"group": {"name": name}});
    server.post(token, &path, group).await.status
}

async fn names(server: &Server, token: &str, account: &str) -> Vec<String> {
    let listed = server
        .get(token, &format!("/aws/ec2/group?accountId={account}"))
        .await;
    let name = |g: &Value| g["name"].as_str().unwrap().to_owned();
    listed.expect(200).items().iter().map(name).collect()
}

async fn explained(server: &Server, user: &str, action: &str, account: Option<&str>) -> (Value, Value) {
    let account = account.map_or(String::new(), |a| format!("&accountId={a}"));
    let path = format!("/setup/access/explain?userId={user}&action={action}{account}");
    let answer = server.get(ADMIN, &path).await.expect(200);
    (answer.item()["decision"].clone(), answer.item()["reason"].clone())
}

/// A user with one policy of these statements in an account.
async fn user(server: &Server, statements: Value, account: &str) -> (String, String) {
    let policy = server.policy("ACCOUNT", statements).await;
    let body = json!({"name": "u", "policies": [{"policyId": policy, "accountIds": [account]}]});
    server.user_with(body).await
}

#[tokio::test]
async fn a_condition_applies_to_creations_and_lists() {
    let server = Server::start().await;
    for name in ["payments-1", "other"] {
        assert_eq!(make(&server, ADMIN, A, name).await, 200);
    }
    let mine = json!({"StringPatternMatch": {"spot:elastigroup:name": "^payments-.*$"}});
    let actions = ["elastigroup:describe*", "elastigroup:createGroup"];
    let allow = json!([{"effect": "ALLOW", "actions": actions, "resources": ["*"], "condition": mine}]);
    let (id, token) = user(&server, allow, A).await;
    assert_eq!(make(&server, &token, A, "payments-2").await, 200);
    assert_eq!(make(&server, &token, A, "prod").await, 403);
    assert_eq!(names(&server, &token, A).await, ["payments-1", "payments-2"]);
    let create = "elastigroup:createGroup";
    let depends = (json!("CONDITIONAL"), json!("RESOURCE"));
    assert_eq!(explained(&server, &id, create, Some(A)).await, depends);
    // Elsewhere there is nothing to ask for.
    let list = format!("/aws/ec2/group?accountId={B}");
    server.get(&token, &list).await.expect(403);
    let never = (json!("DENY"), json!("DEFAULT"));
    assert_eq!(explained(&server, &id, create, Some(B)).await, never);
}

#[tokio::test]
async fn a_denial_with_a_condition_is_no_empty_word() {
    let server = Server::start().await;
    let prod = json!({"StringPatternMatch": {"spot:elastigroup:name": "^prod-.*$"}});
    let statements = json!([
        {"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]},
        {"effect": "DENY", "actions": ["elastigroup:createGroup"], "resources": ["*"], "condition": prod}]);
    let (_, token) = user(&server, statements, A).await;
    assert_eq!(make(&server, &token, A, "dev-1").await, 200);
    assert_eq!(make(&server, &token, A, "prod-1").await, 403);
    assert_eq!(names(&server, &token, A).await, ["dev-1"]);
    let refused = server.events("").await;
    let refused = refused.iter().filter(|e| e["result"] == "refused");
    assert_eq!(refused.count(), 1, "it is on record");
}

/// A tag that is not there, and the address of a caller without one: neither opens what others are denied.
#[tokio::test]
async fn a_missing_value_escapes_no_denial() {
    let server = Server::start().await;
    let path = format!("/aws/ec2/group?accountId={A}");
    let tags =
        |email: &str| json!({"launchSpecification": {"tags": [{"tagKey": "Email", "tagValue": email}]}});
    let mut ids = Vec::new();
    for group in [
        json!({"name": "of ann", "compute": tags("ann@example.com")}),
        json!({"name": "unused"}),
    ] {
        let made = server
            .post(ADMIN, &path, json!({"group": group}))
            .await
            .expect(200);
        ids.push(made.item()["id"].as_str().unwrap().to_owned());
    }
    let own = json!({"StringNotEquals": {"spot:elastigroup:tags/Email": "${spot:userEmail}"}});
    let statements = json!([
        {"effect": "ALLOW", "actions": ["*"], "resources": ["*"]},
        {"effect": "DENY", "actions": ["*"], "resources": ["*"], "condition": own}]);
    let policy = server.policy("ACCOUNT", statements).await;
    let grant = json!({"policies": [{"policyId": policy, "accountIds": [A]}]});
    let mut body = grant.clone();
    body["name"] = json!("ci");
    let (id, token) = server.user_with(body).await;
    assert!(names(&server, &token, A).await.is_empty());
    assert_eq!(make(&server, &token, A, "more").await, 403);
    for group in &ids {
        let one = format!("/aws/ec2/group/{group}?accountId={A}");
        server.delete(&token, &one).await.expect(403);
        let denied = (json!("DENY"), json!("STATEMENT"));
        let action = format!("elastigroup:deleteGroup&resource=elastigroup:{group}");
        assert_eq!(explained(&server, &id, &action, Some(A)).await, denied);
    }
    for action in ["elastigroup:describeGroup", "elastigroup:deleteGroup"] {
        let depends = (json!("CONDITIONAL"), json!("RESOURCE"));
        assert_eq!(explained(&server, &id, action, Some(A)).await, depends);
    }
    // It is about groups: the account itself is not denied.
    server
        .get(&token, &format!("/setup/account/{A}"))
        .await
        .expect(200);

    let ann = json!({"firstName": "Ann", "lastName": "Lee", "email": "ann@example.com", "password": "long enough", "role": "user"});
    let made = server
        .post(ADMIN, "/setup/user?generateToken=true", ann)
        .await
        .expect(200);
    let text = |key: &str| made.item()[key].as_str().unwrap();
    server
        .put(
            ADMIN,
            &format!("/setup/user/{}/policyMapping", text("userId")),
            grant,
        )
        .await
        .expect(200);
    let token = text("personalAccessToken");
    assert_eq!(names(&server, token, A).await, ["of ann"]);
    for (group, status) in ids.iter().zip([200, 403]) {
        let one = format!("/aws/ec2/group/{group}?accountId={A}");
        server.delete(token, &one).await.expect(status);
    }
}

/// A condition is about the value of a tag: with a second one there would be two.
#[tokio::test]
async fn a_tag_is_given_once() {
    let server = Server::start().await;
    let tag = |key: &str, value: &str| json!({"tagKey": key, "tagValue": value});
    let create = async |tags: Value| {
        let compute = json!({"launchSpecification": {"tags": tags}});
        let group = json!({"group": {"name": "g", "compute": compute}});
        server
            .post(ADMIN, &format!("/aws/ec2/group?accountId={A}"), group)
            .await
    };
    let twice = create(json!([tag("Env", "prod"), tag("Env", "dev")]))
        .await
        .expect(400);
    let (code, _, field) = twice.error();
    assert_eq!(
        (code, field),
        (
            "ValidationError",
            Some("group.compute.launchSpecification.tags.1.tagKey")
        )
    );
    create(json!([tag("Env", "prod"), tag("env", "dev")]))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_right_to_one_resource_lists_that_one_and_makes_none() {
    let server = Server::start().await;
    for name in ["one", "two"] {
        assert_eq!(make(&server, ADMIN, A, name).await, 200);
    }
    let listed = server.get(ADMIN, &format!("/aws/ec2/group?accountId={A}")).await;
    let first = listed.items()[0]["id"].as_str().unwrap();
    let statements = json!([{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": [format!("elastigroup:{first}")]}]);
    let (_, token) = user(&server, statements, A).await;
    assert_eq!(names(&server, &token, A).await, ["one"]);
    assert_eq!(make(&server, &token, A, "three").await, 403);
}

/// A policy that only denies grants nothing.
#[tokio::test]
async fn a_denial_shows_no_account() {
    let server = Server::start().await;
    let (id, token) = server.user("viewer", A).await;
    let accounts = async || {
        let seen = server.get(&token, "/setup/account").await.expect(200);
        let id = |a: &Value| a["accountId"].as_str().unwrap().to_owned();
        seen.items().iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(accounts().await, [A]);
    let group = async |statements: Value, account: &str| {
        let policy = server.policy("ACCOUNT", statements).await;
        let grant = json!([{"policyId": policy, "accountIds": [account]}]);
        let body = json!({"name": "careful", "userIds": [id], "policies": grant});
        server
            .post(ADMIN, "/setup/access/userGroup", body)
            .await
            .expect(200);
    };
    let deny = json!([{"effect": "DENY", "actions": ["elastigroup:delete*"], "resources": ["*"]}]);
    group(deny, "*").await;
    assert_eq!(accounts().await, [A]);
    server
        .get(&token, &format!("/setup/account/{B}"))
        .await
        .expect(403);
    server
        .get(&token, "/setup/account/act-00000000")
        .await
        .expect(403);
    // And a denial of the account itself counts, though reading it goes with any other right in it.
    let reading = "setup:describeAccount";
    let with_the_rest = (json!("ALLOW"), json!("STATEMENT"));
    assert_eq!(explained(&server, &id, reading, Some(A)).await, with_the_rest);
    group(
        json!([{"effect": "DENY", "actions": [reading], "resources": ["*"]}]),
        A,
    )
    .await;
    assert!(accounts().await.is_empty());
    server
        .get(&token, &format!("/setup/account/{A}"))
        .await
        .expect(403);
    let denied = (json!("DENY"), json!("STATEMENT"));
    assert_eq!(explained(&server, &id, reading, Some(A)).await, denied);
}

/// What is explained is what the gate does, of actions in the organization too.
#[tokio::test]
async fn an_explanation_reads_the_same_grants_as_the_authorization() {
    let server = Server::start().await;
    let body = json!({"name": "local", "policies": [{"policyId": "1", "accountIds": [A]}]});
    let (id, token) = server.user_with(body).await;
    let create = json!({"name": "n", "accounts": [{"id": A, "role": "viewer"}]});
    server
        .post(&token, "/setup/user/programmatic", create)
        .await
        .expect(403);
    let action = "setup:createProgrammaticUser";
    for account in [None, Some(A)] {
        let denied = (json!("DENY"), json!("DEFAULT"));
        assert_eq!(explained(&server, &id, action, account).await, denied);
    }
    let everybody = (json!("ALLOW"), json!("EVERYBODY"));
    assert_eq!(
        explained(&server, &id, "setup:describeAllAccounts", None).await,
        everybody
    );
    let always = (json!("ALLOW"), json!("STATEMENT"));
    assert_eq!(
        explained(&server, &id, "elastigroup:createGroup", Some(A)).await,
        always
    );
    let path = format!("/setup/access/explain?userId={id}&action=elastigroup:createGroup");
    let nowhere = server.get(ADMIN, &path).await.expect(400);
    assert_eq!(nowhere.error().2, Some("query.accountId"));
}

/// A pattern is a regular expression. Found in a part of a name only it gives nothing, and denies.
#[tokio::test]
async fn a_pattern_denies_where_it_matches_a_part_and_allows_where_it_matches_the_whole() {
    let server = Server::start().await;
    let pattern = |text: &str| json!({"StringPatternMatch": {"spot:elastigroup:name": text}});
    let statements = json!([
        {"effect": "ALLOW", "actions": ["*:describe*"], "resources": ["*"]},
        {"effect": "ALLOW", "actions": ["elastigroup:createGroup"], "resources": ["*"], "condition": pattern("(dev|prod)-[0-9]+")},
        {"effect": "DENY", "actions": ["elastigroup:createGroup"], "resources": ["*"], "condition": pattern("^prod-.*$")},
        {"effect": "DENY", "actions": ["elastigroup:createGroup"], "resources": ["*"], "condition": pattern("-13")}]);
    let (_, token) = user(&server, statements, A).await;
    for (name, status) in [
        ("dev-1", 200),
        ("dev-*", 403),
        ("my-dev-1", 403),
        ("prod-1", 403),
        ("dev-13", 403),
        ("dev-130", 403),
    ] {
        assert_eq!(make(&server, &token, A, name).await, status, "{name}");
    }
    for text in ["*-dev", "(", "(?=a)", "a{1000}{1000}{1000}"] {
        let statements =
            json!([{"effect": "DENY", "actions": ["a:b"], "resources": ["*"], "condition": pattern(text)}]);
        let policy = json!({"policy": {"name": "p", "policyContent": {"statements": statements}}});
        let refused = server
            .post(ADMIN, "/setup/access/policy", policy)
            .await
            .expect(400);
        let place = "policy.policyContent.statements.0.condition.StringPatternMatch.spot:elastigroup:name";
        assert_eq!(refused.error().2, Some(place), "{text}");
    }
}

/// Of what is no elastigroup too: for a user the caller may leave open which one, for an account it is the account.
#[tokio::test]
async fn an_explanation_of_users_and_accounts_matches_the_authorization() {
    let server = Server::start().await;
    let statement = |effect: &str, action: &str, resource: &str| json!([{"effect": effect, "actions": [action], "resources": [resource]}]);
    let (other, _) = server.user("viewer", A).await;
    let spared = statement("DENY", "setup:deleteUser", &format!("setup:{other}"));
    let spared = server.policy("ORGANIZATION", spared).await;
    let body = json!({"name": "careful", "policies": [{"policyId": "1"}, {"policyId": spared}]});
    let (id, token) = server.user_with(body).await;
    let delete = format!("/setup/user/{other}");
    server.delete(&token, &delete).await.expect(403);
    let depends = (json!("CONDITIONAL"), json!("RESOURCE"));
    assert_eq!(explained(&server, &id, "setup:deleteUser", None).await, depends);
    let named = format!("setup:deleteUser&resource=setup:{other}");
    let denied = (json!("DENY"), json!("STATEMENT"));
    assert_eq!(explained(&server, &id, &named, None).await, denied);

    let hidden = statement("DENY", "setup:describeAccount", &format!("setup:{A}"));
    let hidden = server.policy("ACCOUNT", hidden).await;
    let body = json!({"name": "kept out", "policies": [
        {"policyId": "3", "accountIds": [A, B]}, {"policyId": hidden, "accountIds": [A, B]}]});
    let (id, token) = server.user_with(body).await;
    let allowed = (json!("ALLOW"), json!("STATEMENT"));
    for (account, status, expected) in [(A, 403, &denied), (B, 200, &allowed)] {
        let path = format!("/setup/account/{account}");
        server.get(&token, &path).await.expect(status);
        let reading = explained(&server, &id, "setup:describeAccount", Some(account)).await;
        assert_eq!(&reading, expected, "{account}");
    }

    let renames = statement("ALLOW", "setup:updateAccount", &format!("setup:{A}"));
    let renames = server.policy("ACCOUNT", renames).await;
    let body = json!({"name": "renames", "policies": [{"policyId": renames, "accountIds": [A, B]}]});
    let (id, token) = server.user_with(body).await;
    let nothing = (json!("DENY"), json!("DEFAULT"));
    for (account, status, expected) in [(A, 200, &allowed), (B, 403, &nothing)] {
        let name = json!({"account": {"name": "renamed"}});
        let path = format!("/setup/account/{account}");
        server.put(&token, &path, name).await.expect(status);
        let update = explained(&server, &id, "setup:updateAccount", Some(account)).await;
        assert_eq!(&update, expected, "{account}");
    }
}
