//! An admin credential goes only where its Secret says, and what listens elsewhere is for those who may know.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use programmatic_users::api::{CREDENTIAL_VALID, Organization, READY, ROTATE_AT_ANNOTATION};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::builders::{admin_secret, permissive_class};
use crate::support::wait::SOON;
use crate::support::{Operator, PAYMENTS, World};

/// A Secret of the operator's namespace that is no credential: a name, labels, a key.
const OTHERS: [(&str, &str); 3] = [
    ("programmatic-users-instance", "instance-id"),
    ("sh.helm.release.v1.app.v1", "release"),
    ("programmatic-users-staging-aaaabbbbccccdddd", "token"),
];

/// Waits until the Organization is not ready for this reason; what it says.
async fn refused(world: &World, name: &str, reason: &str) -> String {
    let api: Api<Organization> = Api::all(world.client());
    world
        .eventually(
            &format!("Organization {name} to say {reason}"),
            SOON,
            async || {
                let organization = api.get(name).await.map_err(|e| e.to_string())?;
                let status = organization.status.unwrap_or_default();
                let find = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind);
                match find(READY) {
                    Some(ready) if ready.reason == reason && ready.status == "False" => {
                        let of_credential = reason.starts_with("Credential");
                        assert!(!of_credential || find(CREDENTIAL_VALID).unwrap().reason == reason);
                        Ok(ready.message.clone())
                    }
                    _ => Err(format!("{:?}", status.conditions)),
                }
            },
        )
        .await
}

/// An Organization that has this key of this Secret sent to `url`.
async fn organization(world: &World, name: &str, url: &str, (secret, key): (&str, &str)) {
    let mut organization = crate::support::builders::organization(name, url, "5m");
    secret.clone_into(&mut organization.spec.credentials.secret_name);
    key.clone_into(&mut organization.spec.credentials.key);
    organization.spec.endpoint.timeout = Some(programmatic_users::api::Duration::from_secs(2));
    world.apply(&organization).await.unwrap();
}

fn annotate(world: &World, secret: &str, annotation: &str) {
    let args = [
        "-n",
        world.operator_namespace(),
        "annotate",
        "--overwrite",
        "secret",
        secret,
        annotation,
    ];
    world.cluster().kubectl(&args).unwrap();
}

#[tokio::test]
async fn no_secret_of_the_operators_namespace_is_sent_where_it_does_not_say() {
    let world = World::builder("sent").controller_stopped().start().await;
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", trap.local_addr().unwrap());
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    for (name, key) in &OTHERS[1..] {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"owner": "helm"}}, "stringData": {*key: "x".repeat(4000)},
        }))
        .unwrap();
        own.create(&PostParams::default(), &secret).await.unwrap();
    }
    let thieves: Vec<String> = (0..=OTHERS.len())
        .map(|n| world.unique(&format!("thief{n}")))
        .collect();
    let mut options = world.controller().options().clone();
    options.organizations.extend(thieves.clone());
    // The last one is another organization's credential, which says where it belongs.
    for (name, secret) in thieves.iter().zip(OTHERS.into_iter().chain([("admin", "token")])) {
        organization(&world, name, &url, secret).await;
    }
    let controller = Operator::start(world.dir(), "thieves", options).await.unwrap();
    for name in &thieves {
        let message = refused(&world, name, "CredentialNotGranted").await;
        assert!(message.contains(" annotate secret "), "{message}");
        assert!(
            message.contains(&format!("programmatic-users.io/endpoint='{url}'")),
            "{message}"
        );
    }
    world.user("mine").viewer(PAYMENTS).apply().await;
    world.ready("mine").await;
    // By a change of the endpoint the credential goes nowhere either, and comes back to work with the old one.
    let elsewhere = |url: &str| json!({"endpoint": {"url": url}});
    crate::organizations::change(&world, elsewhere(&url)).await;
    refused(&world, world.organization_name(), "CredentialNotGranted").await;
    world
        .change(
            "mine",
            json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}}),
        )
        .await
        .unwrap();
    world
        .until("mine", "to tell", |u| {
            let conditions = u.status.iter().flat_map(|s| &s.conditions);
            conditions.into_iter().any(|c| c.reason == "CredentialNotGranted")
        })
        .await;
    assert!(
        futures::poll!(Box::pin(trap.accept())).is_pending(),
        "something was sent"
    );
    crate::organizations::change(&world, elsewhere(world.platform().url())).await;
    world
        .until("mine", "to be replaced", |u| {
            u.status
                .as_ref()
                .is_some_and(|s| s.last_handled_rotate_at.as_deref() == Some("1"))
        })
        .await;

    // What is granted is sent: the trap would have caught what was sent before.
    annotate(
        &world,
        OTHERS[1].0,
        &format!("programmatic-users.io/organization={}", thieves[1]),
    );
    let (mut caught, _) = trap.accept().await.unwrap();
    let mut request = vec![0; 8192];
    let read = caught.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
    assert!(request.contains("authorization: bearer xxxx"), "{request}");
    controller.stop().await;
}

