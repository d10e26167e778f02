//! Metrics, alerts and the dashboard, as a real Prometheus sees them: each state is brought about, moves its metric, and
//! gives the alert the numbers that it waits for.

use std::collections::BTreeSet;
use std::time::Instant;

use kube::Api;
use kube::api::DeleteParams;
use programmatic_users::api::{Organization, ProgrammaticUser, ROTATE_AT_ANNOTATION};
use serde_json::{Value, json};

use crate::organizations::{change, orphan};
use crate::support::cluster::{Cluster, root};
use crate::support::prometheus::Prometheus;
use crate::support::proxy::{Act, Lie, Seen};
use crate::support::wait::SOON;
use crate::support::{PAYMENTS, World};

/// Names in the tables of `docs/observability.md`.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("docs/observability.md")).unwrap();
    let rows = text
        .lines()
        .filter_map(|l| l.strip_prefix("| `programmatic_users_"));
    rows.map(|l| format!("programmatic_users_{}", l.split(['`', '{']).next().unwrap()))
        .collect()
}

/// What only a fault of the operator moves; `src/controller/reconcile/panics/tests.rs` has one.
const FAULTS: [&str; 1] = ["programmatic_users_reconcile_panics_total"];

/// Names in a scrape, without the suffixes of a histogram.
fn scraped(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s));
        let histogram = base.filter(|b| text.contains(&format!("# TYPE {b} histogram")));
        names.insert(histogram.unwrap_or(name).to_owned());
    }
    names
}

/// The sum of an expression's series; none at all is an error.
async fn sum(prometheus: &Prometheus, expression: &str) -> Result<f64, String> {
    let found = prometheus.query(expression).await?;
    if found.is_empty() {
        return Err(format!("{expression} has no series"));
    }
    Ok(found.iter().map(|s| s.value).sum())
}

/// Numbers of things come as floats.
fn is(n: f64, wanted: u32) -> bool {
    (n - f64::from(wanted)).abs() < 0.5
}

async fn until(world: &World, prometheus: &Prometheus, expression: &str, wanted: impl Fn(f64) -> bool) {
    world
        .eventually(expression, SOON, async || {
            let value = sum(prometheus, expression).await?;
            if wanted(value) {
                Ok(())
            } else {
                Err(value.to_string())
            }
        })
        .await;
}

