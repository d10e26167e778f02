//! The operator as the chart runs it: its own pods on a real node, with the chart's rights and nothing more.

use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use programmatic_users::api::{
    Consumers, DeletionPolicy, ORGANIZATION_FINALIZER, Organization, RETAINED_LABEL, REVOKE_NOW_ANNOTATION,
    ROTATE_AT_ANNOTATION, Restart, Scope,
};
use serde_json::{Value, json};

use crate::helm::{RELEASE, helm, release};
use crate::rights;
use crate::support::cluster::{binary, root};
use crate::support::wait::{SOON, eventually};
use crate::support::workloads::{daemon_set, deployment, env_from, runs, spec, stateful_set};
use crate::support::{Cluster, PAYMENTS, World, pod};

const IMAGE: &str = "programmatic-users";

/// Values of every command: what is not named keeps the chart's default.
fn values(world: &World) -> Vec<String> {
    [
        format!("image.repository={IMAGE},image.tag=test,image.pullPolicy=Never"),
        format!("rbac.namespaces={{{}}}", world.namespaces().join(",")),
        format!(
            "controller.organizations={{{},{}}}",
            world.organization_name(),
            unmade_organization(world)
        ),
        "consumers=restart".to_owned(),
    ]
    .into_iter()
    .flat_map(|set| ["--set".to_owned(), set])
    .collect()
}

/// An organization that the operator manages and that no test creates.
fn unmade_organization(world: &World) -> String {
    world.unique("unmade_organization")
}

fn run(world: &World, verb: &str, more: &[&str]) -> String {
    let values = values(world);
    let flags: Vec<&str> = values
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    release(world.cluster(), verb, world.operator_namespace(), &flags)
}

/// The program under test, whose libraries come into the image with it; or that of `make static`, by `make test-image`.
fn program() -> PathBuf {
    std::env::var_os("IMAGE_PROGRAM").map_or_else(binary, |path| root().join(path))
}

fn pods(world: &World) -> Api<Pod> {
    Api::namespaced(world.client(), world.operator_namespace())
}

