//! Bad input: the sentence that people get, and that nothing was made.

use programmatic_users::api::{CREDENTIAL_VALID, Role, Scope};

use crate::support::proxy::{Act, Seen};
use crate::support::wait::SOON;
use crate::support::{BILLING, PAYMENTS, World};

fn yaml(world: &World, spec: &str) -> String {
    let class = world.class_name();
    format!(
        "apiVersion: programmatic-users.io/v1alpha1\nkind: ProgrammaticUser\nmetadata: {{name: bad}}\nspec: {{className: {class}, {spec}}}\n"
    )
}

#[tokio::test]
async fn the_api_server_refuses_invalid_specs() {
    let world = World::builder("refused").controller_stopped().start().await;
    let one = format!("{{id: {PAYMENTS}}}");
    let two = format!("{one}, {{id: {BILLING}}}");
    for (spec, message) in [
        (
            format!("scope: Account, displayName: a+b, access: {{role: Viewer, accounts: [{one}]}}"),
            "displayName may not contain + = @ or /",
        ),
        (
            format!("scope: Account, access: {{role: Viewer, accounts: [{two}]}}"),
            "scope Account takes exactly one account",
        ),
        (
            format!("scope: Account, access: {{role: PolicyBased, accounts: [{one}]}}"),
            "role PolicyBased needs at least one policy",
        ),
        (
            format!("scope: Account, access: {{role: Editor, accounts: [{one}], policies: [{{name: x}}]}}"),
            "access.policies needs role: PolicyBased",
        ),
        (
            "scope: Organization, access: {role: Viewer}".to_owned(),
            "needs at least one account in access.accounts",
        ),
        (
            format!("scope: Account, access: {{role: Viewer, accounts: [{one}]}}, rotation: {{every: 5s}}"),
            "rotation.every has to be 1m or longer",
        ),
        (
            format!("scope: Account, access: {{role: Viewer, accounts: [{one}]}}, deletionPolicy: Keep"),
            "Unsupported value: \"Keep\"",
        ),
        (
            format!(
                "scope: Account, access: {{role: Viewer, accounts: [{one}]}}, consumers: {{restart: Always}}"
            ),
            "Unsupported value: \"Always\"",
        ),
        (
            format!(
                "scope: Account, access: {{role: Viewer, accounts: [{one}]}}, secret: {{template: {{type: kubernetes.io/service-account-token}}}}"
            ),
            ".spec.secret.template.type: field not declared in schema",
        ),
        (
            format!(
                "scope: Account, access: {{role: Viewer, accounts: [{one}]}}, secret: {{template: {{annotations: {{kubernetes.io/service-account.name: default}}}}}}"
            ),
            "use a key of your own domain",
        ),
        ("scope: Team".to_owned(), "Unsupported value: \"Team\""),
    ] {
        let refused = world
            .apply_yaml(&yaml(&world, &spec))
            .expect_err("the API server takes nonsense");
        assert!(refused.contains(message), "{spec}\n{refused}");
    }
}

#[tokio::test]
async fn an_organization_must_not_send_its_credential_in_clear_text() {
    let world = World::builder("clear-text").controller_stopped().start().await;
    let name = world.unique("open");
    let organization = |endpoint: &str| {
        format!(
            "apiVersion: programmatic-users.io/v1alpha1\nkind: Organization\nmetadata: {{name: {name}}}\nspec: {{endpoint: {endpoint}, credentials: {{secretName: x}}}}\n"
        )
    };
    let refused = world
        .apply_yaml(&organization("{url: \"http://127.0.0.1:1\"}"))
        .expect_err("clear text is taken");
    assert!(refused.contains("must not travel in clear text"), "{refused}");
    let refused = world
        .apply_yaml(&organization("{url: \"ftp://x\"}"))
        .expect_err("another scheme is taken");
    assert!(refused.contains("spec.endpoint.url"), "{refused}");
}

