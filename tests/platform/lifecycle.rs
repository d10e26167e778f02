//! First start, restart, shutdown.

use std::collections::BTreeSet;
use std::time::Duration;

use programmatic_users::server::{self, AccountSeed, Platform};
use serde_json::json;

use crate::support::{A, ADMIN, Server, config};

#[tokio::test]
async fn a_restart_keeps_users_and_tokens() {
    let server = Server::start().await;
    let (id, token) = server.user("editor", A).await;
    let (gone, dead) = server.user("viewer", A).await;
    server
        .delete(ADMIN, &format!("/setup/user/{gone}"))
        .await
        .expect(200);
    let before = server.get(ADMIN, "/setup/organization/user").await.body["response"].clone();
    let directory = server.stop().await;
    let (server, first) = Server::open(directory, |c| {
        // What is for the first start only changes nothing later.
        c.admin_token = None;
        c.accounts = vec![AccountSeed {
            id: None,
            name: "other".into(),
        }];
    })
    .await;
    assert!(first.is_none());
    let after = server.get(ADMIN, "/setup/organization/user").await.body["response"].clone();
    assert_eq!(before, after);
    server
        .post(&token, "/aws/ec2/group", json!({"group": {"name": "g"}}))
        .await
        .expect(200);
    server.get(&dead, "/setup/account").await.expect(401);
    assert_eq!(
        server.get(ADMIN, &format!("/setup/user/{id}")).await.item()["tokens"][0]["tokenLastDigits"],
        token[60..]
    );
}

#[tokio::test]
async fn secrets_that_are_not_given_are_generated_and_printed_once() {
    let (server, first) = Server::start_with(|c| {
        c.admin_token = None;
        c.admin_password = None;
        c.accounts = server::PlatformConfig::default().accounts;
    })
    .await;
    let first = first.unwrap();
    assert!(first.organization_id.len() == 12 && first.organization_id.bytes().all(|b| b.is_ascii_digit()));
    assert_eq!(
        first
            .accounts
            .iter()
            .map(|(_, name)| name.as_str())
            .collect::<Vec<_>>(),
        ["production", "staging"]
    );
    assert!(
        first
            .accounts
            .iter()
            .all(|(id, _)| id.len() == 12 && id.starts_with("act-"))
    );
    assert!(first.admin_password.is_some());
    let token = first.admin_token.unwrap();
    server
        .get(token.expose(), "/setup/organization/user")
        .await
        .expect(200);
}

#[tokio::test]
async fn given_secrets_are_not_printed() {
    let (_server, first) = Server::start_with(|_| ()).await;
    let first = first.unwrap();
    assert!(first.admin_password.is_none() && first.admin_token.is_none());
}

#[tokio::test]
async fn settings_that_cannot_be_used_make_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut short = config(directory.path());
    short.admin_token = programmatic_users::platform::Token::new("short");
    let error = Platform::bind(short).await.err().unwrap();
    assert_eq!(error.reason(), "Settings");
    let (_server, first) = Server::open(directory, |_| ()).await;
    assert!(first.is_some(), "the failed start made nothing");
}

/// With any of these no person could sign in.
#[tokio::test]
async fn an_address_that_the_api_would_not_take_makes_nothing() {
    for address in [
        "admin",
        "@",
        " admin@example.com",
        "admin@example.com\n",
        "ädmin@example.com",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        config.admin_email = address.to_owned();
        let error = Platform::bind(config).await.err().unwrap().to_string();
        assert!(
            error.contains("e-mail address must be a valid email"),
            "{address:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_made_at_once_all_exist() {
    let server = std::sync::Arc::new(Server::start().await);
    let many = (0..40).map(|_| {
        let server = server.clone();
        tokio::spawn(async move { server.user("viewer", A).await })
    });
    let mut ids = std::collections::HashSet::new();
    for made in many.collect::<Vec<_>>() {
        let (id, token) = made.await.unwrap();
        server.get(&token, "/setup/account").await.expect(200);
        assert!(ids.insert(id));
    }
    assert_eq!(
        server.get(ADMIN, "/setup/organization/user").await.items().len(),
        41
    );
}

/// Each holds one connection at most: with a second one, as many as there are connections would wait for each other.
#[tokio::test]
async fn many_concurrent_readers_are_all_answered() {
    let server = Server::start().await;
    let (id, token) = server.user("viewer", A).await;
    let details = format!("/setup/user/{id}");
    let paths = [
        "/setup/account",
        "/setup/organization/user",
        &details,
        "/setup/organization/policy",
    ];
    // The time of their first use is written by then, so that the gate leaves its connection to later requests.
    for token in [ADMIN, &token] {
        server.get(token, "/setup/account").await.expect(200);
    }
    let (server, token, paths) = (&server, &token, &paths);
    let all = (0..200usize).map(async |n| {
        let (token, path) = (if n % 3 == 0 { token } else { ADMIN }, paths[n % paths.len()]);
        if n % 7 == 0 {
            // Given up while it is answered, perhaps.
            let soon = Duration::from_millis(3);
            let asked = server.http.get(server.url(path)).bearer_auth(token);
            drop(asked.timeout(soon).send().await);
        } else {
            let status = server.get(token, path).await.status;
            assert!(matches!(status, 200 | 403), "{path}: {status}");
        }
    });
    futures::future::join_all(all).await;
    server.get(ADMIN, "/setup/account").await.expect(200);
}

/// A planned restart under load: who was answered is there, who was not was not served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_answers_begun_requests() {
    let mut folder = tempfile::tempdir().unwrap();
    let mut answered = BTreeSet::new();
    for round in 0..4 {
        let (server, _) = Server::open(folder, |_| ()).await;
        let (tell, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let tell = tell.clone();
                let url = server.url("/setup/user/programmatic");
                tokio::spawn(async move {
                    let http = reqwest::Client::new();
                    let mut made = Vec::new();
                    for n in 0.. {
                        let name = format!("r{round}-w{writer}-{n}");
                        let body = json!({"name": name, "accounts": [{"id": A, "role": "viewer"}]});
                        let Ok(reply) = http.post(&url).bearer_auth(ADMIN).json(&body).send().await else {
                            break;
                        };
                        assert_eq!(reply.status(), 200);
                        // To its end: half a token is none.
                        let reply: serde_json::Value = reply.json().await.unwrap();
                        assert!(reply["response"]["items"][0]["token"].is_string());
                        made.push(name);
                        let _ = tell.send(());
                    }
                    made
                })
            })
            .collect();
        // In the middle of the work of all.
        for _ in 0..20 {
            answers.recv().await.unwrap();
        }
        folder = server.stop().await;
        for writer in writers {
            answered.extend(writer.await.unwrap());
        }
    }
    let (server, _) = Server::open(folder, |_| ()).await;
    let users = server.get(ADMIN, "/setup/organization/user").await.expect(200);
    let there: BTreeSet<String> = users
        .items()
        .iter()
        .filter(|u| u["type"] == "programmatic")
        .map(|u| u["username"].as_str().unwrap().to_owned())
        .collect();
    println!("{} creates answered over 4 graceful stops", answered.len());
    assert!(answered.len() >= 4 * 20);
    assert_eq!(there, answered);
}
