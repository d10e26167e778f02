//! Random requests: never a 500, never a reply without the envelope, and the platform goes on.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::console::sign_in;
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server};

/// Requests of one run of the tests.
const CASES: u32 = 3000;

const PATHS: [&str; 37] = [
    "/setup/access/explain",
    "/healthz",
    "/metrics",
    "/console",
    "/console/sign-in",
    "/console/sign-out",
    "/console/settings/users/{id}/delete",
    "/console/settings/organization/{id}",
    "/console/settings/account/{id}/programmatic-users/add",
    "/setup/account/{id}/user",
    "/setup/accountUserMapping",
    "/setup/organization",
    "/setup/organization/{id}",
    "/setup/user",
    "/setup/user/programmatic",
    "/setup/organization/user",
    "/setup/user/{id}",
    "/setup/user/{id}/policyMapping",
    "/setup/user/{id}/userGroupMapping",
    "/setup/account",
    "/setup/account/{id}",
    "/setup/organization/policy",
    "/setup/access/policy",
    "/setup/access/policy/{id}",
    "/setup/access/policyAction",
    "/setup/access/userGroup",
    "/setup/access/userGroup/{id}",
    "/setup/access/userGroup/{id}/userMapping",
    "/setup/access/userGroup/{id}/policyMapping",
    "/audit/events",
    "/aws/ec2/group",
    "/aws/ec2/group/{id}",
    "/setup",
    "/",
    "//",
    "/setup/user/{id}/{id}",
    "/audit",
];

const METHODS: [&str; 9] = [
    "GET", "GET", "POST", "POST", "PUT", "PUT", "DELETE", "PATCH", "HEAD",
];

const FIELDS: [&str; 28] = [
    "mappings",
    "userEmail",
    "permissionStrategy",
    "policyIds",
    "name",
    "description",
    "accounts",
    "policies",
    "policyId",
    "accountIds",
    "id",
    "role",
    "policy",
    "policyContent",
    "statements",
    "effect",
    "actions",
    "resources",
    "condition",
    "type",
    "account",
    "group",
    "userIds",
    "userGroupIds",
    "firstName",
    "email",
    "password",
    "lastName",
];

const TEXTS: [&str; 16] = [
    "",
    "x",
    "viewer",
    "editor",
    "ALLOW",
    "DENY",
    "*",
    "a:b",
    "1",
    "3",
    "act-aaaaaaaa",
    "ORGANIZATION",
    "a@b",
    "+=@",
    "\0",
    "🦀",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        1 => ".{0,40}",
        1 => "[a-z]{300,400}",
    ]
}

fn body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let field = prop::sample::select(&FIELDS[..]).prop_map(str::to_owned);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::hash_map(field, inner, 0..6).prop_map(|m| json!(m)),
        ]
    })
}

