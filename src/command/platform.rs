//! The platform of an organization, with the token of the person or of the operator.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use zeroize::Zeroizing;

use super::cluster::{Cluster, is_forbidden};
use super::outcome::Failure;
use crate::api::{Endpoint, Organization};
use crate::plan::{check_endpoint, check_grant, limits};
use crate::platform::{Token, client};

/// The variable of the platform's own tools.
pub(super) const TOKEN: &str = "SPOTINST_TOKEN";
/// Lists of large organizations take a while.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Where the operator is.
#[derive(Debug, Clone, clap::Args)]
pub struct OperatorArgs {
    /// The operator's own namespace
    #[arg(long, value_name = "NAME", default_value = "programmatic-users")]
    pub(super) operator_namespace: String,
}

/// Which platform. The credential is that of `SPOTINST_TOKEN`, else the operator's own, if you may read its Secret.
#[derive(Debug, Clone, clap::Args)]
pub struct PlatformArgs {
    /// Organization whose platform to use, by its name in the cluster (default: the only one)
    #[arg(long, value_name = "NAME")]
    pub(super) organization: Option<String>,
    /// Where the operator is.
    #[command(flatten)]
    pub(super) operator: OperatorArgs,
}

/// A platform without a cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct EndpointArgs {
    /// Ask this platform, without a cluster; the token is taken from `SPOTINST_TOKEN`
    #[arg(long, value_name = "URL", conflicts_with_all = ["organization", "kubeconfig", "context", "namespace"])]
    pub(super) endpoint: Option<String>,
    /// Certificates (PEM) to trust for --endpoint instead of the system's
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    ca_file: Option<PathBuf>,
    /// Let --endpoint be http://, on loopback, a private address or inside the cluster: the token travels in clear text
    #[arg(long, requires = "endpoint")]
    insecure: bool,
}

/// A platform, and the credential for it.
pub(super) struct Reached {
    pub(super) client: client::Client,
    pub(super) gate: Arc<client::RateLimiter>,
    /// How messages name it.
    pub(super) name: String,
    pub(super) url: String,
}

impl Reached {
    /// The message for a failed request.
    pub(super) fn failed(&self, doing: &str, error: &client::Error) -> Failure {
        Failure::Failed(format!("cannot {doing}: {}", self.explain(error)))
    }

    /// What the platform said, and what to do.
    pub(super) fn explain(&self, error: &client::Error) -> String {
        let (url, digits) = (&self.url, self.client.credential_digits());
        let advice = match error.kind {
            client::Kind::Unauthorized => format!(
                "; the platform does not know the token that ends in {digits}: put a valid one into {TOKEN}"
            ),
            client::Kind::Forbidden => format!(
                "; the token that ends in {digits} has to be that of an organization admin: put one into {TOKEN}"
            ),
            client::Kind::Unreachable | client::Kind::Interrupted => {
                format!("; check that {url} can be reached from here")
            }
            client::Kind::RateLimited(_) => "; try again later".to_owned(),
            _ => String::new(),
        };
        format!("{}: {error}{advice}", self.name)
    }
}

impl EndpointArgs {
    /// The platform of the flag, if it was given.
    pub(super) fn connect(&self) -> Option<Result<Reached, Failure>> {
        let url = self.endpoint.as_ref()?;
        let reach = || {
            if url.starts_with("http://") && !self.insecure {
                return Err(Failure::Failed(format!(
                    "the token would travel to {url} in clear text: use https://, or give --insecure for a platform on loopback or inside the cluster"
                )));
            }
            let ca_bundle = match &self.ca_file {
                None => None,
                Some(path) => Some(
                    std::fs::read_to_string(path)
                        .map_err(|e| Failure::Failed(format!("cannot read {}: {e}", path.display())))?,
                ),
            };
            let endpoint = Endpoint {
                url: url.clone(),
                ca_bundle,
                timeout: None,
                insecure: self.insecure,
            };
            let token = given_token()?.ok_or_else(|| {
                Failure::Failed(format!(
                    "{TOKEN} is not set: export it with the token of an organization admin"
                ))
            })?;
            let limits = client::Limits::default();
            open(format!("platform {url}"), &endpoint, (token, None), limits)
        };
        Some(reach())
    }
}