/// Answers every request with this.
async fn answering(reply: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if peer.read(&mut request).await.is_ok() && !reply.is_empty() {
                    let _ = peer.write_all(reply.as_bytes()).await;
                } else {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn details_of_an_endpoint_are_reported_in_the_operators_namespace_only() {
    let world = World::builder("oracle").controller_stopped().start().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let html = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html";
    let denied = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    let all_well = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    let cases = [
        ("closed", closed, "refused"),
        ("silent", answering("").await, "no answer in time"),
        ("other", answering(html).await, "[404 HTTP404]"),
        ("denied", answering(denied).await, "[401 HTTP401]"),
        ("nonsense", answering(all_well).await, "UnexpectedReply"),
        ("banner", answering("SSH-2.0-x\r\n").await, "NoAnswer"),
    ];
    let mut options = world.controller().options().clone();
    for (label, url, _) in &cases {
        let name = world.unique(label);
        let secret = admin_secret(
            label,
            world.operator_namespace(),
            url,
            &[("token", &"0".repeat(64))],
        );
        world.apply(&secret).await.unwrap();
        organization(&world, &name, url, (label, "token")).await;
        world
            .apply(&permissive_class(&name, &name, world.namespaces()))
            .await
            .unwrap();
        world.user(label).viewer(PAYMENTS).class(&name).apply().await;
        options.organizations.push(name);
    }
    let controller = Operator::start(world.dir(), "oracle", options).await.unwrap();
    let mut messages = Vec::new();
    for (label, _, detail) in &cases {
        let name = world.unique(label);
        let organization = refused(&world, &name, "PlatformUnreachable").await;
        let user = world
            .until(label, "to tell", |u| {
                let conditions = u.status.iter().flat_map(|s| &s.conditions);
                conditions.into_iter().any(|c| c.reason == "PlatformUnreachable")
            })
            .await;
        let conditions = user.status.unwrap().conditions;
        let ready = conditions
            .iter()
            .find(|c| c.type_ == READY)
            .unwrap()
            .message
            .clone();
        let event = events(&world, world.operator_namespace(), label, "PlatformDetail").await;
        assert!(
            event.contains(detail) && event.contains(&name),
            "{label}: {event}"
        );
        let public = events(&world, "default", &name, "PlatformUnreachable").await;
        messages.extend([organization, ready, public].map(|text| text.replace(&name, "NAME")));
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "all say the same: {messages:#?}");
    assert!(
        messages[0].contains("get events --field-selector reason=PlatformDetail"),
        "{}",
        messages[0]
    );
    controller.stop().await;
}

/// The note of the Event of this reason about this object.
async fn events(world: &World, namespace: &str, about: &str, reason: &str) -> String {
    let api: Api<Event> = Api::namespaced(world.client(), namespace);
    let wanted = ListParams::default().fields(&format!("reason={reason}"));
    world
        .eventually(&format!("an Event {reason} about {about}"), SOON, async || {
            let all = api.list(&wanted).await.map_err(|e| e.to_string())?;
            let of = |e: &Event| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(about);
            let found = all.items.into_iter().find(of).and_then(|e| e.note);
            found.ok_or_else(|| "none".to_owned())
        })
        .await
}

/// An upgrade: the Secret was made before there were annotations.
#[tokio::test]
async fn a_secret_that_says_nothing_stops_the_organization_until_it_does() {
    let world = World::new("ungranted").await;
    world.user("before").viewer(PAYMENTS).apply().await;
    world.ready("before").await;
    let token = world.token("before").await;
    let own: Api<Secret> = Api::namespaced(world.client(), world.operator_namespace());
    let bare =
        Patch::Merge(json!({"metadata": {"annotations": {"programmatic-users.io/endpoint": Value::Null}}}));
    own.patch("admin", &PatchParams::default(), &bare).await.unwrap();
    let message = refused(&world, world.organization_name(), "CredentialNotGranted").await;
    assert!(message.contains("does not say where it may be sent"), "{message}");
    world.user("after").viewer(PAYMENTS).apply().await;
    world.stalled("after", "CredentialNotGranted").await;
    assert!(world.platform().accepts(&token).await, "what exists is untouched");
    // The command of the message, as it is.
    let command = message.split("kubectl ").nth(1).unwrap().replace('\'', "");
    let args: Vec<&str> = command.split(' ').collect();
    world.cluster().kubectl(&args).unwrap();
    world.ready("after").await;
}
