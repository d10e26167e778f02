//! Clients of others: the vendor's own SDKs for Python and Go.

use serde_json::Value;

use crate::support::{A, ADMIN, Server};
use crate::{go_sdk, sdk};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spotinst_sdk2() {
    let server = Server::start().await;
    let url = server.url("");
    let out = sdk::run(&url, ADMIN, &[]).await;
    assert!(out.trim_end().ends_with("conformant"), "{out}");
    let (id, _) = server.user("viewer", A).await;
    let users: Vec<Value> = serde_json::from_str(&sdk::run(&url, ADMIN, &["--list"]).await).unwrap();
    assert!(
        users
            .iter()
            .any(|u| u["user_id"] == id.as_str() && u["type"] == "programmatic")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spotinst_sdk_go() {
    let server = Server::start().await;
    let (_, viewer) = server.user("viewer", A).await;
    let (id, revoked) = server.user("editor", A).await;
    server
        .delete(ADMIN, &format!("/setup/user/{id}"))
        .await
        .expect(200);
    let tokens = [
        ("PLATFORM_ADMIN_TOKEN", ADMIN),
        ("PLATFORM_VIEWER_TOKEN", viewer.as_str()),
        ("PLATFORM_REVOKED_TOKEN", revoked.as_str()),
    ];
    let out = go_sdk::run(&server.url(""), A, &tokens).await;
    println!("{out}");
    assert!(out.trim_end().ends_with("conformant"), "{out}");
    for (name, token) in tokens {
        assert!(!out.contains(token), "{name}");
    }
}
