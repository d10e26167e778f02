//! What GitOps tools make of our objects, by their own code (`tests/gitops`).

mod apply;
mod manifests;

use std::collections::BTreeMap;
use std::process::Command;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use programmatic_users::api::{
    Organization, ProgrammaticUser, RESTARTING_CONSUMERS, ROTATE_AT_ANNOTATION, WAITING_FOR_CONSUMERS,
};
use serde_json::{Value, json};

use crate::consumers::{on_rotation, rotate, waits};
use crate::support::cluster::{gitops_program, root, run};
use crate::support::observe::condition;
use crate::support::wait::SOON;
use crate::support::workloads::{deployment, runs, spec};
use crate::support::{PAYMENTS, World};

/// The ConfigMap that the documentation has people apply.
const CONFIG: &str = "docs/gitops/argocd/argocd-cm.yaml";

/// Asks Argo CD and kstatus, one question after the other.
async fn ask(questions: Vec<Value>) -> Vec<Value> {
    let lines: Vec<String> = questions.iter().map(Value::to_string).collect();
    let lines = lines.join("\n");
    let work = move || {
        let program = gitops_program().unwrap_or_else(|e| panic!("{e}"));
        run(Command::new(program).arg(root().join(CONFIG)), Some(&lines))
    };
    let said = tokio::task::spawn_blocking(work).await.unwrap();
    let said = said.unwrap_or_else(|e| panic!("{e}"));
    let answers: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(answer["error"], Value::Null, "{question}");
    }
    assert_eq!(answers.len(), questions.len());
    answers
}

/// Objects as the API server has them, by what they are an example of.
struct Examples<'w> {
    world: &'w World,
    found: Vec<(&'static str, Value)>,
}

impl Examples<'_> {
    async fn user(&mut self, what: &'static str, name: &str) {
        let kind = ApiResource::erase::<ProgrammaticUser>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.world.client(), self.world.namespace(), &kind);
        let object = api.get(name).await.unwrap();
        self.found.push((what, serde_json::to_value(object).unwrap()));
    }

    async fn organization(&mut self, what: &'static str) {
        let kind = ApiResource::erase::<Organization>(&());
        let api: Api<DynamicObject> = Api::all_with(self.world.client(), &kind);
        let object = api.get(self.world.organization_name()).await.unwrap();
        self.found.push((what, serde_json::to_value(object).unwrap()));
    }
}

/// Waits until a condition of the organization has this status.
async fn organization_is(world: &World, kind: &str, status: &str) {
    world
        .eventually(
            &format!("the organization to be {kind}={status}"),
            SOON,
            async || {
                let conditions = world.organization().await.status.unwrap_or_default().conditions;
                let found = conditions.iter().any(|c| c.type_ == kind && c.status == status);
                if found {
                    Ok(())
                } else {
                    Err(format!("{conditions:?}"))
                }
            },
        )
        .await;
}

fn has(kind: &str) -> impl Fn(&ProgrammaticUser) -> bool {
    move |user| condition(user, kind).is_some_and(|c| c.status == "True")
}

/// The spec of a `Deployment` whose pod reads these Secrets. The pod is given to a node that is not there: it counts as one
/// that may run, on any cluster, and never becomes available. After 40 seconds or more Kubernetes replaces it.
fn never_available(world: &World, app: &str, secrets: &[&str], more: &Value) -> Value {
    let all = secrets.iter().map(|name| json!({"secretRef": {"name": name}}));
    let mut pod = runs("true", &json!({"envFrom": all.collect::<Vec<_>>()}));
    pod["nodeName"] = json!(world.unique(&format!("no-node-{app}")));
    spec(app, &pod, more)
}

