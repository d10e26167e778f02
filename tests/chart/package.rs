//! What the chart renders, without a cluster.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;

use crate::helm::{RENDERED, SETS, chart, helm, render, template};
use crate::support::cluster::root;

/// `UPDATE=1 cargo test --test chart` writes them anew.
#[test]
fn rendered_manifests_match_their_snapshots() {
    let update = std::env::var("UPDATE").is_ok_and(|v| v == "1");
    for (name, _) in SETS.into_iter().take(5) {
        let path = root().join(format!("tests/chart/snapshots/{name}.yaml"));
        let rendered = render(name);
        // The definitions are kept in `crds/` once.
        let documents = rendered
            .split("\n---\n")
            .filter(|d| !d.contains("kind: CustomResourceDefinition"));
        let rendered = documents.collect::<Vec<_>>().join("\n---\n");
        if update {
            fs::write(&path, rendered).unwrap();
            continue;
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == rendered,
            "{} is not what the chart renders: look at the difference after `UPDATE=1 cargo test --test chart`",
            path.display()
        );
    }
}

#[test]
fn the_definitions_are_those_of_this_version_and_stay() {
    let rendered = render("default");
    for entry in fs::read_dir(root().join("crds")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let wanted: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
        let name = wanted.name_any();
        let documents = rendered
            .split("\n---\n")
            .filter(|d| d.contains("kind: CustomResourceDefinition"));
        let mut found = documents.map(|d| serde_saphyr::from_str::<CustomResourceDefinition>(d).unwrap());
        let found = found.find(|d| d.name_any() == name).unwrap();
        assert!(found.spec == wanted.spec, "{name} is not as in crds/");
        let policy = found.annotations().get("helm.sh/resource-policy");
        assert_eq!(policy.map(String::as_str), Some("keep"));
    }
}

#[test]
fn helm_finds_nothing_wrong() {
    for (name, flags) in SETS {
        let chart = chart();
        let said = helm(None, &[&["lint", "--strict", &chart][..], flags].concat())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(said.contains("0 chart(s) failed"), "{said}");
    }
}

#[test]
fn values_that_make_no_sense_are_refused_with_their_place() {
    for (flag, place, why) in [
        (
            "rbac.mode=strickt",
            "/rbac/mode",
            "must be one of 'strict', 'cluster'",
        ),
        ("replicas=0", "/replicas", "minimum"),
        (
            "rbac.namespaces={Payments}",
            "/rbac/namespaces/0",
            "does not match pattern",
        ),
        (
            "rbac.namespaces={payments,payments}",
            "/rbac/namespaces",
            "items at 0 and 1 are equal",
        ),
        (
            "rbac.namespace={payments}",
            "/rbac",
            "additional properties 'namespace' not allowed",
        ),
        (
            "controller.instanceId=UPPER1",
            "/controller/instanceId",
            "does not match pattern",
        ),
        (
            "consumers=reload",
            "/consumers",
            "must be one of 'off', false, 'observe', 'restart'",
        ),
        ("image.digest=abc", "/image/digest", "does not match pattern"),
    ] {
        let said = template(RENDERED, &["--set", flag]).expect_err(flag);
        assert!(said.contains(place) && said.contains(why), "{flag}: {said}");
    }
}

/// The operator's flags and rights are the same.
#[test]
fn rights_to_workloads_are_those_of_the_level() {
    for (set, level, verbs) in [
        ("off", "off", None),
        ("cluster", "off", None),
        ("unquoted", "off", None),
        ("default", "observe", Some("verbs: [list, watch]")),
        ("observe", "observe", Some("verbs: [list, watch]")),
        ("everything", "observe", Some("verbs: [list, watch]")),
        ("restart", "restart", Some("verbs: [list, watch, patch]")),
        ("restart-all", "restart", Some("verbs: [list, watch, patch]")),
    ] {
        let rendered = render(set);
        assert!(rendered.contains(&format!("- --consumers={level}\n")), "{set}");
        let (_, rest) = rendered
            .split_once("resources: [deployments, statefulsets, daemonsets]\n")
            .unzip();
        let found = rest.and_then(|rest| rest.lines().next()).map(str::trim);
        assert_eq!(found, verbs, "{set}");
        assert_eq!(rendered.contains("resources: [pods]"), verbs.is_some(), "{set}");
    }
}

fn folder() -> PathBuf {
    PathBuf::from(chart())
}

/// The table of the chart's README, from the comments of `values.yaml`.
fn table() -> String {
    let values = fs::read_to_string(folder().join("values.yaml")).unwrap();
    let mut table = "| value | default | |\n|---|---|---|\n".to_owned();
    let (mut parent, mut says) = (String::new(), None);
    for line in values.lines() {
        if let Some(text) = line.trim_start().strip_prefix("# -- ") {
            says = Some(text.to_owned());
            continue;
        }
        let Some((key, value)) = line
            .split_once(':')
            .filter(|_| !line.trim_start().starts_with('#'))
        else {
            continue;
        };
        if !line.starts_with(' ') {
            key.clone_into(&mut parent);
        }
        if let Some(text) = says.take() {
            let key = key.trim_start();
            let path = if line.starts_with(' ') {
                format!("{parent}.{key}")
            } else {
                key.to_owned()
            };
            let default = if value.trim().is_empty() {
                "see `values.yaml`"
            } else {
                &format!("`{}`", value.trim())
            };
            writeln!(table, "| `{path}` | {default} | {text} |").unwrap();
        }
    }
    table
}

/// What the first administrator comes in with is in a Secret of its own for each rendering, and not in the pod's log.
#[test]
fn the_platforms_first_credentials_are_in_a_secret() {
    let secret = || {
        let rendered = template(RENDERED, &["--set", "platform.enabled=true"]).unwrap();
        for flag in [
            "--admin-password-file=/admin/password",
            "--admin-token-file=/admin/token",
        ] {
            assert!(rendered.contains(flag), "{flag}");
        }
        let found = rendered.split("\n---\n").find(|d| d.contains("kind: Secret\n"));
        serde_saphyr::from_str::<k8s_openapi::api::core::v1::Secret>(found.unwrap()).unwrap()
    };
    let (one, other) = (secret().data.unwrap(), secret().data.unwrap());
    assert_eq!(one["password"].0.len(), 24);
    let is_token = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    assert!(one["token"].0.len() == 64 && one["token"].0.iter().all(is_token));
    assert!(one["password"] != other["password"] && one["token"] != other["token"]);
    let own = template(
        RENDERED,
        &["--set", "platform.enabled=true,platform.adminSecret=mine"],
    )
    .unwrap();
    assert!(own.contains("secretName: mine") && !own.contains("kind: Secret\n"));
}

/// `UPDATE=1` writes it anew.
#[test]
fn the_readme_lists_every_value() {
    let path = folder().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once("<!-- values -->\n").unwrap();
    let (kept, after) = rest.split_once("<!-- end of values -->").unwrap();
    if std::env::var("UPDATE").is_ok_and(|v| v == "1") {
        let whole = format!(
            "{before}<!-- values -->\n{}<!-- end of values -->{after}",
            table()
        );
        fs::write(&path, whole).unwrap();
        return;
    }
    assert_eq!(kept, table(), "run `UPDATE=1 cargo test --test chart`");
}
