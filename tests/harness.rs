//! The harness itself: the cluster is real, tests do not see each other, and pods read Secrets.
// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    dead_code
)]

mod support;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use support::Cluster;
use support::cluster::node_wanted;

#[tokio::test]
async fn the_cluster_answers() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let version = client.apiserver_version().await.unwrap();
    assert_eq!(version.major, "1", "{version:?}");
    let nodes = Api::<Node>::all(client)
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    if !cluster.is_external() {
        assert_eq!(
            nodes.len(),
            usize::from(node_wanted()),
            "as root on Linux there is a node"
        );
    }
}
