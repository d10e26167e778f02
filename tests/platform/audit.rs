//! The audit log tells who did or tried what, and never a token.

use serde_json::json;

use crate::support::{A, ADMIN, B, EMAIL, LOG, Server, on_disk};

#[tokio::test]
async fn the_audit_log_distinguishes_the_types_of_users() {
    let server = Server::start().await;
    let (id, token) = server.user("editor", A).await;
    let path = format!("/aws/ec2/group?accountId={A}");
    server
        .post(&token, &path, json!({"group": {"name": "g"}}))
        .await
        .expect(200);
    server.post(&token, "/setup/account", json!({})).await.expect(403);
    server.get(&token, "/setup/organization/user").await.expect(403);
    server
        .delete(ADMIN, &format!("/setup/user/{id}"))
        .await
        .expect(200);
    server.get(&token, "/setup/account").await.expect(401);
    server.get("00000000", "/setup/account").await.expect(401);

    let actions: Vec<_> = server
        .events("")
        .await
        .iter()
        .map(|e| {
            format!(
                "{} {} {} {} {}",
                e["actorType"].as_str().unwrap(),
                e["source"].as_str().unwrap(),
                e["actionType"].as_str().unwrap(),
                e["result"].as_str().unwrap(),
                e["responseStatus"]
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            "System SYSTEM createOrganization success 200",
            "UI API createProgrammaticUser success 200",
            "Programmatic API createGroup success 200",
            "Programmatic API createAccount refused 403",
            "Programmatic API describeOrganizationUsers refused 403",
            "UI API deleteUser success 200",
            "Programmatic API describeAllAccounts refused 401",
            "Anonymous API describeAllAccounts refused 401",
        ]
    );
    let events = server.events("").await;
    let made = &events[1];
    assert_eq!(
        (&made["resourceType"], &made["resourceId"], &made["user"]),
        (&json!("user"), &json!(id), &json!("admin"))
    );
    assert_eq!(made["tokenLastDigits"], ADMIN[60..]);
    let revoked = &events[6];
    assert_eq!(
        (&revoked["actorId"], &revoked["tokenLastDigits"]),
        (&json!(id), &json!(token[60..]))
    );
    let context: serde_json::Value = serde_json::from_str(made["context"].as_str().unwrap()).unwrap();
    assert_eq!(context["url"], "/setup/user/programmatic");

    // As it is published: successes, unless all are asked for.
    let asked = server
        .get(ADMIN, "/audit/events?fromDate=0&toDate=99999999999999")
        .await
        .expect(200);
    assert_eq!(asked.items().len(), 4);
    assert!(asked.items().iter().all(|e| e["result"] == "success"));

    assert_eq!(server.events("&actorType=Programmatic").await.len(), 4);
    assert_eq!(
        server.events("&actorType=ui&responseStatus=success").await.len(),
        2
    );
    assert_eq!(server.events(&format!("&accountId={A}")).await.len(), 1);
    assert_eq!(server.events(&format!("&accountId={B}")).await.len(), 0);
    server.get(ADMIN, "/audit/events").await.expect(400);
    server
        .get(ADMIN, "/audit/events?fromDate=0&toDate=1&actorType=robot")
        .await
        .expect(400);
    server
        .get(ADMIN, "/audit/events?fromDate=0&toDate=1&responseStatus=some")
        .await
        .expect(400);
}

#[tokio::test]
async fn failed_changes_are_in_the_audit_log_and_successes_match_the_database() {
    let server = Server::start().await;
    server
        .post(ADMIN, "/setup/user/programmatic", json!({}))
        .await
        .expect(400);
    server.delete(ADMIN, "/setup/user/pu-0").await.expect(404);
    let events = server.events("").await;
    assert_eq!(
        (&events[1]["result"], &events[1]["responseStatus"]),
        (&json!("failed"), &json!(400))
    );
    assert_eq!(
        (&events[2]["resourceId"], &events[2]["responseStatus"]),
        (&json!("pu-0"), &json!(404))
    );
    let answer = server
        .get(ADMIN, "/audit/events?fromDate=0&toDate=99999999999999")
        .await;
    assert_eq!(answer.body["response"]["kind"], "spotinst:audit");
}

#[tokio::test]
async fn no_event_reply_or_log_line_contains_a_token() {
    let server = Server::start().await;
    let (id, token) = server.user("viewer", A).await;
    server.get(&token, "/setup/account").await.expect(200);
    // Tokens where they do not belong.
    server
        .get(ADMIN, &format!("/setup/user/{token}"))
        .await
        .expect(404);
    server
        .delete(ADMIN, &format!("/setup/user/{token}?token={token}"))
        .await
        .expect(404);
    let foreign = server.user("viewer", A).await.1;
    for path in [
        format!("/aws/ec2/group?accountId={token}"),
        format!("/setup/account/{token}"),
    ] {
        server.get(&foreign, &path).await.expect(403);
    }
    let odd = server
        .http
        .delete(server.url("/setup/user/pu-0"))
        .bearer_auth(ADMIN)
        .header("user-agent", format!("cli {token}"));
    server.send(odd).await.expect(404);
    server
        .http
        .get(server.url("/console"))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    server
        .delete(ADMIN, &format!("/setup/user/{id}"))
        .await
        .expect(200);
    server.get(&token, "/setup/account").await.expect(401);
    let all = "/audit/events?fromDate=0&toDate=99999999999999&responseStatus=all";
    let body = server.get(ADMIN, all).await.body.to_string();
    assert!(
        body.contains(&id) && body.contains("[redacted]") && !body.contains(&token) && !body.contains(ADMIN)
    );
    let directory = server.stop().await;
    assert!(!on_disk(&directory, &token));
    assert!(LOG.contains(&id), "the log is being read");
    assert!(!LOG.contains(&token) && !LOG.contains(ADMIN));
    assert!(!LOG.contains(crate::support::PASSWORD));
    assert!(!LOG.contains(EMAIL));
}

/// A client without a credential chooses the length of its request, and not that of the row.
#[tokio::test]
async fn a_row_has_a_bound() {
    let server = Server::start().await;
    let viewer = server.user("viewer", A).await.1;
    // Of what is not cut out as a token, and with a character of several bytes at each place.
    let long = "%C3%BC-".repeat(8_000);
    let wide = "\u{fc}-".repeat(8_000);
    let agent = "cli ".repeat(8_000);
    let with = |token: &str, path: String| {
        let request = server.http.get(server.url(&path)).bearer_auth(token);
        server.send(request.header("user-agent", &agent))
    };
    with("x", format!("/setup/user/{long}")).await.expect(401);
    let path = format!("/setup/account/{wide}");
    with(&viewer, path).await.expect(403);
    let path = format!("/aws/ec2/group?accountId={wide}");
    with(&viewer, path).await.expect(403);
    let method = reqwest::Method::from_bytes("LONG".repeat(1_000).as_bytes()).unwrap();
    let page = server.url(&format!("/console/{long}"));
    let knock = server.http.request(method, page).bearer_auth("x");
    knock.header("user-agent", &agent).send().await.unwrap();
    let events = server.events("").await;
    assert!(events.len() >= 5, "{}", events.len());
    for event in &events {
        let length = event.to_string().len();
        assert!(length < 2_000, "{length}");
    }
}
