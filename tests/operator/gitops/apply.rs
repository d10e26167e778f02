//! Nothing of ours fights what GitOps tools apply.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{ProgrammaticUser, RESTART_PREFIX, ROTATE_AT_ANNOTATION};
use serde_json::{Value, json};

use super::manifests::{Ids, left_out, manifests};
use super::{ask, has_a_pod, never_available};
use crate::consumers::{on_rotation, rotate};
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

/// The ways to apply, and `kubectl`'s flags for them.
const MODES: [(&str, &[&str]); 2] = [
    ("client", &[]),
    ("server", &["--server-side", "--field-manager=flux"]),
];

/// A class is no work for the operator: it has nothing to wait for.
fn is_worked_on(object: &Value) -> bool {
    object["kind"] != "ProgrammaticUserClass"
}

#[tokio::test]
async fn applied_objects_stay_as_applied_and_another_apply_changes_nothing() {
    // The organizations that this test makes are not the world's own.
    let world = World::builder("gitops-apply").controller_stopped().start().await;
    let everything = json!({"statements": [{"effect": "ALLOW", "actions": ["*"], "resources": ["*"]}]});
    world.platform().make_policy("gitops", &everything).await;
    world.platform().make_group("gitops").await;
    let ids = Ids {
        policy: world.platform().make_policy("by-id", &everything).await,
        group: world.platform().make_group("by-id").await,
    };
    let mut options = world.controller().options().clone();
    options.organizations = MODES
        .map(|(mode, _)| world.unique(&format!("org-{mode}")))
        .to_vec();
    let _controller = crate::support::Operator::start(world.dir(), "gitops", options)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let mut questions = Vec::new();
    let mut made = 0;
    for (mode, flags) in MODES {
        let objects = manifests(&world, mode, &ids);
        assert_eq!(left_out(&objects), Vec::<String>::new());
        made += objects.iter().filter(|o| o["kind"] == "ProgrammaticUser").count();
        let text: Vec<String> = objects
            .iter()
            .map(|o| serde_saphyr::to_string(o).unwrap())
            .collect();
        let text = text.join("---\n");
        let kubectl = |verb: &[&str]| {
            let args: Vec<&str> = verb.iter().chain(flags).copied().chain(["-f", "-"]).collect();
            world.cluster().kubectl_with(&args, Some(&text))
        };
        let get = || {
            let found = world
                .cluster()
                .kubectl_with(&["get", "-o", "json", "-f", "-"], Some(&text));
            let found: Value = serde_json::from_str(&found.unwrap()).unwrap();
            found["items"].as_array().unwrap().clone()
        };
        kubectl(&["apply"]).unwrap_or_else(|e| panic!("{e}"));
        let live = world
            .eventually("all that was applied to be Ready", SOON, async || {
                let live = get();
                let is_done = |object: &&Value| {
                    let conditions = object["status"]["conditions"].as_array();
                    let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
                    // An organization has counted the users. Both objects are of one platform and one installation:
                    // each counts the users of both.
                    let managed = &object["status"]["users"]["managed"];
                    let counted = object["kind"] != "Organization" || *managed == made;
                    counted && conditions.is_some_and(|all| all.iter().any(ready))
                };
                match live.iter().filter(|o| is_worked_on(o)).find(|o| !is_done(o)) {
                    None => Ok(live),
                    Some(object) => Err(object["status"].to_string()),
                }
            })
            .await;
        assert_eq!(kubectl(&["diff"]), Ok(String::new()), "{mode}");
        let said = kubectl(&["apply"]).unwrap();
        assert_eq!(said.lines().count(), objects.len(), "{said}");
        if mode == "client" {
            assert!(said.lines().all(|l| l.ends_with(" unchanged")), "{said}");
        }
        // Not even a new resourceVersion.
        for (before, after) in live.iter().zip(get()) {
            assert_eq!(*before, after, "{mode}: {}", before["metadata"]["name"]);
        }
        questions.extend(
            objects
                .into_iter()
                .zip(live)
                .map(|(c, l)| json!({"config": c, "object": l})),
        );
    }
    for (question, answer) in questions.iter().zip(ask(questions.clone()).await) {
        assert_eq!(answer["differs"], false, "{question}");
    }
    // It would tell if there were something to tell.
    let mut changed = questions[2].clone();
    changed["config"]["spec"]["description"] = json!("another one");
    assert_eq!(ask(vec![changed]).await[0]["differs"], true);
}

