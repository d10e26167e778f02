//! What holds for the source itself: who may import what, sizes, nothing left undone, generated files current.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

// Beside its only user, and no test program of its own.
#[path = "structure/uses.rs"]
mod uses;
use uses::uses;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `src/MODULE.rs` and everything in `src/MODULE/`, by path.
fn module(name: &str) -> Vec<PathBuf> {
    let src = root().join("src");
    let mut files = vec![src.join(name).with_extension("rs")];
    if src.join(name).is_dir() {
        files.extend(rust_files(&src.join(name)));
    }
    files
}

/// The lines of code: without comments, and without the tests at the end of a file.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        let line = line.split("//").next().unwrap_or_default();
        lines.push((number + 1, line.to_owned()));
    }
    lines
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n == "tests.rs")
}

/// Whether `line` has `word` as a path of its own: `kube::` in `kube::Api`, not in `my_kube::Api`.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn assert_free_of(module_name: &str, forbidden: &[&str]) {
    let mut faults = Vec::new();
    for path in module(module_name).iter().filter(|p| !is_test(p)) {
        for (number, line) in code(path) {
            for word in forbidden.iter().filter(|w| mentions(&line, w)) {
                faults.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "src/{module_name} must not use these:\n{}",
        faults.join("\n")
    );
}

#[test]
fn plan_is_pure() {
    // Types such as `std::time::Duration` and `std::net::IpAddr` are values; these do something.
    assert_free_of(
        "plan",
        &[
            "kube::Client",
            "kube::Api",
            "tokio",
            "SystemTime",
            "Instant",
            "Timestamp::now",
            "rand::",
            "reqwest",
            "std::fs",
            "std::env",
            "TcpStream",
            "UdpSocket",
            "ToSocketAddrs",
            "crate::controller",
            "crate::server",
            "platform_server",
        ],
    );
}

#[test]
fn the_controller_knows_nothing_of_the_embedded_platform() {
    assert_free_of("controller", &["crate::server", "platform_server"]);
}

#[test]
fn commands_know_nothing_of_controller_and_embedded_platform() {
    assert_free_of(
        "command",
        &["crate::server", "platform_server", "crate::controller"],
    );
}

/// Of the plan, a module is a file with its folder, and `plan.rs`, which has the types of the protocol, is left out.
#[test]
fn no_two_files_of_a_part_use_each_other() {
    let mut all = uses("plan");
    all.retain(|(from, to)| from != "plan" && to != "plan");
    let folder = |file: String| file.split("::").take(2).collect::<Vec<_>>().join("::");
    let all = all.into_iter().map(|(from, to)| (folder(from), folder(to)));
    let mut all: BTreeSet<_> = all.filter(|(from, to)| from != to).collect();
    for part in ["api", "cli", "command", "controller", "health", "metrics"] {
        all.extend(uses(part));
    }
    assert!(all.len() > 250, "{all:?}");
    // An arrow is of no circle if its end uses nothing, or nothing uses its beginning.
    let is_of_none = |all: &BTreeSet<(String, String)>, (from, to): &(String, String)| {
        !all.iter().any(|(user, _)| user == to) || !all.iter().any(|(_, used)| used == from)
    };
    while let Some(arrow) = all.iter().find(|arrow| is_of_none(&all, arrow)).cloned() {
        all.remove(&arrow);
    }
    assert!(all.is_empty(), "in circles, or between two: {all:?}");
}

/// It may use `crate::` for nothing but itself. The walls of `platform-api` and `platform-server` are their `Cargo.toml`.
#[test]
fn api_stands_alone() {
    let mut faults = Vec::new();
    for path in module("api") {
        for (number, line) in code(&path) {
            if mentions(&line.replace("crate::api", ""), "crate::") {
                faults.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "src/api may use nothing of this crate:\n{}",
        faults.join("\n")
    );
}

/// Files of `src` and `crates`, tests included, with their lines.
fn all_files() -> Vec<(PathBuf, Vec<String>)> {
    let files = ["src", "crates"].map(|dir| rust_files(&root().join(dir)));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text.lines().map(str::to_owned).collect())
    };
    files.concat().into_iter().map(read).collect()
}

#[test]
fn files_are_of_a_size_to_be_read() {
    let mut faults = Vec::new();
    for (path, lines) in all_files() {
        let most = if path.ends_with("src/main.rs") { 60 } else { 400 };
        if lines.len() > most {
            faults.push(format!(
                "{}: {} lines, at most {most}",
                path.display(),
                lines.len()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether a line begins a function, as rustfmt writes it.
fn begins_function(line: &str) -> bool {
    let before = line.trim_start().split_once("fn ").map(|(before, _)| before);
    let is_modifier = |word: &str| {
        word.starts_with("pub") || word.starts_with("crate::") || ["const", "async", "unsafe"].contains(&word)
    };
    before.is_some_and(|before| before.split_whitespace().all(is_modifier))
}

#[test]
fn functions_are_of_a_size_to_be_read() {
    let (mut functions, mut faults) = (0, Vec::new());
    for (path, lines) in all_files() {
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
            functions += 1;
            let indent = &line[..line.len() - line.trim_start().len()];
            let (end, declared) = (format!("{indent}}}"), format!("{indent})"));
            let ends = |line: &&String| **line == end || (line.starts_with(&declared) && line.ends_with(';'));
            let is_one_line = line.ends_with(['}', ';']);
            let long = lines[number..]
                .iter()
                .position(|line| ends(&line))
                .unwrap_or_default()
                + 1;
            if !is_one_line && long > 60 {
                faults.push(format!(
                    "{}:{}: {long} lines, at most 60",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(functions > 1000, "{functions}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A folder of a target's name would be what make looks at otherwise: `make fuzz` did nothing for want of this.
#[test]
fn every_target_of_make_that_has_help_is_phony() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let phony = makefile
        .lines()
        .find_map(|line| line.strip_prefix(".PHONY:"))
        .unwrap();
    let phony: BTreeSet<_> = phony.split_whitespace().collect();
    let targets = makefile
        .lines()
        .filter(|line| line.contains(": ") && line.contains("## "));
    let targets: Vec<_> = targets
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .collect();
    assert!(targets.len() > 10, "{targets:?}");
    let missing: Vec<_> = targets.iter().filter(|target| !phony.contains(*target)).collect();
    assert!(missing.is_empty(), "not in .PHONY: {missing:?}");
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    // Written in pieces, or this file would find itself.
    let words = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("#[ig", "nore"),
    ];
    let mut faults = Vec::new();
    for dir in ["src", "crates", "tests", "examples", "fuzz/targets"] {
        for path in rust_files(&root().join(dir)) {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in words.iter().filter(|w| text.contains(*w)) {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_failure_of_the_table_is_produced_by_a_test() {
    let table = std::fs::read_to_string(root().join("docs/failures.md")).unwrap();
    let mut tests = String::new();
    // What only a fault of the operator brings about is tried out beside the code that tells of it.
    for dir in [
        "tests/operator",
        "src/plan/tests",
        "src/controller/reconcile/panics",
    ] {
        for file in rust_files(&root().join(dir)) {
            tests.push_str(&std::fs::read_to_string(file).unwrap());
        }
    }
    let cells = table
        .lines()
        .filter(|l| l.starts_with("| `"))
        .filter_map(|l| l.split('|').nth(1));
    let reasons: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(reasons.len() > 25, "{reasons:?}");
    let missing: Vec<_> = reasons
        .iter()
        .filter(|r| !tests.contains(&format!("\"{r}\"")) && !tests.contains(&format!("Reason::{r}")))
        .collect();
    assert!(missing.is_empty(), "no test produces {missing:?}");
}

/// Places of a schema without a sentence of their own, below `at`.
fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let words = field["description"].as_str().unwrap_or_default();
        if words.split_whitespace().count() < 2 {
            found.push(format!("{at}: {words:?}"));
        }
        for inner in [field, &field["items"], &field["additionalProperties"]] {
            undescribed(inner, &at, found);
        }
    }
}

#[test]
fn kubectl_explain_has_a_sentence_for_every_field() {
    let (mut fields, mut found) = (0, Vec::new());
    for (name, text) in &programmatic_users::crds::files().unwrap() {
        let crd: Value = serde_saphyr::from_str(text).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let schema = &version["schema"]["openAPIV3Schema"];
            fields += schema.to_string().matches("\"description\"").count();
            for part in ["spec", "status"] {
                undescribed(&schema["properties"][part], &format!("{name} {part}"), &mut found);
            }
        }
    }
    assert!(fields > 100, "{fields}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_custom_resource_definitions_are_current() {
    let dir = root().join("crds");
    let files = programmatic_users::crds::files().unwrap();
    for (name, text) in &files {
        let found = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            found == *text,
            "crds/{name} is not what the types say: run `make crds` and commit"
        );
    }
    let on_disk = std::fs::read_dir(&dir).unwrap().count();
    assert_eq!(on_disk, files.len(), "crds/ has files that no type stands behind");
}
