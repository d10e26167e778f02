//! The form of every reply; `Server::send` checks what all of them share.

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};

use crate::support::{A, ADMIN, Server};

#[tokio::test]
async fn every_status_has_the_envelope() {
    let server = Server::start_with(|c| c.body_limit = 4096).await.0;
    let anonymous = server
        .send(server.http.get(server.url("/setup/organization/user")))
        .await
        .expect(401);
    let unknown = server
        .get(&"0".repeat(64), "/setup/organization/user")
        .await
        .expect(401);
    // Uniform: no reply shows whether a token ever was one.
    assert_eq!(anonymous.body["response"], unknown.body["response"]);
    server.get(ADMIN, "/nowhere").await.expect(404);
    server.get(ADMIN, "/").await.expect(404);
    server.get(ADMIN, "/setup").await.expect(404);
    let wrong = server.delete(ADMIN, "/setup/organization/user").await.expect(405);
    assert_eq!(wrong.error().0, "METHOD_NOT_ALLOWED");
    let long = json!({"name": "x".repeat(5000), "accounts": [{"id": A, "role": "viewer"}]});
    let refused = server
        .post(ADMIN, "/setup/user/programmatic", long)
        .await
        .expect(413);
    assert_eq!(refused.error().0, "PAYLOAD_TOO_LARGE");
    server
        .send(server.http.get(server.url("/healthz")))
        .await
        .expect(200);
}

/// What a probe asks for fails with the database, in the form of every reply, and tells nothing of it.
#[tokio::test]
async fn the_probe_fails_with_the_database() {
    let server = Server::start().await;
    sqlx::any::install_default_drivers();
    let url = crate::database_url(server.directory.path());
    let mut conn = sqlx::AnyConnection::connect(&url).await.unwrap();
    conn.execute("ALTER TABLE organization RENAME TO aside")
        .await
        .unwrap();
    let probe = server.http.get(server.url("/healthz"));
    let reply = probe.send().await.unwrap();
    assert_eq!(reply.status().as_u16(), 500);
    let text = reply.text().await.unwrap();
    conn.execute("ALTER TABLE aside RENAME TO organization")
        .await
        .unwrap();
    conn.close().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["response"]["status"]["code"], 500);
    assert!(body["response"]["errors"][0]["code"].is_string(), "{text}");
    assert_eq!(body["request"]["url"], "/healthz");
    for words in ["organization", "table", "relation", "SELECT"] {
        assert!(!text.contains(words), "{words}: {text}");
    }
    let probe = server.http.get(server.url("/healthz"));
    server.send(probe).await.expect(200);
}

