//! The Go programs that tests run: built once, and kept outside the checkout for the next one.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::cluster::{root, run, visible};

/// A program's path, or why there is none.
type Built = OnceLock<Result<PathBuf, String>>;

/// The folder of all programs that are kept, as the `Makefile` has it.
fn kept() -> PathBuf {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let cache = || named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    named("PROGRAMMATIC_USERS_CACHE")
        .or_else(|| cache().map(|cache| cache.join("programmatic-users")))
        .unwrap_or_else(|| root().join("target/cache"))
}

/// Where binaries of Kubernetes are kept.
#[must_use]
pub fn kubernetes() -> PathBuf {
    std::env::var_os("CONTROLPLANE_CACHE").map_or_else(|| kept().join("kubernetes"), PathBuf::from)
}

/// Builds the program of `tests/controlplane`; a second's work, and nothing if it is built already.
pub fn controlplane_program() -> Result<PathBuf, String> {
    static BUILT: Built = OnceLock::new();
    let work = || {
        let dir = root().join("target/controlplane");
        let _lock = lock(&dir)?;
        let program = dir.join("controlplane");
        build("tests/controlplane", ".", &program).map(|()| program)
    };
    BUILT.get_or_init(work).clone()
}

/// Builds Helm from its Go module, some minutes' work the first time.
pub fn helm_program() -> Result<PathBuf, String> {
    static BUILT: Built = OnceLock::new();
    let work = || build_once("tests/helm", "helm.sh/helm/v4/cmd/helm", &kept().join("helm"));
    BUILT.get_or_init(work).clone()
}

/// Builds the program of `tests/gitops` with the code of Argo CD and Flux, some minutes' work the first time.
pub fn gitops_program() -> Result<PathBuf, String> {
    static BUILT: Built = OnceLock::new();
    let work = || build_once("tests/gitops", ".", &kept().join("gitops"));
    BUILT.get_or_init(work).clone()
}

/// Builds a program unless it is kept. Its name there is the hash of what it is made of, and comes with the rename of the
/// whole program.
fn build_once(folder: &str, package: &str, dir: &Path) -> Result<PathBuf, String> {
    let program = dir.join(key(folder, package)?);
    if program.exists() {
        return Ok(program);
    }
    let _lock = lock(dir)?;
    if !program.exists() {
        let partial = program.with_extension("partial");
        build(folder, package, &partial)?;
        fs::rename(&partial, &program).map_err(|e| format!("{}: {e}", program.display()))?;
    }
    Ok(program)
}

/// The hash of the sources, the requirements and the compiler.
fn key(folder: &str, package: &str) -> Result<String, String> {
    let compiler = run(
        Command::new("go").args(["env", "GOVERSION", "GOOS", "GOARCH", "GOFLAGS"]),
        None,
    )
    .map_err(|_| NO_GO.to_owned())?;
    let mut hash = Sha256::new();
    for text in [package, &compiler] {
        hash.update(format!("{} {text}", text.len()));
    }
    let folder = root().join(folder);
    let read = || -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let files = fs::read_dir(&folder)?.collect::<io::Result<Vec<_>>>()?;
        let mut paths: Vec<PathBuf> = files.into_iter().map(|f| f.path()).collect();
        paths.sort();
        paths.into_iter().map(|p| Ok((p.clone(), fs::read(p)?))).collect()
    };
    for (path, text) in read().map_err(|e| format!("{}: {e}", folder.display()))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        hash.update(format!("{name} {}\n", text.len()));
        hash.update(text);
    }
    let digest = hash.finalize();
    Ok(digest[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// One builder at a time; the kernel gives the lock back when the caller or this process ends.
fn lock(dir: &Path) -> Result<File, String> {
    let io = |e: io::Error| format!("{}: {e}", dir.display());
    fs::create_dir_all(dir).map_err(io)?;
    let lock = File::create(dir.join("build.lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    Ok(lock)
}

const NO_GO: &str = "Go is not installed: install Go 1.26 or newer from https://go.dev/dl/ (the tests build a real \
     Kubernetes control plane with it), or set TEST_KUBECONFIG to the kubeconfig of a cluster to use instead";

/// Builds a package that the Go module in `folder` has.
fn build(folder: &str, package: &str, program: &Path) -> Result<(), String> {
    let mut command = Command::new("go");
    command
        .args(["build", "-trimpath", "-o"])
        .arg(program)
        .arg(package);
    command.current_dir(root().join(folder));
    match visible(&mut command).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!(
            "{folder} does not build; the compiler's lines above say why"
        )),
        Err(_) => Err(NO_GO.to_owned()),
    }
}
