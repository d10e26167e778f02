//! Workloads that read the Secret: they are found, restarted one after the other, and waited for.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::Api;
use kube::api::{Patch, PatchParams};
use programmatic_users::api::{
    Consumer, Consumers, ProgrammaticUser, REVOKE_NOW_ANNOTATION, ROTATE_AT_ANNOTATION, Restart, Rotation,
    WorkloadKind,
};
use serde_json::json;

use crate::support::observe::condition;
use crate::support::wait::SOON;
use crate::support::workloads::{daemon_set, deployment, env_from, runs, spec, stateful_set};
use crate::support::{PAYMENTS, World, pod};

/// A rotation that waits for pods.
pub fn waits(overlap: &str, max: &str) -> Rotation {
    let span = programmatic_users::api::Duration::parse;
    Rotation {
        overlap: span(overlap),
        wait_for_consumers: true,
        max_overlap: span(max),
        ..Rotation::default()
    }
}

pub fn on_rotation() -> Consumers {
    Consumers {
        restart: Restart::OnRotation,
    }
}

fn consumer(kind: WorkloadKind, name: &str, outdated: bool) -> Consumer {
    Consumer {
        kind,
        name: name.to_owned(),
        outdated,
    }
}

async fn until_consumers(world: &World, name: &str, expected: &[Consumer]) {
    let same = |u: &ProgrammaticUser| u.status.as_ref().is_some_and(|s| s.consumers == expected);
    world
        .until(name, &format!("to have consumers {expected:?}"), same)
        .await;
}

/// Asks for another token, and waits until it is published.
pub async fn rotate(world: &World, name: &str, value: &str) -> ProgrammaticUser {
    let patch = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: value}}});
    world.change(name, patch).await.unwrap();
    let done = |u: &ProgrammaticUser| {
        u.status.as_ref().is_some_and(|s| {
            s.last_handled_rotate_at.as_deref() == Some(value) && s.journal.pending.is_none()
        })
    };
    world.until(name, "to be rotated", done).await
}

/// Waits for a condition; its message.
async fn message_of(world: &World, name: &str, kind: &str, reason: &str) -> String {
    let is = |u: &ProgrammaticUser| condition(u, kind).is_some_and(|c| c.reason == reason);
    let user = world.until(name, &format!("to be {kind}/{reason}"), is).await;
    condition(&user, kind).unwrap().message.clone()
}

#[tokio::test]
async fn workloads_are_found_wherever_they_read_the_secret_and_nothing_is_written_while_nothing_changes() {
    let world = World::new("consumers").await;
    let none = json!({"replicas": 0});
    let key = |secret: &str| json!({"name": "T", "valueFrom": {"secretKeyRef": {"name": secret, "key": "SPOTINST_TOKEN"}}});
    let plain = runs("true", &json!({}));
    deployment(
        &world,
        "by-env",
        spec("e", &runs("true", &json!({"env": [key("ci-token")]})), &none),
    )
    .await;
    deployment(
        &world,
        "of-another",
        spec("o", &runs("true", &json!({"env": [key("other")]})), &none),
    )
    .await;
    deployment(&world, "reads-nothing", spec("n", &plain, &none)).await;
    let mut init = plain.clone();
    init["initContainers"] = runs("true", &env_from("ci-token"))["containers"].clone();
    init["initContainers"][0]["name"] = json!("first");
    deployment(&world, "by-init", spec("i", &init, &none)).await;
    let mut volume = plain.clone();
    volume["volumes"] = json!([{"name": "v", "secret": {"secretName": "ci-token"}}]);
    stateful_set(
        &world,
        "by-volume",
        spec("v", &volume, &json!({"replicas": 0, "serviceName": "none"})),
    )
    .await;
    let mut projected = plain.clone();
    projected["volumes"] =
        json!([{"name": "v", "projected": {"sources": [{"secret": {"name": "ci-token"}}]}}]);
    projected["nodeSelector"] = json!({"no": "node"});
    daemon_set(&world, "by-projection", spec("p", &projected, &json!({}))).await;

    world.user("ci").viewer(PAYMENTS).secret("ci-token").apply().await;
    world.ready("ci").await;
    let mut all = vec![
        consumer(WorkloadKind::DaemonSet, "by-projection", false),
        consumer(WorkloadKind::Deployment, "by-env", false),
        consumer(WorkloadKind::Deployment, "by-init", false),
        consumer(WorkloadKind::StatefulSet, "by-volume", false),
    ];
    until_consumers(&world, "ci", &all).await;
    // One that comes and one that goes.
    deployment(
        &world,
        "late",
        spec("l", &runs("true", &env_from("ci-token")), &none),
    )
    .await;
    all.insert(3, consumer(WorkloadKind::Deployment, "late", false));
    until_consumers(&world, "ci", &all).await;
    let kubectl = |args: &[&str]| {
        world
            .cluster()
            .kubectl(&[&["-n", world.namespace()], args].concat())
            .unwrap()
    };
    kubectl(&["delete", "statefulset", "by-volume"]);
    all.truncate(4);
    until_consumers(&world, "ci", &all).await;
    // What does not matter here, and a controller that begins anew.
    let mark = world.audit_mark().await;
    kubectl(&["annotate", "deployment", "by-env", "team=a"]);
    kubectl(&[
        "patch",
        "deployment",
        "late",
        "-p",
        r#"{"spec": {"revisionHistoryLimit": 3}}"#,
    ]);
    world.controller().restart().await;
    let user = world.user("after").viewer(PAYMENTS);
    user.apply().await;
    world.ready("after").await;
    let written = world.written_from(mark).await;
    assert!(written.iter().all(|w| !w.contains(" ci ")), "{written:?}");
    // What was deleted while no watch was open.
    world.controller().kill().await;
    kubectl(&["delete", "deployment", "late"]);
    world.controller().resume().await.unwrap();
    all.truncate(3);
    until_consumers(&world, "ci", &all).await;
}

