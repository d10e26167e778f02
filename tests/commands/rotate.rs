//! `rotate` and `revoke`: asks, and follows to the end.

use std::io::Write as _;
use std::process::Stdio;

use programmatic_users::api::ROTATE_AT_ANNOTATION;
use serde_json::json;

use super::asked::{Said, ask, at_a_terminal, of_world, run};
use crate::support::{PAYMENTS, World};

#[tokio::test]
async fn a_rotation_is_followed_until_the_new_token_is_in_the_secret() {
    let world = World::new("rotate").await;
    let namespace = world.namespace();
    world.user("ci").editor(PAYMENTS).apply().await;
    world.ready("ci").await;
    let old = world.token("ci").await;
    let said = ask(world.cluster(), &["rotate", "ci", "-n", namespace, "--wait"]).expect(0);
    let new = world.token("ci").await;
    assert_ne!(old, new);
    let said = said.shows(&format!(
        "{namespace}/ci: Secret ci has a new token, which ends in {}; the old one ({}) stays valid until 2",
        &new[60..],
        &old[60..]
    ));
    said.tells("requested");
    assert!(world.platform().accepts(&old).await && world.platform().accepts(&new).await);

    let output = ask(
        world.cluster(),
        &["rotate", "ci", "-n", namespace, "--wait", "-o", "json"],
    )
    .expect(0)
    .json();
    assert_eq!(
        (&output["outcome"], &output["annotation"]),
        (&json!("done"), &json!(ROTATE_AT_ANNOTATION))
    );
    assert_eq!(output["previousTokenLastDigits"], new[60..]);
    assert_eq!(output["tokenLastDigits"], world.token("ci").await[60..]);
    assert_eq!(output["retiring"].as_array().unwrap().len(), 2);

    // Without --wait the answer is there at once, and the operator goes on.
    let output = ask(world.cluster(), &["rotate", "ci", "-n", namespace, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(output["outcome"], "requested");
    let value = output["value"].as_str().unwrap().to_owned();
    world
        .until("ci", "to have acted on it", |u| {
            u.status.as_ref().and_then(|s| s.last_handled_rotate_at.clone()) == Some(value.clone())
        })
        .await;
}

#[tokio::test]
async fn a_later_request_does_not_keep_an_earlier_one_waiting() {
    let world = World::new("rotate-twice").await;
    world.user("ci").editor(PAYMENTS).apply().await;
    world.ready("ci").await;
    let old = world.token("ci").await;
    world.controller().stop().await;
    let first = of_world(&world)
        .args(["rotate", "ci", "-n", world.namespace()])
        .args(["--wait", "--timeout", "2m", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    world
        .until("ci", "to be asked for a token", |u| {
            let mut all = u.metadata.annotations.iter().flatten();
            all.any(|(key, _)| key == ROTATE_AT_ANNOTATION)
        })
        .await;
    // The operator has not acted on it when the next one comes.
    let second = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "second"}}});
    world.change("ci", second).await.unwrap();
    world.controller().resume().await.unwrap();
    let said = Said::of(first.wait_with_output().unwrap()).expect(0);
    let said = said.tells("another request for a new token of");
    let output = said.json();
    assert_eq!(
        (&output["outcome"], &output["value"]),
        (&json!("done"), &json!("second"))
    );
    assert_eq!(output["previousTokenLastDigits"], old[60..]);
    assert_eq!(output["tokenLastDigits"], world.token("ci").await[60..]);
}

