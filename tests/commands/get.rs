//! `get`: the fleet.

use serde_json::json;

use super::asked::{ask, of_world, run};
use crate::support::{PAYMENTS, World};

#[tokio::test]
async fn problems_come_first_with_their_sentences() {
    let world = World::new("get").await;
    let namespace = world.namespace();
    world
        .user("works")
        .editor(PAYMENTS)
        .with(|s| {
            s.rotation = serde_json::from_value(json!({"every": "720h"})).unwrap();
        })
        .apply()
        .await;
    world.user("wants").viewer(PAYMENTS).class("nosuch").apply().await;
    world.ready("works").await;
    let message = world.stalled("wants", "UnknownClass").await;
    let token = world.token("works").await;

    let table = ask(world.cluster(), &["get", "-n", namespace]).expect(0);
    let (problem, fine) = (table.out.find("wants").unwrap(), table.out.find("works").unwrap());
    assert!(problem < fine, "{}", table.out);
    let line = table.line("works");
    assert_eq!(
        line[..7],
        [
            namespace,
            "works",
            "True",
            "Ready",
            world.class_name(),
            "works",
            &token[60..]
        ]
    );
    assert!(line[7].ends_with('s') && line[8].starts_with("in 2"), "{line:?}");
    assert_eq!(line[9], "-");
    assert_eq!(table.line("wants")[2..5], ["False", "UnknownClass", "nosuch"]);
    let table = table.shows(&format!("{namespace}/wants: {message}"));
    table.shows("2 users: 1 stalled, 0 not ready, 0 with a note, 1 ready\n");

    let output = ask(world.cluster(), &["get", "-n", namespace, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(output["counts"], json!({"Stalled": 1, "Ready": 1}));
    let (first, second) = (&output["users"][0], &output["users"][1]);
    assert_eq!(
        (&first["name"], &first["state"]),
        (&json!("wants"), &json!("Stalled"))
    );
    assert_eq!(second["tokenLastDigits"], token[60..]);
    assert_eq!(second["organizationName"], world.organization_name());
    assert!(
        second["nextRotation"].is_string() && second["tokenIssuedAt"].is_string(),
        "{second}"
    );

    let names = |args: &[&str]| {
        let mut all = vec!["get", "-n", namespace, "-o", "json"];
        all.extend(args);
        let output = ask(world.cluster(), &all).expect(0).json();
        let users = output["users"].as_array().unwrap().iter();
        users
            .map(|u| u["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["--problems"]), ["wants"]);
    assert_eq!(names(&["--class", world.class_name()]), ["works"]);
    assert_eq!(names(&["works"]), ["works"]);
}

#[tokio::test]
async fn all_namespaces_are_shown_unless_one_is_chosen() {
    let world = World::builder("get-all").namespaces(2).start().await;
    for namespace in world.namespaces() {
        let user = world.user("one").viewer(PAYMENTS).namespace(namespace);
        user.apply().await;
    }
    world.ready("one").await;
    let all = ask(world.cluster(), &["get"]).expect(0);
    for namespace in world.namespaces() {
        assert_eq!(all.line(namespace)[1], "one");
    }
    let one = ask(world.cluster(), &["get", "-n", &world.namespaces()[1]]).expect(0);
    let elsewhere = |l: &str| l.split_whitespace().next() == Some(world.namespace());
    assert!(!one.out.lines().any(elsewhere), "{}", one.out);
    ask(world.cluster(), &["get", "missing", "-n", world.namespace()])
        .expect(1)
        .tells(&format!(
            "there is no ProgrammaticUser missing in namespace {}",
            world.namespace()
        ));
}

#[tokio::test]
async fn a_closed_pipe_is_no_error() {
    let world = World::new("get-pipe").await;
    let mut command = of_world(&world);
    command.args(["get", "-n", world.namespace()]);
    // The reading end is closed before the first byte.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    run(of_world(&world).args(["get", "--context", "nosuch"]))
        .expect(1)
        .tells("cannot connect to a cluster");
}
