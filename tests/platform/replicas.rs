//! Two platforms over one database are one.

use std::sync::Arc;

use programmatic_users::server::PlatformConfig;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::console::{self, between, sign_in};
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server};

/// Two platforms that were started at the same moment on an empty database.
async fn pair(change: impl Fn(&mut PlatformConfig)) -> (Server, Server) {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shared = crate::database(folder.path());
    let ((one, first), (two, second)) = tokio::join!(
        Server::open(folder, &change),
        Server::open(other, |c| {
            change(c);
            c.database = shared;
        })
    );
    assert_eq!(
        [first, second].iter().flatten().count(),
        1,
        "one of them made the organization"
    );
    (one, two)
}

#[tokio::test]
async fn an_answered_change_holds_at_the_other_replica_at_once() {
    let (one, two) = pair(|_| ()).await;
    let (id, token) = one.user("viewer", A).await;
    let group = json!({"group": {"name": "g"}});
    let path = format!("/aws/ec2/group?accountId={A}");
    two.get(&token, &path).await.expect(200);
    two.post(&token, &path, group.clone()).await.expect(403);
    let editor = json!({"policies": [{"policyId": "2", "accountIds": [A]}]});
    two.put(ADMIN, &format!("/setup/user/{id}/policyMapping"), editor)
        .await
        .expect(200);
    one.post(&token, &path, group).await.expect(200);
    two.delete(ADMIN, &format!("/setup/user/{id}")).await.expect(200);
    one.get(&token, &path).await.expect(401);
    let events = one.events("").await;
    let of_both: Vec<_> = events.iter().filter(|e| e["resourceId"] == id.as_str()).collect();
    assert_eq!(of_both.len(), 3, "created, mapped, deleted: {events:#?}");
    assert_eq!(two.events("").await, events);
}

#[tokio::test]
async fn sessions_forms_and_locks_are_shared() {
    let (one, two) = pair(|_| ()).await;
    let signed_in = sign_in(&one, EMAIL, PASSWORD).await;
    let cookie = signed_in.session();
    let page = |server: &Server, path: &str| server.http.get(server.url(path)).header("cookie", &cookie);
    let form = console::open(page(
        &two,
        "/console/settings/organization/programmatic-users/add",
    ))
    .await;
    assert_eq!(form.status, 200, "a session of one is a session of the other");
    let hidden = |name: &str| between(&form.text, &format!("name=\"{name}\" value=\""), "\"").to_owned();
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("csrf", hidden("csrf")),
            ("number", hidden("number")),
            ("name", "once".into()),
        ])
        .extend_pairs([("role", "viewer"), ("accounts", A)])
        .finish();
    let post = |server: &Server| {
        let path = "/console/settings/organization/programmatic-users/add";
        let post = server.http.post(server.url(path)).header("cookie", &cookie);
        console::open(
            post.header("content-type", "application/x-www-form-urlencoded")
                .body(body.clone()),
        )
    };
    let (here, there) = tokio::join!(post(&one), post(&two));
    let mut statuses = [here.status, there.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "a form makes one user, wherever it is sent");
    let users = one.get(ADMIN, "/setup/organization/user").await;
    assert_eq!(
        users.items().iter().filter(|u| u["username"] == "once").count(),
        1
    );

    for server in [&one, &two, &one, &two, &one] {
        assert_eq!(sign_in(server, EMAIL, "wrong").await.status, 401);
    }
    let locked = sign_in(&two, EMAIL, PASSWORD).await;
    assert_eq!(locked.status, 429, "{}", locked.text);
}

