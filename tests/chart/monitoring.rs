//! Alerts and dashboard of the chart, as Prometheus' own tool reads them, and what is written about them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::helm::render;
use crate::support::cluster::root;

const RULES: &str = "charts/programmatic-users/files/alerts.yaml";
const TESTS: &str = "tests/prometheus/alerts.yaml";
const DASHBOARD: &str = "charts/programmatic-users/dashboards/programmatic-users.json";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// What `promtool` says; it ends the test if it finds something wrong.
fn promtool(args: &[&str]) -> String {
    let out = Command::new("promtool")
        .args(args)
        .current_dir(root())
        .output()
        .unwrap_or_else(|e| {
            panic!("promtool: {e}; it is in Debian's package prometheus (tests/prerequisites.sh installs it)")
        });
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(out.status.success(), "promtool {args:?}: {said}");
    said
}

fn alerts() -> Vec<Value> {
    let groups = yaml(&read(RULES))["groups"].as_array().cloned().unwrap();
    groups
        .iter()
        .flat_map(|g| g["rules"].as_array().cloned().unwrap())
        .collect()
}

/// Our metrics that an expression names, without the suffixes of a histogram.
fn metrics(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|w| w.starts_with("programmatic_users_"))
        .map(|w| w.strip_suffix("_bucket").unwrap_or(w).to_owned())
        .collect()
}

#[test]
fn the_alerts_are_valid_and_fire_when_they_should_and_only_then() {
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES]);
    assert!(
        said.contains(&format!("{} rules found", alerts().len())),
        "{said}"
    );
    let said = promtool(&["test", "rules", TESTS]);
    assert!(said.contains("SUCCESS"), "{said}");
    // Each is tried out, once in a state in which it fires and once in one in which it does not.
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for group in yaml(&read(TESTS))["tests"].as_array().unwrap() {
        for test in group["alert_rule_test"].as_array().unwrap() {
            let name = test["alertname"].as_str().unwrap().to_owned();
            let expected = test["exp_alerts"].as_array().map_or(0, Vec::len);
            if expected > 0 {
                fires.insert(name)
            } else {
                quiet.insert(name)
            };
        }
    }
    let all: BTreeSet<String> = alerts()
        .iter()
        .map(|a| a["alert"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(fires, all);
    assert_eq!(quiet, all);
}

#[test]
fn each_alert_says_what_is_wrong_and_leads_to_its_section_of_the_runbooks() {
    let runbooks = read("docs/runbooks.md");
    let sections: Vec<&str> = runbooks.lines().filter_map(|l| l.strip_prefix("## ")).collect();
    let names: Vec<String> = alerts()
        .iter()
        .map(|a| a["alert"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        sections, names,
        "docs/runbooks.md has one section for each alert, in their order"
    );
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let says = |key: &str| alert["annotations"][key].as_str().unwrap_or_default().to_owned();
        let summary = says("summary");
        assert!(summary.ends_with('.') && summary.len() > 15, "{name}: {summary}");
        assert!(says("description").len() > 40, "{name}: {}", says("description"));
        let anchor = format!("/docs/runbooks.md#{}", name.to_lowercase());
        assert!(
            says("runbook_url").ends_with(&anchor),
            "{name}: {}",
            says("runbook_url")
        );
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity}"
        );
        assert!(alert["for"].is_string(), "{name}");
    }
}

#[test]
fn the_rendered_alerts_are_the_checked_ones() {
    let rendered = render("monitoring");
    let of_kind = |kind: &str| {
        let found = rendered
            .split("\n---\n")
            .find(|d| d.contains(&format!("\nkind: {kind}\n")));
        yaml(found.unwrap_or_else(|| panic!("no {kind}")))
    };
    let rule = of_kind("PrometheusRule");
    assert_eq!(rule["spec"], yaml(&read(RULES)));
    let dashboards = of_kind("ConfigMap");
    assert_eq!(dashboards["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboards["data"]["programmatic-users.json"].as_str().unwrap();
    let (rendered, kept): (Value, Value) = (
        serde_json::from_str(text).unwrap(),
        serde_json::from_str(&read(DASHBOARD)).unwrap(),
    );
    assert_eq!(rendered, kept);
    let usual = render("default");
    for kind in ["PrometheusRule", "ServiceMonitor", "ConfigMap"] {
        assert!(
            !usual.contains(&format!("\nkind: {kind}\n")),
            "{kind} is off by default"
        );
    }
}

#[test]
fn alerts_and_dashboard_name_documented_metrics_only_and_the_dashboard_shows_all() {
    let docs = read("docs/observability.md");
    let documented: BTreeSet<String> = docs
        .lines()
        .filter_map(|l| l.strip_prefix("| `"))
        .filter_map(|l| l.split(['`', '{']).next())
        .filter(|n| n.starts_with("programmatic_users_"))
        .map(str::to_owned)
        .collect();
    let of_alerts = alerts()
        .into_iter()
        .flat_map(|a| metrics(a["expr"].as_str().unwrap()));
    let unknown: BTreeSet<String> = of_alerts.filter(|m| !documented.contains(m)).collect();
    assert_eq!(
        unknown,
        BTreeSet::new(),
        "in alerts and not in docs/observability.md"
    );
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut shown = BTreeSet::new();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            ids.insert(panel["id"].to_string()),
            "{panel}: another one has its id"
        );
        assert!(
            places.insert(panel["gridPos"].to_string()),
            "{panel}: it covers another one"
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert!(
                panel["description"].as_str().is_some_and(|d| d.len() > 10),
                "{panel}"
            );
            shown.extend(metrics(target["expr"].as_str().unwrap()));
        }
    }
    assert_eq!(
        shown, documented,
        "the dashboard shows what docs/observability.md lists"
    );
}
