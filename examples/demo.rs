//! The whole system on one machine, step by step: `make demo`.
//!
//! A real control plane (and, as root on Linux, a real node), the embedded platform and the controller, each as
//! processes of their own. Every step is checked; the first that fails ends the demo with its reason and status 1.
//! `KEEP=1` leaves everything running, until `demo stop`.
// What it cannot do it says by ending.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "demo/steps.rs"]
mod steps;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use support::cluster::{controlplane_program, root, run};
use support::process::tail;

const INTERRUPTED: &str = "interrupted";

/// Everything that the demo writes is in here.
fn dir() -> PathBuf {
    root().join("target/demo")
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = std::env::args().nth(1).is_some_and(|word| word == "stop");
    let result = if stop {
        clean_up()
    } else {
        runtime.block_on(demo())
    };
    // Helper threads wait for children, which have ended by now.
    drop(runtime);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\ndemo: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<(), String> {
    if dir().join("pids").exists() {
        return Err("a demo was left running with KEEP=1: end it with `make demo-stop` first".to_owned());
    }
    // What a killed demo may have left.
    clean_up()?;
    let keep = std::env::var("KEEP").is_ok_and(|v| v == "1");
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    // Dropping the steps' future ends platform and controller.
    let result = tokio::select! {
        result = steps::run(dir(), keep) => result,
        _ = tokio::signal::ctrl_c() => Err(INTERRUPTED.to_owned()),
        _ = terminate.recv() => Err(INTERRUPTED.to_owned()),
    };
    if let Err(message) = &result
        && message != INTERRUPTED
    {
        for name in ["controller.err", "platform/platform.err"] {
            eprintln!("\n--- last lines of {name}\n{}", tail(&dir().join(name), 20));
        }
    }
    if keep && result.is_ok() {
        return Ok(());
    }
    println!("\nCleaning up");
    let cleaned = clean_up();
    if cleaned.is_ok() {
        println!("  processes ended, run data removed");
    }
    result.and(cleaned)
}

/// Ends what a demo started, and removes its data.
fn clean_up() -> Result<(), String> {
    let dir = dir();
    for line in std::fs::read_to_string(dir.join("pids"))
        .unwrap_or_default()
        .lines()
    {
        if let Ok(id) = line.parse() {
            end(id)?;
        }
    }
    let plane = dir.join("plane");
    if plane.exists() {
        run(
            std::process::Command::new(controlplane_program()?)
                .arg("stop")
                .arg("--run")
                .arg(&plane),
            None,
        )?;
    }
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {e}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Ends a process, if the number still belongs to one of ours.
fn end(id: u32) -> Result<(), String> {
    let ours = || {
        let name = run(
            std::process::Command::new("ps").args(["-o", "comm=", "-p", &id.to_string()]),
            None,
        );
        // The kernel keeps 15 characters.
        name.is_ok_and(|n| n.trim().ends_with("programmatic-us") || n.trim().ends_with("programmatic-users"))
    };
    if !ours() {
        return Ok(());
    }
    support::process::signal(id, "TERM");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while ours() {
        if std::time::Instant::now() > deadline {
            return Err(format!("process {id} does not end"));
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}
