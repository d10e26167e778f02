//! Requests that nobody would send: never a 500, never a reply without the envelope, and the platform goes on.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{A, ADMIN, Server};

/// Requests of one run of the tests.
const CASES: u32 = 3000;

const PATHS: [&str; 27] = [
    "/setup/account/{id}/user",
    "/setup/accountUserMapping",
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

#[derive(Debug, Clone)]
struct Case {
    method: &'static str,
    path: String,
    query: String,
    body: Vec<u8>,
    token: bool,
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
    (methods, path, query, bytes, prop::bool::weighted(0.9), kinds).prop_map(
        |(method, path, query, body, token, kind)| Case {
            method,
            path,
            query,
            body,
            token,
            kind,
        },
    )
}

#[test]
fn nothing_that_is_sent_breaks_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let mut seen = std::collections::BTreeMap::<u16, u32>::new();
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let counted = std::cell::RefCell::new(&mut seen);
    let result = TestRunner::new(config).run(&case(), |case| {
        let url = format!("{}?{}", server.url(&case.path), case.query);
        // What is no URL cannot be sent.
        let Ok(url) = url.parse::<reqwest::Url>() else {
            return Ok(());
        };
        let method = Method::from_bytes(case.method.as_bytes()).unwrap();
        let mut request = server.http.request(method, url).body(case.body.clone());
        if case.token {
            request = request.bearer_auth(ADMIN);
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
                case.method == "HEAD" || body["response"]["status"]["code"] == status,
            )
        });
        *counted.borrow_mut().entry(status).or_default() += 1;
        prop_assert!(status < 500, "{status}");
        prop_assert!(whole, "no envelope, {status}");
        Ok(())
    });
    println!("fuzz: {CASES} requests, by status {seen:?}");
    result.unwrap();
    assert!(seen.len() > 3, "{seen:?}");
    // It goes on, and knows its administrator.
    runtime.block_on(async {
        let users = server.get(ADMIN, "/setup/organization/user").await.expect(200);
        assert!(!users.items().is_empty());
    });
}
