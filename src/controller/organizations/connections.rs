//! Connects to the platforms of the organizations, when a reconcile first needs one and again when the Organization or the
//! Secret of its credential changed.
//!
//! Each organization has its own limits, queue and credential: a platform that does not answer delays only the users of its
//! own organization.

mod connection;
mod lifetimes;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};

use crate::api::{Organization, Reason};
use crate::controller::watch::streams::SecretNames;
use crate::plan::{Problem, Refusal, Retry, check_endpoint, check_grant, limits};
use crate::platform::{Token, client};

pub(in crate::controller) use connection::Connection;
pub(in crate::controller) use state::{OrganizationState, UserListing};

use connection::SecretVersion;
use lifetimes::Lifetimes;

/// Deadline of one call, unless the organization says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reconcile waits for the watch to show an Organization that was read from the API server.
const WATCH_LAG: Duration = Duration::from_secs(2);
/// The longest deadline. Objects from before the rule of the schema may have a longer one.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The states of all Organizations, and the way to their platforms.
pub(in crate::controller) struct OrganizationStates {
    secrets: Api<Secret>,
    names: SecretNames,
    namespace: String,
    create_timeout: Duration,
    creates_hour: Duration,
    limiter_events: Box<dyn Fn(&str) -> client::LimiterEvents + Send + Sync>,
    lifetimes: Lifetimes,
}

