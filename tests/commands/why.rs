//! `why`: explains in sentences.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::asked::{Said, kubeconfig_of, of_world, program, run};
use crate::support::builders::named;
use crate::support::{PAYMENTS, World};

fn why(world: &World, name: &str, args: &[&str]) -> Said {
    run(of_world(world)
        .args([
            "why",
            name,
            "-n",
            world.namespace(),
            "--operator-namespace",
            world.operator_namespace(),
        ])
        // The first controller of a world that was never killed.
        .args(["--lease-name", "controller-0"])
        .args(args))
}

#[tokio::test]
async fn a_ready_user_is_reported_as_ready() {
    let world = World::new("why-ready").await;
    world.user("fine").viewer(PAYMENTS).apply().await;
    world.ready("fine").await;
    let digits = world.token("fine").await[60..].to_owned();
    let said = why(&world, "fine", &[]).expect(0);
    let said = said.shows(&format!("{}/fine is ready, since ", world.namespace()));
    let said = said.shows(&format!(
        "ok ProgrammaticUserClass {}: exists",
        world.class_name()
    ));
    let said = said.shows(&format!(
        "ok Organization {}: is ready",
        world.organization_name()
    ));
    let said = said.shows("ok Secret fine: carries the token of the current user");
    let said = said.shows(&format!("ok Token {digits}: "));
    let said = said.shows(" leads, renewed ");
    assert!(!said.out.contains("What it means"), "{}", said.out);
}

#[tokio::test]
async fn a_user_that_is_stalled_is_explained_in_the_words_of_the_table_of_failures() {
    let world = World::new("why-stalled").await;
    world.user("lost").viewer(PAYMENTS).class("nosuch").apply().await;
    let message = world.stalled("lost", "UnknownClass").await;
    let said = why(&world, "lost", &[]).expect(3);
    let said = said.shows("is not ready, and stays so until you act: UnknownClass");
    let said = said.shows(&message);
    let said =
        said.shows("UnknownClass (stalled): no class of that name: correct `className`, or create the class");
    let said = said.shows("!! ProgrammaticUserClass nosuch: does not exist");
    let said = said.shows("!! Secret lost: is not there");
    said.shows("Warning UnknownClass: ");
    let output = why(&world, "lost", &["-o", "json"]).expect(3).json();
    assert_eq!(
        (&output["state"], &output["ready"], &output["reason"]),
        (&json!("Stalled"), &json!("False"), &json!("UnknownClass"))
    );
    assert_eq!(output["advice"][0]["course"], "stalled");
    assert_eq!(output["events"][0]["reason"], "UnknownClass");
    assert_eq!(
        output["facts"][0],
        json!({"kind": "ProgrammaticUserClass", "name": "nosuch", "ok": false, "message": "does not exist"})
    );

    let secrets: Api<Secret> = world.secrets();
    let foreign = Secret {
        metadata: named("taken", world.namespace()),
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &foreign).await.unwrap();
    world.user("taken").viewer(PAYMENTS).apply().await;
    world.stalled("taken", "SecretConflict").await;
    let said = why(&world, "taken", &[]).expect(3);
    said.shows("!! Secret taken: exists, and was not made by the operator, which does not change it");
}

#[tokio::test]
async fn without_an_operator_it_says_that_there_is_none() {
    let world = World::builder("why-alone").controller_stopped().start().await;
    world.user("waits").viewer(PAYMENTS).apply().await;
    let said = why(&world, "waits", &[]).expect(3);
    let said = said.shows("is not ready: NotObserved");
    let said = said.shows("is the operator running");
    said.shows("does not exist: no operator runs there");
}

#[tokio::test]
async fn a_platform_that_is_down_and_a_refused_credential_are_reported() {
    let world = World::new("why-down").await;
    world.user("early").viewer(PAYMENTS).apply().await;
    world.ready("early").await;
    world.set_credential(&"0".repeat(64)).await;
    world.user("late").viewer(PAYMENTS).apply().await;
    world
        .until("late", "to hear of the credential", |u| {
            u.status
                .iter()
                .flat_map(|s| &s.conditions)
                .any(|c| c.reason == "CredentialInvalid")
        })
        .await;
    let said = why(&world, "late", &[]).expect(3);
    let said = said.shows("the operator works on it: CredentialInvalid");
    said.shows("CredentialInvalid (tried again): the platform refuses the admin credential");
}

#[tokio::test]
async fn unreadable_dependencies_are_reported_as_unknown() {
    let world = World::new("why-rights").await;
    world.user("fine").viewer(PAYMENTS).apply().await;
    world.ready("fine").await;
    let kubeconfig = kubeconfig_of(&world, "reader");
    let ask = || run(program(&kubeconfig).args(["why", "fine", "-n", world.namespace()]));
    ask().expect(1).tells("cannot get resource \"programmaticusers\"");
    let rules = json!([{"apiGroups": ["programmatic-users.io"], "resources": ["programmaticusers"], "verbs": ["get"]}]);
    super::refused::allow(&world, "reader", rules).await;
    let said = ask().expect(0);
    let said = said.shows("fine is ready");
    said.shows("?? Secret fine: ")
        .shows("cannot get resource \"secrets\"");
}
