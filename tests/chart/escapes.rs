//! What a tenant may try to get more than its class gives: each is refused, and no user is made for it.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::helm::release;
use crate::objects::users;
use crate::support::rights::account;
use crate::support::wait::{SOON, eventually};
use crate::support::{Cluster, PAYMENTS, World};

const TENANT: &str = "tina";

/// All that a tenant may have in its own namespace, and nothing in any other. The world's controller is not the account
/// that the chart's policies know: it has what they ask of others.
fn rights(world: &World) -> String {
    let (here, class) = (world.namespace(), world.class_name());
    let controller = account(world.operator_namespace());
    format!(
        r#"
{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: tenant, namespace: {here}}}, rules: [
  {{apiGroups: [programmatic-users.io], resources: [programmaticuserclasses], resourceNames: [{class}], verbs: [use, use-organization-scope]}},
  {{apiGroups: [programmatic-users.io], resources: ["*"], verbs: [get, list, watch, create, update, patch, delete]}},
  {{apiGroups: [""], resources: [secrets, pods, configmaps], verbs: ["*"]}}]}}
---
{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: tenant, namespace: {here}}},
  roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: tenant}}, subjects: [{{kind: User, name: {TENANT}}}]}}
---
{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: escapes-controller}}, rules: [
  {{apiGroups: [programmatic-users.io], resources: [organizations], verbs: [repair-journal, abandon-users]}}]}}
---
{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: escapes-controller}},
  roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: escapes-controller}}, subjects: [{{kind: User, name: "{controller}"}}]}}
"#
    )
}

fn object(world: &World, name: &str, more: &Value) -> DynamicObject {
    let mut spec = json!({
        "className": world.class_name(), "scope": "Account", "access": {"role": "Viewer", "accounts": [{"id": PAYMENTS}]}
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "programmatic-users.io/v1alpha1", "kind": "ProgrammaticUser", "metadata": {"name": name}, "spec": spec
    }))
    .unwrap()
}

fn said<T: std::fmt::Debug>(tried: kube::Result<T>) -> String {
    match tried.expect_err("it is refused") {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_beyond_the_class_creates_no_user() {
    let cluster = Cluster::private("escapes").await;
    let flags = [
        "--create-namespace",
        "--take-ownership",
        "--set",
        "rbac.mode=cluster,replicas=1",
    ];
    release(cluster, "install", "pu-system", &flags);
    let world = World::builder("escapes").on(cluster).namespaces(2).start().await;
    cluster
        .kubectl_with(&["apply", "-f", "-"], Some(&rights(&world)))
        .unwrap();
    let client = cluster.client_of(TENANT, &["system:authenticated"]).await;
    let api = users(client.clone(), world.namespace());
    let post = PostParams::default();
    eventually("the tenant's rights to be in force", SOON, async || {
        api.create(&post, &object(&world, "mine", &json!({})))
            .await
            .map(drop)
            .map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    world.ready("mine").await;
    eventually("the policies to be in force", SOON, async || {
        let free = Patch::Merge(json!({"metadata": {"finalizers": []}}));
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        match api.patch("mine", &dry, &free).await {
            Err(_) => Ok(()),
            Ok(_) => Err("a finalizer may be taken off".to_owned()),
        }
    })
    .await
    .unwrap();

    refused_by_the_api_server(&world, &client).await;
    refused_by_the_operator(&world, &api).await;
    forged_annotation(&world, &client).await;
    copied_with_its_status(&world).await;
}

async fn refused_by_the_api_server(world: &World, client: &Client) {
    let api = users(client.clone(), world.namespace());
    let (post, patch) = (PostParams::default(), PatchParams::default());
    // A Secret elsewhere, and a type with a meaning, are no fields that there are.
    let strict = |spec: &str| {
        format!(
            "apiVersion: programmatic-users.io/v1alpha1\nkind: ProgrammaticUser\nmetadata: {{name: bad, namespace: {}}}\nspec: {{className: {}, scope: Account, {spec}}}\n",
            world.namespace(),
            world.class_name()
        )
    };
    for (spec, words) in [
        ("secret: {namespace: kube-system}", "unknown field"),
        ("secret: {name: ../kube-system/x}", "spec.secret.name"),
        (
            "secret: {template: {type: kubernetes.io/service-account-token}}",
            "unknown field",
        ),
        (
            "secret: {template: {annotations: {kubernetes.io/service-account.name: default}}}",
            "use a key of your own domain",
        ),
    ] {
        let args = ["create", "--validate=strict", "--as", TENANT, "-f", "-"];
        let refused = world
            .cluster()
            .kubectl_with(&args, Some(&strict(spec)))
            .expect_err(spec);
        assert!(refused.contains(words), "{spec}: {refused}");
    }
    // A class with more than the one that it may use: as another object, or by a change.
    let strong = world.class("strong").apply().await;
    let refused = said(
        api.create(&post, &object(world, "strong", &json!({"className": strong})))
            .await,
    );
    assert!(refused.contains("may not use class"), "{refused}");
    let stronger = Patch::Merge(json!({"spec": {"className": strong}}));
    let refused = said(api.patch("mine", &patch, &stronger).await);
    assert!(
        refused.contains("className cannot be changed") || refused.contains("may not use class"),
        "{refused}"
    );
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "payments"}}}));
    let refused = said(namespaces.patch(world.namespace(), &patch, &label).await);
    assert!(refused.contains("cannot patch resource"), "{refused}");
    let forged = Patch::Merge(
        json!({"status": {"journal": {"current": {"nonce": "x", "userId": "pu-1", "fingerprint": ""}}}}),
    );
    let refused = said(api.patch_status("mine", &patch, &forged).await);
    assert!(
        refused.contains("only the operator writes the status"),
        "{refused}"
    );
    let refused = said(
        users(client.clone(), &world.namespaces()[1])
            .create(&post, &object(world, "there", &json!({})))
            .await,
    );
    assert!(refused.contains("cannot create resource"), "{refused}");
    assert_eq!(world.platform().users().await.len(), 1);
}

