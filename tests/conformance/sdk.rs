//! Runs the vendor's own Python SDK.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::venv::venv;

const SDK: &str = "spotinst-sdk2==3.22.0";

/// Runs `spotinst_sdk2.py` against the platform at `url`; what it printed.
pub async fn run(url: &str, admin_token: &str, args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/spotinst_sdk2.py");
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let (url, token) = (url.to_owned(), admin_token.to_owned());
    let run = move || {
        let mut command = Command::new(venv(SDK, &[]).join("bin/python"));
        command
            .arg(script)
            .arg(url)
            .args(args)
            .env("PLATFORM_ADMIN_TOKEN", token)
            .stdin(Stdio::null());
        command.output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    assert!(!out.contains(admin_token) && !err.contains(admin_token));
    out.into_owned()
}