async fn controllers(world: &World) -> Vec<Pod> {
    let ours = ListParams::default().labels("app.kubernetes.io/component=controller");
    pods(world).list(&ours).await.unwrap().items
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

async fn two_ready(world: &World) {
    world
        .eventually("two controllers to be ready", 4 * SOON, async || {
            let pods = controllers(world).await;
            let ready = pods.iter().filter(|p| is_ready(p)).count();
            if ready == 2 && pods.len() == 2 {
                return Ok(());
            }
            let name = pods.first().map(ResourceExt::name_any).unwrap_or_default();
            let logs =
                world
                    .cluster()
                    .kubectl(&["-n", world.operator_namespace(), "logs", &name, "--tail=5"]);
            let events = world
                .cluster()
                .kubectl(&["-n", world.operator_namespace(), "get", "events"]);
            Err(format!("{ready} of {} are; {logs:?} {events:?}", pods.len()))
        })
        .await;
}

/// The pod that holds the Lease.
async fn leader(world: &World) -> String {
    world
        .eventually("one pod to lead", SOON, async || {
            for pod in controllers(world).await {
                let name = pod.name_any();
                let path = format!(
                    "/api/v1/namespaces/{}/pods/{name}:8080/proxy/metrics",
                    world.operator_namespace()
                );
                let metrics = world
                    .cluster()
                    .kubectl(&["get", "--raw", &path])
                    .unwrap_or_default();
                if metrics.lines().any(|line| line == "programmatic_users_leader 1") {
                    return Ok(name);
                }
            }
            Err("none does".to_owned())
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_charts_own_pods_do_the_whole_work_with_the_charts_own_rights() {
    let cluster = Cluster::private_with_node("chart").await;
    if !cluster.has_node() {
        println!(
            "no pods run here ({}): `installs` has only installed the chart",
            cluster.info().node_reason
        );
        return;
    }
    cluster
        .program_image(&format!("{IMAGE}:test"), &program())
        .unwrap();
    let world = World::builder("chart")
        .on(cluster)
        .reachable_from_pods()
        .controller_stopped()
        .drift("3s")
        .start()
        .await;
    // As restricted as a namespace can be.
    let namespaces: Api<Namespace> = Api::all(world.client());
    let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let params = PatchParams::default();
    namespaces
        .patch(world.operator_namespace(), &params, &Patch::Merge(restricted))
        .await
        .unwrap();
    // The tests' own definitions are there already.
    let said = run(&world, "install", &["--take-ownership"]);
    assert!(
        said.contains(&format!(
            "It looks after ProgrammaticUsers in: {}",
            world.namespace()
        )),
        "{said}"
    );
    two_ready(&world).await;

    main_path(&world).await;
    consumers_are_restarted(&world).await;
    the_leader_is_killed(&world).await;
    doctor_finds_nothing_wrong(&world).await;

    // An upgrade brings the definitions up to date, and the users stay as they are.
    let token = world.token("ci").await;
    let older = json!([{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]);
    let crd = "programmaticusers.programmatic-users.io";
    cluster
        .kubectl(&["patch", "crd", crd, "--type=json", "-p", &older.to_string()])
        .unwrap();
    run(
        &world,
        "upgrade",
        &["--set", "controller.log=debug", "--force-conflicts"],
    );
    let columns = cluster.kubectl(&[
        "get",
        "crd",
        crd,
        "-o",
        "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}",
    ]);
    assert!(columns.unwrap().contains("Next-Rotation"));
    two_ready(&world).await;
    world.user("after-upgrade").viewer(PAYMENTS).apply().await;
    world.ready("after-upgrade").await;
    assert_eq!(world.token("ci").await, token);

    let values = values(&world);
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    rights::are_all_used_and_never_exceeded(&world, &values);

    helm(
        Some(cluster),
        &[
            "uninstall",
            RELEASE,
            "--namespace",
            world.operator_namespace(),
            "--wait",
        ],
    )
    .unwrap();
    assert!(controllers(&world).await.iter().all(|p| !is_ready(p)));
    world.get("ci").await;
    assert!(world.platform().accepts(&token).await, "users stay");
    // The world's own controller brings everything to its end.
    world.controller().resume().await.unwrap();
    for name in ["ci", "after-upgrade", "after-kill"] {
        world.delete(name).await;
        world.gone(name).await;
    }
}

/// From manifest to token and back, with all that the operator needs rights for.
async fn main_path(world: &World) {
    // A class that is open by the namespace's label.
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "payments"}}}));
    let namespaces: Api<Namespace> = Api::all(world.client());
    namespaces
        .patch(world.namespace(), &PatchParams::default(), &label)
        .await
        .unwrap();
    let class = world.class("by-label").with(|spec| {
        spec.namespaces.match_names.clear();
        spec.namespaces
            .match_labels
            .insert("team".to_owned(), "payments".to_owned());
    });
    let class = class.apply().await;
    // Groups, below, need this scope.
    let user = world.user("ci").viewer(PAYMENTS).class(&class);
    user.with(|spec| spec.scope = Scope::Organization).apply().await;
    world.ready("ci").await;
    let first = world.token("ci").await;
    assert!(world.platform().accepts(&first).await);

    // What no watch has shown is asked for before it is said not to exist.
    let class = world
        .class("nowhere")
        .with(|spec| spec.organization_name = unmade_organization(world));
    let class = class.apply().await;
    for (name, class, reason) in [
        ("classless", "missing", "UnknownClass"),
        ("homeless", &*class, "UnknownOrganization"),
    ] {
        world.user(name).viewer(PAYMENTS).class(class).apply().await;
        world.stalled(name, reason).await;
        world.delete(name).await;
        world.gone(name).await;
    }

    // Rotation: staged in the operator's namespace, published, the old one revoked.
    let revoke = json!({"metadata": {"annotations": {REVOKE_NOW_ANNOTATION: "1"}}});
    world.change("ci", revoke).await.unwrap();
    world
        .until("ci", "to have another token", |u| {
            u.status
                .as_ref()
                .is_some_and(|s| s.last_handled_revoke_now.is_some())
        })
        .await;
    world.ready("ci").await;
    assert_ne!(world.token("ci").await, first);

    // The same mistake twice is one Event that is counted up.
    for _ in 0..2 {
        let groups = |groups: Value| json!({"spec": {"access": {"groups": groups}}});
        world
            .change("ci", groups(json!([{"name": "missing"}])))
            .await
            .unwrap();
        world.stalled("ci", "UnknownGroup").await;
        world.change("ci", groups(Value::Null)).await.unwrap();
        world.ready("ci").await;
    }

    // The Organization is held while it has users, as long as its spec asks for that.
    for protected in [true, false] {
        let organizations: Api<Organization> = Api::all(world.client());
        let change = Patch::Merge(json!({"spec": {"deletionProtection": protected}}));
        let name = world.organization_name();
        organizations
            .patch(name, &PatchParams::default(), &change)
            .await
            .unwrap();
        world
            .eventually("the finalizer of the Organization", SOON, async || {
                let organization = organizations.get(name).await.map_err(|e| e.to_string())?;
                let held = organization
                    .finalizers()
                    .iter()
                    .any(|f| f == ORGANIZATION_FINALIZER);
                if held == protected {
                    Ok(())
                } else {
                    Err(format!("held: {held}"))
                }
            })
            .await;
    }

    // Kept, and deleted.
    world
        .user("kept")
        .viewer(PAYMENTS)
        .with(|spec| spec.deletion_policy = DeletionPolicy::Retain)
        .apply()
        .await;
    world.ready("kept").await;
    world.delete("kept").await;
    world.gone("kept").await;
    let kept: Secret = world.secrets().get("kept").await.unwrap();
    assert!(kept.labels().contains_key(RETAINED_LABEL));
    world.user("gone").viewer(PAYMENTS).apply().await;
    world.ready("gone").await;
    world.delete("gone").await;
    world.gone("gone").await;
}