/// Let through by the API server.
async fn refused_by_the_operator(world: &World, api: &Api<DynamicObject>) {
    let post = PostParams::default();
    let beyond = json!({"secret": {"template": {"data": {"f": "{{ config.items() }}"}}}});
    api.create(&post, &object(world, "beyond", &beyond))
        .await
        .unwrap();
    world.stalled("beyond", "InvalidSpec").await;
    let theirs: Secret =
        serde_json::from_value(json!({"metadata": {"name": "theirs"}, "stringData": {"a": "b"}})).unwrap();
    world.secrets().create(&post, &theirs).await.unwrap();
    for name in ["theirs", "mine"] {
        let taken = object(
            world,
            &format!("wants-{name}"),
            &json!({"secret": {"name": name}}),
        );
        api.create(&post, &taken).await.unwrap();
        world.stalled(&format!("wants-{name}"), "SecretConflict").await;
    }
    assert_eq!(world.platform().users().await.len(), 1);

    // They would go on when what they want is free.
    for name in ["wants-theirs", "wants-mine"] {
        world.delete(name).await;
        world.gone(name).await;
    }
}

/// With the annotation of another tenant's user on its Secret, the tenant can neither change nor delete that user.
async fn forged_annotation(world: &World, client: &Client) {
    let patch = PatchParams::default();
    let other = world.user("other").viewer(PAYMENTS).apply().await;
    let other = world
        .ready(&other.metadata.name.unwrap())
        .await
        .status
        .unwrap()
        .user_id
        .unwrap();
    let forged = json!({"metadata": {"annotations": {"programmatic-users.io/user-id": other}}});
    let own: Api<Secret> = Api::namespaced(client.clone(), world.namespace());
    own.patch("mine", &patch, &Patch::Merge(forged)).await.unwrap();
    world.delete("mine").await;
    world.gone("mine").await;
    assert!(world.platform().user(&other).await.is_ok());
    assert_eq!(world.platform().users().await.len(), 1);
}

/// With finalizer and status, as a backup tool makes it: the status is of another object.
async fn copied_with_its_status(world: &World) {
    let (post, patch) = (PostParams::default(), PatchParams::default());
    let other = world.get("other").await.status.unwrap().user_id.unwrap();
    let source = world.get("other").await;
    let mut copy = object(world, "copy", &json!({}));
    copy.metadata.finalizers.clone_from(&source.metadata.finalizers);
    copy.metadata.namespace = Some(world.namespaces()[1].clone());
    let admin = users(world.client(), &world.namespaces()[1]);
    world.controller().stop().await;
    let mut made = admin.create(&post, &copy).await.unwrap();
    made.data["status"] = serde_json::to_value(&source.status).unwrap();
    admin.replace_status("copy", &post, &made).await.unwrap();
    world.controller().resume().await.unwrap();
    eventually("the copy to be refused", SOON, async || {
        let copy = admin.get("copy").await.map_err(|e| e.to_string())?;
        let text = copy.data["status"]["conditions"].to_string();
        if text.contains("JournalInvalid") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await
    .unwrap();
    assert!(world.platform().user(&other).await.is_ok());
    assert_eq!(world.platform().users().await.len(), 1);
    admin
        .patch(
            "copy",
            &patch,
            &Patch::Merge(json!({"metadata": {"finalizers": []}})),
        )
        .await
        .unwrap();
}
