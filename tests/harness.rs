//! The harness itself: the cluster is real, tests do not see each other, examples are accepted, pods read Secrets.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, Node, Secret, SecretEnvSource, SecretKeySelector,
};
use kube::Api;
use kube::api::ListParams;
use support::builders::named;
use support::cluster::{node_wanted, root};
use support::world::{apply, fresh_suffix, make_namespace};
use support::{BILLING, Cluster, PAYMENTS, World, canary, pod};

#[tokio::test]
async fn the_cluster_is_a_real_one() {
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

#[tokio::test]
async fn examples_are_accepted_as_they_are() {
    let cluster = Cluster::shared().await;
    let mut files: Vec<_> = std::fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    // A dry run makes no namespace, and needs one that is there.
    let namespace = format!("examples-{}", fresh_suffix());
    make_namespace(&cluster.client().await, &namespace).await;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("namespace: payments", &format!("namespace: {namespace}"));
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let said = cluster.kubectl_with(&args, Some(&text));
        assert!(said.is_ok(), "{}: {said:?}", file.display());
    }
}

#[tokio::test]
async fn a_pod_reads_its_environment_from_a_secret() {
    let cluster = Cluster::shared().await;
    let client = cluster.client().await;
    let namespace = format!("pod-{}", fresh_suffix());
    make_namespace(&client, &namespace).await;
    let data = [("SPOTINST_TOKEN", "not-a-token"), ("SPOTINST_ACCOUNT", PAYMENTS)];
    let secret = Secret {
        metadata: named("credential", &namespace),
        string_data: Some(data.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        ..Secret::default()
    };
    apply(&client, &secret, "tests").await.unwrap();
    if cluster.has_node() {
        pod::image(cluster).await.unwrap();
    }
    let mut main = pod::container("echo \"$SPOTINST_TOKEN $SPOTINST_ACCOUNT $OTHER $MISSING.\"");
    main.env_from = Some(vec![EnvFromSource {
        secret_ref: Some(SecretEnvSource {
            name: "credential".to_owned(),
            optional: None,
        }),
        ..EnvFromSource::default()
    }]);
    let key = |name: &str, key: &str, optional| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: "credential".to_owned(),
                key: key.to_owned(),
                optional,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    main.env = Some(vec![
        key("OTHER", "SPOTINST_ACCOUNT", None),
        key("MISSING", "NOTHING", Some(true)),
    ]);
    // What is resolved without a node is what a kubelet makes of it.
    let resolved = pod::environment(&client, &namespace, &main).await.unwrap();
    let expected = [
        ("OTHER", PAYMENTS),
        ("SPOTINST_ACCOUNT", PAYMENTS),
        ("SPOTINST_TOKEN", "not-a-token"),
    ];
    assert_eq!(
        resolved,
        BTreeMap::from(expected.map(|(k, v)| (k.to_owned(), v.to_owned())))
    );
    let outcome = pod::run(cluster, &client, &namespace, "reader", main)
        .await
        .unwrap();
    assert_eq!(
        outcome.output.trim(),
        format!("not-a-token {PAYMENTS} {PAYMENTS} ."),
        "{outcome:?}"
    );
    assert_eq!(outcome.real, cluster.has_node());
}

#[tokio::test]
async fn worlds_do_not_see_each_other_and_nothing_leaks() {
    let (one, two) = tokio::join!(World::new("world-one"), World::new("world-two"));
    one.user("ci").viewer(PAYMENTS).apply().await;
    two.user("ci").viewer_in(&[PAYMENTS, BILLING]).apply().await;
    one.ready("ci").await;
    two.ready("ci").await;
    let (token, other) = (one.token("ci").await, two.token("ci").await);
    assert_ne!(token, other);
    assert!(one.platform().accepts(&token).await && !one.platform().accepts(&other).await);
    assert_eq!(
        one.platform().users().await.len(),
        1,
        "the other world's user is on the other platform"
    );

    // Each controller writes in its own world only.
    let foreign = two
        .audit()
        .await
        .into_iter()
        .filter(|e| one.namespaces().contains(&e.object_ref.namespace));
    assert_eq!(foreign.count(), 0);
    let created = one
        .audit()
        .await
        .into_iter()
        .filter(|e| e.is_operator() && e.is_write());
    let created: Vec<String> = created.map(|e| e.describe()).collect();
    assert!(
        created.iter().any(|e| e.starts_with("create secrets ci ")),
        "{created:#?}"
    );

    assert_eq!(one.leaks().await, Vec::<String>::new());
    assert_eq!(two.leaks().await, Vec::<String>::new());
}

#[tokio::test]
async fn restarted_processes_find_their_data() {
    let world = World::new("comeback").await;
    world.user("ci").editor(PAYMENTS).apply().await;
    world.ready("ci").await;
    let token = world.token("ci").await;
    let url = world.platform().url().to_owned();
    world.platform().stop().await;
    world.controller().kill().await;
    assert_eq!(world.controller().id().await, None);
    world.platform().resume().await.unwrap();
    world.controller().resume().await.unwrap();
    assert_eq!(world.platform().url(), url);
    assert!(
        world.platform().accepts(&token).await,
        "the platform kept its data"
    );
    world.delete("ci").await;
    world.gone("ci").await;
    assert!(!world.platform().accepts(&token).await);
}

#[test]
fn the_canary_sings() {
    let token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let tokens = BTreeMap::from([("admin".to_owned(), token.to_owned())]);
    let place = |text: String| vec![("a log".to_owned(), text.into_bytes())];
    assert_eq!(
        canary::find(&tokens, &place(format!("x {token} y"))),
        ["the token of admin is in a log"]
    );
    let encoded = serde_json::to_string(&k8s_openapi::ByteString(token.into())).unwrap();
    assert_eq!(
        canary::find(&tokens, &place(encoded)),
        ["the token of admin is in a log in base64"]
    );
    assert!(canary::find(&tokens, &place(token[..60].to_owned())).is_empty());
}
