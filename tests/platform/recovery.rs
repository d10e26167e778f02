//! An administrator who lost what the first start printed gets in again, by the database of a platform that runs.

use std::process::Command;

use programmatic_users::server::recover_admin;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};

use crate::console::{open, sign_in};
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server, on_disk};

/// Id of a new console user without rights.
async fn person(server: &Server, email: &str) -> String {
    let body = json!({
        "firstName": "Eve", "lastName": "Lee", "email": email, "password": PASSWORD, "role": "user",
    });
    let made = server.post(ADMIN, "/setup/user", body).await.expect(200);
    made.item()["userId"].as_str().unwrap().to_owned()
}

async fn group(server: &Server, name: &str, user: &str, policy: &str) {
    let body = json!({"name": name, "userIds": [user], "policies": [{"policyId": policy}]});
    let path = "/setup/access/userGroup";
    server.post(ADMIN, path, body).await.expect(200);
}

async fn details(server: &Server, token: &str, user: &str) -> Value {
    let reply = server
        .get(token, &format!("/setup/user/{user}"))
        .await
        .expect(200);
    reply.item().clone()
}

/// What the command did to a user, the first first, as the audit log tells it.
async fn done(server: &Server, token: &str, user: &str) -> Vec<String> {
    let path = "/audit/events?fromDate=0&toDate=99999999999999&actorType=system";
    let mut events = server.get(token, path).await.expect(200).items().clone();
    events.retain(|e| e["resourceId"] == user);
    let action = |e: &Value| e["actionType"].as_str().unwrap().to_owned();
    events.iter().map(action).collect()
}

#[tokio::test]
async fn a_lost_password_is_replaced_and_the_token_stays() {
    let server = Server::start().await;
    let session = sign_in(&server, EMAIL, PASSWORD).await.session();
    // And locked out, besides.
    for _ in 0..5 {
        sign_in(&server, EMAIL, "wrong").await;
    }
    let database = crate::database(server.directory.path());
    let made = recover_admin(&database, "Admin@Example.com", false)
        .await
        .unwrap();
    assert!(made.token.is_none());
    assert_eq!(sign_in(&server, EMAIL, PASSWORD).await.status, 401);
    let password = made.password.expose();
    assert_eq!(sign_in(&server, EMAIL, password).await.status, 303);
    assert!(!on_disk(&server.directory, password));
    let old = server.http.get(server.url("/console/")).header("cookie", session);
    assert_eq!(open(old).await.status, 303, "its session has ended");
    server.get(ADMIN, "/setup/account").await.expect(200);
    assert_eq!(done(&server, ADMIN, &made.user_id).await, ["replacePassword"]);
}

#[tokio::test]
async fn a_lost_token_is_replaced_and_the_old_ones_end() {
    let server = Server::start().await;
    let database = crate::database(server.directory.path());
    let made = recover_admin(&database, EMAIL, true).await.unwrap();
    let token = made.token.unwrap();
    server.get(ADMIN, "/setup/account").await.expect(401);
    assert!(!on_disk(&server.directory, token.expose()));
    let user = details(&server, token.expose(), &made.user_id).await;
    assert_eq!(user["tokens"].as_array().unwrap().len(), 1);
    let done = done(&server, token.expose(), &made.user_id).await;
    assert_eq!(done, ["replacePassword", "replaceTokens"]);
}

