//! From manifest to token, and back to nothing.

use programmatic_users::api::{FINALIZER, READY, Rotation, SecretKeys, SecretValue};
use serde_json::json;

use crate::sdk;
use crate::support::{BILLING, PAYMENTS, World};

#[tokio::test]
async fn a_user_with_a_role_gets_a_token_that_does_what_the_role_allows() {
    let world = World::new("role").await;
    world
        .user("reader")
        .viewer(PAYMENTS)
        .description("reads")
        .apply()
        .await;
    let user = world.ready("reader").await;
    let status = user.status.clone().unwrap();
    let secret = world.secret("reader").await;
    let token = &secret["SPOTINST_TOKEN"];
    assert_eq!(secret["SPOTINST_ACCOUNT"], PAYMENTS);
    assert_eq!(secret.len(), 2);
    assert_eq!(status.token_last_digits.as_deref(), Some(&token[60..]));
    assert_eq!(status.secret_name.as_deref(), Some("reader"));

    let platform = world.platform();
    let groups = format!("/aws/ec2/group?accountId={PAYMENTS}");
    assert_eq!(platform.get(&groups, token).await.status, 200);
    let body = json!({"group": {"name": "web"}});
    assert_eq!(platform.post(&groups, token, &body).await.status, 403);
    let user_body = json!({"name": "x", "accounts": [{"id": PAYMENTS, "role": "viewer"}]});
    assert_eq!(
        platform
            .post("/setup/user/programmatic", token, &user_body)
            .await
            .status,
        403
    );

    let details = platform.user(status.user_id.as_deref().unwrap()).await.unwrap();
    assert_eq!(details["type"], "programmatic");
    assert_eq!(details["description"], "reads");
    let name = details["username"].as_str().unwrap();
    assert!(name.starts_with("reader/k8s."), "{name}");
    let nonce = status.journal.current.unwrap().nonce;
    assert!(
        name.ends_with(&nonce),
        "{name} carries the journaled attempt {nonce}"
    );
}

#[tokio::test]
async fn a_user_of_the_organization_acts_in_several_accounts() {
    let world = World::new("several").await;
    world.user("both").editor_in(&[PAYMENTS, BILLING]).apply().await;
    world.ready("both").await;
    let secret = world.secret("both").await;
    assert_eq!(
        secret.keys().collect::<Vec<_>>(),
        ["SPOTINST_TOKEN"],
        "no account was chosen for the Secret"
    );
    for account in [PAYMENTS, BILLING] {
        let groups = format!("/aws/ec2/group?accountId={account}");
        let made = world
            .platform()
            .post(
                &groups,
                &secret["SPOTINST_TOKEN"],
                &json!({"group": {"name": "web"}}),
            )
            .await;
        assert_eq!(made.status, 200, "{}", made.message());
    }
}

#[tokio::test]
async fn the_secret_has_the_keys_of_the_spec_and_no_newline() {
    let world = World::new("keys").await;
    let keys = SecretKeys {
        token: Some("token".to_owned()),
        account: Some("account".to_owned()),
        endpoint: Some("url".to_owned()),
        organization: Some("organization".to_owned()),
    };
    let user = world
        .user("shaped")
        .editor_in(&[PAYMENTS, BILLING])
        .secret("shaped-credentials")
        .with(|spec| {
            spec.secret.keys = Some(keys);
            spec.secret.account = Some(BILLING.to_owned());
            spec.secret
                .extra_keys
                .insert("SPOTINST_TOKEN".to_owned(), SecretValue::Token);
        });
    user.apply().await;
    world.ready("shaped").await;
    let secret = world.secret("shaped-credentials").await;
    assert_eq!(secret["account"], BILLING);
    assert_eq!(secret["url"], world.platform().url());
    assert_eq!(secret["organization"], world.organization_name());
    assert_eq!(secret["token"], secret["SPOTINST_TOKEN"]);
    assert_eq!(secret.len(), 5);
    for (key, value) in &secret {
        assert_eq!(value.trim(), value, "{key} has white space around it");
    }
}