/// The platform of an Organization.
pub(super) async fn connect(
    cluster: &Cluster,
    args: &PlatformArgs,
    organization: &Organization,
) -> Result<Reached, Failure> {
    let (token, previous) = match given_token()? {
        Some(token) => (token, None),
        None => from_secret(cluster, args, organization).await?,
    };
    let name = format!("platform of Organization {}", organization.name_any());
    // A command is as careful as the operator.
    let limits = limits(&organization.spec.limits);
    open(name, &organization.spec.endpoint, (token, previous), limits)
}

fn open(
    name: String,
    endpoint: &Endpoint,
    (token, previous): (Token, Option<Token>),
    limits: client::Limits,
) -> Result<Reached, Failure> {
    check_endpoint(endpoint).map_err(|r| Failure::Failed(r.message))?;
    let gate = Arc::new(client::RateLimiter::new(limits, client::LimiterEvents::default()));
    let client = client::Client::new(client::Config {
        url: endpoint.url.clone(),
        ca_bundle: endpoint.ca_bundle.clone(),
        timeout: TIMEOUT,
        create_timeout: TIMEOUT,
        token,
        previous,
        gate: gate.clone(),
    })
    .map_err(|e| Failure::Failed(format!("{name}: {e}")))?;
    Ok(Reached {
        client,
        gate,
        name,
        url: endpoint.url.trim_end_matches('/').to_owned(),
    })
}

/// The token of the environment.
fn given_token() -> Result<Option<Token>, Failure> {
    let Some(value) = std::env::var_os(TOKEN).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let text = value.into_string().map(Zeroizing::new).ok();
    let token = text.and_then(|t| Token::new(&t));
    // What it holds is not quoted: it may be a token with something after it.
    token.map(Some).ok_or_else(|| {
        Failure::Failed(format!(
            "{TOKEN} holds no token: a token is one word of visible characters"
        ))
    })
}

/// The operator's own credential.
async fn from_secret(
    cluster: &Cluster,
    args: &PlatformArgs,
    organization: &Organization,
) -> Result<(Token, Option<Token>), Failure> {
    let wanted = &organization.spec.credentials;
    let namespace = &args.operator.operator_namespace;
    let path = format!("{namespace}/{}", wanted.secret_name);
    let instead = format!("export {TOKEN} with the token of an organization admin");
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let secret = match secrets.get_opt(&wanted.secret_name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            return Err(Failure::Failed(format!(
                "{TOKEN} is not set, and there is no Secret {path} with the admin credential: {instead}, or name the operator's namespace with --operator-namespace"
            )));
        }
        Err(error) if is_forbidden(&error) => {
            return Err(Failure::Failed(format!(
                "{TOKEN} is not set, and you may not read Secret {path} with the admin credential: {instead}"
            )));
        }
        // A reply that cannot be read must not be quoted: it is a Secret.
        Err(kube::Error::SerdeError(_)) => {
            return Err(Failure::Failed(format!(
                "Secret {path} cannot be read: {instead}"
            )));
        }
        Err(error) => return Err(cluster.failed(&format!("read Secret {path}"), &error)),
    };
    // A command is as careful as the operator, whose token it would send.
    check_grant(
        (namespace, &wanted.secret_name),
        secret.annotations(),
        organization,
    )
    .map_err(|r| Failure::Failed(format!("{TOKEN} is not set: {}", r.message)))?;
    let token = |key: &str| {
        let bytes = secret.data.as_ref()?.get(key)?;
        Token::new(std::str::from_utf8(&bytes.0).ok()?)
    };
    let current = token(&wanted.key).ok_or_else(|| {
        Failure::Failed(format!(
            "Secret {path} has no usable token under key {}: {instead}",
            wanted.key
        ))
    })?;
    Ok((current, wanted.previous_key.as_deref().and_then(token)))
}
