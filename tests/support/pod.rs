//! A pod that runs a shell script with the environment of its template.
//!
//! Where there is a node it is a real pod. Elsewhere the template's environment is resolved as a kubelet does, and
//! the script runs as a local process with exactly that environment.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret};
use kube::api::{DeleteParams, LogParams, PostParams};
use kube::{Api, Client};

use super::builders::named;
use super::cluster::{self, Cluster};
use super::observe::values;
use super::wait::{SOON, eventually};

/// An image with a shell and the usual tools.
pub const IMAGE: &str = "consumer:1";

/// What came of a script.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Standard output and standard error.
    pub output: String,
    pub succeeded: bool,
    /// A pod, or a local process.
    pub real: bool,
}

/// Puts the image into the node, once a process.
pub async fn image(cluster: &'static Cluster) -> Result<(), String> {
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    let make = move || MADE.get_or_init(|| cluster.busybox_image(IMAGE)).clone();
    tokio::task::spawn_blocking(make)
        .await
        .map_err(|e| e.to_string())?
}

/// A container that runs `script`; give it `env` or `env_from`.
#[must_use]
pub fn container(script: &str) -> Container {
    Container {
        name: "main".to_owned(),
        image: Some(IMAGE.to_owned()),
        image_pull_policy: Some("Never".to_owned()),
        command: Some(["/bin/sh", "-c", script].map(str::to_owned).to_vec()),
        ..Container::default()
    }
}

/// Runs the container once, in a pod if there is a node. The image has to be there ([`image`]).
pub async fn run(
    cluster: &Cluster,
    client: &Client,
    namespace: &str,
    name: &str,
    main: Container,
) -> Result<Outcome, String> {
    if cluster.has_node() {
        Box::pin(run_pod(client, namespace, name, main)).await
    } else {
        run_local(client, namespace, &main).await
    }
}

/// Last line of a pod's output: a container's end may be reported a moment before its last words are in the log.
const END: &str = "-- end of output --";

async fn run_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    mut main: Container,
) -> Result<Outcome, String> {
    if let Some(script) = main.command.as_mut().and_then(|words| words.last_mut()) {
        // One stream, since two may arrive in any order.
        *script = format!("exec 2>&1\n(\n{script}\n)\ncode=$?\necho '{END}'\nexit $code");
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = Pod {
        metadata: named(name, namespace),
        spec: Some(PodSpec {
            containers: vec![main],
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(1),
            ..PodSpec::default()
        }),
        ..Pod::default()
    };
    // The controller-manager makes a namespace's service account a moment after the namespace.
    eventually("the namespace's service account", SOON, async || {
        pods.create(&PostParams::default(), &pod)
            .await
            .map_err(|e| e.to_string())
    })
    .await?;
    let succeeded = eventually(&format!("pod {name} to end"), SOON, async || {
        let status = pods
            .get(name)
            .await
            .map_err(|e| e.to_string())?
            .status
            .unwrap_or_default();
        match status.phase.as_deref() {
            Some("Succeeded") => Ok(true),
            Some("Failed") => Ok(false),
            phase => {
                let waiting = status
                    .container_statuses
                    .unwrap_or_default()
                    .into_iter()
                    .find_map(|c| c.state?.waiting);
                Err(format!("phase {phase:?}, {waiting:?}"))
            }
        }
    })
    .await?;
    let output = eventually(&format!("the whole output of pod {name}"), SOON, async || {
        let text = pods
            .logs(name, &LogParams::default())
            .await
            .map_err(|e| e.to_string())?;
        text.split_once(END)
            .map(|(output, _)| output.to_owned())
            .ok_or(text)
    })
    .await?;
    let _ = pods.delete(name, &DeleteParams::default().grace_period(0)).await;
    Ok(Outcome {
        output,
        succeeded,
        real: true,
    })
}

async fn run_local(client: &Client, namespace: &str, main: &Container) -> Result<Outcome, String> {
    let env = environment(client, namespace, main).await?;
    let words = main.command.clone().unwrap_or_default();
    let (program, args) = words.split_first().ok_or("a container without a command")?;
    let mut command = Command::new(program);
    // Nothing of our own environment but the path, which an image has, too.
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(env);
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Outcome {
        output: text,
        succeeded: output.status.success(),
        real: false,
    })
}

/// The environment that a kubelet gives to a container: `envFrom` in order, then `env`, which wins.
pub async fn environment(
    client: &Client,
    namespace: &str,
    main: &Container,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::new();
    for source in main.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let found = if let Some(reference) = &source.secret_ref {
            secret(client, namespace, &reference.name, reference.optional).await?
        } else if let Some(reference) = &source.config_map_ref {
            config_map(client, namespace, &reference.name, reference.optional).await?
        } else {
            None
        };
        env.extend(
            found
                .unwrap_or_default()
                .into_iter()
                .map(|(k, v)| (format!("{prefix}{k}"), v)),
        );
    }
    for variable in main.env.iter().flatten() {
        let from = variable.value_from.as_ref();
        let value = if let Some(s) = from.and_then(|f| f.secret_key_ref.as_ref()) {
            let all = secret(client, namespace, &s.name, s.optional).await?;
            key(all, &s.key, s.optional, &format!("Secret {}", s.name))?
        } else if let Some(c) = from.and_then(|f| f.config_map_key_ref.as_ref()) {
            let all = config_map(client, namespace, &c.name, c.optional).await?;
            key(all, &c.key, c.optional, &format!("ConfigMap {}", c.name))?
        } else if from.is_some() {
            return Err(format!(
                "{}: only Secrets and ConfigMaps are resolved without a node",
                variable.name
            ));
        } else {
            Some(variable.value.clone().unwrap_or_default())
        };
        env.extend(value.map(|v| (variable.name.clone(), v)));
    }
    Ok(env)
}

type Values = Option<BTreeMap<String, String>>;

async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Values, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|e| e.to_string())?;
    required(found.as_ref().map(values), optional, &format!("Secret {name}"))
}

async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Values, String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|e| e.to_string())?;
    required(
        found.map(|c| c.data.unwrap_or_default()),
        optional,
        &format!("ConfigMap {name}"),
    )
}

fn key(all: Values, key: &str, optional: Option<bool>, object: &str) -> Result<Option<String>, String> {
    required(
        all.and_then(|mut a| a.remove(key)),
        optional,
        &format!("key {key} of {object}"),
    )
}

fn required<T>(value: Option<T>, optional: Option<bool>, what: &str) -> Result<Option<T>, String> {
    match value {
        None if optional != Some(true) => Err(format!("{what} does not exist")),
        found => Ok(found),
    }
}

/// Whether this host's own shell can stand in for the image's.
#[must_use]
pub fn local_shell() -> bool {
    cluster::run(Command::new("/bin/sh").args(["-c", "command -v wget"]), None).is_ok()
}