/// Waits until a `Deployment` has a pod.
async fn has_a_pod(world: &World, name: &str) {
    let deployments: Api<Deployment> = Api::namespaced(world.client(), world.namespace());
    world
        .eventually(&format!("Deployment {name} to have a pod"), SOON, async || {
            let found = deployments.get(name).await.map_err(|e| e.to_string())?;
            match &found.status {
                Some(status) if status.updated_replicas == Some(1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
}

/// A user whose workload is to be restarted and is not yet, and one whose replaced token a pod may still use.
async fn of_consumers(examples: &mut Examples<'_>) {
    let world = examples.world;
    let restarts = world.user("restarts").viewer(PAYMENTS);
    restarts.with(|s| s.consumers = Some(on_rotation())).apply().await;
    let kept = world.user("kept").viewer(PAYMENTS);
    kept.with(|s| s.rotation = Some(waits("1s", "30m"))).apply().await;
    let all = ["restarts", "kept"];
    for name in all {
        world.ready(name).await;
    }
    deployment(world, "web", never_available(world, "web", &all, &json!({}))).await;
    has_a_pod(world, "web").await;
    for (name, what, kind) in [
        (
            "restarts",
            "a user whose workloads are being restarted",
            RESTARTING_CONSUMERS,
        ),
        (
            "kept",
            "a user whose replaced token is kept for a pod",
            WAITING_FOR_CONSUMERS,
        ),
    ] {
        rotate(world, name, "1").await;
        world.until(name, &format!("to be {kind}"), has(kind)).await;
        examples.user(what, name).await;
    }
}

/// What each example is, and what Argo CD, kstatus and the action `rotate` have to make of it.
const EXPECTED: [(&str, &str, &str, bool); 19] = [
    ("a user without a status", "Progressing", "InProgress", false),
    (
        "an organization without a status",
        "Progressing",
        "InProgress",
        false,
    ),
    ("a user that is Ready", "Healthy", "Current", true),
    ("an organization that is Ready", "Healthy", "Current", false),
    ("a user of no class", "Degraded", "Failed", false),
    (
        "a user that was suspended before it was made",
        "Suspended",
        "Current",
        false,
    ),
    (
        "a user that was suspended when it was Ready",
        "Suspended",
        "Current",
        false,
    ),
    (
        "a user whose workloads are being restarted",
        "Healthy",
        "Current",
        true,
    ),
    (
        "a user whose replaced token is kept for a pod",
        "Healthy",
        "Current",
        true,
    ),
    ("a user that is being replaced", "Healthy", "Current", true),
    (
        "a user that is being replaced because its spec changed",
        "Progressing",
        "InProgress",
        true,
    ),
    (
        "a user whose platform is down",
        "Progressing",
        "InProgress",
        false,
    ),
    ("a user whose replacement has to wait", "Healthy", "Current", true),
    (
        "a user that was suspended while it waited",
        "Suspended",
        "Current",
        false,
    ),
    (
        "an organization whose platform is down",
        "Progressing",
        "InProgress",
        false,
    ),
    (
        "a user that is being deleted",
        "Progressing",
        "Terminating",
        false,
    ),
    (
        "an organization whose credential is refused",
        "Degraded",
        "Failed",
        false,
    ),
    (
        "a user whose changed spec was not observed",
        "Progressing",
        "InProgress",
        true,
    ),
    (
        "an organization that is being deleted",
        "Progressing",
        "Terminating",
        false,
    ),
];

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one state after the other")]
async fn argo_cd_and_flux_see_the_health_of_each_state() {
    let world = World::builder("gitops-health")
        .drift("1s")
        .restarts_consumers()
        .controller_stopped()
        .start()
        .await;
    let mut examples = Examples {
        world: &world,
        found: vec![],
    };
    world.user("one").viewer(PAYMENTS).apply().await;
    examples.user("a user without a status", "one").await;
    examples.organization("an organization without a status").await;

    world.controller().resume().await.unwrap();
    world.ready("one").await;
    examples.user("a user that is Ready", "one").await;
    organization_is(&world, "Ready", "True").await;
    examples.organization("an organization that is Ready").await;

    world.user("lost").viewer(PAYMENTS).class("nowhere").apply().await;
    world.stalled("lost", "UnknownClass").await;
    examples.user("a user of no class", "lost").await;

    world
        .user("never")
        .viewer(PAYMENTS)
        .with(|s| s.suspend = true)
        .apply()
        .await;
    world.until("never", "to rest", has("Suspended")).await;
    examples
        .user("a user that was suspended before it was made", "never")
        .await;
    world.user("resting").viewer(PAYMENTS).apply().await;
    world.ready("resting").await;
    world
        .user("resting")
        .viewer(PAYMENTS)
        .with(|s| s.suspend = true)
        .apply()
        .await;
    world.until("resting", "to rest", has("Suspended")).await;
    examples
        .user("a user that was suspended when it was Ready", "resting")
        .await;

    Box::pin(of_consumers(&mut examples)).await;

    for name in ["turned", "changed"] {
        world.user(name).viewer(PAYMENTS).apply().await;
        world.ready(name).await;
    }
    // What the platform is asked for now it does not answer.
    world.platform().freeze().await;
    let now = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "now"}}});
    world.change("turned", now).await.unwrap();
    world.until("turned", "to be replaced", has("Rotating")).await;
    examples.user("a user that is being replaced", "turned").await;
    world.user("changed").editor(PAYMENTS).apply().await;
    world.until("changed", "to be replaced", has("Rotating")).await;
    examples
        .user(
            "a user that is being replaced because its spec changed",
            "changed",
        )
        .await;
    world.platform().thaw().await;

    world.platform().kill().await;
    world.user("waiting").viewer(PAYMENTS).apply().await;
    let unreachable =
        |u: &ProgrammaticUser| condition(u, "Reconciling").is_some_and(|c| c.reason == "PlatformUnreachable");
    world.until("waiting", "to wait", unreachable).await;
    examples.user("a user whose platform is down", "waiting").await;
    let again = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "again"}}});
    world
        .change("resting", json!({"spec": {"suspend": false}}))
        .await
        .unwrap();
    world.change("resting", again).await.unwrap();
    let late =
        |u: &ProgrammaticUser| condition(u, "Ready").is_some_and(|c| c.reason == "PlatformUnreachable");
    world.until("resting", "to be replaced", late).await;
    examples
        .user("a user whose replacement has to wait", "resting")
        .await;
    world
        .change("waiting", json!({"spec": {"suspend": true}}))
        .await
        .unwrap();
    world.until("waiting", "to rest", has("Suspended")).await;
    examples
        .user("a user that was suspended while it waited", "waiting")
        .await;
    organization_is(&world, "Ready", "False").await;
    examples
        .organization("an organization whose platform is down")
        .await;
    world.delete("one").await;
    let blocked = |u: &ProgrammaticUser| condition(u, "Ready").is_some_and(|c| c.reason == "DeletionBlocked");
    world.until("one", "to wait for its deletion", blocked).await;
    examples.user("a user that is being deleted", "one").await;

    world.platform().resume().await.unwrap();
    world
        .set_credential(&crate::support::platform::fresh_token())
        .await;
    organization_is(&world, "CredentialValid", "False").await;
    examples
        .organization("an organization whose credential is refused")
        .await;

    world.controller().stop().await;
    world.user("turned").editor(PAYMENTS).apply().await;
    examples
        .user("a user whose changed spec was not observed", "turned")
        .await;
    let api: Api<Organization> = Api::all(world.client());
    let kept = json!({"metadata": {"finalizers": ["programmatic-users.io/organization"]}});
    let name = world.organization_name();
    api.patch(name, &PatchParams::default(), &Patch::Merge(kept))
        .await
        .unwrap();
    api.delete(name, &kube::api::DeleteParams::default())
        .await
        .unwrap();
    examples
        .organization("an organization that is being deleted")
        .await;
    let none = json!({"metadata": {"finalizers": null}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();

    let questions = examples.found.iter().map(|(_, object)| json!({"object": object}));
    let answers = ask(questions.collect()).await;
    let said = examples.found.iter().zip(&answers).map(|((what, _), answer)| {
        let text = |by: &str| answer[by]["status"].as_str().unwrap();
        (
            *what,
            text("argo"),
            text("kstatus"),
            answer["actions"]["rotate"] == true,
        )
    });
    let said: Vec<_> = said.collect();
    assert_eq!(said, EXPECTED, "{answers:#?}");
    let message = |what: &str| {
        let i = examples.found.iter().position(|(w, _)| *w == what).unwrap();
        answers[i]["argo"]["message"].as_str().unwrap().to_owned()
    };
    for (what, words) in [
        ("a user of no class", "nowhere"),
        (
            "a user that was suspended when it was Ready",
            "spec.suspend is true",
        ),
        (
            "a user whose workloads are being restarted",
            "Deployment web is being rolled out",
        ),
        (
            "a user whose replaced token is kept for a pod",
            "of Deployment web read Secret kept before it changed",
        ),
        ("a user that is being replaced", "will replace the current one"),
        ("a user whose platform is down", "platform of Organization"),
        ("a user that is being deleted", "it is being deleted: "),
        ("an organization whose credential is refused", "credential"),
    ] {
        assert!(message(what).contains(words), "{what}: {}", message(what));
    }
}

#[test]
fn the_config_map_has_the_scripts_that_are_documented() {
    let folder = root().join("docs/gitops/argocd");
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    let config: Value = serde_saphyr::from_str(&read("argocd-cm.yaml")).unwrap();
    let data: BTreeMap<String, String> = serde_json::from_value(config["data"].clone()).unwrap();
    for kind in ["ProgrammaticUser", "Organization"] {
        let script = &data[&format!("resource.customizations.health.programmatic-users.io_{kind}")];
        assert_eq!(*script, read("health.lua"));
    }
    let actions = &data["resource.customizations.actions.programmatic-users.io_ProgrammaticUser"];
    let actions: Value = serde_saphyr::from_str(actions).unwrap();
    assert_eq!(actions["discovery.lua"], read("actions/discovery.lua"));
    assert_eq!(actions["definitions"][0]["name"], "rotate");
    assert_eq!(
        actions["definitions"][0]["action.lua"],
        read("actions/rotate/action.lua")
    );
}
