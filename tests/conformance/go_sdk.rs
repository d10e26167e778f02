//! Runs the vendor's own Go SDK.

use std::path::Path;
use std::process::{Command, Stdio};

/// Builds and runs `go/main.go` against the platform at `url`; what it printed.
pub async fn run(url: &str, account: &str, tokens: &[(&'static str, &str)]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/go");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-sdk");
    let args = [url.to_owned(), account.to_owned()];
    let tokens: Vec<(&str, String)> = tokens
        .iter()
        .map(|(name, token)| (*name, (*token).to_owned()))
        .collect();
    let work = move || {
        let mut go = Command::new("go");
        let built = go
            .current_dir(folder)
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .output();
        let built = built.unwrap_or_else(|e| panic!("install Go to run this test: {e}"));
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let output = Command::new(program)
            .args(args)
            .envs(tokens)
            .stdin(Stdio::null())
            .output();
        output.unwrap()
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{out}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    out
}
