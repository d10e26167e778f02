//! Logs for machines: one span a reconcile, how much may be changed while it runs, and never a token.

use programmatic_users::api::LOG_LEVEL_ANNOTATION;
use serde_json::Value;

use crate::support::proxy::{Act, Lie, Seen};
use crate::support::wait::SOON;
use crate::support::{Operator, PAYMENTS, World};

/// The lines of standard error, each of which has to be JSON.
fn lines(controller: &Operator) -> Vec<Value> {
    let log = controller.log();
    let lines = log.lines().filter(|l| !l.starts_with("listening on "));
    lines
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
        .collect()
}

/// Closing lines of reconciles of this object.
fn closing(all: &[Value], name: &str) -> Vec<Value> {
    let is = |line: &&Value| {
        let span = &line["span"];
        span["object"] == name
            && line["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("reconcile"))
            && span["outcome"].is_string()
    };
    all.iter().filter(is).cloned().collect()
}

fn annotate(world: &World, level: &str) {
    let value = if level.is_empty() {
        format!("{LOG_LEVEL_ANNOTATION}-")
    } else {
        format!("{LOG_LEVEL_ANNOTATION}={level}")
    };
    let args = [
        "-n",
        world.operator_namespace(),
        "annotate",
        "lease",
        "programmatic-users",
        "--overwrite",
        &value,
    ];
    world.cluster().kubectl(&args).unwrap();
}

/// Waits until the controller has said that it logs as much as this.
async fn logs(world: &World, controller: &Operator, message: &str, level: &str, times: usize) {
    world
        .eventually(&format!("{message}: {level}"), SOON, async || {
            let all = lines(controller);
            let said = all.iter().filter(|l| {
                l["message"].as_str().is_some_and(|m| m.starts_with(message))
                    && (l["log"] == level || l["wanted"] == level)
            });
            match said.count() {
                n if n == times => Ok(()),
                n => Err(format!("{n} times")),
            }
        })
        .await;
}

const JSON: [&str; 4] = ["--log-format", "json", "--lease-name", "programmatic-users"];
const CHANGED: &str = "the level of the log was changed";

#[tokio::test]
async fn a_reconcile_is_one_span_whose_fields_name_its_object() {
    let world = World::builder("spans")
        .controller_flags(&JSON)
        .controller_env("RUST_LOG", "info")
        .drift("1s")
        .proxied()
        .start()
        .await;
    world.user("logged").viewer(PAYMENTS).apply().await;
    world.ready("logged").await;
    let user = world.get("logged").await;
    let nonce = user.status.unwrap().journal.current.unwrap().nonce;
    let all = lines(world.controller());
    let closing_lines = closing(&all, "logged");
    let made = closing_lines
        .iter()
        .find(|l| l["span"]["attempt"] == nonce.as_str());
    let made = made.unwrap_or_else(|| panic!("{closing_lines:#?}"));
    let span = &made["span"];
    assert_eq!(made["level"], "INFO");
    assert_eq!(span["kind"], "ProgrammaticUser");
    assert_eq!(span["namespace"], world.namespace());
    assert_eq!(span["organization"], world.organization_name());
    assert_eq!(span["outcome"], "changed");
    assert!(span["seconds"].as_f64().is_some_and(|s| s > 0.0), "{span}");
    let fields = span.as_object().unwrap();
    assert!(fields.values().all(|v| !v.is_object() && !v.is_array()), "{span}");
    // Each reconcile has an id of its own, and one closing line.
    let ids: Vec<&str> = closing_lines
        .iter()
        .filter_map(|l| l["span"]["id"].as_str())
        .collect();
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert!(
        ids.len() == closing_lines.len() && once.len() == ids.len(),
        "{closing_lines:#?}"
    );
    let own = closing(&all, world.organization_name());
    assert!(
        own.iter().any(|l| l["span"]["kind"] == "Organization"),
        "{own:#?}"
    );

    // One that fails says why, in a word and in a sentence.
    let writes = |seen: &Seen| seen.verb == "update" && seen.resource == "programmaticusers/status";
    world.proxies().api.arm(Act::Refuse(500), writes);
    world.user("failing").viewer(PAYMENTS).apply().await;
    world.ready("failing").await;
    let failed = closing(&lines(world.controller()), "failing");
    let failed = failed.iter().find(|l| l["span"]["outcome"] == "error");
    let failed = failed.unwrap_or_else(|| panic!("{:#?}", lines(world.controller())));
    assert_eq!(failed["level"], "WARN");
    assert_eq!(failed["span"]["reason"], "KubernetesError");
    assert!(
        failed["error"].as_str().is_some_and(|e| e.contains("500")),
        "{failed}"
    );
    assert_eq!(world.leaks().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_annotation_of_the_lease_changes_the_log_level_and_no_level_shows_a_token() {
    let world = World::builder("levels")
        .controller_flags(&JSON)
        .controller_env("RUST_LOG", "error")
        .proxied()
        .start()
        .await;
    let controller = world.controller();
    world.user("quiet").viewer(PAYMENTS).apply().await;
    world.ready("quiet").await;
    assert_eq!(lines(controller), Vec::<Value>::new(), "errors only");

    // A standby looks at the same Lease.
    let standby = world.replica("standby").await;
    annotate(&world, "info");
    for each in [controller, &standby] {
        logs(&world, each, CHANGED, "info", 1).await;
    }
    world.user("logged").viewer(PAYMENTS).apply().await;
    world.ready("logged").await;
    world
        .eventually("its closing line", SOON, async || {
            match closing(&lines(controller), "logged").len() {
                0 => Err("none".to_owned()),
                _ => Ok(()),
            }
        })
        .await;

    // Everything, and what is shut off by name: an answer that is cut off would be quoted there.
    let everything = "trace,kube_client::client=trace";
    annotate(&world, everything);
    logs(&world, controller, CHANGED, everything, 1).await;
    let faults = [
        world.proxies().api.arm(Act::Lie(Lie::Unfinished), |seen: &Seen| {
            seen.verb == "create" && seen.resource == "secrets" && seen.name == "cut" && !seen.dry_run
        }),
        world.proxies().platform.arm(Act::Echo(500), |seen: &Seen| {
            seen.verb == "POST" && seen.user_name.starts_with("cut")
        }),
    ];
    world.user("cut").viewer(PAYMENTS).apply().await;
    world.ready("cut").await;
    for fault in &faults {
        assert!(fault.fired.is_set());
    }
    let all = lines(controller);
    assert!(all.iter().any(|l| l["level"] == "TRACE"), "it was loud");
    let shut_off = all
        .iter()
        .filter(|l| l["target"] == "kube_client::client")
        .count();
    assert_eq!(shut_off, 0);

    // One that cannot be read changes nothing, and says so once.
    annotate(&world, "loud=please=now");
    logs(
        &world,
        controller,
        "this level of the log cannot be read",
        "loud=please=now",
        1,
    )
    .await;
    annotate(&world, "");
    logs(&world, controller, CHANGED, "error", 0).await;
    world
        .eventually("it to be as at the start", SOON, async || {
            let before = lines(controller).len();
            world.user("silent").viewer(PAYMENTS).apply().await;
            world.ready("silent").await;
            world.delete("silent").await;
            world.gone("silent").await;
            match lines(controller).len() - before {
                0 => Ok(()),
                n => Err(format!("{n} lines")),
            }
        })
        .await;
    assert_eq!(world.leaks().await, Vec::<String>::new());
    standby.stop().await;
}
