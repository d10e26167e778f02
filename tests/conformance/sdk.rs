//! Runs the vendor's own Python SDK.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// Runs `spotinst_sdk2.py` against the platform at `url`; what it printed.
pub async fn run(url: &str, admin_token: &str, args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/spotinst_sdk2.py");
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let (url, token) = (url.to_owned(), admin_token.to_owned());
    let run = move || {
        let mut command = Command::new(python());
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