/// Requests as they should be. `USER`, `GROUP` and `POLICY` are ids that exist.
const WELL_FORMED: [(&str, &str, &str); 18] = [
    (
        "POST",
        "/setup/user/programmatic",
        r#"{"name": "n", "description": "d", "accounts": [{"id": "act-aaaaaaaa", "role": "viewer"}]}"#,
    ),
    (
        "POST",
        "/setup/user/programmatic",
        r#"{"name": "n", "policies": [{"policyId": "POLICY", "accountIds": ["act-aaaaaaaa"]}]}"#,
    ),
    (
        "POST",
        "/setup/user",
        r#"{"firstName": "A", "lastName": "B", "email": "a@example.com", "password": "long enough", "role": "user"}"#,
    ),
    (
        "PUT",
        "/setup/user/USER/policyMapping",
        r#"{"policies": [{"policyId": "POLICY", "accountIds": ["*"]}, {"policyId": "3", "accountIds": ["act-aaaaaaaa"]}]}"#,
    ),
    (
        "PUT",
        "/setup/user/USER/userGroupMapping",
        r#"{"userGroupIds": ["GROUP"]}"#,
    ),
    (
        "POST",
        "/setup/access/userGroup",
        r#"{"name": "g", "description": "d", "userIds": ["USER"], "policies": [{"policyId": "POLICY", "accountIds": ["*"]}]}"#,
    ),
    (
        "PUT",
        "/setup/access/userGroup/GROUP",
        r#"{"name": "g", "description": "d"}"#,
    ),
    (
        "PUT",
        "/setup/access/userGroup/GROUP/userMapping",
        r#"{"userIds": ["USER"]}"#,
    ),
    (
        "PUT",
        "/setup/access/userGroup/GROUP/policyMapping",
        r#"{"policies": [{"policyId": "POLICY", "accountIds": ["act-aaaaaaaa"]}]}"#,
    ),
    (
        "POST",
        "/setup/access/policy",
        r#"{"policy": {"name": "p", "description": "d", "type": "ACCOUNT", "policyContent": {"statements": [{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"], "condition": {"StringEquals": {"spot:elastigroup:name": ["x"]}}}]}}}"#,
    ),
    (
        "PUT",
        "/setup/access/policy/POLICY",
        r#"{"policy": {"name": "p", "policyContent": {"statements": [{"effect": "DENY", "actions": ["a:b"], "resources": ["a:*"], "condition": {"And": [{"StringContains": {"spot:a:b": "x"}}]}}]}}}"#,
    ),
    ("POST", "/setup/account", r#"{"account": {"name": "x"}}"#),
    (
        "PUT",
        "/setup/account/act-aaaaaaaa",
        r#"{"account": {"name": "x"}}"#,
    ),
    (
        "POST",
        "/setup/organization",
        r#"{"organization": {"name": "second"}}"#,
    ),
    (
        "POST",
        "/setup/account/act-aaaaaaaa/user",
        r#"{"userEmail": "a@example.com", "role": "viewer"}"#,
    ),
    (
        "PUT",
        "/setup/account/act-aaaaaaaa/user",
        r#"{"userEmail": "a@example.com", "permissionStrategy": "POLICY_BASED", "policyIds": ["POLICY"]}"#,
    ),
    (
        "POST",
        "/setup/accountUserMapping",
        r#"{"mappings": [{"userEmail": "a@example.com", "accountId": "act-aaaaaaaa", "role": "viewer", "permissionStrategy": "ROLE_BASED", "policyIds": []}]}"#,
    ),
    (
        "POST",
        "/aws/ec2/group?accountId=act-aaaaaaaa",
        r#"{"group": {"name": "x", "compute": {"launchSpecification": {"tags": [{"tagKey": "k", "tagValue": "v"}]}}}}"#,
    ),
];

/// Replaces one value of many, the `index`th as they are met.
fn mutate(value: &mut Value, index: &mut usize, by: &Value) {
    if *index == 0 {
        *value = by.clone();
    }
    *index = index.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|v| mutate(v, index, by)),
        Value::Object(map) => map.values_mut().for_each(|v| mutate(v, index, by)),
        _ => {}
    }
}

/// One of those above, with one value that is another.
fn nearly() -> impl Strategy<Value = (&'static str, String, Vec<u8>)> {
    let which = prop::sample::select(&WELL_FORMED[..]);
    (which, 0..20_usize, body()).prop_map(|((method, path, text), mut index, by)| {
        let mut value: Value = serde_json::from_str(text).unwrap();
        mutate(&mut value, &mut index, &by);
        (method, path.to_owned(), value.to_string().into_bytes())
    })
}

/// Parts of a path or query, as a client that escapes nothing sends them.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &[
                "pu-0",
                "1",
                "3",
                A,
                "pol-0",
                "USER",
                "GROUP",
                "POLICY",
                "users",
                "audit",
                "%00",
                "%ff",
                "..",
                "%2e%2e%2f",
                "x%2fy",
                "'",
                "%27 OR 1",
                "a b"
            ][..]
        )
        .prop_map(str::to_owned),
        "[!-~]{0,20}",
    ]
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Token,
    Session,
    Anonymous,
}

#[derive(Debug, Clone)]
struct Case {
    method: &'static str,
    path: String,
    query: String,
    body: Vec<u8>,
    who: Who,
    kind: &'static str,
}