#[tokio::test]
async fn a_deletion_leaves_no_user_no_secret_and_a_dead_token() {
    let world = World::new("delete").await;
    world.user("short-lived").editor(PAYMENTS).apply().await;
    let user = world.ready("short-lived").await;
    assert!(user.metadata.finalizers.unwrap().contains(&FINALIZER.to_owned()));
    let token = world.token("short-lived").await;
    assert!(world.platform().accepts(&token).await);
    world.delete("short-lived").await;
    world.gone("short-lived").await;
    assert!(!world.platform().accepts(&token).await, "the token still works");
    assert_eq!(world.platform().users().await, Vec::<serde_json::Value>::new());
    assert!(world.secrets().get_opt("short-lived").await.unwrap().is_none());
}

#[tokio::test]
async fn applying_a_manifest_again_writes_and_changes_nothing() {
    let world = World::builder("again").drift("2s").start().await;
    world.user("same").editor(PAYMENTS).apply().await;
    let before = world.ready("same").await;
    world.counted(1).await;
    let token = world.token("same").await;
    let mark = world.audit_mark().await;
    world.user("same").editor(PAYMENTS).apply().await;
    world.controller().restart().await;
    let after = world.ready("same").await;
    assert_eq!(before.status, after.status);
    assert_eq!(token, world.token("same").await);
    let writes = world.written_from(mark).await;
    assert_eq!(writes, Vec::<String>::new());
}

#[tokio::test]
async fn defaults_of_a_class_apply_and_are_not_written_back() {
    let world = World::new("defaults").await;
    let access = world.user("x").viewer(BILLING).object().spec.access;
    let class = world
        .class("with-defaults")
        .with(|spec| {
            let keys = SecretKeys {
                token: Some("api-token".to_owned()),
                ..SecretKeys::default()
            };
            spec.defaults = Some(programmatic_users::api::ClassDefaults {
                access,
                rotation: None,
                consumers: None,
                secret: Some(programmatic_users::api::SecretDefaults { keys: Some(keys) }),
            });
        })
        .apply()
        .await;
    world.user("plain").class(&class).apply().await;
    let user = world.ready("plain").await;
    assert_eq!(user.spec.access, None);
    let secret = world.secret("plain").await;
    assert_eq!(secret["SPOTINST_ACCOUNT"], BILLING);
    assert_eq!(
        world
            .platform()
            .get("/setup/account", &secret["api-token"])
            .await
            .status,
        200
    );
}

/// What `kubectl get` prints.
fn kubectl_get(world: &World, args: &[&str]) -> String {
    let all = [&["-n", world.namespace(), "get"][..], args].concat();
    world.cluster().kubectl(&all).unwrap()
}

fn header(table: &str) -> Vec<&str> {
    table.lines().next().unwrap().split_whitespace().collect()
}

#[tokio::test]
async fn kubectl_has_a_value_for_each_cell_of_objects_with_everything_in_their_status() {
    let world = World::new("cells").await;
    let every = programmatic_users::api::Duration::parse("720h").unwrap();
    let rotation = Rotation {
        every: Some(every),
        ..Rotation::default()
    };
    world
        .user("full")
        .viewer(PAYMENTS)
        .with(|spec| spec.rotation = Some(rotation))
        .apply()
        .await;
    let next = world.ready("full").await.status.unwrap().next_rotation.unwrap();
    assert!(
        kubectl_get(&world, &["pu", "-o", "wide"]).contains(&next.to_string()),
        "{next}"
    );
    // The platform says when it made a token, and its clock may be ahead.
    world.controller().stop().await;
    let ahead = json!({"status": {"tokenIssuedAt": "2999-01-01T00:00:00Z"}}).to_string();
    let subresource = ["--subresource=status", "--type=merge", "-p", &ahead];
    let patch = [
        &["-n", world.namespace(), "patch", "pu", "full"][..],
        &subresource,
    ]
    .concat();
    world.cluster().kubectl(&patch).unwrap();
    for object in [
        ["pu", "full"],
        ["puo", world.organization_name()],
        ["puc", world.class_name()],
    ] {
        for form in [&[][..], &["-o", "wide"]] {
            let table = kubectl_get(&world, &[&object[..], form].concat());
            let row = table.lines().nth(1).unwrap();
            // Such as `<invalid>`, `<none>` and `<unknown>`.
            assert!(!row.contains('<'), "{table}");
            assert!(row.split_whitespace().count() >= header(&table).len(), "{table}");
        }
    }
}