/// Waits until the alerts' expressions hold, or do not hold any more.
async fn wakes(world: &World, prometheus: &Prometheus, names: &[&str], awake: bool) {
    for name in names {
        let name = format!("ProgrammaticUsers{name}");
        world
            .eventually(&format!("{name} to be {awake}"), SOON, async || {
                let all = prometheus.alerts().await?;
                match all.get(&name).map(String::as_str) {
                    Some("inactive") if !awake => Ok(()),
                    Some("pending" | "firing") if awake => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
    }
}

/// As a cluster admin writes it.
fn patch_status(world: &World, name: &str, status: &Value) {
    let args = [
        "-n",
        world.namespace(),
        "patch",
        "pu",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &json!({ "status": status }).to_string(),
    ];
    world.cluster().kubectl(&args).unwrap();
}

fn hours_ago(hours: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - hours * 3600).unwrap()
}

#[tokio::test]
async fn each_state_moves_its_metric_and_wakes_its_alert() {
    let begun = Instant::now();
    // What cannot be read is stored by a definition that is looser than this version's.
    let cluster = Cluster::private("metrics").await;
    let world = World::builder("metrics")
        .on(cluster)
        .drift("1s")
        .all_namespaces()
        .proxied()
        .controller_flags(&["--create-timeout", "2s", "--settle-slack", "0s"])
        .start()
        .await;
    // Another controller, whose platform is soon asked for too much.
    let busy = World::builder("metrics-busy")
        .platform_flags(&["--rate-limit", "10"])
        .proxied()
        .controller_stopped()
        .start()
        .await;
    // The first of its watches are refused.
    let watches = |seen: &Seen| seen.watch && seen.resource == "deployments";
    busy.proxies().api.arm_nth(Act::Refuse(500), 0, 2, watches);
    busy.controller().resume().await.unwrap();
    let targets = [world.controller().url().await, busy.controller().url().await];
    let p = Prometheus::start(world.dir(), &targets).await.unwrap();
    let organization = world.organization_name();
    let of = |metric: &str| format!("programmatic_users_{metric}{{organization=\"{organization}\"}}");
    until(&world, &p, "programmatic_users_leader", |n| n > 1.0).await;
    until(&world, &p, &of("organization_ready"), |n| n > 0.0).await;
    until(&world, &p, &of("last_list_timestamp_seconds"), |n| n > 0.0).await;
    let quiet = [
        "NoLeader",
        "WatchFailing",
        "ReconcileStuck",
        "ReconcileErrors",
        "BreakerOpen",
        "CredentialRefused",
        "OrganizationNotReady",
        "ListStale",
        "TokenTooOld",
        "NotReady",
        "Orphans",
        "RateLimited",
        "LimiterSaturated",
        "CreateBudgetExhausted",
    ];
    wakes(&world, &p, &quiet, false).await;
    let failed = "programmatic_users_watch_errors_total{kind=\"Deployment\"}";
    until(&busy, &p, failed, |n| is(n, 2)).await;

    users(&world, &p).await;
    for i in 0..30 {
        busy.user(&format!("u{i}")).viewer(PAYMENTS).apply().await;
    }
    orphans(&world, &p).await;
    until(&busy, &p, "programmatic_users_limiter_pause_seconds", |n| n > 0.0).await;
    wakes(&busy, &p, &["RateLimited"], true).await;
    clock(&world, &p).await;
    credentials(&world, &p).await;
    platform_away(&world, &p).await;
    errors(&world, &p).await;
    limits(&world, &p).await;

    let text = world.controller().metrics().await;
    for private in [world.namespace(), "mine", "renewed", "stuck0"] {
        assert!(
            !text.contains(&format!("\"{private}\"")),
            "{private} is in the metrics"
        );
    }
    world.controller().stop().await;
    busy.controller().stop().await;
    wakes(&world, &p, &["NoLeader"], true).await;

    let span = i64::try_from(begun.elapsed().as_secs()).unwrap() + 5;
    everything_was_moved_and_is_shown(&p, &scraped(&text), span).await;
}

/// Users by condition, old tokens, those that are replaced.
async fn users(world: &World, p: &Prometheus) {
    let of = |metric: &str, labels: &str| {
        let organization = world.organization_name();
        format!("programmatic_users_{metric}{{organization=\"{organization}\"{labels}}}")
    };
    for name in ["mine", "renewed", "overdue", "poisoned"] {
        world.user(name).viewer(PAYMENTS).apply().await;
        world.ready(name).await;
    }
    until(world, p, &of("users", ",ready=\"True\",reason=\"Ready\""), |n| {
        is(n, 4)
    })
    .await;
    until(world, p, &of("platform_users", ",state=\"managed\""), |n| {
        is(n, 4)
    })
    .await;
    until(world, p, &of("oldest_token_age_seconds", ""), |n| n > 0.0).await;
    until(world, p, &of("retiring_users", ""), |n| is(n, 0)).await;
    let rotate = json!({"metadata": {"annotations": {ROTATE_AT_ANNOTATION: "1"}}});
    world.change("renewed", rotate).await.unwrap();
    until(world, p, &of("retiring_users", ""), |n| is(n, 1)).await;

    // The time of its replacement has come and gone while it was suspended.
    world
        .change("overdue", json!({"spec": {"suspend": true}}))
        .await
        .unwrap();
    world
        .until("overdue", "to be suspended", |u: &ProgrammaticUser| {
            let all = u.status.iter().flat_map(|s| &s.conditions);
            all.into_iter().any(|c| c.type_ == "Suspended")
        })
        .await;
    patch_status(world, "overdue", &json!({"nextRotation": hours_ago(2)}));
    until(world, p, &of("token_overdue_seconds", ""), |n| n >= 7200.0).await;
    wakes(world, p, &["TokenTooOld"], true).await;

    let series_of = |kind: &str, reason: &str| {
        let organization = world.organization_name();
        format!(
            "programmatic_users_conditions{{organization=\"{organization}\",type=\"{kind}\",reason=\"{reason}\"}}"
        )
    };
    until(world, p, &series_of("Suspended", "Suspended"), |n| is(n, 1)).await;
    let mut conditions = world.get("overdue").await.status.unwrap().conditions;
    let mut stuck = conditions[0].clone();
    "RestartingConsumers".clone_into(&mut stuck.type_);
    "RolloutStuck".clone_into(&mut stuck.reason);
    "True".clone_into(&mut stuck.status);
    conditions.push(stuck);
    patch_status(world, "overdue", &json!({ "conditions": conditions }));
    until(world, p, &series_of("RestartingConsumers", "RolloutStuck"), |n| {
        is(n, 1)
    })
    .await;
    wakes(world, p, &["ConsumersNotRestarted"], true).await;

    // Its class has been missing for hours.
    world
        .user("classless")
        .viewer(PAYMENTS)
        .class("none")
        .apply()
        .await;
    world.stalled("classless", "UnknownClass").await;
    let waiting = "programmatic_users_users{organization=\"\",ready=\"False\",reason=\"UnknownClass\"}";
    until(world, p, waiting, |n| n >= 1.0).await;
    let mut conditions = world.get("classless").await.status.unwrap().conditions;
    for condition in &mut conditions {
        condition.last_transition_time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(hours_ago(2));
    }
    patch_status(world, "classless", &json!({ "conditions": conditions }));
    wakes(world, p, &["NotReady"], true).await;
    world.delete("classless").await;
    world.gone("classless").await;

    let undecodable = "programmatic_users_undecodable_objects{kind=\"ProgrammaticUser\"}";
    let before = sum(p, undecodable).await.unwrap();
    world.cluster().loosen().unwrap();
    let expire_at = json!({"spec": {"expireAt": "2030-01-01T00:00:00+99:00"}});
    world
        .eventually("the API server to take it", SOON, async || {
            world.change("poisoned", expire_at.clone()).await
        })
        .await;
    until(world, p, undecodable, |n| n > before).await;
    wakes(world, p, &["Undecodable"], true).await;
}

/// Users that no object knows, first reported and then deleted.
async fn orphans(world: &World, p: &Prometheus) {
    let organization = world.organization_name();
    let state = |state: &str| {
        format!("programmatic_users_platform_users{{organization=\"{organization}\",state=\"{state}\"}}")
    };
    orphan(world, "aaaaaaaa", "aaaabbbbccccdddd").await;
    until(world, p, &state("orphaned"), |n| is(n, 1)).await;
    wakes(world, p, &["Orphans"], true).await;
    change(world, json!({"orphanPolicy": "Delete"})).await;
    let deleted = format!("programmatic_users_orphans_deleted_total{{organization=\"{organization}\"}}");
    until(world, p, &deleted, |n| is(n, 1)).await;
    wakes(world, p, &["Orphans"], false).await;
}

/// A platform whose time cannot be right.
async fn clock(world: &World, p: &Prometheus) {
    let organization = world.organization_name();
    let skewed = format!("programmatic_users_clock_implausible{{organization=\"{organization}\"}}");
    let platform = &world.proxies().platform;
    let dates = platform.arm_nth(Act::Lie(Lie::FarFuture), 0, 1_000_000, |_| true);
    until(world, p, &skewed, |n| is(n, 1)).await;
    dates.disarm();
    until(world, p, &skewed, |n| is(n, 0)).await;
}

/// A refused credential: nothing is sent, and what is held back is counted.
async fn credentials(world: &World, p: &Prometheus) {
    let organization = world.organization_name();
    world.set_credential(&"0".repeat(64)).await;
    wakes(world, p, &["BreakerOpen", "CredentialRefused"], true).await;
    world.user("held").viewer(PAYMENTS).apply().await;
    let held = format!(
        "programmatic_users_platform_calls_held_total{{organization=\"{organization}\",reason=\"CredentialInvalid\"}}"
    );
    until(world, p, &held, |n| n > 0.0).await;
    let refused = format!(
        "programmatic_users_platform_calls_total{{organization=\"{organization}\",outcome=\"CredentialInvalid\"}}"
    );
    until(world, p, &refused, |n| n > 0.0).await;
    wakes(world, p, &["OrganizationNotReady"], false).await;
    world.set_credential(&world.platform().admin_token).await;
    world.ready("held").await;
    wakes(world, p, &["BreakerOpen", "CredentialRefused"], false).await;
}

/// A platform that takes connections and does not answer, with many users that wait for it.
async fn platform_away(world: &World, p: &Prometheus) {
    let organization = world.organization_name();
    let of = |metric: &str| format!("programmatic_users_{metric}{{organization=\"{organization}\"}}");
    let frozen = Instant::now();
    world.platform().freeze().await;
    for i in 0..40 {
        world.user(&format!("stuck{i}")).viewer(PAYMENTS).apply().await;
    }
    // The backoff grows with each failure: the state may be over when the test looks for it.
    let was = async |expression: &str, wanted: &dyn Fn(f64) -> bool| {
        let asked = || {
            format!(
                "max(max_over_time(({expression})[{}s:1s]))",
                frozen.elapsed().as_secs() + 1
            )
        };
        world
            .eventually(expression, SOON, async || {
                let value = sum(p, &asked()).await?;
                wanted(value).then_some(()).ok_or_else(|| value.to_string())
            })
            .await;
    };
    // The other controller has many who wait, too.
    let url = world.controller().url().await;
    let instance = url.trim_start_matches("http://");
    let users = |metric: &str| {
        format!("programmatic_users_{metric}{{kind=\"ProgrammaticUser\",instance=\"{instance}\"}}")
    };
    was(&users("reconciles_waiting"), &|n| n > 0.0).await;
    was(&users("reconciles_running"), &|n| n >= 16.0).await;
    was(&of("limiter_in_flight"), &|n| n > 0.0).await;
    was(&of("limiter_waiting"), &|n| n > 0.0).await;
    // What the alerts ask for takes longer than a test may; these are the same numbers, and they grow.
    was(&users("oldest_reconcile_seconds"), &|n| n > 5.0).await;
    let saturated = format!("min_over_time({}[5s])", of("limiter_waiting"));
    was(&saturated, &|n| n > 0.0).await;
    let stale = format!(
        "time() - {} > 3 * {}",
        of("last_list_timestamp_seconds"),
        of("list_interval_seconds")
    );
    until(world, p, &stale, |n| n > 5.0).await;
    wakes(world, p, &["OrganizationNotReady"], true).await;
    world.platform().thaw().await;
    for i in 0..40 {
        world.ready(&format!("stuck{i}")).await;
    }
    wakes(world, p, &["OrganizationNotReady"], false).await;
    let lag = "histogram_quantile(1, sum by (le) (programmatic_users_queue_lag_seconds_bucket{kind=\"ProgrammaticUser\"}))";
    until(world, p, lag, |n| n > 1.0).await;
    until(
        world,
        p,
        "max(programmatic_users_oldest_reconcile_seconds)",
        |n| n < 5.0,
    )
    .await;
    until(world, p, &format!("{stale} or vector(0)"), |n| is(n, 0)).await;
}

/// The API server refuses what the operator writes, again and again.
async fn errors(world: &World, p: &Prometheus) {
    let writes = |seen: &Seen| seen.verb == "update" && seen.resource == "programmaticusers/status";
    let fault = world.proxies().api.arm_nth(Act::Refuse(500), 0, 120, writes);
    for i in 0..40 {
        world.user(&format!("refused{i}")).viewer(PAYMENTS).apply().await;
    }
    wakes(world, p, &["ReconcileErrors"], true).await;
    fault.disarm();
    for i in 0..40 {
        world.ready(&format!("refused{i}")).await;
    }
}

/// As many users were made as an hour allows.
async fn limits(world: &World, p: &Prometheus) {
    let organization = world.organization_name();
    change(world, json!({"limits": {"createsPerHour": 1}})).await;
    wakes(world, p, &["CreateBudgetExhausted"], true).await;
    world.user("more").viewer(PAYMENTS).apply().await;
    let held = format!(
        "programmatic_users_platform_calls_held_total{{organization=\"{organization}\",reason=\"CreateBudgetExhausted\"}}"
    );
    until(world, p, &held, |n| n > 0.0).await;
}

/// Names in the code, the documentation and the test are the same; each has had another value than zero; every panel of the
/// dashboard has had something to show.
async fn everything_was_moved_and_is_shown(p: &Prometheus, scraped: &BTreeSet<String>, span: i64) {
    let documented = documented();
    assert_eq!(
        &documented, scraped,
        "docs/observability.md lists what is scraped"
    );
    let mut idle = Vec::new();
    for name in &documented {
        let histogram = p
            .query(&format!("max_over_time({name}_count[1h]) > 0"))
            .await
            .unwrap();
        let plain = p.query(&format!("max_over_time({name}[1h]) > 0")).await.unwrap();
        if histogram.is_empty() && plain.is_empty() {
            idle.push(name);
        }
    }
    assert_eq!(idle, FAULTS, "nothing here moves these");
    let path = root().join("charts/programmatic-users/dashboards/programmatic-users.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut shown, mut empty) = (0, Vec::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let asked = expression
                .replace("$organization", ".*")
                .replace("$__rate_interval", "10s");
            shown += 1;
            if p.series_within(&asked, span).await.unwrap() == 0 {
                empty.push(format!("{}: {expression}", panel["title"]));
            }
        }
    }
    println!(
        "metrics: {} documented, scraped and moved; {shown} queries of the dashboard have data",
        documented.len()
    );
    assert!(shown > 30 && empty.is_empty(), "{empty:#?}");
}

#[tokio::test]
async fn nothing_of_an_organization_stays_when_it_goes() {
    let world = World::builder("metrics-gone").drift("1s").start().await;
    let organization = world.organization_name();
    world.user("one").viewer(PAYMENTS).apply().await;
    world.ready("one").await;
    let text = world.controller().metrics().await;
    let label = format!("organization=\"{organization}\"");
    for metric in [
        "platform_calls_total",
        "limiter_wait_seconds_count",
        "users",
        "organization_ready",
    ] {
        let line = text
            .lines()
            .find(|l| l.starts_with(&format!("programmatic_users_{metric}{{")));
        assert!(line.is_some_and(|l| l.contains(&label)), "{metric}: {line:?}");
    }
    world.delete("one").await;
    world.gone("one").await;
    let api: Api<Organization> = Api::all(world.client());
    api.delete(organization, &DeleteParams::default()).await.unwrap();
    world
        .eventually("its series to go", SOON, async || {
            let text = world.controller().metrics().await;
            let line = text.lines().find(|l| l.contains(&label));
            line.map_or(Ok(()), |l| Err(l.to_owned()))
        })
        .await;
}