/// Workloads of each kind are found, restarted, and then have no old pods any more.
async fn consumers_are_restarted(world: &World) {
    pod::image(world.cluster()).await.unwrap();
    world
        .user("used")
        .viewer(PAYMENTS)
        .with(|spec| {
            spec.consumers = Some(Consumers {
                restart: Restart::OnRotation,
            });
        })
        .apply()
        .await;
    world.ready("used").await;
    let script = "trap 'exit 0' TERM; while true; do sleep 0.2; done";
    let pods = runs(script, &env_from("used"));
    deployment(world, "one", spec("one", &pods, &json!({}))).await;
    stateful_set(world, "two", spec("two", &pods, &json!({"serviceName": "none"}))).await;
    daemon_set(world, "three", spec("three", &pods, &json!({}))).await;
    let rolled_out = || {
        for workload in ["deployment/one", "statefulset/two", "daemonset/three"] {
            let args = [
                "-n",
                world.namespace(),
                "rollout",
                "status",
                workload,
                "--timeout=90s",
            ];
            world.cluster().kubectl(&args).unwrap();
        }
    };
    rolled_out();
    let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}});
    world.change("used", rotate).await.unwrap();
    world
        .eventually("all consumers to have the new token", 4 * SOON, async || {
            let status = world.get("used").await.status.unwrap_or_default();
            let new = status.consumers.iter().filter(|c| !c.outdated).count();
            if status.last_handled_rotate_at.is_some() && new == 3 {
                Ok(())
            } else {
                Err(format!("{:?}", status.consumers))
            }
        })
        .await;
    rolled_out();
    world.delete("used").await;
    world.gone("used").await;
}

async fn the_leader_is_killed(world: &World) {
    let killed = leader(world).await;
    let now = DeleteParams::default().grace_period(0);
    pods(world).delete(&killed, &now).await.unwrap();
    world.user("after-kill").viewer(PAYMENTS).apply().await;
    // The standby waits until the Lease is over.
    eventually("a user to be made by the other", 4 * SOON, async || {
        let user = world.users().get("after-kill").await.map_err(|e| e.to_string())?;
        let id = user.status.and_then(|s| s.user_id);
        id.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await
    .unwrap();
    world.ready("after-kill").await;
    assert_ne!(leader(world).await, killed);
    two_ready(world).await;
}

/// It gets the operator's namespace, and not the names that the chart chose.
async fn doctor_finds_nothing_wrong(world: &World) {
    world
        .eventually("doctor to find all in order", SOON, async || {
            let output = Command::new(binary())
                .env("KUBECONFIG", &world.cluster().info().kubeconfig)
                .env_remove("SPOTINST_TOKEN")
                .args(["doctor", "-o", "json", "-n", world.namespace()])
                .args(["--organization", world.organization_name()])
                .args(["--operator-namespace", world.operator_namespace()])
                .output()
                .map_err(|e| e.to_string())?;
            let report: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
            let checks = report["checks"].as_array().cloned().unwrap_or_default();
            let is_ok = |name: &str| {
                let mut of = checks.iter().filter(|c| c["check"] == name).peekable();
                of.peek().is_some() && of.all(|c| c["verdict"] == "ok")
            };
            if output.status.success() && ["deployment", "lease", "operator-rights"].into_iter().all(is_ok) {
                Ok(())
            } else {
                Err(format!("{report:#}"))
            }
        })
        .await;
}