#[tokio::test]
async fn kubectl_get_shows_the_printer_columns() {
    let world = World::new("columns").await;
    world.user("shown").editor(PAYMENTS).apply().await;
    let user = world.ready("shown").await;
    let usual = ["NAME", "READY", "REASON", "CLASS", "SECRET", "AGE"];
    let wide = ["SCOPE", "TOKEN", "ISSUED", "NEXT-ROTATION"];
    assert_eq!(header(&kubectl_get(&world, &["pu"])), usual);
    let table = kubectl_get(&world, &["pu", "-o", "wide"]);
    assert_eq!(header(&table), [&usual[..], &wide].concat());
    let digits = user.status.clone().unwrap().token_last_digits.unwrap();
    assert!(table.contains(&digits), "{table}");
    let wait = [
        "-n",
        world.namespace(),
        "wait",
        "--for=condition=Ready",
        "pu/shown",
        "--timeout=10s",
    ];
    world.cluster().kubectl(&wait).unwrap();
    // kstatus: nothing says Reconciling or Stalled, and Ready is about this generation.
    let conditions = user.status.unwrap().conditions;
    let names: Vec<&str> = conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(names, [READY, "SecretPublished", "AccessApplied"]);
    assert!(
        conditions
            .iter()
            .all(|c| c.status == "True" && c.observed_generation == user.metadata.generation)
    );
}

#[tokio::test]
async fn the_vendors_python_client_lists_and_reads_what_the_operator_made() {
    let world = World::new("sdk").await;
    world
        .platform()
        .make_policy(
            "scalers",
            &json!({"statements": [{"effect": "ALLOW", "actions": ["elastigroup:*"], "resources": ["*"]}]}),
        )
        .await;
    world.user("by-role").viewer(PAYMENTS).apply().await;
    world
        .user("by-policy")
        .policy_based_in(&[PAYMENTS, BILLING])
        .policy("scalers")
        .apply()
        .await;
    for name in ["by-role", "by-policy"] {
        let id = world.ready(name).await.status.unwrap().user_id.unwrap();
        let (url, admin) = (world.platform().url(), &world.platform().admin_token);
        let listed: Vec<serde_json::Value> =
            serde_json::from_str(&sdk::run(url, admin, &["--list"]).await).unwrap();
        let found = listed
            .iter()
            .find(|u| u["user_id"] == id.as_str())
            .expect("the user is listed");
        assert_eq!(found["type"], "programmatic");
        let read: serde_json::Value =
            serde_json::from_str(&sdk::run(url, admin, &["--read", &id]).await).unwrap();
        assert_eq!(read["username"], found["username"]);
        let digits = world.get(name).await.status.unwrap().token_last_digits.unwrap();
        assert_eq!(read["tokens"][0]["token_last_digits"], digits.as_str());
        assert_eq!(
            read["policies"][0]["account_ids"].as_array().map(Vec::len),
            Some(if name == "by-role" { 1 } else { 2 })
        );
    }
}

#[tokio::test]
async fn the_first_manifest_of_the_readme_works() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```yaml\n").expect("the README has a manifest");
    let (manifest, _) = rest.split_once("```").unwrap();
    let world = World::new("readme").await;
    let here = manifest
        .replace(
            "namespace: payments",
            &format!("namespace: {}", world.namespace()),
        )
        .replace(
            "className: payments",
            &format!("className: {}", world.class_name()),
        );
    world.apply_yaml(&here).unwrap();
    world.ready("ci-deployer").await;
    assert!(world.platform().accepts(&world.token("ci-deployer").await).await);
}
