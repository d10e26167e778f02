//! What comes from elsewhere: known vulnerabilities of dependencies, the images that are named, the chart of a release.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::helm::{RENDERED, helm};
use crate::support::cluster::{helm_program, root, run};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A Git repository with one advisory, as RustSec keeps them.
fn database(dir: &Path, package: &str) -> String {
    let crates = dir.join("crates").join(package);
    fs::create_dir_all(&crates).unwrap();
    let advisory = format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"{package}\"\ndate = \"2026-01-02\"\n\n[versions]\npatched = []\n```\n\n# A fault\n\nIt is one.\n"
    );
    fs::write(crates.join("RUSTSEC-2026-9999.md"), advisory).unwrap();
    for args in [
        &["init", "--quiet"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t.invalid",
            "commit",
            "--quiet",
            "--message=one",
        ],
    ] {
        run(Command::new("git").arg("-C").arg(dir).args(args), None).unwrap();
    }
    dir.to_str().unwrap().to_owned()
}

/// Whether the look-up of known vulnerabilities succeeds, and what it says.
fn advisories(database: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new("tests/audit.sh");
    command.arg("advisories").current_dir(root());
    for name in ["CI", "GITHUB_ACTIONS", "ADVISORIES"] {
        command.env_remove(name);
    }
    command.env("ADVISORY_DB", database);
    let out = command.envs(variables.iter().copied()).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_known_vulnerability_fails_the_audit_and_so_does_a_database_that_ci_cannot_read() {
    let (of_ours, of_others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let of_ours = database(of_ours.path(), "serde_json");
    let (passed, said) = advisories(&of_ours, &[("ADVISORIES", "optional")]);
    assert!(!passed && said.contains("RUSTSEC-2026-9999"), "{said}");
    let of_others = database(of_others.path(), "a-crate-of-others");
    let (passed, said) = advisories(&of_others, &[("CI", "true")]);
    assert!(passed && !said.contains("NOT looked for"), "{said}");

    let nowhere = "file:///nowhere/at/all";
    for (variables, passes) in [
        (&[][..], true),
        (&[("CI", "true")], false),
        (&[("GITHUB_ACTIONS", "true")], false),
        (&[("ADVISORIES", "required")], false),
        (&[("CI", "true"), ("ADVISORIES", "optional")], true),
    ] {
        let (passed, said) = advisories(nowhere, variables);
        assert_eq!(passed, passes, "{variables:?}: {said}");
        let word = if passes { "warning: " } else { "error: " };
        let line = said.lines().find(|line| line.contains("NOT looked for"));
        assert!(line.is_some_and(|l| l.starts_with(word)), "{variables:?}: {said}");
    }
}

#[test]
fn the_chart_of_a_release_names_its_image_by_digest() {
    let out = tempfile::tempdir().unwrap();
    let package = |digest: &str| {
        let mut command = Command::new("make");
        command.arg("release-chart").current_dir(root());
        command
            .env("HELM", helm_program().unwrap())
            .env("OUT", out.path());
        run(
            command
                .env("DIGEST", digest)
                .env("REPOSITORY", "registry.invalid/pu"),
            None,
        )
    };
    for none in ["", "0.1.0", "sha256:0123"] {
        let said = package(none).expect_err(none);
        assert!(said.contains("give the digest of the release's image"), "{said}");
    }
    package(DIGEST).unwrap();
    let chart = out
        .path()
        .join(format!("programmatic-users-{}.tgz", env!("CARGO_PKG_VERSION")));
    let flags = ["--set", "platform.enabled=true"];
    let args = ["template", RENDERED, chart.to_str().unwrap()];
    let rendered = helm(None, &[&args[..], &flags].concat()).unwrap();
    let images: Vec<&str> = rendered
        .lines()
        .filter_map(|l| l.trim().strip_prefix("image: "))
        .collect();
    let pinned = format!("registry.invalid/pu@{DIGEST}");
    assert_eq!(images, [&pinned, &pinned]);
    assert!(rendered.contains("kind: CustomResourceDefinition"));
}

#[test]
fn the_image_is_built_from_nothing_and_from_what_has_a_digest() {
    let text = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let bases: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("FROM ")).collect();
    assert_eq!(bases, ["${RUST} AS build", "scratch"]);
    // The first command of the stage refuses a tag.
    let (_, after) = text.split_once("\nRUN ").unwrap();
    let (check, _) = after.split_once("\nWORKDIR").unwrap();
    let built = |image: &str| run(Command::new("sh").args(["-ec", check]).env("RUST", image), None);
    let refused = built("rust:1.95-bookworm").unwrap_err();
    assert!(
        refused.contains("--build-arg RUST=rust:1.95-bookworm@sha256:"),
        "{refused}"
    );
    built(&format!("rust:1.95-bookworm@{DIGEST}")).unwrap();
}