impl OrganizationStates {
    /// `names` is the watched metadata of the Secrets of `namespace`; `limiter_events` is called once for each organization.
    pub(in crate::controller) fn new(
        client: Client,
        namespace: &str,
        names: SecretNames,
        (create_timeout, creates_hour): (Duration, Duration),
        limiter_events: Box<dyn Fn(&str) -> client::LimiterEvents + Send + Sync>,
    ) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            names,
            namespace: namespace.to_owned(),
            create_timeout,
            creates_hour,
            limiter_events,
            lifetimes: Lifetimes::default(),
        }
    }

    /// The connection of `organization`, with the credential as the watch of the Secrets knows it: usually without a call
    /// to the API server.
    pub(in crate::controller) async fn get(
        &self,
        organization: &Organization,
    ) -> Result<Arc<Connection>, Problem> {
        self.connect(organization, false).await
    }

    /// The same, with the credential as it is now: for the reconcile that checks whether the platform accepts it.
    pub(in crate::controller) async fn refresh(
        &self,
        organization: &Organization,
    ) -> Result<Arc<Connection>, Problem> {
        self.connect(organization, true).await
    }

    async fn connect(&self, organization: &Organization, read: bool) -> Result<Arc<Connection>, Problem> {
        check_endpoint(&organization.spec.endpoint).map_err(refused)?;
        let state = self.state(organization).await?;
        // One caller reads the Secret, the others wait for what it finds.
        let mut current = state.connection.lock().await;
        let fits = |connection: &&Arc<Connection>| connection.is_for(organization.metadata.generation);
        if !read
            && let Some(connection) = current.as_ref().filter(fits)
            && self
                .watched_version(organization)
                .is_none_or(|v| v == *connection.secret())
        {
            return Ok(connection.clone());
        }
        let found = self.credential(organization).await;
        if found
            .as_ref()
            .is_err_and(|p| [Reason::CredentialMissing, Reason::CredentialNotGranted].contains(&p.reason))
        {
            // The Secret or its grant was taken away: the credential must not be used any more.
            *current = None;
        }
        let (secret, token, previous) = found?;
        if let Some(connection) = current.as_ref().filter(fits)
            && *connection.secret() == secret
        {
            return Ok(connection.clone());
        }
        let endpoint = &organization.spec.endpoint;
        let client = client::Client::new(client::Config {
            url: endpoint.url.clone(),
            ca_bundle: endpoint.ca_bundle.clone(),
            timeout: endpoint
                .timeout
                .map_or(TIMEOUT, |timeout| timeout.get().min(LONGEST_TIMEOUT)),
            create_timeout: self.create_timeout,
            token,
            previous,
            gate: state.limiter.clone(),
        })
        .map_err(|e| self.problem(&organization.name_any(), &e))?;
        state.limiter.set_limits(limits(&organization.spec.limits));
        let generation = organization.metadata.generation;
        let connection = Connection::new(client, state.limiter.clone(), generation, secret);
        let connection = Arc::new(connection);
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// What the watch knows of the Secret with the credential; `None` if it has not seen it.
    fn watched_version(&self, organization: &Organization) -> Option<SecretVersion> {
        let name = &organization.spec.credentials.secret_name;
        let found = self.names.get(&ObjectRef::new(name).within(&self.namespace))?;
        Some((
            found.metadata.uid.clone(),
            found.metadata.resource_version.clone(),
        ))
    }

    /// Reads the Secret.
    async fn credential(
        &self,
        organization: &Organization,
    ) -> Result<(SecretVersion, Token, Option<Token>), Problem> {
        let name = organization.name_any();
        let wanted = &organization.spec.credentials;
        let path = format!("{}/{}", self.namespace, wanted.secret_name);
        let secret = self
            .secrets
            .get_opt(&wanted.secret_name)
            .await
            .map_err(|e| Problem {
                reason: Reason::CredentialUnreadable,
                message: format!(
                    "Secret {path} with the admin credential of Organization {name} cannot be read: {}",
                    crate::controller::error::describe(&e)
                ),
                retry: Retry::Backoff,
            })?;
        let missing = |what: String| Problem {
            reason: Reason::CredentialMissing,
            message: format!("the admin credential of Organization {name} is missing: {what}"),
            retry: Retry::Backoff,
        };
        let secret =
            secret.ok_or_else(|| missing(format!("create Secret {path} with key {}", wanted.key)))?;
        // Before anything of it is read: which keys it has is for those who may see it.
        check_grant(
            (&self.namespace, &wanted.secret_name),
            secret.annotations(),
            organization,
        )
        .map_err(refused)?;
        let token = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|d| d.get(key));
            let bytes = bytes.ok_or_else(|| missing(format!("Secret {path} has no key {key}")))?;
            let token = std::str::from_utf8(&bytes.0).ok().and_then(Token::new);
            token.ok_or_else(|| missing(format!("key {key} of Secret {path} holds no usable token")))
        };
        let current = token(&wanted.key)?;
        // Between two changes there may be none.
        let previous = wanted.previous_key.as_deref().and_then(|key| token(key).ok());
        let version = (secret.metadata.uid, secret.metadata.resource_version);
        Ok((version, current, previous))
    }

    /// The state of an Organization that exists. The watch decides whether it does: a reconcile that began before the
    /// Organization was deleted, or made anew under its name, does not bring its state back.
    pub(in crate::controller) async fn state(
        &self,
        organization: &Organization,
    ) -> Result<Arc<OrganizationState>, Problem> {
        let (name, uid) = (organization.name_any(), organization.uid());
        let make = || {
            let limits = client::Limits {
                hour: self.creates_hour,
                ..limits(&organization.spec.limits)
            };
            OrganizationState::new(client::RateLimiter::new(limits, (self.limiter_events)(&name)))
        };
        let begun = Instant::now();
        loop {
            if let Some(state) = self.lifetimes.get_or_make(&name, uid.as_deref(), make) {
                return Ok(state);
            }
            if begun.elapsed() >= WATCH_LAG {
                return Err(Problem {
                    reason: Reason::UnknownOrganization,
                    message: format!(
                        "Organization {name} was deleted or made anew while this object was reconciled"
                    ),
                    retry: Retry::Backoff,
                });
            }
            tokio::time::sleep(WATCH_LAG / 20).await;
        }
    }

    /// The state of the Organization of this name, if a reconcile has made one.
    pub(in crate::controller) fn known(&self, name: &str) -> Option<Arc<OrganizationState>> {
        self.lifetimes.get(name)
    }

    /// Follows the watch of the Organizations: a state ends when the watch shows that its Organization is gone.
    /// The UIDs of those that ended with this event.
    pub(in crate::controller) fn observe(
        &self,
        event: &watcher::Event<DeserializeGuard<Organization>>,
    ) -> Vec<String> {
        self.lifetimes.observe(event)
    }

    /// A failed call, as people get to see it. Whether a port is closed, silent or something else's is for those who may see
    /// the operator's namespace: a user who may change an endpoint could otherwise explore a network with it.
    pub(in crate::controller) fn problem(&self, organization: &str, error: &client::Error) -> Problem {
        if !error.tells_of_endpoint() {
            return platform_problem(organization, error);
        }
        tracing::warn!(organization, %error, "the platform cannot be reached, or does not answer as its API should");
        Problem {
            reason: Reason::PlatformUnreachable,
            message: format!(
                "platform of Organization {organization}: it cannot be reached, or does not answer as its API should; the operator's log says why, and, where the Organization is not Ready for it, so does: kubectl -n {} get events --field-selector reason={}",
                self.namespace,
                Reason::PlatformDetail
            ),
            retry: Retry::Backoff,
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    Problem {
        reason: refusal.reason,
        message: refusal.message,
        retry: Retry::OnChange,
    }
}

/// The reason of a failed request.
fn reason_of(error: &client::Error) -> Reason {
    match error.kind {
        client::Kind::Unreachable | client::Kind::Interrupted => Reason::PlatformUnreachable,
        client::Kind::Unauthorized | client::Kind::Forbidden => Reason::CredentialInvalid,
        client::Kind::RateLimited(_) => Reason::RateLimited,
        client::Kind::Invalid | client::Kind::NotFound => Reason::RejectedByPlatform,
        client::Kind::Broken => Reason::PlatformError,
        client::Kind::Config => Reason::InvalidConfiguration,
        client::Kind::BudgetExhausted(_) => Reason::CreateBudgetExhausted,
        client::Kind::NotLeading => Reason::NotLeading,
    }
}

fn platform_problem(organization: &str, error: &client::Error) -> Problem {
    let retry = match error.kind {
        client::Kind::RateLimited(Some(reset)) => Retry::After(reset + Duration::from_secs(1)),
        client::Kind::BudgetExhausted(seconds) => Retry::After(Duration::from_secs(seconds.into())),
        _ if error.is_transient() => Retry::Backoff,
        _ => Retry::OnChange,
    };
    let advice = match error.kind {
        client::Kind::Unauthorized => "; put a valid admin token into the Secret of spec.credentials",
        client::Kind::Forbidden => "; the token has to be an organization admin's",
        client::Kind::BudgetExhausted(_) => {
            "; wait, or raise spec.limits.createsPerHour of the Organization if so many are wanted"
        }
        _ => "",
    };
    Problem {
        reason: reason_of(error),
        message: format!("platform of Organization {organization}: {error}{advice}"),
        retry,
    }
}
