//! What a Secret may look like, and what cannot get into it.

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use programmatic_users::api::{RETAINED_LABEL, ROTATE_AT_ANNOTATION, SecretTemplate};
use serde_json::json;

use crate::support::{BILLING, PAYMENTS, World};

fn template(data: &[(&str, &str)]) -> SecretTemplate {
    let pairs = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    SecretTemplate {
        data: pairs.collect(),
        ..SecretTemplate::default()
    }
}

#[tokio::test]
async fn labels_annotations_and_files_are_those_of_the_template_and_no_others() {
    let world = World::new("template").await;
    let file = "[default]\ntoken = {{ token }}\naccount = {{ account }}\nurl = {{ endpoint }}\n";
    let user = world.user("files").viewer(PAYMENTS).with(|spec| {
        let mut template = template(&[("credentials.ini", file)]);
        template.labels.insert("team".to_owned(), "payments".to_owned());
        template
            .annotations
            .insert("example.com/note".to_owned(), "by the operator".to_owned());
        spec.secret.template = Some(template);
    });
    let mut object = user.object();
    // What a GitOps tool puts on what it applies, and deletes by.
    object
        .labels_mut()
        .insert("argocd.argoproj.io/instance".to_owned(), "app".to_owned());
    world.apply(&object).await.unwrap();
    world.ready("files").await;
    let values = world.secret("files").await;
    let (token, url) = (&values["SPOTINST_TOKEN"], world.platform().url());
    assert_eq!(
        values["credentials.ini"],
        format!("[default]\ntoken = {token}\naccount = {PAYMENTS}\nurl = {url}\n")
    );
    let secret = world.secrets().get("files").await.unwrap();
    assert_eq!(secret.labels().get("team").map(String::as_str), Some("payments"));
    assert_eq!(
        secret.annotations().get("example.com/note").map(String::as_str),
        Some("by the operator")
    );
    assert!(!secret.labels().contains_key("argocd.argoproj.io/instance"));
    assert!(!secret.labels().contains_key(RETAINED_LABEL));
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
}

#[tokio::test]
async fn a_template_reads_nothing_but_the_values_of_its_secret() {
    let world = World::new("template-bounds").await;
    for (name, source, message) in [
        ("unknown", "{{ password }}", "there is no value password"),
        (
            "statement",
            "{% for i in token %}x{% endfor %}",
            "no statements, operators or filters",
        ),
        (
            "operator",
            "{{ token * 1000000000 }}",
            "no statements, operators or filters",
        ),
        (
            "attribute",
            "{{ token.env }}",
            "no statements, operators or filters",
        ),
        ("broken", "{{ token", "secret.template.data[f]"),
        (
            "no-account",
            "{{ account }}",
            "there is no value account: this Secret has endpoint, organization, token",
        ),
    ] {
        let user = world.user(name).viewer_in(&[PAYMENTS, BILLING]);
        user.with(|spec| spec.secret.template = Some(template(&[("f", source)])))
            .apply()
            .await;
        let said = world.stalled(name, "InvalidSpec").await;
        assert!(said.contains(message), "{name}: {said}");
    }
    let user = world.user("twice").viewer(PAYMENTS);
    user.with(|spec| spec.secret.template = Some(template(&[("SPOTINST_TOKEN", "x")])))
        .apply()
        .await;
    let said = world.stalled("twice", "InvalidSpec").await;
    assert!(said.contains("key SPOTINST_TOKEN"), "{said}");
    assert_eq!(world.platform().users().await.len(), 0, "nothing was made");
}

#[tokio::test]
async fn an_immutable_secret_is_reported_and_costs_no_user() {
    let world = World::new("immutable").await;
    world.user("ci").viewer(PAYMENTS).apply().await;
    world.ready("ci").await;
    let before = world.token("ci").await;
    let immutable = Patch::Merge(json!({"immutable": true}));
    let params = PatchParams::default();
    world.secrets().patch("ci", &params, &immutable).await.unwrap();
    let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}});
    world.change("ci", rotate).await.unwrap();
    let said = world.stalled("ci", "SecretImmutable").await;
    assert!(said.contains("delete that Secret"), "{said}");
    assert_eq!(world.token("ci").await, before);
    assert_eq!(world.platform().users().await.len(), 1);

    // As the message says.
    world
        .secrets()
        .delete("ci", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    world.ready("ci").await;
    assert_ne!(world.token("ci").await, before);
}
