//! What GitOps tools make of our objects, by their own code (`tests/gitops`), and that nothing of ours fights what is
//! applied.

use std::collections::BTreeMap;
use std::process::Command;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{Organization, ProgrammaticUser, ROTATE_AT_ANNOTATION};
use serde_json::{Value, json};

use crate::support::cluster::{gitops_program, root, run};
use crate::support::observe::condition;
use crate::support::wait::SOON;
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

/// What each example is, and what Argo CD, kstatus and the action `rotate` have to make of it.
const EXPECTED: [(&str, &str, &str, bool); 17] = [
    ("a user that nobody has seen", "Progressing", "InProgress", false),
    (
        "an organization that nobody has seen",
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
        "a user whose changed spec nobody has seen",
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
async fn argo_cd_and_flux_see_what_is_the_case() {
    let world = World::builder("gitops-health")
        .drift("1s")
        .controller_stopped()
        .start()
        .await;
    let mut examples = Examples {
        world: &world,
        found: vec![],
    };
    world.user("one").viewer(PAYMENTS).apply().await;
    examples.user("a user that nobody has seen", "one").await;
    examples
        .organization("an organization that nobody has seen")
        .await;

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
        .user("a user whose changed spec nobody has seen", "turned")
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

/// Manifests of all kinds with every field that there is.
fn manifests(world: &World, mode: &str) -> Vec<Value> {
    let name = |what: &str| world.unique(&format!("{what}-{mode}"));
    let metadata = |name: &str| json!({"name": name, "labels": {"team": "payments"}, "annotations": {"note": "by hand"}});
    let user = |name: &str, spec: Value| {
        let mut metadata = metadata(name);
        metadata["namespace"] = json!(world.namespace());
        json!({"apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser", "metadata": metadata, "spec": spec})
    };
    let organization = json!({
        "apiVersion": "programmatic-users.io/v1alpha1",
        "kind": "Organization",
        "metadata": metadata(&name("org")),
        "spec": {
            "endpoint": {"url": world.platform().url(), "insecure": true, "timeout": "10s"},
            "credentials": {"secretName": "admin", "key": "token", "previousKey": "token-previous"},
            "limits": {"requestsPerMinute": 6000, "maxInFlight": 8, "createsPerHour": 1000},
            "drift": {"interval": "5s"},
            "deletionProtection": true,
            "orphanPolicy": "Report"
        }
    });
    let class = json!({
        "apiVersion": "programmatic-users.io/v1alpha1",
        "kind": "ProgrammaticUserClass",
        "metadata": metadata(&name("class")),
        "spec": {
            "organizationName": name("org"),
            "scopes": ["Account", "Organization"],
            "allow": {
                "roles": ["Viewer", "Editor", "PolicyBased"],
                "accounts": ["*"],
                "policies": ["*"],
                "groups": ["*"]
            },
            "namespaces": {"matchNames": [world.namespace()], "matchLabels": {"never": "set"}},
            "maxUsersPerNamespace": 20,
            "rotation": {"maxAge": "2160h", "minOverlap": "1h"},
            "onRevoked": "Keep",
            "defaults": {
                "access": {"role": "Viewer", "accounts": [{"id": PAYMENTS}]},
                "rotation": {"every": "720h", "overlap": "25h"},
                "secret": {"keys": {"token": "TOKEN", "account": "ACCOUNT"}}
            }
        }
    });
    // All that can be left out is left out: the class has it.
    let little = user(
        &format!("little-{mode}"),
        json!({"className": name("class"), "scope": "Account"}),
    );
    let everything = user(
        &format!("everything-{mode}"),
        json!({
            "className": name("class"),
            "scope": "Account",
            "displayName": "everything",
            "description": "has every field that there is",
            "access": {
                "role": "PolicyBased",
                "accounts": [{"id": PAYMENTS}],
                "policies": [{"name": "gitops", "accounts": [PAYMENTS]}],
                "groups": [{"name": "gitops"}]
            },
            "secret": {
                "name": format!("token-{mode}"),
                "keys": {"token": "A", "account": "B", "endpoint": "C", "organization": "D"},
                "extraKeys": {"E": "token", "F": "account"},
                "template": {
                    "labels": {"example.com/team": "payments"},
                    "annotations": {"example.com/note": "made"},
                    "data": {"credentials.ini": "token={{ token }}"}
                },
                "account": PAYMENTS
            },
            "rotation": {
                "every": "720h",
                "overlap": "25h",
                "windows": [{"cron": "0 2 * * SUN", "timeZone": "Europe/Berlin", "duration": "4h"}]
            },
            "consumers": {"restart": "Never"},
            "deletionPolicy": "Delete",
            "expireAt": "2099-01-01T00:00:00Z",
            "suspend": false
        }),
    );
    let several = user(
        &format!("several-{mode}"),
        json!({
            "className": name("class"),
            "scope": "Organization",
            "access": {"role": "Viewer", "accounts": [{"id": PAYMENTS}, {"id": crate::support::BILLING, "role": "Editor"}]},
            "secret": {"account": PAYMENTS},
            "rotation": {"every": "700h"},
            "deletionPolicy": "Retain"
        }),
    );
    vec![organization, class, little, everything, several]
}

/// A class is no work for the operator: it has nothing to wait for.
fn is_worked_on(object: &Value) -> bool {
    object["kind"] != "ProgrammaticUserClass"
}

#[tokio::test]
async fn what_was_applied_is_found_as_it_was_applied_and_applied_again_changes_nothing() {
    // The organizations that this test makes are not the world's own.
    let world = World::builder("gitops-apply").controller_stopped().start().await;
    let everything = json!({"statements": [{"effect": "ALLOW", "actions": ["*"], "resources": ["*"]}]});
    world.platform().make_policy("gitops", &everything).await;
    world.platform().make_group("gitops").await;
    let modes: [(&str, &[&str]); 2] = [
        ("client", &[]),
        ("server", &["--server-side", "--field-manager=flux"]),
    ];
    let mut options = world.controller().options().clone();
    options.organizations = modes
        .map(|(mode, _)| world.unique(&format!("org-{mode}")))
        .to_vec();
    let _controller = crate::support::Operator::start(world.dir(), "gitops", options)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let mut questions = Vec::new();
    let mut made = 0;
    for (mode, flags) in modes {
        let objects = manifests(&world, mode);
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
        assert_eq!(get(), live, "{mode}");
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
