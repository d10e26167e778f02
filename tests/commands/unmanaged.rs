//! `unmanaged`: the platform's users that no object manages.

use programmatic_users::api::DeletionPolicy;
use programmatic_users::plan::Marker;
use serde_json::{Value, json};

use super::asked::{ask_platform, at_a_terminal, kubeconfig_of, platform_flags, program, run};
use crate::support::{PAYMENTS, World};

/// A user that a person creates on the platform.
pub async fn by_hand(world: &World, name: &str) -> String {
    let body = json!({"name": name, "accounts": [{"id": PAYMENTS, "role": "viewer"}]});
    let answer = world
        .platform()
        .post("/setup/user/programmatic", &world.platform().admin_token, &body)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.message());
    answer.items()[0]["id"].as_str().unwrap().to_owned()
}

/// The id on the platform of an object's user.
pub async fn id_of(world: &World, name: &str) -> String {
    world.get(name).await.status.unwrap().user_id.unwrap()
}

async fn platform_name(world: &World, id: &str) -> String {
    let user = world.platform().user(id).await.unwrap();
    user["username"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_unmanaged_user_is_shown_with_its_origin_and_age() {
    let world = World::new("unmanaged").await;
    let namespace = world.namespace().to_owned();
    for name in ["managed", "kept", "left"] {
        let policy = if name == "kept" {
            DeletionPolicy::Retain
        } else {
            DeletionPolicy::Delete
        };
        let user = world.user(name).viewer(PAYMENTS);
        user.with(|s| s.deletion_policy = policy).apply().await;
        world.ready(name).await;
    }
    let [managed, kept, left] = [
        id_of(&world, "managed").await,
        id_of(&world, "kept").await,
        id_of(&world, "left").await,
    ];
    world.delete("kept").await;
    world.gone("kept").await;
    // What happens to a cluster whose objects are removed by force.
    world.controller().stop().await;
    world
        .change("left", json!({"metadata": {"finalizers": null}}))
        .await
        .unwrap();
    world.delete("left").await;
    world.gone("left").await;
    let marker = Marker::parse(&platform_name(&world, &managed).await).unwrap();
    let stray = Marker {
        nonce: "a".repeat(16),
        ..marker.clone()
    };
    let stray = by_hand(&world, &stray.name("managed")).await;
    let other = by_hand(
        &world,
        &Marker::new("other2", "uid", &"b".repeat(16)).name("theirs"),
    )
    .await;
    let plain = by_hand(&world, "terraform").await;

    let output = ask_platform(&world, &["unmanaged", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(
        (&output["programmatic"], &output["managed"]),
        (&json!(6), &json!(1))
    );
    let found: Vec<(&str, &str, &Value)> = output["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| {
            (
                u["userId"].as_str().unwrap(),
                u["origin"].as_str().unwrap(),
                &u["object"],
            )
        })
        .collect();
    let (object, secret) = (
        json!(format!("{namespace}/managed")),
        json!(format!("{namespace}/kept")),
    );
    assert_eq!(
        found,
        [
            (&*left, "Orphaned", &Value::Null),
            (&stray, "UnknownToItsObject", &object),
            (&kept, "Retained", &secret),
            (&other, "OtherInstallation", &Value::Null),
            (&plain, "Unmarked", &Value::Null),
        ]
    );
    assert!(
        output["users"]
            .as_array()
            .unwrap()
            .iter()
            .all(|u| u["createdAt"].is_string() && u["tokens"] == 1),
        "{output:#}"
    );

    let table = ask_platform(&world, &["unmanaged", "--details", "1"]).expect(0);
    let table = table.tells("4 users are shown without age");
    assert_eq!(table.line("terraform")[2], "-");
    assert!(table.line(&left)[2].ends_with('s'), "{}", table.out);
    let table = table.shows("5 of 6 programmatic users are managed by no object");
    let table = table.shows("the operator's last count of Organization");
    // Elsewhere than at a terminal there is no bar.
    assert!(!table.err.contains(ASKING), "{table:#?}");
    // So few steps are all drawn. Where the bar was, the table begins.
    let arguments = format!("unmanaged {}", platform_flags(&world).join(" "));
    let mut at_a_terminal = at_a_terminal(world.cluster(), &arguments);
    let drawn = run(at_a_terminal.env("TERM", "xterm")).expect(0).out;
    let (bar, _) = drawn
        .split_once("\r\u{1b}[2KUSER-ID")
        .unwrap_or_else(|| panic!("{drawn}"));
    assert!(bar.contains(ASKING) && bar.contains(" 1/5\r"), "{bar}");
    assert!(bar.ends_with(" 5/5"), "{bar}");
}

/// What the bar says.
const ASKING: &str = "reading age and last use";

#[tokio::test]
async fn without_the_right_to_list_all_objects_it_is_refused() {
    let world = World::new("unmanaged-rights").await;
    let kubeconfig = kubeconfig_of(&world, "blind");
    let metadata = json!({"name": world.unique("blind")});
    let rules = json!([{"apiGroups": ["programmatic-users.io"], "resources": ["organizations"], "verbs": ["get", "list"]}]);
    let role: k8s_openapi::api::rbac::v1::ClusterRole =
        serde_json::from_value(json!({"metadata": metadata, "rules": rules})).unwrap();
    let binding: k8s_openapi::api::rbac::v1::ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": world.unique("blind")},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": world.unique("blind")}],
    }))
    .unwrap();
    world.apply(&role).await.unwrap();
    world.apply(&binding).await.unwrap();
    let path = kubeconfig.to_str().unwrap();
    world
        .eventually("the rights to hold", crate::support::wait::SOON, async || {
            world
                .cluster()
                .kubectl(&[
                    "--kubeconfig",
                    path,
                    "auth",
                    "can-i",
                    "list",
                    "organizations.programmatic-users.io",
                ])
                .map(drop)
        })
        .await;
    let flags = platform_flags(&world);
    // The operator's credential is not for everybody.
    run(program(&kubeconfig).arg("unmanaged").args(&flags))
        .expect(1)
        .tells("you may not read Secret");
    run(program(&kubeconfig)
        .arg("unmanaged")
        .args(&flags)
        .env("SPOTINST_TOKEN", &world.platform().admin_token))
    .expect(1)
    .tells("cannot list the users of all namespaces");
}

/// A person who may read the operator's Secret asks a platform that another person wrote into the Organization.
#[tokio::test]
async fn a_command_sends_the_operators_credential_only_where_its_secret_says() {
    let world = World::builder("command-grant").controller_stopped().start().await;
    ask_platform(&world, &["unmanaged"]).expect(0);
    let elsewhere = r#"{"spec": {"endpoint": {"url": "http://127.0.0.1:9"}}}"#;
    let patch = [
        "patch",
        "puo",
        world.organization_name(),
        "--type=merge",
        "-p",
        elsewhere,
    ];
    world.cluster().kubectl(&patch).unwrap();
    ask_platform(&world, &["unmanaged"])
        .expect(1)
        .tells("says that it belongs elsewhere, so that nothing of it is sent to http://127.0.0.1:9");
}
