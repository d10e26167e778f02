//! Beside the chart's admission policies, in a cluster of its own: they are of the whole cluster.

use serde_json::{Value, json};

use super::asked::{kubeconfig_of, of_world, program, run};
use super::refused::allow;
use crate::support::cluster::root;
use crate::support::wait::SOON;
use crate::support::{Cluster, PAYMENTS, World};

/// The policies and bindings that the chart renders.
fn rendered() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("tests/chart/snapshots/default.yaml")).unwrap();
    let documents = text
        .split("\n---\n")
        .filter(|d| d.contains("\nkind: ValidatingAdmissionPolicy"));
    documents.map(str::to_owned).collect()
}

fn found(diagnosis: &Value, verdict: &str) -> usize {
    let checks = diagnosis["checks"].as_array().unwrap().iter();
    checks
        .filter(|c| c["check"] == "admission-policy" && c["verdict"] == verdict)
        .count()
}

#[tokio::test]
async fn doctor_finds_the_policies_and_rotate_shows_their_refusal() {
    let cluster = Cluster::private("commands-admission").await;
    let world = World::builder("admission")
        .on(cluster)
        .controller_stopped()
        .start()
        .await;
    world.user("ci").viewer(PAYMENTS).apply().await;
    let doctor = || {
        let place = [
            "--organization",
            world.organization_name(),
            "-n",
            world.namespace(),
            "-o",
            "json",
        ];
        run(of_world(&world).arg("doctor").args(place)).expect(3).json()
    };
    assert_eq!((found(&doctor(), "warning"), found(&doctor(), "ok")), (6, 0));
    let documents = rendered();
    assert_eq!(documents.len(), 12);
    let (policies, bindings): (Vec<_>, Vec<_>) = documents
        .into_iter()
        .partition(|d| !d.contains("\nkind: ValidatingAdmissionPolicyBinding"));
    let apply = |documents: &[String]| {
        let text = documents.join("\n---\n");
        cluster
            .kubectl_with(&["apply", "--server-side", "-f", "-"], Some(&text))
            .unwrap();
    };
    apply(&policies);
    let diagnosis = doctor();
    assert_eq!(
        found(&diagnosis, "warning"),
        6,
        "they deny nothing: {diagnosis:#}"
    );
    apply(&bindings);
    assert_eq!(found(&doctor(), "ok"), 6);

    // An account that may change users, and may not use their class.
    let rules = json!([{"apiGroups": ["programmatic-users.io"], "resources": ["programmaticusers"], "verbs": ["get", "patch"]}]);
    allow(&world, "tenant", rules).await;
    let kubeconfig = kubeconfig_of(&world, "tenant");
    let said = world
        .eventually("the policies to deny", SOON, async || {
            let said = run(program(&kubeconfig).args(["rotate", "ci", "-n", world.namespace()]));
            if said.code == 1 {
                Ok(said)
            } else {
                Err(format!("{said:?}"))
            }
        })
        .await;
    said.tells(&format!("may not replace tokens of class {}", world.class_name()))
        .tells("ask for verb \"use\" on it");
}