#[tokio::test]
async fn argo_cds_action_rotates_and_git_knows_nothing_of_it() {
    let world = World::new("gitops-rotate").await;
    let manifest = json!({
        "apiVersion": "programmatic-users.io/v1alpha1",
        "kind": "ProgrammaticUser",
        "metadata": {"name": "ci", "namespace": world.namespace()},
        "spec": {
            "className": world.class_name(),
            "scope": "Account",
            "access": {"role": "Viewer", "accounts": [{"id": PAYMENTS}]}
        }
    });
    let text = serde_saphyr::to_string(&manifest).unwrap();
    for flags in [
        &[][..],
        &[
            "--server-side",
            "--force-conflicts",
            "--field-manager=argocd-controller",
        ][..],
    ] {
        let sync = || {
            let args: Vec<&str> = ["apply"]
                .iter()
                .chain(flags)
                .copied()
                .chain(["-f", "-"])
                .collect();
            world.cluster().kubectl_with(&args, Some(&text)).unwrap()
        };
        sync();
        let old = world.ready("ci").await.status.unwrap();
        let live = |user: ProgrammaticUser| serde_json::to_value(user).unwrap();
        let asked = ask(vec![
            json!({"object": live(world.get("ci").await), "action": "rotate"}),
        ])
        .await;
        let patch = asked[0]["patch"].clone();
        let annotations = patch["metadata"]["annotations"].as_object().unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), [ROTATE_AT_ANNOTATION]);
        assert_eq!(patch.as_object().unwrap().len(), 1, "{patch}");
        let value = annotations[ROTATE_AT_ANNOTATION].as_str().unwrap().to_owned();
        assert_ne!(Some(&value), old.last_handled_rotate_at.as_ref());
        world.change("ci", patch).await.unwrap();
        let rotated = world
            .until("ci", "to be rotated", |u| {
                let status = u.status.as_ref();
                status.is_some_and(|s| {
                    s.last_handled_rotate_at.as_ref() == Some(&value) && s.journal.pending.is_none()
                })
            })
            .await;
        assert_ne!(rotated.status.as_ref().unwrap().user_id, old.user_id);
        // The next look of Argo CD, and the next sync, leave it as it is.
        let seen = ask(vec![json!({"config": manifest, "object": live(rotated.clone())})]).await;
        assert_eq!(seen[0]["differs"], false);
        sync();
        let after = world.get("ci").await;
        assert_eq!(after.annotations().get(ROTATE_AT_ANNOTATION), Some(&value));
        let (now, before) = (after.status.unwrap(), rotated.status.unwrap());
        assert_eq!(
            (now.user_id, now.last_handled_rotate_at),
            (before.user_id, before.last_handled_rotate_at)
        );
    }
}

/// Annotations of the pods that a `Deployment` makes, and its generation.
fn annotated(deployment: &Deployment) -> (BTreeMap<String, String>, Option<i64>) {
    let template = deployment.spec.as_ref().map(|s| &s.template);
    let metadata = template.and_then(|t| t.metadata.as_ref());
    let annotations = metadata.and_then(|m| m.annotations.clone());
    (annotations.unwrap_or_default(), deployment.metadata.generation)
}

#[tokio::test]
async fn a_workload_that_was_restarted_is_left_as_it_is_when_it_is_applied_again() {
    let world = World::builder("gitops-restart")
        .restarts_consumers()
        .start()
        .await;
    let deployments: Api<Deployment> = Api::namespaced(world.client(), world.namespace());
    for (mode, flags) in MODES {
        let user = world.user(mode).viewer(PAYMENTS);
        user.with(|s| s.consumers = Some(on_rotation())).apply().await;
        world.ready(mode).await;
        // A rollout whose deadline is over is no reason to wait.
        let spec = never_available(&world, mode, &[mode], &json!({"progressDeadlineSeconds": 1}));
        let metadata = json!({"name": mode, "namespace": world.namespace()});
        let object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
        let text = serde_saphyr::to_string(&object).unwrap();
        let apply = || {
            let args = [&["apply"], flags, &["-f", "-"]].concat();
            world.cluster().kubectl_with(&args, Some(&text)).unwrap()
        };
        apply();
        has_a_pod(&world, mode).await;
        rotate(&world, mode, "1").await;
        let restarted = world
            .eventually("the Deployment to be restarted", SOON, async || {
                let found = deployments.get(mode).await.map_err(|e| e.to_string())?;
                let seen = annotated(&found);
                if seen.0.keys().any(|key| key.starts_with(RESTART_PREFIX)) {
                    Ok(seen)
                } else {
                    Err(format!("{:?}", found.status))
                }
            })
            .await;
        let said = apply();
        let after = deployments.get(mode).await.unwrap();
        assert_eq!(annotated(&after), restarted, "{mode}: {said}");
    }
}
