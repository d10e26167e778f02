//! What holds for the source itself: who may import what, sizes, nothing left undone, generated files current.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

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

/// A module of the plan is a file with its folder. What `plan.rs` exports again belongs to the module that defines it.
#[test]
fn no_two_modules_of_the_plan_use_each_other() {
    let text = |path: &Path| -> String { code(path).into_iter().map(|(_, line)| line + "\n").collect() };
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    let plan = root().join("src/plan");
    let head = std::fs::read_to_string(plan.with_extension("rs")).unwrap();
    let mut home = std::collections::BTreeMap::new();
    for statement in head.split(';') {
        let statement = statement
            .lines()
            .filter(|l| !l.starts_with("//"))
            .collect::<String>();
        if let Some((module, names)) = statement
            .strip_prefix("pub use ")
            .and_then(|s| s.split_once("::"))
        {
            home.extend(words(names).into_iter().map(|name| (name, module.to_owned())));
        } else if let Some(module) = statement.strip_prefix("mod ") {
            home.insert(module.to_owned(), module.to_owned());
        }
    }
    let mut uses = BTreeSet::new();
    for path in rust_files(&plan).iter().filter(|p| !is_test(p)) {
        let inner = path.strip_prefix(&plan).unwrap();
        let module = inner
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        let text = text(path);
        let ways: &[&str] = if inner.iter().count() == 1 {
            &["crate::plan::", "super::"]
        } else {
            &["crate::plan::"]
        };
        for after in ways.iter().flat_map(|way| text.split(way).skip(1)) {
            let end = if after.starts_with('{') { '}' } else { ';' };
            let named = words(after.split(end).next().unwrap());
            let named = if end == '}' { &named[..] } else { &named[..1] };
            let others = named.iter().filter_map(|name| home.get(name));
            uses.extend(
                others
                    .filter(|other| *other != module)
                    .map(|other| (module.to_owned(), other.clone())),
            );
        }
    }
    assert!(uses.len() > 50, "{uses:?}");
    // Modules that use no other that is left are taken away, until only circles are left.
    while let Some(done) = uses
        .iter()
        .map(|(_, to)| to)
        .find(|to| !uses.iter().any(|(from, _)| from == *to))
    {
        let done = done.clone();
        uses.retain(|(_, to)| *to != done);
    }
    assert!(uses.is_empty(), "in circles, or above one: {uses:?}");
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

#[test]
fn files_are_of_a_size_to_be_read() {
    let mut faults = Vec::new();
    let files = ["src", "crates"]
        .map(|dir| rust_files(&root().join(dir)))
        .concat();
    for path in files.iter().filter(|p| !is_test(p)) {
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        let most = if path.ends_with("src/main.rs") { 60 } else { 500 };
        if lines > most {
            faults.push(format!("{}: {lines} lines, at most {most}", path.display()));
        }
    }
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
