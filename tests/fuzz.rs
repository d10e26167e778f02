//! Every fuzz target (`fuzz/targets`) over its corpus, and over a fixed number of mutations of it. `make fuzz` looks further.
//!
//! An input that takes longer than [`LONGEST`] ends the process: a parser that does not come to an end holds a thread of
//! the operator for good.
// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::{TARGETS, Target};

/// What one input may take. It takes milliseconds; a busy machine takes its time.
const LONGEST: Duration = Duration::from_secs(10);

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}

/// The input that runs, and since when.
type Running = Arc<Mutex<Option<(String, Vec<u8>, Instant)>>>;

/// Ends the process when one input takes too long, and keeps that input.
fn watch(running: Running, done: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(200));
            if let Some((name, data, since)) = running.lock().unwrap().as_ref()
                && since.elapsed() > LONGEST
            {
                let path = keep(data);
                // Not by a macro: what is printed by those is lost with the process.
                let _ = writeln!(
                    std::io::stderr(),
                    "{name} takes longer than {LONGEST:?}; its input is in {}",
                    path.display()
                );
                std::process::abort();
            }
        }
    });
}

fn keep(data: &[u8]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = dir.join("fuzz-input");
    std::fs::write(&path, data).unwrap();
    path
}

/// What went wrong, if anything did.
fn try_input(target: &Target, running: &Running, name: &str, data: &[u8]) -> Result<(), String> {
    *running.lock().unwrap() = Some((format!("{}: {name}", target.name), data.to_vec(), Instant::now()));
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    *running.lock().unwrap() = None;
    let name = format!("{}: {name} breaks a promise, see above", target.name);
    outcome.map_err(|_| format!("{name}: {:?}", String::from_utf8_lossy(data)))
}

/// The corpus of a target, and its mutations, up to the first that breaks a promise.
fn run(target: &Target, running: &Running) -> Result<(), String> {
    let begun = Instant::now();
    let files = corpus(target.name);
    for (path, data) in &files {
        try_input(target, running, &path.display().to_string(), data)?;
    }
    let inputs: Vec<&[u8]> = files.iter().map(|(_, data)| data.as_slice()).collect();
    let mut mutator = Mutator::new(1, &inputs);
    for n in 0..target.mutations {
        let data = mutator.next();
        try_input(target, running, &format!("mutation {n}"), &data)?;
    }
    println!(
        "fuzz {:9} {:3} files and {:6} mutations in {:6} ms",
        target.name,
        files.len(),
        target.mutations,
        begun.elapsed().as_millis()
    );
    Ok(())
}

#[test]
fn no_input_breaks_a_parser_or_holds_it() {
    let running = Running::default();
    let done = Arc::new(AtomicBool::new(false));
    watch(running.clone(), done.clone());
    let broken: Vec<String> = TARGETS
        .iter()
        .filter_map(|target| run(target, &running).err())
        .collect();
    done.store(true, Ordering::Relaxed);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_target_has_a_corpus_and_each_corpus_a_target() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let folders = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let folders: BTreeSet<String> = folders.map(|name| name.into_string().unwrap()).collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    assert_eq!(folders, names);
    assert!(names.len() >= 12);
    for name in &names {
        assert!(corpus(name).len() >= 3, "{name}");
        assert!(targets::find(name).is_some());
    }
}
