//! Whoever lost what the first start printed gets in again, by the database of a platform that runs.

use std::process::Command;

use programmatic_users::server::recover_admin;
use serde_json::json;

use crate::console::{open, sign_in};
use crate::support::{A, ADMIN, EMAIL, PASSWORD, Server, on_disk};

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
    let events = server.events("&actorType=system").await;
    let recovered = events
        .iter()
        .find(|e| e["actionType"] == "recoverAdministrator")
        .unwrap();
    assert_eq!(recovered["resourceId"], made.user_id);
}

#[tokio::test]
async fn a_lost_token_is_replaced_and_the_old_ones_end() {
    let server = Server::start().await;
    let database = crate::database(server.directory.path());
    let made = recover_admin(&database, EMAIL, true).await.unwrap();
    let token = made.token.unwrap();
    server.get(ADMIN, "/setup/account").await.expect(401);
    let body = json!({"name": "ci", "accounts": [{"id": A, "role": "viewer"}]});
    server
        .post(token.expose(), "/setup/user/programmatic", body)
        .await
        .expect(200);
    assert!(!on_disk(&server.directory, token.expose()));
    let path = format!("/setup/user/{}", made.user_id);
    let details = server.get(token.expose(), &path).await.expect(200);
    assert_eq!(details.item()["tokens"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_was_no_administrator_is_one_then() {
    let server = Server::start().await;
    let body = json!({"firstName": "Eve", "lastName": "Lee", "email": "eve@example.com", "password": PASSWORD, "role": "user"});
    let made = server.post(ADMIN, "/setup/user", body).await.expect(200);
    let eve = made.item()["userId"].as_str().unwrap().to_owned();
    let deny = json!([{"effect": "DENY", "actions": ["*"], "resources": ["*"]}]);
    let policy = server.policy("ORGANIZATION", deny).await;
    let group = json!({"name": "barred", "userIds": [eve], "policies": [{"policyId": policy}]});
    server
        .post(ADMIN, "/setup/access/userGroup", group)
        .await
        .expect(200);

    let database = crate::database(server.directory.path());
    // One who is there, denied everything by a group, and one who is not.
    for (email, known) in [("eve@example.com", Some(&eve)), ("new@example.com", None)] {
        let made = recover_admin(&database, email, true).await.unwrap();
        assert!(known.is_none_or(|id| *id == made.user_id));
        let token = made.token.unwrap();
        let account = json!({"account": {"name": "made by it"}});
        server
            .post(token.expose(), "/setup/account", account)
            .await
            .expect(200);
        assert_eq!(sign_in(&server, email, made.password.expose()).await.status, 303);
    }
}

#[tokio::test]
async fn what_cannot_be_recovered_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let database = crate::database(folder.path());
    let told = recover_admin(&database, "nobody", false)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        told.contains("the e-mail address must be a valid email"),
        "{told}"
    );
    let told = recover_admin(&database, EMAIL, false)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        told.contains("there is no ") || told.contains("no platform has started on this database"),
        "{told}"
    );
    assert!(!folder.path().join("platform.db").exists(), "nothing is made");
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
    let told = String::from_utf8(done.stderr).unwrap();
    let file = folder.path().join("platform.db");
    let wanted = format!(
        "error: cannot recover the administrator: there is no {}\n",
        file.display()
    );
    assert_eq!(told, wanted);
}
