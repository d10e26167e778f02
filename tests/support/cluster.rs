//! The control plane that all tests share, built and started by the program in `tests/controlplane`.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};

use super::lease::{Info, Lease};
use super::programs::kubernetes;
pub use super::programs::{controlplane_program, gitops_program, helm_program};
use super::rights;
use super::wait::eventually;

/// Where the checkout is.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary under test.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_programmatic-users") {
        return path.into();
    }
    // An example lies in a folder beside the binary.
    let here = std::env::current_exe().expect("this program has a path");
    let path = here
        .ancestors()
        .nth(2)
        .expect("examples are in a folder of their own")
        .join("programmatic-users");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --locked --bins` first",
        path.display()
    );
    path
}

/// A running cluster, held for as long as this process lives.
#[derive(Debug)]
pub struct Cluster {
    info: Info,
    lease: Option<Mutex<Lease>>,
    /// A cluster of the developer: what tests create there has to be removed again.
    external: bool,
}

/// How a control plane is started.
pub struct Options {
    /// Its own folder.
    pub run: PathBuf,
    /// `auto`, `required` or `none`.
    pub node: &'static str,
    /// How long it stays without clients; `0` is for ever.
    pub linger: String,
}

/// `make test T=…` keeps the control plane for the next call.
fn linger() -> String {
    let asked = std::env::var("CONTROLPLANE_LINGER");
    asked
        .ok()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "20s".to_owned())
}

impl Cluster {
    /// The cluster of all tests: that of `TEST_KUBECONFIG`, else a control plane of our own, with a real node where
    /// this process is root on Linux. Ends the test with a sentence where there can be none; no test is skipped.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let start = || SHARED.get_or_init(Self::start_shared);
        match tokio::task::spawn_blocking(start)
            .await
            .expect("starting a cluster does not panic")
        {
            Ok(cluster) => cluster,
            Err(message) => panic!("{message}"),
        }
    }

    fn start_shared() -> Result<Self, String> {
        let cluster = match std::env::var("TEST_KUBECONFIG") {
            Ok(path) if !path.is_empty() => Self::external(path),
            _ => Self::start(&Options {
                run: root().join("target/controlplane/test"),
                node: if node_wanted() { "required" } else { "none" },
                linger: linger(),
            })?,
        };
        cluster.install_crds()?;
        Ok(cluster)
    }

    /// A control plane of the calling test alone, without a node: for what would disturb the others.
    pub async fn private(name: &str) -> &'static Self {
        Self::alone(name, false, true).await
    }

    /// The same with nothing of ours in it.
    pub async fn empty(name: &str) -> &'static Self {
        Self::alone(name, false, false).await
    }

    /// The same with a node, where there can be one.
    pub async fn private_with_node(name: &str) -> &'static Self {
        Self::alone(name, node_wanted(), true).await
    }

    async fn alone(name: &str, node: bool, crds: bool) -> &'static Self {
        let run = root().join("target/controlplane").join(name);
        let start = move || {
            let cluster = Self::start(&Options {
                run,
                node: if node { "required" } else { "none" },
                linger: "5s".to_owned(),
            })?;
            if crds {
                cluster.install_crds()?;
            }
            Ok::<_, String>(cluster)
        };
        let started = tokio::task::spawn_blocking(start).await;
        match started.expect("starting a cluster does not panic") {
            Ok(cluster) => Box::leak(Box::new(cluster)),
            Err(message) => panic!("{message}"),
        }
    }

    /// A cluster that is there already.
    pub fn external(kubeconfig: String) -> Self {
        let info = Info {
            kubeconfig,
            kubectl: "kubectl".to_owned(),
            host_address: "127.0.0.1".to_owned(),
            node_reason: "it is not of our own making, and its pods may not reach this host".to_owned(),
            ..Info::default()
        };
        Self {
            info,
            lease: None,
            external: true,
        }
    }

    /// Starts a control plane, or joins the one that runs in that folder.
    pub fn start(options: &Options) -> Result<Self, String> {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            if let Some((lease, info)) = Lease::hold(&options.run)? {
                return Ok(Self {
                    info,
                    lease: Some(Mutex::new(lease)),
                    external: false,
                });
            }
            let program = controlplane_program()?;
            let status = visible(Command::new(program).arg("up").arg("--detach"))
                .arg("--cache")
                .arg(kubernetes())
                .arg("--run")
                .arg(&options.run)
                .args(["--node", options.node, "--linger", &options.linger])
                .status();
            match status {
                Ok(s) if s.success() => {}
                _ => return Err("the control plane did not start; its own lines above say why".to_owned()),
            }
            // It may have ended again before we could hold it.
            if Instant::now() > deadline {
                return Err("the control plane ends again and again; see its log folder".to_owned());
            }
        }
    }

    /// Brings our kinds into the cluster and waits until it serves them.
    pub fn install_crds(&self) -> Result<(), String> {
        let crds = run(Command::new(binary()).arg("crds"), None)?;
        self.kubectl_with(
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            Some(&crds),
        )?;
        let names = programmatic_users::api::crds().map(|(_, crd)| crd.metadata.name.unwrap_or_default());
        let [a, b, c] = names.each_ref().map(String::as_str);
        self.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            a,
            b,
            c,
        ])?;
        // "Established" is said a moment before the API server answers for a new kind.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.kubectl(&["get", "--all-namespaces", "--ignore-not-found", "pu,puc,puo"]) {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > deadline => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Lets the API server store users that this version cannot read, as those of another version may be: the offset of a time
    /// may be anything, and so may a duration.
    pub fn loosen(&self) -> Result<(), String> {
        let crd = "programmaticusers.programmatic-users.io";
        let all = self.kubectl(&["get", "crd", crd, "-o", "json"])?;
        let mut crd: serde_json::Value = serde_json::from_str(&all).map_err(|e| e.to_string())?;
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
        for field in [
            "spec/properties/expireAt",
            "spec/properties/rotation/properties/overlap",
            "status/properties/tokenIssuedAt",
        ] {
            let found = crd.pointer_mut(&format!("{schema}/{field}"));
            *found.ok_or(field)? = serde_json::json!({"type": "string"});
        }
        let spec = crd.pointer_mut(&format!("{schema}/spec")).ok_or("spec")?;
        without_rules(spec);
        self.kubectl_with(&["replace", "-f", "-"], Some(&crd.to_string()))
            .map(drop)
    }

    /// What the control plane says of itself.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Whether the cluster is the developer's, and not one that ends with the tests.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.external
    }

    /// Whether pods run here.
    #[must_use]
    pub fn has_node(&self) -> bool {
        self.info.node
    }

    /// A client for the calling test's own runtime: connections do not outlive the runtime that made them.
    pub async fn client(&self) -> kube::Client {
        self.client_as("programmatic-users-tests").await
    }

    /// A client with this user agent, by which the audit log tells who asked.
    pub async fn client_as(&self, user_agent: &str) -> kube::Client {
        let mut config = self.config().await;
        config.headers.push((
            axum::http::header::USER_AGENT,
            user_agent.parse().expect("a user agent is plain text"),
        ));
        kube::Client::try_from(config).expect("the kubeconfig makes a client")
    }

    /// A client with another account, by impersonation.
    pub async fn client_of(&self, user: &str, groups: &[&str]) -> kube::Client {
        let mut config = self.config().await;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|&g| g.to_owned()).collect());
        kube::Client::try_from(config).expect("the kubeconfig makes a client")
    }

    /// A client of the controllers of a world that hands requests on as they are, once.
    pub async fn client_as_is(&self, operator_namespace: &str) -> kube::Client {
        let mut config = self.config().await;
        config.auth_info.impersonate = Some(rights::account(operator_namespace));
        config.auth_info.impersonate_groups = Some(rights::groups(operator_namespace).into());
        config.default_retry = false;
        kube::Client::try_from(config).expect("the kubeconfig makes a client")
    }

    async fn config(&self) -> kube::Config {
        let kubeconfig = Kubeconfig::read_from(&self.info.kubeconfig).expect("the kubeconfig is readable");
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("the kubeconfig is usable")
    }

    /// Output of `kubectl`, or what it said on standard error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.kubectl_with(args, None)
    }

    /// The same, with text on standard input.
    pub fn kubectl_with(&self, args: &[&str], input: Option<&str>) -> Result<String, String> {
        let mut command = Command::new(&self.info.kubectl);
        run(command.env("KUBECONFIG", &self.info.kubeconfig).args(args), input)
    }

    /// Stops, kills, restarts, freezes or thaws one process of the control plane, for instance `etcd`.
    pub fn control(&self, verb: &str, process: &str) -> Result<(), String> {
        let lease = self
            .lease
            .as_ref()
            .ok_or("TEST_KUBECONFIG's cluster is not ours to disturb")?;
        lease
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .control(verb, process)
    }

    /// Puts an image with one program into the node.
    pub fn program_image(&self, name: &str, program: &Path) -> Result<(), String> {
        self.image(name, program.to_str().ok_or("the path is not text")?)
    }

    /// Puts an image with a shell and the usual tools into the node.
    pub fn busybox_image(&self, name: &str) -> Result<(), String> {
        self.image(name, "--busybox")
    }

    fn image(&self, name: &str, content: &str) -> Result<(), String> {
        let mut command = Command::new(controlplane_program()?);
        let command = command.args(["image", "--run", &self.info.run_dir, "--name", name, content]);
        run(command, None).map(drop)
    }

    /// Stops it now, without waiting for its clients to leave.
    pub fn stop(&self) -> Result<(), String> {
        run(
            Command::new(controlplane_program()?).args(["stop", "--run", &self.info.run_dir]),
            None,
        )
        .map(drop)
    }
}

/// Rules that read a duration would refuse it.
fn without_rules(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(all) => {
            all.remove("x-kubernetes-validations");
            all.values_mut().for_each(without_rules);
        }
        serde_json::Value::Array(all) => all.iter_mut().for_each(without_rules),
        _ => {}
    }
}

/// Whether a real node is required: as root on Linux it is, unless `CONTROLPLANE_NODE=none` says otherwise.
#[must_use]
pub fn node_wanted() -> bool {
    let refused = std::env::var("CONTROLPLANE_NODE").is_ok_and(|v| v == "none");
    let root = || run(Command::new("id").arg("-u"), None).is_ok_and(|id| id.trim() == "0");
    cfg!(target_os = "linux") && !refused && root()
}

/// Lets a command's output through to the real standard error: a build of minutes must be seen, and the test
/// runner captures only what is printed by macros.
pub(super) fn visible(command: &mut Command) -> &mut Command {
    let stderr = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .map_or_else(|_| Stdio::null(), Stdio::from);
    command
        .stdin(Stdio::null())
        .stdout(stderr)
        .stderr(Stdio::inherit())
}

/// Runs to the end; standard output, or a message with standard error.
pub fn run(command: &mut Command, input: Option<&str>) -> Result<String, String> {
    use std::io::Write as _;
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let mut child = command.spawn().map_err(|e| format!("cannot run {name}: {e}"))?;
    let writer = child.stdin.take().zip(input).map(|(mut stdin, text)| {
        let text = text.to_owned();
        std::thread::spawn(move || {
            // A command that reads none of it says why by itself.
            let _ = stdin.write_all(text.as_bytes());
        })
    });
    let output = child.wait_with_output().map_err(|e| format!("{name}: {e}"))?;
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