#[tokio::test]
async fn the_operator_refuses_without_any_effect() {
    let world = World::new("stalled").await;
    world
        .user("no-class")
        .viewer(PAYMENTS)
        .class("missing")
        .apply()
        .await;
    world.user("no-account").viewer("act-00000000").apply().await;
    world
        .user("no-policy")
        .policy_based(PAYMENTS)
        .policy("missing")
        .apply()
        .await;
    world
        .user("no-group")
        .viewer(PAYMENTS)
        .group("missing")
        .apply()
        .await;
    let strict = world
        .class("strict")
        .roles(&[Role::Viewer])
        .scopes(&[Scope::Account])
        .accounts(&[BILLING]);
    let strict = strict.apply().await;
    world.user("no-role").editor(BILLING).class(&strict).apply().await;
    world
        .user("no-ceiling")
        .viewer(PAYMENTS)
        .class(&strict)
        .apply()
        .await;
    let elsewhere = world
        .class("elsewhere")
        .for_namespaces(&["another"])
        .apply()
        .await;
    world
        .user("no-namespace")
        .viewer(PAYMENTS)
        .class(&elsewhere)
        .apply()
        .await;
    for (name, reason, message) in [
        (
            "no-class",
            "UnknownClass",
            "there is no ProgrammaticUserClass missing: correct spec.className",
        ),
        (
            "no-account",
            "UnknownAccount",
            "has no account act-00000000: correct the id",
        ),
        ("no-policy", "UnknownPolicy", "has no policy named \"missing\""),
        ("no-group", "UnknownGroup", "has no group named \"missing\""),
        ("no-role", "NotAllowed", "does not allow role Editor"),
        ("no-ceiling", "NotAllowed", "among its accounts"),
        ("no-namespace", "NotAllowed", "is not open to namespace"),
    ] {
        let reported = world.stalled(name, reason).await;
        assert!(reported.contains(message), "{name}: {reported}");
        // The Event follows the status.
        let events = world
            .eventually("an Event", SOON, async || {
                let events = world.events(name).await;
                if events.is_empty() {
                    Err("none".to_owned())
                } else {
                    Ok(events)
                }
            })
            .await;
        assert_eq!(events.len(), 1, "{name} has one Event");
        assert_eq!(events[0].reason.as_deref(), Some(reason));
    }
    assert_eq!(world.platform().users().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_class_that_is_made_together_with_its_user_is_not_called_unknown() {
    let world = World::builder("together")
        .proxied()
        .controller_stopped()
        .start()
        .await;
    // The class is seen later than the user, here: never.
    let classes = |seen: &Seen| seen.watch && seen.resource == "programmaticuserclasses";
    let held = world.proxies().api.arm_nth(Act::Hold, 0, usize::MAX, classes);
    world.controller().resume().await.unwrap();
    world.user("first").viewer(PAYMENTS).apply().await;
    world.ready("first").await;
    let class = world.class("late").apply().await;
    world.user("second").viewer(PAYMENTS).class(&class).apply().await;
    world.ready("second").await;
    let events = world.events("second").await;
    assert!(
        events.iter().all(|e| e.reason.as_deref() != Some("UnknownClass")),
        "{events:?}"
    );
    held.disarm();
    held.released.set();
}

#[tokio::test]
async fn a_stalled_user_continues_when_the_missing_object_exists() {
    let world = World::new("mended").await;
    let class = world.unique("late");
    world.user("early").viewer(PAYMENTS).class(&class).apply().await;
    world.stalled("early", "UnknownClass").await;
    world.class("late").apply().await;
    world.ready("early").await;
}

#[tokio::test]
async fn a_foreign_secret_is_left_alone_and_nothing_is_made() {
    let world = World::new("foreign").await;
    world
        .apply_yaml(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: mine}\nstringData: {password: precious}\n",
        )
        .unwrap();
    let before = world.secrets().get("mine").await.unwrap();
    world.user("taker").viewer(PAYMENTS).secret("mine").apply().await;
    let message = world.stalled("taker", "SecretConflict").await;
    assert!(
        message.contains("Secret mine exists and was not made for this object; it is left alone"),
        "{message}"
    );
    assert_eq!(world.secrets().get("mine").await.unwrap(), before);
    assert_eq!(world.platform().users().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn two_users_cannot_share_a_secret() {
    let world = World::new("shared").await;
    world.user("first").viewer(PAYMENTS).secret("one").apply().await;
    world.ready("first").await;
    let token = world.secret("one").await;
    world.user("second").viewer(PAYMENTS).secret("one").apply().await;
    let message = world.stalled("second", "SecretConflict").await;
    assert!(message.contains("belongs to ProgrammaticUser first"), "{message}");
    assert_eq!(world.secret("one").await, token);
    assert_eq!(world.platform().users().await.len(), 1);
}

#[tokio::test]
async fn a_wrong_credential_is_reported_on_the_organization_and_its_users_until_it_is_replaced() {
    let world = World::builder("credential").controller_stopped().start().await;
    world.set_credential(&"0".repeat(64)).await;
    world.controller().resume().await.unwrap();
    world.user("waiting").viewer(PAYMENTS).apply().await;
    let waiting = |u: &programmatic_users::api::ProgrammaticUser| {
        u.status
            .iter()
            .flat_map(|s| &s.conditions)
            .any(|c| c.reason == "CredentialInvalid")
    };
    world.until("waiting", "to tell of the credential", waiting).await;
    // Whose status is written first is not fixed.
    let valid = world
        .eventually("the Organization to tell of it, too", SOON, async || {
            let conditions = world.organization().await.status.unwrap_or_default().conditions;
            let valid = conditions.into_iter().find(|c| c.type_ == CREDENTIAL_VALID);
            valid.ok_or_else(|| "nothing is reported".to_owned())
        })
        .await;
    assert_eq!(
        (valid.status.as_str(), valid.reason.as_str()),
        ("False", "CredentialInvalid")
    );
    assert!(
        valid.message.contains("put a valid admin token into the Secret"),
        "{}",
        valid.message
    );
    world.set_credential(&world.platform().admin_token).await;
    world.ready("waiting").await;
}

#[tokio::test]
async fn a_missing_credential_says_which_secret_to_create() {
    let world = World::builder("no-credential").controller_stopped().start().await;
    let operator = world.operator_namespace();
    world
        .cluster()
        .kubectl(&["-n", operator, "delete", "secret", "admin"])
        .unwrap();
    world.controller().resume().await.unwrap();
    let message = world
        .eventually(
            "the organization to tell",
            crate::support::wait::SOON,
            async || {
                let status = world.organization().await.status.unwrap_or_default();
                let found = status
                    .conditions
                    .into_iter()
                    .find(|c| c.reason == "CredentialMissing");
                found
                    .map(|c| c.message)
                    .ok_or_else(|| "no such condition".to_owned())
            },
        )
        .await;
    assert!(
        message.contains(&format!("create Secret {operator}/admin with key token")),
        "{message}"
    );
}

#[tokio::test]
async fn of_many_that_begin_at_once_no_more_than_the_class_allows_are_made() {
    let world = World::builder("maximum").controller_stopped().start().await;
    let class = world.class("few").max_users_per_namespace(2).apply().await;
    for i in 0..8 {
        world
            .user(&format!("u{i}"))
            .viewer(PAYMENTS)
            .class(&class)
            .apply()
            .await;
    }
    world.controller().resume().await.unwrap();
    world
        .eventually("all to be settled", SOON, async || {
            let mut outcomes = [0, 0];
            for i in 0..8 {
                let status = world.get(&format!("u{i}")).await.status.unwrap_or_default();
                let is = |reason| {
                    status
                        .conditions
                        .iter()
                        .any(|c| c.type_ == "Ready" && c.reason == reason)
                };
                outcomes[0] += usize::from(is("Ready"));
                outcomes[1] += usize::from(is("NotAllowed"));
            }
            if outcomes == [2, 6] {
                Ok(())
            } else {
                Err(format!("{outcomes:?}"))
            }
        })
        .await;
    assert_eq!(world.platform().users().await.len(), 2);
}
