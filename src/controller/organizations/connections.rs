//! Connections to the platforms of the organizations, made when first needed and again when something changed.
//!
//! Everything is kept by organization: limits, queue, credential, what was seen there. One that does not answer
//! holds up its own users only.

mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Mutex as AsyncMutex;

use crate::api::{Organization, Reason};
use crate::controller::watch::streams::SecretNames;
use crate::plan::{Catalog, Found, Problem, Refusal, Retry, check_endpoint, check_grant, limits};
use crate::platform::{Token, client};

pub(in crate::controller) use state::{OrganizationState, UserListing};

/// How long accounts, policies and groups are remembered; for what is missing they are read once more within that time.
const CATALOG_AGE: Duration = Duration::from_secs(30);
/// Deadline of one call, unless the organization says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest deadline. Objects from before the rule of the schema may ask for more.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// One organization's platform, with the credential that was valid when it was made.
pub(in crate::controller) struct Connection {
    client: client::Client,
    seat: Arc<OrganizationState>,
    catalog: AsyncMutex<CatalogCache>,
    /// Generation of the organization.
    generation: Option<i64>,
    secret: SecretVersion,
}

/// The catalog as it was last read.
#[derive(Default)]
struct CatalogCache {
    /// When the calls were begun, and what they told.
    last: Option<(Instant, Arc<Catalog>)>,
    /// When it was last read out of turn, because somebody named what was not in it.
    fresh: Option<Instant>,
}

/// UID and resourceVersion of a Secret.
type SecretVersion = (Option<String>, Option<String>);

impl Connection {
    /// The client; each call waits for its turn by itself.
    pub(in crate::controller) fn client(&self) -> &client::Client {
        &self.client
    }

    /// Last characters of the credential.
    pub(in crate::controller) fn credential_digits(&self) -> String {
        self.client.credential_digits().to_owned()
    }

    /// Whether the credential in use is the previous one, since the current one was refused.
    pub(in crate::controller) fn uses_previous(&self) -> bool {
        self.client.uses_previous()
    }

    /// Whether the platform refuses the credential.
    pub(in crate::controller) fn is_refused(&self) -> bool {
        self.client.is_refused()
    }

    /// The time by the platform's clock, as far as it is known.
    pub(in crate::controller) fn now(&self) -> Option<Timestamp> {
        self.seat.gate.now()
    }

    /// What is kept of the organization, whatever its credential.
    pub(in crate::controller) fn state(&self) -> &Arc<OrganizationState> {
        &self.seat
    }

    /// Accounts, policies and groups; only one caller reads them, the others wait for its answer. They are read when
    /// they are older than [`CATALOG_AGE`], and once within such a time because a caller wants them `fresh`: whoever
    /// names what there is not takes no calls from the others.
    pub(in crate::controller) async fn catalog(&self, fresh: bool) -> Result<Found, client::Error> {
        let asked = Instant::now();
        let mut kept = self.catalog.lock().await;
        let again = kept.fresh.and_then(|at| CATALOG_AGE.checked_sub(at.elapsed()));
        if let Some((begun, catalog)) = &kept.last
            && (*begun >= asked || (begun.elapsed() < CATALOG_AGE && (!fresh || again.is_some())))
        {
            return Ok(Found {
                catalog: catalog.clone(),
                fresh: *begun >= asked,
                again: again.filter(|_| fresh),
            });
        }
        let begun = Instant::now();
        if fresh {
            kept.fresh = Some(begun);
        }
        // All users wait for it, those too whose tokens are to die at once.
        let client = self.client.with_high_priority();
        let (accounts, policies, groups) =
            tokio::try_join!(client.accounts(), client.policies(), client.groups())?;
        let catalog = Arc::new(Catalog {
            accounts,
            policies,
            groups,
        });
        kept.last = Some((begun, catalog.clone()));
        Ok(Found {
            catalog,
            fresh: true,
            again: None,
        })
    }
}

