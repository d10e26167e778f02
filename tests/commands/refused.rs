//! No rights, no kinds, no API server: sentences and codes.

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde_json::{Value, json};

use super::asked::{ask, kubeconfig_of, program, run};
use crate::support::wait::SOON;
use crate::support::{Cluster, PAYMENTS, World};

/// Gives an account these rights in the world's first namespace, and waits until they hold.
pub async fn allow(world: &World, user: &str, rules: Value) {
    let metadata = json!({"name": user, "namespace": world.namespace()});
    let role: Role = serde_json::from_value(json!({"metadata": metadata, "rules": rules})).unwrap();
    world.apply(&role).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": world.unique(user)}],
    }))
    .unwrap();
    world.apply(&binding).await.unwrap();
    let kubeconfig = kubeconfig_of(world, user);
    let verb = rules[0]["verbs"][0].as_str().unwrap();
    let resource = format!(
        "{}.{}",
        rules[0]["resources"][0].as_str().unwrap(),
        rules[0]["apiGroups"][0].as_str().unwrap()
    );
    let kubeconfig = kubeconfig.to_str().unwrap();
    world
        .eventually("the rights to hold", SOON, async || {
            let args = [
                "--kubeconfig",
                kubeconfig,
                "-n",
                world.namespace(),
                "auth",
                "can-i",
                verb,
                &resource,
            ];
            world.cluster().kubectl(&args).map(drop)
        })
        .await;
}

#[tokio::test]
async fn without_rights_each_command_names_the_right() {
    let world = World::new("no-rights").await;
    world.user("ci").viewer(PAYMENTS).apply().await;
    world.ready("ci").await;
    let kubeconfig = kubeconfig_of(&world, "reader");
    let namespace = world.namespace();
    let ask = |args: &[&str]| run(program(&kubeconfig).args(args)).expect(1);
    ask(&["get"])
        .tells("you may not list the users of all namespaces: give one with -n")
        .tells("cannot list resource \"programmaticusers\"");
    ask(&["get", "-n", namespace])
        .tells("cannot list resource \"programmaticusers\"")
        .tells("Ask a cluster administrator for that right");
    for command in ["why", "rotate"] {
        ask(&[command, "ci", "-n", namespace]).tells("cannot get resource \"programmaticusers\"");
    }
    ask(&["revoke", "ci", "-n", namespace, "--yes"]).tells("cannot get resource \"programmaticusers\"");
    for command in ["audit", "unmanaged"] {
        ask(&[command]).tells("cannot list resource \"organizations\"");
        ask(&[command, "--organization", "acme"]).tells("cannot get resource \"organizations\"");
    }
    ask(&["import", "pu-1", "--class", "c"]).tells("cannot get resource \"programmaticuserclasses\"");
    // An account that may read, and not annotate.
    let rules = json!([{"apiGroups": ["programmatic-users.io"], "resources": ["programmaticusers"], "verbs": ["get", "list"]}]);
    allow(&world, "reader", rules).await;
    run(program(&kubeconfig).args(["get", "-n", namespace])).expect(0);
    ask(&["rotate", "ci", "-n", namespace]).tells("cannot patch resource \"programmaticusers\"");
    let user = world.get("ci").await;
    assert_eq!(user.metadata.annotations, None, "nothing was asked for");
}

#[tokio::test]
async fn without_the_kinds_each_command_says_how_to_bring_them() {
    let cluster = Cluster::empty("commands").await;
    for args in [
        &["get"][..],
        &["get", "-n", "default"],
        &["why", "ci"],
        &["rotate", "ci"],
        &["revoke", "ci", "--yes"],
        &["audit"],
        &["unmanaged", "--organization", "acme"],
        &["import", "pu-1", "--class", "c"],
    ] {
        ask(cluster, args)
            .expect(1)
            .tells("the cluster has no such kind: install the chart, or `programmatic-users crds | kubectl apply --server-side -f -`");
    }
    let doctor = ask(cluster, &["doctor", "-o", "json"]).expect(3).json();
    let failed = |check: &str| {
        let all = doctor["checks"].as_array().unwrap().iter();
        all.filter(|c| c["check"] == check && c["verdict"] == "failed")
            .count()
    };
    assert_eq!(
        (failed("kind"), failed("lease"), failed("organization")),
        (3, 1, 1),
        "{doctor:#}"
    );
    assert_eq!(doctor["healthy"], false);
    // What the sentence says helps.
    let crds = ask(cluster, &["crds"]).expect(0).out;
    cluster
        .kubectl_with(&["apply", "--server-side", "-f", "-"], Some(&crds))
        .unwrap();
    cluster
        .kubectl(&["wait", "--for=condition=Established", "crd", "--all"])
        .unwrap();
    let doctor = ask(cluster, &["doctor", "-o", "json"]).expect(3).json();
    let kinds: Vec<_> = doctor["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["check"] == "kind")
        .collect();
    assert!(kinds.iter().all(|c| c["verdict"] == "ok"), "{kinds:#?}");
    ask(cluster, &["audit"])
        .expect(1)
        .tells("there is no Organization in this cluster");
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_named() {
    let world = World::builder("no-server").controller_stopped().start().await;
    let text = std::fs::read_to_string(&world.cluster().info().kubeconfig).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    let path = world.dir().join("no-server.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    run(program(&path).args(["get"]))
        .expect(1)
        .tells("no answer from the API server at https://127.0.0.1:1");
    let doctor = run(program(&path).args(["doctor", "-o", "json"]))
        .expect(3)
        .json();
    assert_eq!(doctor["checks"].as_array().unwrap().len(), 1);
    // Of several contexts one is chosen.
    let mut both = config.clone();
    let good: Value = serde_saphyr::from_str(&text).unwrap();
    for list in ["clusters", "contexts"] {
        let mut more = good[list][0].clone();
        more["name"] = json!("good");
        if list == "contexts" {
            more["context"]["cluster"] = json!("good");
            more["context"]["namespace"] = json!(world.namespace());
        }
        both[list].as_array_mut().unwrap().push(more);
    }
    let two = world.dir().join("two-contexts.kubeconfig");
    std::fs::write(&two, both.to_string()).unwrap();
    run(program(&two).args(["get"])).expect(1);
    run(program(&two).args(["get", "--context", "good"])).expect(0);
    // Its namespace is the one that is meant.
    run(program(&two).args(["why", "missing", "--context", "good"]))
        .expect(1)
        .tells(&format!("in namespace {}", world.namespace()));
    // The flag wins over the environment.
    let good = &world.cluster().info().kubeconfig;
    run(program(&path).args(["get", "--kubeconfig", good, "-n", world.namespace()])).expect(0);
}