#[tokio::test]
async fn an_installation_without_rights_to_consumers_refuses_before_a_creation() {
    let world = World::new("consumers-level").await;
    let restarts = world
        .user("restarts")
        .viewer(PAYMENTS)
        .with(|s| s.consumers = Some(on_rotation()));
    restarts.apply().await;
    let message = world.stalled("restarts", "ConsumersNotEnabled").await;
    assert!(
        message.contains("--consumers=restart, and this one runs with --consumers=observe"),
        "{message}"
    );
    assert_eq!(world.platform().users().await.len(), 0);
    let waiting = || {
        world
            .user("waits")
            .viewer(PAYMENTS)
            .with(|s| s.rotation = Some(waits("1h", "2h")))
    };
    waiting().apply().await;
    world.ready("waits").await;
    deployment(
        &world,
        "web",
        spec("w", &runs("true", &env_from("waits")), &json!({"replicas": 0})),
    )
    .await;
    until_consumers(
        &world,
        "waits",
        &[consumer(WorkloadKind::Deployment, "web", false)],
    )
    .await;

    world.controller().kill().await;
    let mut options = world.controller().options().clone();
    options.flags.extend(["--consumers".to_owned(), "off".to_owned()]);
    let blind = crate::support::Operator::start(world.dir(), "blind", options)
        .await
        .unwrap();
    let message = message_of(&world, "waits", "WaitingForConsumers", "ConsumersNotEnabled").await;
    assert!(
        message.contains("--consumers=observe, and this one runs with --consumers=off"),
        "{message}"
    );
    // The operator manages an existing user all the same.
    let leaked = world.token("waits").await;
    let revoke = json!({"metadata": {"annotations": {REVOKE_NOW_ANNOTATION: "1"}}});
    world.change("waits", revoke).await.unwrap();
    world
        .eventually("the leaked token to be dead", SOON, async || {
            match world.platform().get("/setup/account", &leaked).await.status {
                401 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
    world.ready("waits").await;
    until_consumers(&world, "waits", &[]).await;
    world.user("plain").viewer(PAYMENTS).apply().await;
    world.ready("plain").await;
    blind.stop().await;
}

const LOOP: &str = "trap 'exit 0' TERM; while true; do sleep 0.2; done";

/// Whether pods run here; the image is then in the node.
async fn pods_run(world: &World) -> bool {
    if world.cluster().has_node() {
        pod::image(world.cluster()).await.unwrap();
        return true;
    }
    println!(
        "no pods run here ({}): without them nothing has an old token",
        world.cluster().info().node_reason
    );
    false
}

/// Waits until all pods of a `Deployment` are as its template says; their names.
fn rolled_out(world: &World, app: &str) -> Vec<String> {
    let kubectl = |args: &[&str]| {
        world
            .cluster()
            .kubectl(&[&["-n", world.namespace()], args].concat())
    };
    kubectl(&["rollout", "status", &format!("deployment/{app}"), "--timeout=90s"]).unwrap();
    let label = format!("app={app}");
    let names = kubectl(&[
        "get",
        "pods",
        "-l",
        &label,
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ])
    .unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_held_workload_keeps_its_token_until_its_pods_end_or_max_overlap_is_over() {
    let world = World::builder("consumers-held")
        .restarts_consumers()
        .reachable_from_pods()
        .start()
        .await;
    if !pods_run(&world).await {
        return;
    }
    for (name, max) in [("patient", "30m"), ("bounded", "8s")] {
        world
            .user(name)
            .viewer(PAYMENTS)
            .with(|s| (s.rotation, s.consumers) = (Some(waits("2s", max)), Some(on_rotation())))
            .apply()
            .await;
        world.ready(name).await;
        deployment(&world, name, spec(name, &runs(LOOP, &env_from(name)), &json!({}))).await;
    }
    let deployments: Api<Deployment> = Api::namespaced(world.client(), world.namespace());
    let mut old = Vec::new();
    for name in ["patient", "bounded"] {
        old.push(rolled_out(&world, name).remove(0));
        let paused = Patch::Merge(json!({"spec": {"paused": true}}));
        deployments
            .patch(name, &PatchParams::default(), &paused)
            .await
            .unwrap();
    }
    // One without pods, and one whose pods are replaced by hand: neither is restarted.
    let by_hand = json!({"replicas": 0, "serviceName": "none", "updateStrategy": {"type": "OnDelete"}});
    stateful_set(
        &world,
        "by-hand",
        spec("by-hand", &runs(LOOP, &env_from("patient")), &by_hand),
    )
    .await;
    deployment(
        &world,
        "empty",
        spec(
            "empty",
            &runs(LOOP, &env_from("patient")),
            &json!({"replicas": 0}),
        ),
    )
    .await;

    let tokens = [world.token("patient").await, world.token("bounded").await];
    for name in ["patient", "bounded"] {
        rotate(&world, name, "1").await;
    }
    let message = message_of(&world, "patient", "RestartingConsumers", "RolloutHeld").await;
    assert!(message.starts_with("Deployment patient is paused"), "{message}");
    let message = message_of(&world, "patient", "WaitingForConsumers", "PodsFromBefore").await;
    assert!(
        message.contains(&format!("pod {} of Deployment patient", old[0])),
        "{message}"
    );
    until_consumers(
        &world,
        "patient",
        &[
            consumer(WorkloadKind::Deployment, "empty", false),
            consumer(WorkloadKind::Deployment, "patient", true),
            consumer(WorkloadKind::StatefulSet, "by-hand", false),
        ],
    )
    .await;
    // The bound comes: the token dies in use, and the message still names the pod.
    let over = |u: &ProgrammaticUser| u.status.as_ref().is_some_and(|s| s.journal.retiring.is_empty());
    world.until("bounded", "to wait no longer", over).await;
    assert!(!world.platform().accepts(&tokens[1]).await);
    until_consumers(
        &world,
        "bounded",
        &[consumer(WorkloadKind::Deployment, "bounded", true)],
    )
    .await;
    // The other is waited for: nothing is written meanwhile.
    assert!(world.platform().accepts(&tokens[0]).await, "it is in use");
    let mark = world.audit_mark().await;
    world
        .always("the wait", Duration::from_secs(4), async || {
            match world.get("patient").await.status.unwrap().journal.retiring.len() {
                1 => Ok(()),
                n => Err(format!("{n} retire")),
            }
        })
        .await;
    assert_eq!(world.written_from(mark).await, Vec::<String>::new());
    // Its pod is replaced by hand: the new one has the new token.
    let args = ["-n", world.namespace(), "delete", "pod", &old[0], "--wait=false"];
    world.cluster().kubectl(&args).unwrap();
    world.until("patient", "to wait no longer", over).await;
    assert!(!world.platform().accepts(&tokens[0]).await);
    for name in ["empty", "patient", "bounded"] {
        let deployment = deployments.get(name).await.unwrap();
        let template = deployment.spec.unwrap().template.metadata.unwrap();
        assert_eq!(template.annotations, None, "{name} was left alone");
    }
    let sets: Api<StatefulSet> = Api::namespaced(world.client(), world.namespace());
    assert_eq!(sets.get("by-hand").await.unwrap().metadata.generation, Some(1));
    assert!(world.leaks().await.is_empty());
}

#[tokio::test]
async fn a_revocation_waits_for_no_pod_and_workloads_are_restarted_all_the_same() {
    let world = World::builder("consumers-revoke")
        .restarts_consumers()
        .reachable_from_pods()
        .start()
        .await;
    if !pods_run(&world).await {
        return;
    }
    world
        .user("leaked")
        .viewer(PAYMENTS)
        .with(|s| (s.rotation, s.consumers) = (Some(waits("1h", "2h")), Some(on_rotation())))
        .apply()
        .await;
    world.ready("leaked").await;
    deployment(
        &world,
        "web",
        spec("web", &runs(LOOP, &env_from("leaked")), &json!({})),
    )
    .await;
    let old = rolled_out(&world, "web");
    let token = world.token("leaked").await;
    let revoke = json!({"metadata": {"annotations": {REVOKE_NOW_ANNOTATION: "incident"}}});
    world.change("leaked", revoke).await.unwrap();
    world
        .eventually("the token to die", SOON, async || {
            if world.platform().accepts(&token).await {
                Err("it lives".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
    let new = |u: &ProgrammaticUser| {
        let status = u.status.as_ref().unwrap();
        !status.consumers.is_empty() && status.consumers.iter().all(|c| !c.outdated)
    };
    world
        .until("leaked", "to have consumers with the new token only", new)
        .await;
    let now = rolled_out(&world, "web");
    assert!(old.iter().all(|name| !now.contains(name)), "{old:?} {now:?}");
}
