//! What the docs name exists: files, folders, tests, and the targets of links.
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
    let paths = words.filter(|word| ["src/", "tests/", "fuzz/"].iter().any(|at| word.starts_with(at)));
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
