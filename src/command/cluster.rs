//! The connection to the cluster, and the messages for failed requests.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Request;
use jiff::Timestamp;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::outcome::Failure;

/// A command is not worth waiting longer for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct ClusterArgs {
    /// Kubeconfig instead of that of KUBECONFIG, of ~/.kube/config, or of the pod that this runs in
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig instead of its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

/// A cluster.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// The same for watches: of an object that does not change nothing is heard for long.
    pub(super) watching: Client,
    /// Where the API server is.
    pub(super) url: String,
    /// The namespace of the flag.
    pub(super) asked: Option<String>,
    /// The namespace of the flag, else that of the context.
    pub(super) namespace: String,
}

impl ClusterArgs {
    /// Reads the kubeconfig; nothing is sent.
    pub(super) async fn connect(&self) -> Result<Cluster, Failure> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            },
            None if self.context.is_some() => {
                Config::from_kubeconfig(&options).await.map_err(|e| e.to_string())
            }
            None => Config::infer().await.map_err(|e| e.to_string()),
        };
        let mut config = config.map_err(|e| {
            Failure::Failed(format!(
                "cannot connect to a cluster: {e}; give --kubeconfig and --context, or set KUBECONFIG"
            ))
        })?;
        // At a terminal an early failure is better than a long wait.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(10));
        config.write_timeout = Some(TIMEOUT);
        let watching = config.clone();
        config.read_timeout = Some(TIMEOUT);
        // For how long a connection was of no use before does not count.
        config.reset_reader_on_write = true;
        let (url, default) = (config.cluster_url.to_string(), config.default_namespace.clone());
        let client = |config| {
            Client::try_from(config)
                .map_err(|e| Failure::Failed(format!("the kubeconfig cannot be used: {e}")))
        };
        Ok(Cluster {
            client: client(config)?,
            watching: client(watching)?,
            url: url.trim_end_matches('/').to_owned(),
            asked: self.namespace.clone(),
            namespace: self.namespace.clone().unwrap_or(default),
        })
    }
}

impl Cluster {
    /// What time the API server has, if its answers say so.
    pub(super) async fn date(&self) -> Result<Option<Timestamp>, kube::Error> {
        let request = Request::get("/version")
            .body(Body::empty())
            .map_err(kube::Error::HttpError)?;
        let answer = self.client.send(request).await?;
        let date = answer.headers().get("date").and_then(|d| d.to_str().ok());
        let date = date.and_then(|d| jiff::fmt::rfc2822::parse(d).ok());
        Ok(date.map(|d| d.timestamp()))
    }

    /// The API server's time, which others in the cluster go by; this machine's where that is not known.
    pub(super) async fn now(&self) -> Timestamp {
        let theirs = self.date().await.ok().flatten();
        theirs.unwrap_or_else(Timestamp::now)
    }

    /// The message for a failed request; `doing` is what could not be done.
    pub(super) fn failed(&self, doing: &str, error: &kube::Error) -> Failure {
        Failure::Failed(format!("cannot {doing}: {}", self.explain(error)))
    }

    /// What the other side said, and what to do. Never used of a request that writes a Secret: refusals quote.
    pub(super) fn explain(&self, error: &kube::Error) -> String {
        match error {
            kube::Error::Api(status) => explain_status(status),
            kube::Error::SerdeError(_) => {
                "the answer cannot be read: the kinds in the cluster are of another version; `doctor` says more"
                    .to_owned()
            }
            kube::Error::Auth(error) => {
                format!("no credential for the API server: {error}; log in again, or choose another --context")
            }
            other => format!(
                "no answer from the API server at {}: {}; check --kubeconfig and --context",
                self.url,
                root_cause(other)
            ),
        }
    }
}

/// Whether the API server does not know the requested kind.
pub(super) fn is_unknown_kind(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && of_no_object(status))
}

/// A missing object is named in the details; a missing kind is not.
fn of_no_object(status: &kube::core::Status) -> bool {
    status.details.as_ref().is_none_or(|d| d.name.is_empty())
}

/// Whether the right is missing.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn explain_status(status: &kube::core::Status) -> String {
    let said = &status.message;
    match status.code {
        401 => format!(
            "the API server does not accept your credential ({said}); log in again, or choose another --context"
        ),
        // Admission says itself what to do.
        403 if said.contains("denied request") => said.clone(),
        403 => format!(
            "{said}. Ask a cluster administrator for that right: the chart's ClusterRoles end in -auditor (read), -requester (users) and -class-admin"
        ),
        404 if of_no_object(status) => {
            "the cluster has no such kind: install the chart, or `programmatic-users crds | kubectl apply --server-side -f -`"
                .to_owned()
        }
        _ => said.clone(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
