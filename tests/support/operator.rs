//! The controller as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::cluster::binary;
use super::process::{self, Managed};
use super::wait::{SOON, eventually};

/// What a controller is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub kubeconfig: PathBuf,
    /// Where admin credentials are.
    pub namespace: String,
    /// Empty: all.
    pub watch_namespaces: Vec<String>,
    /// Empty: all.
    pub organizations: Vec<String>,
    /// More flags, for instance `--log-format json`.
    pub flags: Vec<String>,
    /// More environment, for instance `RUST_LOG`.
    pub env: Vec<(String, String)>,
}

/// A controller of one test, which can be killed and started again.
#[derive(Debug)]
pub struct Operator {
    options: Options,
    dir: PathBuf,
    name: String,
    process: Mutex<Option<Managed>>,
    /// How often it was killed.
    killed: AtomicU32,
    http: reqwest::Client,
}

impl Operator {
    /// Starts a controller and waits until its caches are filled. Output goes to `NAME.err` in `dir`.
    pub async fn start(dir: &Path, name: &str, options: Options) -> Result<Self, String> {
        let operator = Self::prepare(dir, name, options)?;
        operator.resume().await?;
        Ok(operator)
    }

    /// One that is not running yet.
    pub fn prepare(dir: &Path, name: &str, options: Options) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build();
        Ok(Self {
            options,
            dir: dir.to_owned(),
            name: name.to_owned(),
            process: Mutex::default(),
            killed: AtomicU32::default(),
            http: http.map_err(|e| e.to_string())?,
        })
    }

    /// Starts it (again) and waits until it is ready.
    pub async fn resume(&self) -> Result<(), String> {
        self.launch().await?;
        eventually("the controller to be ready", SOON, async || {
            match self.probe("/readyz").await {
                Ok((200, _)) => Ok(()),
                Ok((status, text)) => Err(format!("{status} {text}")),
                Err(e) => Err(e),
            }
        })
        .await
        .map_err(|e| format!("{e}\n{}", self.log_tail(60)))
    }

    /// Starts it without waiting for its caches.
    pub async fn launch(&self) -> Result<(), String> {
        let o = &self.options;
        let mut command = Command::new(binary());
        command.args([
            "controller",
            "--namespace",
            &o.namespace,
            "--listen",
            "127.0.0.1:0",
        ]);
        for namespace in &o.watch_namespaces {
            command.args(["--watch-namespace", namespace]);
        }
        for organization in &o.organizations {
            command.args(["--organization", organization]);
        }
        // Each test's controller leads by a Lease of its own, and so does each that starts after a killed one: no test
        // waits for the end of the lease of a process that is known to be gone. Tests of the Lease name it.
        if !o.flags.iter().any(|f| f == "--lease-name") {
            let killed = self.killed.load(Ordering::Relaxed);
            command.args(["--lease-name", &format!("{}-{killed}", self.name)]);
        }
        command.args(&o.flags).env("KUBECONFIG", &o.kubeconfig);
        command.env("RUST_LOG", "info,programmatic_users=debug");
        command.envs(o.env.iter().map(|(k, v)| (k, v)));
        // A test that kills it has to wait until it runs.
        let mut process = self.process.lock().await;
        *process = Some(Managed::start(command, &self.dir, &self.name).await?);
        Ok(())
    }

    /// SIGKILL: it ends between two instructions.
    pub async fn kill(&self) {
        drop(self.process.lock().await.take());
        self.killed.fetch_add(1, Ordering::Relaxed);
    }

    /// The same; whether there was one to be killed.
    pub async fn kill_if_running(&self) -> bool {
        self.process.lock().await.take().is_some()
    }

    /// SIGTERM, and waits until it has ended in order.
    pub async fn stop(&self) {
        if let Some(process) = self.process.lock().await.take() {
            let status = process
                .terminate(Duration::from_secs(40))
                .await
                .expect("the controller ends on SIGTERM");
            assert!(
                status.success(),
                "the controller ended with {status}:\n{}",
                self.log_tail(60)
            );
        }
    }

    /// Kills it and starts it again.
    pub async fn restart(&self) {
        self.kill().await;
        self.resume().await.unwrap_or_else(|e| panic!("{e}"));
    }

    /// SIGSTOP: everything it has begun stays where it is.
    pub async fn freeze(&self) {
        process::freeze(self.id().await.expect("the controller runs")).await;
    }

    /// SIGCONT.
    pub async fn thaw(&self) {
        process::signal(self.id().await.expect("the controller runs"), "CONT");
    }

    /// What it is started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How it ended by itself; `None` while it runs.
    pub async fn ended(&self) -> Option<std::process::ExitStatus> {
        self.process.lock().await.as_mut().and_then(Managed::ended)
    }

    /// Whether it holds the Lease, by its metrics.
    pub async fn leads(&self) -> Result<bool, String> {
        let (_, text) = self.probe("/metrics").await?;
        Ok(text.lines().any(|l| l == "programmatic_users_leader 1"))
    }

    /// Its process id, if it runs.
    pub async fn id(&self) -> Option<u32> {
        let mut process = self.process.lock().await;
        process.as_mut().and_then(|p| p.is_running().then(|| p.id()))
    }

    /// Whether it ended without being killed or stopped.
    pub async fn has_ended_by_itself(&self) -> bool {
        let mut process = self.process.lock().await;
        process.as_mut().is_some_and(|p| !p.is_running())
    }

    /// Leaves it running when this process ends; its process id.
    pub async fn detach(&self) -> Option<u32> {
        self.process.lock().await.take().map(Managed::detach)
    }

    /// Where probes and metrics are, such as `http://127.0.0.1:4711`.
    pub async fn url(&self) -> String {
        let process = self.process.lock().await;
        process.as_ref().expect("the controller runs").url.clone()
    }

    /// Status and text of `/livez`, `/readyz` or `/metrics`.
    pub async fn probe(&self, path: &str) -> Result<(u16, String), String> {
        let url = self
            .process
            .lock()
            .await
            .as_ref()
            .map(|p| p.url.clone())
            .ok_or("the controller does not run")?;
        let response = self
            .http
            .get(format!("{url}{path}"))
            .send()
            .await
            .map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(|e| e.to_string())?))
    }

    /// Prometheus text.
    pub async fn metrics(&self) -> String {
        self.probe("/metrics")
            .await
            .expect("the controller serves metrics")
            .1
    }

    /// Everything that it ever said, through restarts.
    #[must_use]
    pub fn log(&self) -> String {
        let (out, err) = process::files(&self.dir, &self.name);
        [out, err]
            .iter()
            .map(|f| std::fs::read(f).unwrap_or_default())
            .fold(String::new(), |mut all, bytes| {
                all.push_str(&String::from_utf8_lossy(&bytes));
                all
            })
    }

    /// The last lines of that.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        process::tail(&process::files(&self.dir, &self.name).1, lines)
    }
}