fn case() -> impl Strategy<Value = Case> {
    let bytes = prop_oneof![
        6 => body().prop_map(|b| b.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    let keys = prop::sample::select(
        &[
            "accountId",
            "fromDate",
            "toDate",
            "responseStatus",
            "actorType",
            "generateToken",
            "name",
            "userId",
            "action",
            "limit",
            "hours",
        ][..],
    );
    let query = prop::collection::vec((keys, part()), 0..3);
    let query = query.prop_map(|pairs| {
        pairs
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join("&")
    });
    let methods = prop::sample::select(&METHODS[..]);
    let kinds = prop::sample::select(
        &[
            "application/json",
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
        ][..],
    );
    let path = (prop::sample::select(&PATHS[..]), part()).prop_map(|(path, id)| path.replace("{id}", &id));
    let anything = (methods, path, bytes).prop_map(|(method, path, body)| (method, path, body));
    let who = prop_oneof![8 => Just(Who::Token), 2 => Just(Who::Session), 1 => Just(Who::Anonymous)];
    let what = prop_oneof![2 => anything, 1 => nearly()];
    (what, query, who, kinds).prop_map(|((method, path, body), query, who, kind)| Case {
        method,
        path,
        query,
        body,
        who,
        kind,
    })
}

#[test]
fn random_requests_break_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let (known, session) = runtime.block_on(async {
        let (user, _) = server.user("viewer", A).await;
        let allow = json!([{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]);
        let policy = server.policy("ACCOUNT", allow).await;
        let group = json!({"name": "g", "userIds": [user], "policies": []});
        let group = server
            .post(ADMIN, "/setup/access/userGroup", group)
            .await
            .expect(200);
        let group = group.item()["id"].as_str().unwrap().to_owned();
        let session = sign_in(&server, EMAIL, PASSWORD).await.session();
        ([("USER", user), ("GROUP", group), ("POLICY", policy)], session)
    });
    let fill = |text: String| known.iter().fold(text, |t, (name, id)| t.replace(name, id));
    let mut seen = std::collections::BTreeMap::<u16, u32>::new();
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let counted = std::cell::RefCell::new(&mut seen);
    let result = TestRunner::new(config).run(&case(), |case| {
        let joint = if case.path.contains('?') { '&' } else { '?' };
        let url = server.url(&fill(format!("{}{joint}{}", case.path, case.query)));
        // What is no URL cannot be sent.
        let Ok(url) = url.parse::<reqwest::Url>() else {
            return Ok(());
        };
        let method = Method::from_bytes(case.method.as_bytes()).unwrap();
        let page = url.path().starts_with("/console") || url.path() == "/metrics";
        let body = match String::from_utf8(case.body.clone()) {
            Ok(text) => fill(text).into_bytes(),
            Err(bytes) => bytes.into_bytes(),
        };
        let mut request = server.http.request(method, url).body(body);
        match case.who {
            Who::Token => request = request.bearer_auth(ADMIN),
            Who::Session => request = request.header("cookie", &session),
            Who::Anonymous => {}
        }
        if !case.kind.is_empty() {
            request = request.header("content-type", case.kind);
        }
        let (status, whole) = runtime.block_on(async {
            let reply = request.send().await.expect("an answer");
            let status = reply.status().as_u16();
            let bytes = reply.bytes().await.expect("a whole answer");
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            (
                status,
                page || case.method == "HEAD" || body["response"]["status"]["code"] == status,
            )
        });
        *counted.borrow_mut().entry(status).or_default() += 1;
        prop_assert!(status < 500, "{status}");
        prop_assert!(whole, "no envelope, {status}");
        Ok(())
    });
    println!("fuzz: {CASES} requests, by status {seen:?}");
    result.unwrap();
    // Some were done, some were refused for what they say, some for what they name, some for who came.
    for (status, at_least) in [(200, 300), (400, 300), (401, 20), (403, 20), (404, 100)] {
        let times = seen.get(&status).copied().unwrap_or_default();
        assert!(times >= at_least, "{status} {times} times: {seen:?}");
    }
    // It goes on, and knows its administrator.
    runtime.block_on(async {
        let users = server.get(ADMIN, "/setup/organization/user").await.expect(200);
        assert!(!users.items().is_empty());
    });
}
