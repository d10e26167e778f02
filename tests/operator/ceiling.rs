//! What an object may choose of its Secret, and whose access it may have: no more than its class says.

use programmatic_users::api::{AllowSecret, Scope};
use serde_json::json;

use crate::support::{BILLING, PAYMENTS, World};

/// A Secret that Helm takes for a release of its own, and acts on with the rights of its user.
#[tokio::test]
async fn the_api_server_refuses_a_forged_helm_release() {
    let world = World::builder("forged").controller_stopped().start().await;
    let class = world.class_name();
    let release = "sh.helm.release.v1.app.v2";
    let access = format!("scope: Account, access: {{role: Viewer, accounts: [{{id: {PAYMENTS}}}]}}");
    for (name, secret) in [
        (
            "forged",
            format!(
                "{{name: {release}, template: {{labels: {{owner: helm, name: app, status: deployed, version: \"2\"}}, data: {{release: eA==}}}}}}"
            ),
        ),
        // The default is the name of the object.
        (release, "{}".to_owned()),
    ] {
        let manifest = format!(
            "apiVersion: programmatic-users.io/v1alpha1\nkind: ProgrammaticUser\nmetadata: {{name: {name}}}\nspec: {{className: {class}, {access}, secret: {secret}}}\n"
        );
        let refused = world
            .apply_yaml(&manifest)
            .expect_err("a forged release is taken");
        assert!(
            refused.contains("Helm would take") && refused.contains("for one of its releases"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_class_allows_no_shape_of_a_secret_that_other_programs_act_on() {
    let world = World::new("shapes").await;
    let class = world
        .class("plain")
        .with(|spec| spec.allow.secret = AllowSecret::default())
        .apply()
        .await;
    let label = |key: &str| json!({"template": {"labels": {key: "x"}}});
    let annotation = |key: &str| json!({"template": {"annotations": {key: "x"}}});
    let shapes = [
        (
            "copied",
            annotation("reflector.v1.k8s.emberstack.com/reflection-auto-enabled"),
        ),
        ("replicated", annotation("replicator.v1.mittwald.de/replicate-to")),
        ("datasource", label("grafana_datasource")),
        ("dashboard", label("grafana_dashboard")),
        ("jenkins", label("jenkins.io/credentials-type")),
        ("kong", label("konghq.com/credential")),
        ("issuer", annotation("cert-manager.io/issuer-name")),
        ("sealed", annotation("sealedsecrets.bitnami.com/managed")),
        ("proxy", json!({"extraKeys": {"HTTPS_PROXY": "endpoint"}})),
        (
            "node",
            json!({"template": {"data": {"NODE_OPTIONS": "--require /tmp/x"}}}),
        ),
        ("preload", json!({"keys": {"account": "LD_PRELOAD"}})),
        ("shell", json!({"template": {"data": {"BASH_ENV": "/tmp/x"}}})),
        ("another", json!({"name": "somewhere-else"})),
    ];
    for (name, secret) in &shapes {
        let secret = serde_json::from_value(secret.clone()).unwrap();
        let user = world.user(name).viewer(PAYMENTS).class(&class);
        user.with(|spec| spec.secret = secret).apply().await;
    }
    for (name, _) in &shapes {
        let said = world.stalled(name, "SecretNotAllowed").await;
        assert!(
            said.contains("ask its owner to add it to allow.secret."),
            "{said}"
        );
    }
    assert!(
        world
            .platform()
            .users()
            .await
            .iter()
            .all(|u| u["type"] != "programmatic")
    );
    // What the operator does by itself is always allowed.
    world.user("plain").viewer(PAYMENTS).class(&class).apply().await;
    world.ready("plain").await;

    // A shape that the class does not allow does not cost the token that is there.
    let token = world.token("plain").await;
    let change = json!({"spec": {"secret": {"extraKeys": {"LD_PRELOAD": "account"}}}});
    world.change("plain", change).await.unwrap();
    world.stalled("plain", "SecretNotAllowed").await;
    assert_eq!(world.token("plain").await, token);
    assert!(!world.secret("plain").await.contains_key("LD_PRELOAD"));
    assert!(world.platform().accepts(&token).await);
}

#[tokio::test]
async fn a_group_and_a_policy_of_the_organization_need_its_scope() {
    let world = World::new("beyond").await;
    world.platform().make_group("readers").await;
    let manifest = format!(
        "apiVersion: programmatic-users.io/v1alpha1\nkind: ProgrammaticUser\nmetadata: {{name: beyond}}\nspec: {{className: {}, scope: Account, access: {{role: Viewer, accounts: [{{id: {PAYMENTS}}}], groups: [{{name: readers}}]}}}}\n",
        world.class_name()
    );
    let refused = world
        .apply_yaml(&manifest)
        .expect_err("a group with scope Account is taken");
    assert!(
        refused.contains("access.groups needs scope: Organization"),
        "{refused}"
    );

    // A default of the class passes no schema of an object.
    let access = json!({"role": "Viewer", "accounts": [{"id": PAYMENTS}], "groups": [{"name": "readers"}]});
    let defaults = serde_json::from_value(json!({"access": access})).unwrap();
    let class = world.class("grouped").with(|spec| spec.defaults = Some(defaults));
    let class = class.apply().await;
    world
        .user("by-default")
        .viewer(PAYMENTS)
        .class(&class)
        .with(|spec| (spec.scope, spec.access) = (Scope::Account, None))
        .apply()
        .await;
    let said = world.stalled("by-default", "InvalidSpec").await;
    assert!(said.contains("scope: Organization"), "{said}");

    let statements =
        json!({"statements": [{"effect": "ALLOW", "actions": ["organization:*"], "resources": ["*"]}]});
    let body = json!({"policy": {"name": "of-all", "type": "ORGANIZATION", "description": "d", "policyContent": statements}});
    let admin = world.platform().admin_token.clone();
    let made = world.platform().post("/setup/access/policy", &admin, &body).await;
    assert_eq!(made.status, 200, "{}", made.message());
    let policy = world.user("one-account").policy_based(PAYMENTS).policy("of-all");
    policy.apply().await;
    let said = world.stalled("one-account", "InvalidSpec").await;
    assert!(said.contains("acts beyond one account"), "{said}");
    assert!(
        world
            .platform()
            .users()
            .await
            .iter()
            .all(|u| u["type"] != "programmatic")
    );
}

/// What exists on the platform is for those to know who may have it.
#[tokio::test]
async fn a_refusal_does_not_tell_what_there_is() {
    let world = World::new("oracle").await;
    world.platform().make_group("secret-project").await;
    let class = world
        .class("few")
        .accounts(&[PAYMENTS])
        .with(|spec| spec.allow.groups = vec!["readers".to_owned(), "ugr-00000000".to_owned()])
        .apply()
        .await;
    let mut said = Vec::new();
    for (name, group) in [("there", "secret-project"), ("not-there", "no-such-project")] {
        world
            .user(name)
            .viewer(PAYMENTS)
            .group(group)
            .class(&class)
            .apply()
            .await;
        said.push(world.stalled(name, "NotAllowed").await.replace(group, "GROUP"));
    }
    for (name, account) in [("known", BILLING), ("unknown", "act-00000000")] {
        world.user(name).viewer(account).class(&class).apply().await;
        said.push(
            world
                .stalled(name, "NotAllowed")
                .await
                .replace(account, "ACCOUNT"),
        );
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(said[2], said[3]);
    for text in &said {
        assert!(!text.contains("readers") && !text.contains(PAYMENTS), "{text}");
    }
}

/// The age of a token ends when the token does, not when another one takes its place.
#[tokio::test]
async fn a_token_is_dead_at_the_class_s_maximum_age_overlap_included() {
    let world = World::new("age").await;
    let rotation = json!({"maxAge": "1m"});
    let class = world
        .class("short")
        .with(|spec| spec.rotation = serde_json::from_value(rotation).unwrap())
        .apply()
        .await;
    let rotation = serde_json::from_value(json!({"every": "1m", "overlap": "58s"})).unwrap();
    world
        .user("ci")
        .viewer(PAYMENTS)
        .class(&class)
        .with(|spec| spec.rotation = Some(rotation))
        .apply()
        .await;
    let first = world.ready("ci").await.status.unwrap();
    let issued = first.token_issued_at.unwrap();
    let replaced = world
        .until("ci", "to have a replaced user", |u| {
            u.status.as_ref().is_some_and(|s| !s.journal.retiring.is_empty())
        })
        .await;
    let old = replaced.status.unwrap().journal.retiring.remove(0);
    let age = |at: jiff::Timestamp| at.duration_since(issued).as_secs();
    assert!(age(old.not_before) <= 60, "{old:?}");
    assert!(old.not_after.is_none_or(|at| age(at) <= 60), "{old:?}");
}