#[tokio::test]
async fn rights_are_given_and_no_more_is_taken_than_stands_against_them() {
    let server = Server::start().await;
    let [by_group, viewer, barred] = ["g@example.com", "v@example.com", "b@example.com"];
    let mut ids = Vec::new();
    for email in [by_group, viewer, barred] {
        ids.push(person(&server, email).await);
    }
    group(&server, "administrators", &ids[0], "1").await;
    let viewers = json!({"policies": [{"policyId": "3", "accountIds": [A]}]});
    for id in &ids[1..] {
        let path = format!("/setup/user/{id}/policyMapping");
        server.put(ADMIN, &path, viewers.clone()).await.expect(200);
    }
    let deny = json!([{"effect": "DENY", "actions": ["*"], "resources": ["*"]}]);
    let policy = server.policy("ORGANIZATION", deny).await;
    group(&server, "barred", &ids[2], &policy).await;

    let database = crate::database(server.directory.path());
    let expected: [(&str, &[&str], usize, &[&str]); 3] = [
        (by_group, &[], 1, &["replacePassword", "replaceTokens"]),
        (
            viewer,
            &["1", "3"],
            0,
            &["updateUserPoliciesMapping", "replacePassword", "replaceTokens"],
        ),
        (
            barred,
            &["1"],
            0,
            &[
                "updateUserPoliciesMapping",
                "updateUserGroupMapping",
                "replacePassword",
                "replaceTokens",
            ],
        ),
    ];
    for (id, (email, policies, groups, actions)) in ids.iter().zip(expected) {
        let made = recover_admin(&database, email, true).await.unwrap();
        assert_eq!(*id, made.user_id);
        let token = made.token.unwrap();
        let account = json!({"account": {"name": "made by it"}});
        server
            .post(token.expose(), "/setup/account", account)
            .await
            .expect(200);
        let password = made.password.expose();
        assert_eq!(sign_in(&server, email, password).await.status, 303);
        let user = details(&server, token.expose(), id).await;
        let mut held: Vec<&str> = user["policies"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|p| p["policyId"].as_str())
            .collect();
        held.sort_unstable();
        assert_eq!(
            (held.as_slice(), user["groups"].as_array().unwrap().len()),
            (policies, groups),
            "{email}"
        );
        assert_eq!(done(&server, token.expose(), id).await, actions, "{email}");
    }
}

/// The password is compared outside of any transaction: it may be another one by the time that the session begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_with_the_old_password_does_not_outlive_it() {
    let server = Server::start().await;
    let database = crate::database(server.directory.path());
    let mut password = PASSWORD.to_owned();
    for _ in 0..8 {
        let all = futures::future::join_all((0..4).map(|_| sign_in(&server, EMAIL, &password)));
        let (pages, made) = tokio::join!(all, recover_admin(&database, EMAIL, false));
        for page in pages.into_iter().filter(|page| page.status == 303) {
            let cookie = page.session();
            let home = server.http.get(server.url("/console/")).header("cookie", cookie);
            assert_eq!(
                open(home).await.status,
                303,
                "a session of the old password goes on"
            );
        }
        made.unwrap().password.expose().clone_into(&mut password);
    }
}

#[tokio::test]
async fn a_refused_recovery_creates_no_user_and_no_table() {
    let server = Server::start().await;
    let database = crate::database(server.directory.path());
    let message = recover_admin(&database, "typo@example.com", true)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("no console user has the address typo@example.com"),
        "{message}"
    );
    assert_eq!(
        server.get(ADMIN, "/setup/organization/user").await.items().len(),
        1
    );

    // Of another release, by what it wrote down of its tables.
    let mut conn = sqlx::AnyConnection::connect(&crate::database_url(server.directory.path()))
        .await
        .unwrap();
    conn.execute("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await
        .unwrap();
    conn.close().await.unwrap();
    let message = recover_admin(&database, EMAIL, true)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("a platform of another release"), "{message}");
    server.get(ADMIN, "/setup/account").await.expect(200);

    let empty = tempfile::tempdir().unwrap();
    let database = crate::database(empty.path());
    for _ in 0..2 {
        let message = recover_admin(&database, EMAIL, false)
            .await
            .err()
            .unwrap()
            .to_string();
        let file = empty.path().join("platform.db");
        let wanted = [
            format!("there is no {}", file.display()),
            "no platform has started on this database".to_owned(),
        ];
        assert!(wanted.iter().any(|w| message.ends_with(w)), "{message}");
        assert!(!file.exists());
    }
}

#[test]
fn the_command_says_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_programmatic-users"))
        .args(["recover-admin", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let message = String::from_utf8(done.stderr).unwrap();
    let file = folder.path().join("platform.db");
    let wanted = format!(
        "error: cannot recover the administrator: there is no {}\n",
        file.display()
    );
    assert_eq!(message, wanted);
}
