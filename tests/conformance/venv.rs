//! Python packages that tests need.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment with `package`, a name and a version; made once, under `target/`. `flags` are pip's.
pub fn venv(package: &str, flags: &[&str]) -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venv-{}", package.replace("==", "-")));
    // Written last, so that a broken installation is not taken for a finished one.
    let finished = venv.join("finished");
    if finished.exists() {
        return venv;
    }
    let _ = std::fs::remove_dir_all(&venv);
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    let made = made.unwrap_or_else(|e| panic!("install python3 (with venv and pip) to run this test: {e}"));
    assert!(
        made.status.success(),
        "install the venv module of python3 (package python3-venv) to run this test: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let pip = Command::new(venv.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet"])
        .args(flags)
        .arg(package)
        .output()
        .unwrap();
    assert!(
        pip.status.success(),
        "pip could not install {package}, which this test needs: {}",
        String::from_utf8_lossy(&pip.stderr)
    );
    std::fs::write(&finished, package).unwrap();
    venv
}
