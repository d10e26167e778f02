//! Files, folders, tests and links that the docs name exist.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, CONTRIBUTING and `docs`; not the changelog, which names what was.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap().flatten();
    pages.extend(docs.map(|entry| entry.path()).filter(|path| path.is_file()));
    pages.retain(|path| path.extension().is_some_and(|e| e == "md"));
    pages
}

/// Words of a text that begin as a path of this repository.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"/._-*".contains(c));
    let paths = words.filter(|word| {
        ["src/", "crates/", "tests/", "fuzz/"]
            .iter()
            .any(|at| word.starts_with(at))
    });
    paths
        .map(|word| word.trim_end_matches(['.', '-', '/']))
        .filter(|word| !word.contains('*'))
}

#[test]
fn files_and_folders_that_the_docs_name_exist() {
    let mut missing = BTreeSet::new();
    let mut named = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for path in paths(&text).filter(|path| !path.contains("NAME")) {
            named += 1;
            if !root().join(path).exists() {
                missing.insert(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(named > 50, "{named}");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn links_of_the_docs_lead_to_files() {
    let mut missing = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or_default();
            if !page.parent().unwrap().join(file).exists() {
                missing.insert(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Tests of `tests/structure.rs`, mutants and properties of the model that the docs name.
#[test]
fn guards_that_the_docs_name_exist() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (rules, mutants) = (read("tests/structure.rs"), read("tests/model/mutant.rs"));
    let architecture = read("docs/architecture.md");
    let (_, table) = architecture.split_once("| rule | guard").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let tests = rows.filter_map(|row| row.split('|').nth(2));
    for name in tests.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        assert!(rules.contains(&format!("fn {name}()")), "no rule {name}");
    }
    let properties = read("tests/model/properties.rs");
    for page in [architecture, read("docs/glossary.md")] {
        let words = page.split('`').skip(1).step_by(2);
        let is_mutant = |word: &&str| word.chars().all(char::is_alphabetic) && word.starts_with("No");
        for word in words.filter(is_mutant).filter(|word| *word != "NotAllowed") {
            assert!(mutants.contains(&format!("    {word},")), "no mutant {word}");
        }
        for word in page.split(|c: char| !c.is_alphanumeric()) {
            let number = word.strip_prefix(['S', 'R', 'L']).unwrap_or_default();
            if !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()) {
                assert!(properties.contains(&format!("\"{word} ")), "no property {word}");
            }
        }
    }
}

/// Modules and tests of an integration test program: what `cargo test --test PROGRAM FILTER` can find.
fn tests_of(program: &str) -> String {
    fn collect(dir: &Path, names: &mut String) {
        for path in fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
        {
            if path.is_dir() {
                collect(&path, names);
            } else if path.extension().is_some_and(|e| e == "rs") {
                names.push_str(&format!("fn {}\n", path.file_stem().unwrap().to_str().unwrap()));
                names.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let tests = root().join("tests");
    let mut names = fs::read_to_string(tests.join(format!("{program}.rs"))).unwrap_or_default();
    collect(&tests.join(program), &mut names);
    // PostgreSQL runs the tests of the platform.
    if program == "postgres" {
        names.push_str(&tests_of("platform"));
    }
    names
}

#[test]
fn tests_that_the_docs_name_exist() {
    let mut missing = Vec::new();
    let mut named = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let commands = text.split("cargo test --test ").skip(1).filter_map(|rest| {
            let mut words = rest.split(['`', '\n']).next()?.split_whitespace();
            Some((words.next()?, words.next().filter(|word| !word.starts_with('-'))?))
        });
        let claims = text.split('`').skip(1).step_by(2).filter_map(|word| {
            let (program, test) = word.split_once(' ')?;
            let is_program = [
                "operator",
                "chart",
                "hostile",
                "platform",
                "crd_rules",
                "postgres",
            ];
            is_program.contains(&program).then_some((program, test))
        });
        // `N name` explains the form.
        for (program, filter) in commands.chain(claims).filter(|(program, _)| *program != "N") {
            named += 1;
            let tests = tests_of(program);
            let is_there = |part: &str| tests.contains(&format!("fn {}", part.trim_end_matches('…')));
            if !filter.split("::").all(is_there) {
                missing.push(format!("{}: {program} {filter}", page.display()));
            }
        }
    }
    assert!(named > 30, "{named}");
    assert!(missing.is_empty(), "{missing:#?}");
}