#[tokio::test]
async fn the_request_is_echoed() {
    let server = Server::start().await;
    let answer = server
        .get(ADMIN, "/setup/account/?accountId=act-0")
        .await
        .expect(200);
    let request = &answer.body["request"];
    assert_eq!(
        (&request["url"], &request["method"]),
        (&json!("/setup/account/?accountId=act-0"), &json!("GET"))
    );
    assert!(request["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn usual_deviations_of_clients_are_tolerated() {
    let server = Server::start().await;
    // A body on a GET, no content type on a POST, a scheme in lower case.
    server
        .send(
            server
                .http
                .get(server.url(&format!("/setup/account/{A}")))
                .bearer_auth(ADMIN)
                .body("{\"account\":1}"),
        )
        .await
        .expect(200);
    let body = json!({"name": "n", "accounts": [{"id": A, "role": "viewer"}], "unknown": null}).to_string();
    let post = server
        .http
        .post(server.url("/setup/user/programmatic/?accountId=act-0"));
    server
        .send(post.header("authorization", format!("bearer {ADMIN}")).body(body))
        .await
        .expect(200);
}

#[tokio::test]
async fn nonsense_is_never_a_failure_of_the_platform() {
    let server = Server::start().await;
    let deep = "[".repeat(5000);
    let bodies: [&[u8]; 14] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\"x\"",
        b"\xff\xfe",
        b"{\"name\":{}}",
        deep.as_bytes(),
        b"{\"policies\":{}}",
        b"{\"policies\":[null,1,{}]}",
        b"{\"policy\":[]}",
        b"{\"account\":{\"name\":\"7\"}}",
        b"{\"name\":\"\\u0000\",\"userIds\":[[]],\"policies\":[{\"policyId\":\"3\",\"accountIds\":[null]}]}",
    ];
    let routes = [
        ("POST", "/setup/user/programmatic"),
        ("POST", "/setup/user"),
        ("PUT", "/setup/user/pu-0/policyMapping"),
        ("PUT", "/setup/user/pu-0/userGroupMapping"),
        ("POST", "/setup/account"),
        ("PUT", "/setup/account/act-aaaaaaaa"),
        ("POST", "/setup/access/policy"),
        ("PUT", "/setup/access/policy/3"),
        ("POST", "/setup/access/userGroup"),
        ("PUT", "/setup/access/userGroup/ugr-0"),
        ("PUT", "/setup/access/userGroup/ugr-0/userMapping"),
        ("POST", "/aws/ec2/group?accountId=act-aaaaaaaa"),
        ("DELETE", "/setup/user/%00%ff"),
        ("GET", "/setup/user/%ff"),
        ("GET", "/audit/events?fromDate=x&toDate=99999999999999999999"),
        ("GET", "/aws/ec2/group?%ff=%zz&accountId"),
        ("DELETE", "/aws/ec2/group/'%20or%201=1?accountId=act-aaaaaaaa"),
    ];
    for (method, path) in routes {
        for body in bodies {
            let request = server
                .http
                .request(method.parse().unwrap(), server.url(path))
                .bearer_auth(ADMIN)
                .body(body.to_vec());
            let answer = server.send(request).await;
            assert!(
                (400..500).contains(&answer.status),
                "{method} {path} {body:?} -> {answer:?}"
            );
        }
    }
    for value in ["", "Bearer", "Bearer ", "Basic eA==", "Bearer a b", "\u{7f}"] {
        let request = server.http.get(server.url("/setup/account"));
        if let Ok(value) = reqwest::header::HeaderValue::from_str(value) {
            server
                .send(request.header("authorization", value))
                .await
                .expect(401);
        }
    }
}

#[tokio::test]
async fn the_rate_limit_has_its_own_form() {
    let server = Server::start_with(|c| c.requests_per_minute = 2).await.0;
    let first = server.get(ADMIN, "/setup/account").await.expect(200);
    assert_eq!(
        (
            &first.headers["x-ratelimit-limit"],
            &first.headers["x-ratelimit-remaining"]
        ),
        (
            &"2".parse().unwrap(),
            &"1".parse::<reqwest::header::HeaderValue>().unwrap()
        )
    );
    server.get(ADMIN, "/setup/account").await.expect(200);
    let refused = server.get(ADMIN, "/setup/account").await.expect(429);
    assert_eq!(refused.body["response"]["status"]["message"], "Too Many Requests");
    assert_eq!(refused.body["response"]["data"], "Rate limit exceeded");
    assert!(refused.body["response"].get("errors").is_none());
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    let reset: u64 = refused.headers["x-ratelimit-reset"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&reset));
    // Other routes and methods have their own.
    server.get(ADMIN, "/setup/organization/user").await.expect(200);
    server.post(ADMIN, "/setup/account", json!({})).await.expect(400);
}

/// Who has no right to something cannot keep those from it who have.
#[tokio::test]
async fn refused_requests_do_not_use_the_limit_of_others() {
    let server = Server::start_with(|c| c.requests_per_minute = 3).await.0;
    let (id, token) = server.user("viewer", A).await;
    let path = format!("/setup/user/{id}");
    for expected in [403, 403, 403, 429, 429] {
        server.delete(&token, &path).await.expect(expected);
    }
    let deleted = server.delete(ADMIN, &path).await.expect(200);
    assert_eq!(deleted.headers["x-ratelimit-remaining"], "2");
    // The limit is the organization's, for all callers together.
    let (_, token) = server.user("viewer", A).await;
    for token in [&token, ADMIN, &token] {
        server.get(token, "/setup/account").await.expect(200);
    }
    server.get(ADMIN, "/setup/account").await.expect(429);
}