/// The platforms of all organizations.
pub(in crate::controller) struct OrganizationStates {
    secrets: Api<Secret>,
    names: SecretNames,
    namespace: String,
    create_timeout: Duration,
    limiter_events: Box<dyn Fn(&str) -> client::LimiterEvents + Send + Sync>,
    known: Mutex<HashMap<String, Arc<OrganizationState>>>,
}

impl OrganizationStates {
    /// `names` is the watched metadata of the Secrets of `namespace`; `hooks` is asked once for each organization.
    pub(in crate::controller) fn new(
        client: Client,
        namespace: &str,
        names: SecretNames,
        create_timeout: Duration,
        hooks: Box<dyn Fn(&str) -> client::LimiterEvents + Send + Sync>,
    ) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            names,
            namespace: namespace.to_owned(),
            create_timeout,
            limiter_events: hooks,
            known: Mutex::default(),
        }
    }

    /// The platform of `organization`, with the credential as the watch of the Secrets knows it: usually nothing is
    /// asked of the API server.
    pub(in crate::controller) async fn get(
        &self,
        organization: &Organization,
    ) -> Result<Arc<Connection>, Problem> {
        self.connect(organization, false).await
    }

    /// The same, with the credential as it is now: for who has to find out whether it is a good one.
    pub(in crate::controller) async fn refresh(
        &self,
        organization: &Organization,
    ) -> Result<Arc<Connection>, Problem> {
        self.connect(organization, true).await
    }

    async fn connect(&self, organization: &Organization, read: bool) -> Result<Arc<Connection>, Problem> {
        check_endpoint(&organization.spec.endpoint).map_err(refused)?;
        let seat = self.seat(organization);
        // One caller reads the Secret, the others wait for what it finds.
        let mut current = seat.platform.lock().await;
        let fits = |p: &&Arc<Connection>| p.generation == organization.metadata.generation;
        if !read
            && let Some(platform) = current.as_ref().filter(fits)
            && self
                .watched_version(organization)
                .is_none_or(|v| v == platform.secret)
        {
            return Ok(platform.clone());
        }
        let found = self.credential(organization).await;
        if found
            .as_ref()
            .is_err_and(|p| [Reason::CredentialMissing, Reason::CredentialNotGranted].contains(&p.reason))
        {
            // Whoever took the credential, or the grant, away does not want it to be used any more.
            *current = None;
        }
        let (secret, token, previous) = found?;
        if let Some(platform) = current.as_ref().filter(fits)
            && platform.secret == secret
        {
            return Ok(platform.clone());
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
            gate: seat.gate.clone(),
        })
        .map_err(|e| self.problem(&organization.name_any(), &e))?;
        seat.gate.set_limits(limits(&organization.spec.limits));
        let platform = Arc::new(Connection {
            client,
            seat: seat.clone(),
            catalog: AsyncMutex::default(),
            generation: organization.metadata.generation,
            secret,
        });
        *current = Some(platform.clone());
        Ok(platform)
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

    /// What is kept of the organization.
    fn seat(&self, organization: &Organization) -> Arc<OrganizationState> {
        let (name, uid) = (organization.name_any(), organization.uid());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = known.get(&name).filter(|s| s.uid == uid) {
            return seat.clone();
        }
        let gate = client::RateLimiter::new(limits(&organization.spec.limits), (self.limiter_events)(&name));
        let seat = Arc::new(OrganizationState::new(uid, gate));
        known.insert(name, seat.clone());
        seat
    }

    /// What is kept of the organization of this name, if anything is.
    pub(in crate::controller) fn known(&self, name: &str) -> Option<Arc<OrganizationState>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }

    /// A failed call, as people get to see it. Whether a port is closed, silent or something else's is for those who may see
    /// the operator's namespace: in other words whoever may change an endpoint could explore a network with it.
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

    /// Drops everything about an organization that is gone.
    pub(in crate::controller) fn forget(&self, name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(name);
    }
}

fn refused(refusal: Refusal) -> Problem {
    Problem {
        reason: refusal.reason,
        message: refusal.message,
        retry: Retry::OnChange,
    }
}

/// What the platform itself said, as people get to see it.
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