/// What a change has checked still holds when it writes, also with other writers at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_both_are_one_after_the_other() {
    let (one, two) = pair(|_| ()).await;
    let own = one.get(ADMIN, "/setup/organization/user").await.items()[0]["userId"].clone();
    let own = own.as_str().unwrap();
    for round in 0..10 {
        // A second administrator. Each of the two is to lose the right at the same moment, on another platform.
        let name = format!("second-{round}");
        let (second, token) = one
            .user_with(json!({"name": name, "policies": [{"policyId": "1", "accountIds": ["*"]}]}))
            .await;
        let none = json!({"policies": []});
        let (a, b) = (
            format!("/setup/user/{second}/policyMapping"),
            format!("/setup/user/{own}/policyMapping"),
        );
        let (first, other) = tokio::join!(one.put(ADMIN, &a, none.clone()), two.put(ADMIN, &b, none));
        let through = [&first, &other].iter().filter(|a| a.status == 200).count();
        assert_eq!(through, 1, "round {round}: {first:?} {other:?}");
        let back = json!({"policies": [{"policyId": "1", "accountIds": ["*"]}]});
        if other.status == 200 {
            // The second one is left, and gives the right back.
            one.put(&token, &b, back).await.expect(200);
        } else {
            assert_eq!(other.error().0, "LAST_ADMINISTRATOR");
        }
        one.delete(ADMIN, &format!("/setup/user/{second}"))
            .await
            .expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_made_at_both_at_once_all_exist() {
    let (one, two) = pair(|_| ()).await;
    let servers = [Arc::new(one), Arc::new(two)];
    let many = (0..40).map(|n| {
        let server = servers[n % 2].clone();
        tokio::spawn(async move { server.user("viewer", A).await })
    });
    let mut ids = std::collections::HashSet::new();
    for (n, made) in many.collect::<Vec<_>>().into_iter().enumerate() {
        let (id, token) = made.await.unwrap();
        servers[(n + 1) % 2]
            .get(&token, "/setup/account")
            .await
            .expect(200);
        assert!(ids.insert(id));
    }
    let listed = servers[1].get(ADMIN, "/setup/organization/user").await;
    assert_eq!(listed.items().len(), 41);
}

#[tokio::test]
async fn replicas_share_one_rate_limit() {
    let (one, two) = pair(|c| c.requests_per_minute = 6).await;
    for (n, server) in [&one, &two, &one, &two, &two, &one].into_iter().enumerate() {
        let answer = server.get(ADMIN, "/setup/account").await.expect(200);
        assert_eq!(answer.headers["x-ratelimit-remaining"], (5 - n).to_string());
    }
    for server in [&one, &two] {
        let refused = server.get(ADMIN, "/setup/account").await.expect(429);
        let reset: u64 = refused.headers["x-ratelimit-reset"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=60).contains(&reset));
    }
    // Another route has its own.
    two.get(ADMIN, "/setup/organization/user").await.expect(200);
}

/// One of them is stopped while both are asked: nothing that was answered is lost, and the other one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stops_and_the_other_goes_on() {
    let (one, two) = pair(|_| ()).await;
    let (tell, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = [&one, &two, &one, &two]
        .into_iter()
        .map(|server| {
            let (http, url, tell) = (
                server.http.clone(),
                server.url("/setup/user/programmatic"),
                tell.clone(),
            );
            tokio::spawn(async move {
                let body = json!({"name": "n", "accounts": [{"id": A, "role": "viewer"}]});
                let mut tokens = Vec::new();
                while tokens.len() < 100 {
                    let Ok(reply) = http.post(&url).bearer_auth(ADMIN).json(&body).send().await else {
                        break;
                    };
                    let reply: serde_json::Value = reply.json().await.unwrap();
                    tokens.push(
                        reply["response"]["items"][0]["token"]
                            .as_str()
                            .unwrap()
                            .to_owned(),
                    );
                    let _ = tell.send(());
                }
                tokens
            })
        })
        .collect();
    for _ in 0..20 {
        answers.recv().await.unwrap();
    }
    one.stop().await;
    let mut each = Vec::new();
    for writer in writers {
        let tokens = writer.await.unwrap();
        for token in &tokens {
            two.get(token, "/setup/account").await.expect(200);
        }
        each.push(tokens.len());
    }
    println!("answered by the one that stops, by the other: {each:?}");
    assert!(each[1] == 100 && each[3] == 100 && each[0] + each[2] < 200);
}

/// A platform that hangs in the middle of a change stops no reader, and no writer for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_stops_no_reads() {
    let (one, two) = pair(|_| ()).await;
    let (_, token) = one.user("viewer", A).await;
    let mut hangs = PgConnection::connect(&crate::database_url(one.directory.path()))
        .await
        .unwrap();
    let held = "BEGIN; LOCK TABLE organization IN EXCLUSIVE MODE";
    sqlx::raw_sql(held).execute(&mut hangs).await.unwrap();
    // The first use of the token, whose time cannot be written now.
    two.get(&token, "/setup/account").await.expect(200);
    let create = json!({"name": "n", "accounts": [{"id": A, "role": "viewer"}]});
    let post = two.http.post(two.url("/setup/user/programmatic"));
    let failed = post.bearer_auth(ADMIN).json(&create).send().await.unwrap();
    assert_eq!(failed.status(), 500);
    drop(hangs);
    two.user("viewer", A).await;
    assert_eq!(
        one.get(ADMIN, "/setup/organization/user").await.items().len(),
        3,
        "what was refused was not done later"
    );
}
