//! `audit`: who did what, by type of actor.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::asked::{ask_platform, of_world, program, run};
use crate::support::platform::fresh_token;
use crate::support::{BILLING, PAYMENTS, World};

/// A world in which an object's user and a person have done something.
async fn lived_in(name: &str) -> World {
    let world = World::new(name).await;
    world.user("ci").editor(PAYMENTS).apply().await;
    world.ready("ci").await;
    let token = world.token("ci").await;
    let group = json!({"group": {"name": "g"}});
    let path = format!("/aws/ec2/group?accountId={PAYMENTS}");
    assert_eq!(world.platform().post(&path, &token, &group).await.status, 200);
    let refused = world.platform().post("/setup/account", &token, &json!({})).await;
    assert_eq!(refused.status, 403);
    world
}

#[tokio::test]
async fn types_of_actors_are_distinguished_and_programmatic_ones_named_by_their_objects() {
    let world = lived_in("audit").await;
    let object = format!("{}/ci", world.namespace());
    let all = ask_platform(&world, &["audit", "-o", "json"]).expect(0).json();
    let of = |kind: &str| {
        let events = all["events"].as_array().unwrap().iter();
        events
            .filter(|e| e["actorType"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    // The first start of the platform, the operator with the administrator's token, and the object's user.
    assert!(of("System").iter().any(|e| e["action"] == "createOrganization"));
    assert!(of("UI").iter().any(|e| e["action"] == "createProgrammaticUser"));
    let theirs: Vec<_> = of("Programmatic")
        .iter()
        .filter(|e| e["object"] == json!(object))
        .map(|e| {
            (
                e["action"].as_str().unwrap().to_owned(),
                e["result"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    for (action, result) in [("createGroup", "success"), ("createAccount", "refused")] {
        assert!(
            theirs.contains(&(action.to_owned(), result.to_owned())),
            "{theirs:?}"
        );
    }
    for (kind, number) in all["counts"].as_object().unwrap() {
        assert_eq!(number, of(kind).len(), "{kind}");
    }
    // Not by their texts: these have as many digits as they need.
    let times: Vec<Timestamp> = all["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["time"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");

    let digits = &world.token("ci").await[60..];
    let table = ask_platform(
        &world,
        &["audit", "--actor-type", "programmatic", "--since", "1h"],
    )
    .expect(0);
    let line = table.line("createGroup");
    assert_eq!(
        (line[1], line[2], line[3], line[4]),
        ("Programmatic", "ci", digits, &*object),
        "{line:?}"
    );
    assert_eq!((line[7], line[8]), (PAYMENTS, "success 200"));
    assert!(!table.out.contains("createProgrammaticUser"), "{}", table.out);
    table.shows("Programmatic\n");
}

#[tokio::test]
async fn events_are_chosen_by_account_actor_and_time() {
    let world = lived_in("audit-choose").await;
    let object = format!("{}/ci", world.namespace());
    let actions = |args: &[&str]| {
        let mut all = vec!["audit", "-o", "json"];
        all.extend(args);
        let output = ask_platform(&world, &all).expect(0).json();
        let events = output["events"].as_array().unwrap().iter();
        events
            .map(|e| e["action"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(actions(&["--account", PAYMENTS]), ["createGroup"]);
    assert!(actions(&["--account", BILLING]).is_empty());
    for actor in ["ci", &object] {
        let theirs = actions(&["--actor", actor]);
        assert!(theirs.contains(&"createGroup".to_owned()), "{theirs:?}");
        assert!(
            !theirs.contains(&"createProgrammaticUser".to_owned()),
            "{theirs:?}"
        );
    }
    assert!(actions(&["--since", "2999-01-01T00:00:00Z"]).is_empty());
    assert!(actions(&["--actor-type", "anonymous"]).is_empty());
}

#[tokio::test]
async fn audit_works_without_a_cluster() {
    let world = lived_in("audit-alone").await;
    let nowhere = Path::new("/nonexistent");
    let url = world.platform().url();
    let output = run(program(nowhere)
        .args(["audit", "--endpoint", url, "--insecure", "-o", "json"])
        .env("SPOTINST_TOKEN", &world.platform().admin_token))
    .expect(0)
    .json();
    assert_eq!(output["platform"], url);
    assert!(
        output["counts"]["Programmatic"].as_u64().unwrap() >= 2,
        "{output}"
    );

    run(program(nowhere).args(["audit", "--endpoint", url, "--insecure"]))
        .expect(1)
        .tells("SPOTINST_TOKEN is not set: export it with the token of an organization admin");
    run(program(nowhere)
        .args(["audit", "--endpoint", url])
        .env("SPOTINST_TOKEN", fresh_token()))
    .expect(1)
    .tells("use https://, or give --insecure");
    run(program(nowhere)
        .args(["audit", "--endpoint", "http://api.example.com", "--insecure"])
        .env("SPOTINST_TOKEN", fresh_token()))
    .expect(1)
    .tells("use https://");
    run(program(nowhere).args(["audit", "--endpoint", url, "--organization", "acme"])).expect(2);
    run(program(nowhere).args(["audit"]))
        .expect(1)
        .tells("cannot connect to a cluster");
}

#[tokio::test]
async fn a_wrong_credential_is_a_sentence_without_it() {
    let world = lived_in("audit-credential").await;
    let ask = |token: &str| {
        run(of_world(&world)
            .args(["audit", "--organization", world.organization_name()])
            .env("SPOTINST_TOKEN", token))
    };
    let wrong = fresh_token();
    // That no token is in the output each answer is checked for.
    ask(&wrong).expect(1).tells(&format!(
        "the platform does not know the token that ends in {}",
        &wrong[60..]
    ));
    let words = ask("two words").expect(1).tells("SPOTINST_TOKEN holds no token");
    assert!(!words.err.contains("two words"), "{}", words.err);
    // A tenant's own token, which pods have in this variable.
    let tenants = world.token("ci").await;
    ask(&tenants)
        .expect(1)
        .tells("has to be that of an organization admin");
    // Without any, the operator's own is looked for, where it is not.
    run(of_world(&world).args([
        "audit",
        "--organization",
        world.organization_name(),
        "--operator-namespace",
        "default",
    ]))
    .expect(1)
    .tells("there is no Secret default/admin");
    ask_platform(&world, &["audit", "--since", "yesterday"]).expect(2);
    ask_platform(&world, &["audit", "--actor-type", "robot"]).expect(2);
    world.platform().stop().await;
    ask_platform(&world, &["audit"])
        .expect(1)
        .tells("can be reached from here");
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_if_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, key) = (
        file("tls.crt", &certificate),
        file("tls.key", &key.serialize_pem()),
    );
    let options = crate::support::platform::Options {
        address: "127.0.0.1".to_owned(),
        organization: "Acme".to_owned(),
        accounts: vec![],
        database: None,
        flags: [
            "--account",
            "only",
            "--tls-certificate",
            &certificate,
            "--tls-key",
            &key,
        ]
        .map(str::to_owned)
        .into(),
    };
    let platform = crate::support::Platform::start(&dir.path().join("platform"), options)
        .await
        .unwrap();
    assert!(platform.url().starts_with("https://"));
    let ask = |args: &[&str]| {
        let mut command = program(Path::new("/nonexistent"));
        command
            .args(["audit", "--endpoint", platform.url(), "--insecure", "-o", "json"])
            .args(args);
        run(command.env("SPOTINST_TOKEN", &platform.admin_token))
    };
    ask(&[])
        .expect(1)
        .tells("no connection: invalid peer certificate");
    let output = ask(&["--ca-file", &certificate]).expect(0).json();
    assert_eq!(output["counts"]["System"], 1, "{output}");
    ask(&["--ca-file", "/nonexistent"])
        .expect(1)
        .tells("cannot read /nonexistent");
    ask(&["--ca-file", &key])
        .expect(1)
        .tells("holds no PEM certificate");
}
