//! `doctor`: looks at everything, and knows what is wrong.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::asked::{Said, kubeconfig_of, of_world, platform_flags, program, run};
use crate::support::platform::fresh_token;
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World, pod};

fn flags(world: &World) -> Vec<String> {
    let mut flags: Vec<String> = platform_flags(world).into();
    let more = [
        "--service-account",
        "operator",
        "--lease-name",
        "controller-0",
        "-n",
        world.namespace(),
    ];
    flags.extend(more.map(str::to_owned));
    flags
}

fn doctor(world: &World, args: &[&str]) -> Said {
    run(of_world(world).arg("doctor").args(flags(world)).args(args))
}

fn of<'a>(diagnosis: &'a Value, check: &str) -> Vec<&'a Value> {
    diagnosis["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["check"] == check)
        .collect()
}

#[track_caller]
fn all_are(diagnosis: &Value, check: &str, verdict: &str) {
    let found = of(diagnosis, check);
    assert!(
        !found.is_empty() && found.iter().all(|c| c["verdict"] == verdict),
        "{check}: {found:#?}"
    );
}

#[tokio::test]
async fn a_healthy_installation_is_called_healthy() {
    let world = World::new("doctor").await;
    world.user("ci").viewer(PAYMENTS).apply().await;
    world.ready("ci").await;
    let diagnosis = doctor(&world, &["-o", "json"]).expect(0).json();
    assert_eq!(
        (&diagnosis["healthy"], &diagnosis["counts"]["failed"]),
        (&json!(true), &json!(0)),
        "{diagnosis:#}"
    );
    for check in [
        "api-server",
        "clock",
        "kind",
        "lease",
        "operator-rights",
        "your-rights",
        "organization",
        "limits",
        "platform",
        "users",
    ] {
        all_are(&diagnosis, check, "ok");
    }
    assert_eq!(of(&diagnosis, "kind").len(), 3);
    let places: Vec<_> = of(&diagnosis, "operator-rights")
        .iter()
        .map(|c| c["subject"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        places,
        ["the cluster", world.operator_namespace(), world.namespace()]
    );
    // This controller is a process of the test.
    all_are(&diagnosis, "deployment", "warning");
    let digits = &world.platform().admin_token[60..];
    let table = doctor(&world, &[]).expect(0);
    table
        .shows(&format!("takes the token that ends in {digits}"))
        .shows(", 0 failed\n");
}

#[tokio::test]
async fn each_fault_is_found_with_its_remedy() {
    let world = World::new("doctor-ill").await;
    world.user("ci").viewer(PAYMENTS).class("nosuch").apply().await;
    world.stalled("ci", "UnknownClass").await;
    let verdicts = |args: &[&str]| {
        run(of_world(&world).arg("doctor").args(args).args(["-o", "json"]))
            .expect(3)
            .json()
    };
    // Looked for in the wrong place.
    let place = [
        "--organization",
        world.organization_name(),
        "-n",
        world.namespace(),
        "--operator-namespace",
        "default",
    ];
    let diagnosis = verdicts(&place);
    all_are(&diagnosis, "lease", "failed");
    all_are(&diagnosis, "platform", "warning");
    all_are(&diagnosis, "users", "warning");
    let rights = of(&diagnosis, "operator-rights");
    assert!(
        rights[0]["message"]
            .as_str()
            .unwrap()
            .contains("may not get programmaticuserclasses"),
        "{rights:#?}"
    );
    // A token that the platform does not know: the operator's own one is fine.
    let wrong = fresh_token();
    let diagnosis = run(of_world(&world)
        .arg("doctor")
        .args(flags(&world))
        .args(["-o", "json"])
        .env("SPOTINST_TOKEN", &wrong))
    .expect(3)
    .json();
    all_are(&diagnosis, "platform", "failed");
    all_are(&diagnosis, "organization", "ok");
    // The operator's own one is not.
    world.set_credential(&wrong).await;
    world
        .eventually("the organization to know", SOON, async || {
            let organization = world.organization().await;
            let status = organization.status.unwrap_or_default();
            if status.conditions.iter().any(|c| c.reason == "CredentialInvalid") {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    let diagnosis = doctor(&world, &["-o", "json"]).expect(3).json();
    let organization = of(&diagnosis, "organization");
    let message = organization[0]["message"].as_str().unwrap();
    assert!(message.contains("put a valid one into the Secret"), "{message}");
    // No operator leads any more.
    world.controller().stop().await;
    let diagnosis = doctor(&world, &["-o", "json"]).expect(3).json();
    all_are(&diagnosis, "lease", "failed");
    world.platform().stop().await;
    let table = doctor(&world, &[]).expect(3);
    table.shows("FAILED").shows("can be reached from here");
}

/// A Deployment with the chart's labels: that of the component is on its pods only.
fn deployment(world: &World, replicas: i32, image: &str) -> Deployment {
    let name = json!({"app.kubernetes.io/name": "programmatic-users"});
    let labels =
        json!({"app.kubernetes.io/name": "programmatic-users", "app.kubernetes.io/component": "controller"});
    let container =
        json!({"name": "c", "image": image, "imagePullPolicy": "Never", "command": ["sleep", "3600"]});
    serde_json::from_value(json!({
        "metadata": {"name": "operator", "namespace": world.operator_namespace(), "labels": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}},
    }))
    .unwrap()
}

#[tokio::test]
async fn replicas_of_the_deployment_are_counted() {
    let world = World::new("doctor-replicas").await;
    // The image is nowhere.
    world
        .apply(&deployment(&world, 2, "registry.invalid/none:1"))
        .await
        .unwrap();
    let diagnosis = doctor(&world, &["-o", "json"]).expect(3).json();
    let found = of(&diagnosis, "deployment");
    assert_eq!(found[0]["verdict"], "failed");
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.starts_with("0 of 2 replicas are ready"), "{message}");
    if !world.cluster().has_node() {
        return;
    }
    pod::image(world.cluster()).await.unwrap();
    world.apply(&deployment(&world, 1, pod::IMAGE)).await.unwrap();
    world
        .eventually("the replica to be ready", SOON, async || {
            let diagnosis = doctor(&world, &["-o", "json"]).json();
            let message = of(&diagnosis, "deployment")[0]["message"].to_string();
            if message.contains("1 of 1 replicas are ready") {
                Ok(())
            } else {
                Err(message)
            }
        })
        .await;
    doctor(&world, &[]).expect(0);
}

#[tokio::test]
async fn the_deployment_says_which_lease_and_account_are_the_operators() {
    let world = World::new("doctor-names").await;
    world.user("ci").viewer(PAYMENTS).apply().await;
    world.ready("ci").await;
    let mut named = deployment(&world, 1, "registry.invalid/none:1");
    let pods = named.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    pods.service_account_name = Some("operator".to_owned());
    pods.containers[0].args = Some(vec!["--lease-name=controller-0".to_owned()]);
    world.apply(&named).await.unwrap();
    let verdicts = |more: &[&str]| {
        let said = run(of_world(&world)
            .arg("doctor")
            .args(platform_flags(&world))
            .args(["-n", world.namespace(), "-o", "json"])
            .args(more));
        // The Deployment itself has no pods.
        said.expect(3).json()
    };
    let diagnosis = verdicts(&[]);
    all_are(&diagnosis, "deployment", "failed");
    all_are(&diagnosis, "lease", "ok");
    all_are(&diagnosis, "operator-rights", "ok");
    // A flag overrides what the Deployment says.
    let diagnosis = verdicts(&["--lease-name", "other", "--service-account", "other"]);
    all_are(&diagnosis, "lease", "failed");
    all_are(&diagnosis, "operator-rights", "failed");
}

#[tokio::test]
async fn without_rights_doctor_reports_what_it_could_not_check() {
    let world = World::new("doctor-rights").await;
    let kubeconfig = kubeconfig_of(&world, "guest");
    let diagnosis = run(program(&kubeconfig)
        .arg("doctor")
        .args(flags(&world))
        .args(["-o", "json"]))
    .json();
    all_are(&diagnosis, "api-server", "ok");
    all_are(&diagnosis, "organization", "warning");
    all_are(&diagnosis, "your-rights", "warning");
    all_are(&diagnosis, "kind", "warning");
    all_are(&diagnosis, "operator-rights", "warning");
    let rights = of(&diagnosis, "operator-rights");
    assert!(
        rights[0]["message"]
            .as_str()
            .unwrap()
            .contains("you have no right to check the operator"),
        "{rights:#?}"
    );
}