#[tokio::test]
async fn a_wait_that_does_not_end_has_an_exit_code_of_its_own() {
    let world = World::new("rotate-stuck").await;
    let namespace = world.namespace();
    world.user("ci").editor(PAYMENTS).apply().await;
    world.ready("ci").await;
    world.controller().stop().await;
    let said = ask(
        world.cluster(),
        &["rotate", "ci", "-n", namespace, "--wait", "--timeout", "2s"],
    )
    .expect(3);
    said.shows("not done after 2s; the operator continues");
    ask(
        world.cluster(),
        &["rotate", "ci", "-n", namespace, "--timeout", "2s"],
    )
    .expect(2);
    ask(world.cluster(), &["rotate", "missing", "-n", namespace])
        .expect(1)
        .tells("there is no ProgrammaticUser missing");
    // Nothing can happen before a change by a person.
    let wrong = json!({"spec": {"access": {"accounts": [{"id": "act-99999999"}]}}});
    world.change("ci", wrong).await.unwrap();
    world.controller().resume().await.unwrap();
    world.stalled("ci", "UnknownAccount").await;
    let wait = [
        "rotate",
        "ci",
        "-n",
        namespace,
        "--wait",
        "--timeout",
        "3s",
        "-o",
        "json",
    ];
    let output = ask(world.cluster(), &wait).expect(3).json();
    assert_eq!(output["reason"], "UnknownAccount", "{output}");
    assert_eq!(output["outcome"], "stalled", "{output}");
    ask(world.cluster(), &["rotate", "ci", "-n", namespace])
        .expect(0)
        .tells("is stalled, and its token stays as it is until you correct this: UnknownAccount");
    world
        .change("ci", json!({"spec": {"suspend": true}}))
        .await
        .unwrap();
    let output = ask(world.cluster(), &wait).expect(3);
    let output = output.tells("is suspended: the operator does nothing");
    assert_eq!(output.json()["outcome"], "stalled");
    let output = ask(world.cluster(), &["why", "ci", "-n", namespace]).expect(3);
    let output = output.shows("Suspended");
    assert!(!output.out.contains("is the operator running"), "{}", output.out);
    // The command does not call a token dead that works.
    world.controller().stop().await;
    world
        .change("ci", json!({"spec": {"deletionPolicy": "Retain"}}))
        .await
        .unwrap();
    let delete = ["-n", namespace, "delete", "pu", "ci", "--wait=false"];
    world.cluster().kubectl(&delete).unwrap();
    ask(world.cluster(), &["rotate", "ci", "-n", namespace])
        .expect(1)
        .tells("its deletionPolicy is Retain, so that its token lives on");
}

#[tokio::test]
async fn a_revocation_asks_first_and_leaves_no_old_token() {
    let world = World::new("revoke").await;
    let namespace = world.namespace();
    world.user("ci").editor(PAYMENTS).apply().await;
    world.ready("ci").await;
    let old = world.token("ci").await;
    // Without a terminal it wants a flag.
    ask(world.cluster(), &["revoke", "ci", "-n", namespace])
        .expect(2)
        .tells("give --yes where there is no terminal");
    // At a terminal it wants the name.
    for answer in ["n", "y", "other"] {
        let said = revoke_and_answer(&world, "ci", answer);
        assert_eq!(said.code, 1, "{said:#?}");
        assert!(said.out.contains("nothing was done"), "{said:#?}");
        assert!(
            said.out.contains(&format!("that ends in {} dies", &old[60..])),
            "{said:#?}"
        );
    }
    assert_eq!(world.get("ci").await.metadata.annotations, None);
    assert!(world.platform().accepts(&old).await);
    let said = revoke_and_answer(&world, "ci", "ci");
    assert_eq!(said.code, 0, "{said:#?}");
    assert!(said.out.contains("is dead"), "{said:#?}");
    assert!(!world.platform().accepts(&old).await);

    let second = world.token("ci").await;
    let output =
        run(of_world(&world).args(["revoke", "ci", "-n", namespace, "--yes", "--wait", "-o", "json"]))
            .expect(0)
            .json();
    assert_eq!(output["outcome"], "done");
    assert_eq!(output["retiring"], json!([]));
    assert!(!world.platform().accepts(&second).await);
    assert!(world.platform().accepts(&world.token("ci").await).await);
}

/// Runs `revoke` at a terminal where a person types `answer`.
fn revoke_and_answer(world: &World, name: &str, answer: &str) -> Said {
    let arguments = format!("revoke {name} -n {} --wait", world.namespace());
    let mut child = at_a_terminal(world.cluster(), &arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script (package bsdutils) makes a terminal");
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{answer}").unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    Said::of(output)
}
