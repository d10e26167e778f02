//! A client that nobody here wrote: the vendor's own Python SDK.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{A, ADMIN, Server};

const SDK: &str = "spotinst-sdk2==3.22.0";

/// Python of a virtual environment that has the SDK; made once, under `target/`.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let venv = target.join(format!("venv-{}", SDK.replace("==", "-")));
    let python = venv.join("bin/python");
    // Written last, so that a broken installation is not taken for a finished one.
    let finished = venv.join("finished");
    if finished.exists() {
        return python;
    }
    let _ = std::fs::remove_dir_all(&venv);
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    let made = made.unwrap_or_else(|e| panic!("install python3 (with venv and pip) to run this test: {e}"));
    assert!(
        made.status.success(),
        "install the venv module of python3 (package python3-venv) to run this test: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", SDK])
        .output()
        .unwrap();
    assert!(
        pip.status.success(),
        "pip could not install {SDK}, which this test needs: {}",
        String::from_utf8_lossy(&pip.stderr)
    );
    std::fs::write(&finished, SDK).unwrap();
    python
}

async fn run(server: &Server, args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/spotinst_sdk2.py");
    let (url, args) = (
        server.url(""),
        args.iter().map(ToString::to_string).collect::<Vec<_>>(),
    );
    let run = move || {
        let mut command = Command::new(python());
        command
            .arg(script)
            .arg(url)
            .args(args)
            .env("PLATFORM_ADMIN_TOKEN", ADMIN)
            .stdin(Stdio::null());
        command.output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    assert!(!out.contains(ADMIN) && !err.contains(ADMIN));
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spotinst_sdk2() {
    let server = Server::start().await;
    let out = run(&server, &[]).await;
    assert!(out.trim_end().ends_with("conformant"), "{out}");
    let (id, _) = server.user("viewer", A).await;
    let users: Vec<Value> = serde_json::from_str(&run(&server, &["--list"]).await).unwrap();
    assert!(
        users
            .iter()
            .any(|u| u["user_id"] == id.as_str() && u["type"] == "programmatic")
    );
}
