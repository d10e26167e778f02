//! A client that nobody here wrote: the vendor's own Python SDK.

use serde_json::Value;

use crate::sdk;
use crate::support::{A, ADMIN, Server};

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
