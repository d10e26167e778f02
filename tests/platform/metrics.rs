//! Numbers for Prometheus.

use serde_json::json;

use crate::console::sign_in;
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server};
use crate::wait::{SOON, eventually};

/// The text, and the value of one series; 0 if it is not there.
async fn scrape(server: &Server) -> (String, impl Fn(&str) -> f64) {
    let reply = server.http.get(server.url("/metrics")).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let text = reply.text().await.unwrap();
    let lines = text.clone();
    let value = move |series: &str| {
        lines
            .lines()
            .find_map(|l| l.strip_prefix(series)?.strip_prefix(' '))
            .map_or(0.0, |v| v.parse().unwrap())
    };
    (text, value)
}

#[tokio::test]
async fn metrics_count_replies_and_have_no_user_in_a_label() {
    let (server, _) = Server::start_with(|c| c.requests_per_minute = 3).await;
    let (id, token) = server.user("viewer", A).await;
    for status in [200, 200, 200, 429] {
        server.get(ADMIN, "/setup/account").await.expect(status);
    }
    server
        .post(&token, "/setup/user/programmatic", json!({}))
        .await
        .expect(403);
    server
        .get("nonsense", &format!("/setup/user/{id}"))
        .await
        .expect(401);
    server.get(ADMIN, &format!("/{id}")).await.expect(404);
    sign_in(&server, EMAIL, "wrong").await;
    sign_in(&server, EMAIL, PASSWORD).await;
    drop(scrape(&server).await);
    let (text, value) = scrape(&server).await;
    let requests = |method: &str, route: &str, code: u16| {
        let labels = format!("method=\"{method}\",route=\"{route}\",code=\"{code}\"");
        value(&format!("programmatic_users_platform_requests_total{{{labels}}}"))
    };
    let expected = [
        ("GET", "/setup/account", 200, 3.0),
        ("GET", "/setup/account", 429, 1.0),
        ("POST", "/setup/user/programmatic", 200, 1.0),
        ("POST", "/setup/user/programmatic", 403, 1.0),
        ("GET", "/setup/user/{id}", 401, 1.0),
        ("GET", "other", 404, 1.0),
        ("POST", "console", 303, 1.0),
        ("GET", "/metrics", 200, 1.0),
    ];
    for (method, route, code, count) in expected {
        assert!(
            (requests(method, route, code) - count).abs() < 0.1,
            "{method} {route} {code}: {text}"
        );
    }
    for (series, count) in [
        ("sign_ins_total{outcome=\"success\"}", 1.0),
        ("sign_ins_total{outcome=\"refused\"}", 1.0),
        ("users{type=\"personal\"}", 1.0),
        ("users{type=\"programmatic\"}", 1.0),
        ("request_duration_seconds_count{route=\"/setup/account\"}", 4.0),
        ("audit_failures_total", 0.0),
    ] {
        let found = value(&format!("programmatic_users_platform_{series}"));
        assert!((found - count).abs() < 0.1, "{series}: {text}");
    }
    // Whatever is sent, the labels stay few.
    let before = text.lines().count();
    for n in 0..50 {
        let verb = reqwest::Method::from_bytes(format!("VERB{n}").as_bytes()).unwrap();
        let path = server.url(&format!("/made/up/{n}"));
        server.http.request(verb, path).send().await.unwrap();
    }
    let (text, _) = scrape(&server).await;
    assert!(text.lines().count() <= before + 2, "{text}");
    for secret in [id.as_str(), token.as_str(), ADMIN, EMAIL, "viewer"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

/// Anyone may ask, as often as they like: that makes the database no work each time.
#[tokio::test]
async fn the_users_are_counted_now_and_then() {
    let server = Server::start().await;
    let count = async || {
        let (_, value) = scrape(&server).await;
        value("programmatic_users_platform_users{type=\"programmatic\"}")
    };
    assert!(count().await < 0.1);
    server.user("viewer", A).await;
    assert!(count().await < 0.1, "the last count is good for some seconds");
    let counted = async || {
        let found = count().await;
        (found > 0.9).then_some(()).ok_or(found.to_string())
    };
    eventually("the user to be counted", SOON, counted).await.unwrap();
}
