//! Connections to the platforms of the organizations, made when first needed and again when something changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit};

use crate::api::Organization;
use crate::plan::{Catalog, Found, Problem, Retry, check_endpoint};
use crate::platform::{Token, client};

/// Calls to one organization at one time.
const MAX_IN_FLIGHT: usize = 8;
/// How long accounts, policies and groups are remembered; what is missing is looked up again at once.
const CATALOG_AGE: Duration = Duration::from_secs(30);
/// Deadline of one call, unless the organization says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One organization's platform, with the credential that was valid when it was made.
pub(super) struct Platform {
    client: client::Client,
    slots: Semaphore,
    catalog: AsyncMutex<Option<(Instant, Arc<Catalog>)>>,
    version: Version,
}

/// What a connection depends on: the organization's UID and generation, the Secret's UID and version.
type Version = (Option<String>, Option<i64>, Option<String>, Option<String>);

impl Platform {
    /// The client, when it is this call's turn.
    pub(super) async fn client(&self) -> Turn<'_> {
        // The semaphore is never closed.
        let permit = self.slots.acquire().await.ok();
        Turn {
            client: &self.client,
            _permit: permit,
        }
    }

    /// Last characters of the credential.
    pub(super) fn credential_digits(&self) -> String {
        self.client.credential_digits().to_owned()
    }

    /// Accounts, policies and groups; only one caller reads them, the others wait for its answer.
    pub(super) async fn catalog(&self, fresh: bool) -> Result<Found, client::Error> {
        let asked = Instant::now();
        let mut cached = self.catalog.lock().await;
        if let Some((begun, catalog)) = &*cached
            && (*begun >= asked || (!fresh && begun.elapsed() < CATALOG_AGE))
        {
            return Ok(Found {
                catalog: catalog.clone(),
                fresh: *begun >= asked,
            });
        }
        let turn = self.client().await;
        let begun = Instant::now();
        let (accounts, policies, groups) = tokio::try_join!(
            turn.client.accounts(),
            turn.client.policies(),
            turn.client.groups()
        )?;
        let catalog = Arc::new(Catalog {
            accounts,
            policies,
            groups,
        });
        *cached = Some((begun, catalog.clone()));
        Ok(Found { catalog, fresh: true })
    }
}

/// A client that may be used now.
pub(super) struct Turn<'a> {
    client: &'a client::Client,
    _permit: Option<SemaphorePermit<'a>>,
}

impl std::ops::Deref for Turn<'_> {
    type Target = client::Client;
    fn deref(&self) -> &Self::Target {
        self.client
    }
}

/// The platforms of all organizations.
pub(super) struct Platforms {
    secrets: Api<Secret>,
    namespace: String,
    known: Mutex<HashMap<String, Arc<Platform>>>,
}

impl Platforms {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            known: Mutex::default(),
        }
    }

    /// The platform of `organization`, with the credential as it is now.
    pub(super) async fn get(&self, organization: &Organization) -> Result<Arc<Platform>, Problem> {
        check_endpoint(&organization.spec.endpoint).map_err(|r| Problem {
            reason: r.reason,
            message: r.message,
            retry: Retry::OnChange,
        })?;
        let name = organization.name_any();
        let wanted = &organization.spec.credentials;
        let secret = self
            .secrets
            .get_opt(&wanted.secret_name)
            .await
            .map_err(|e| Problem {
                reason: "CredentialUnreadable",
                message: format!(
                    "Secret {}/{} with the admin credential of Organization {name} cannot be read: {}",
                    self.namespace,
                    wanted.secret_name,
                    super::error::describe(&e)
                ),
                retry: Retry::Backoff,
            })?;
        let missing = |what: String| Problem {
            reason: "CredentialMissing",
            message: format!("the admin credential of Organization {name} is missing: {what}"),
            retry: Retry::Backoff,
        };
        let path = format!("{}/{}", self.namespace, wanted.secret_name);
        let secret =
            secret.ok_or_else(|| missing(format!("create Secret {path} with key {}", wanted.key)))?;
        let meta = &organization.metadata;
        let version = (
            meta.uid.clone(),
            meta.generation,
            secret.metadata.uid.clone(),
            secret.metadata.resource_version.clone(),
        );
        if let Some(platform) = self.cached(&name).filter(|p| p.version == version) {
            return Ok(platform);
        }
        let bytes = secret.data.as_ref().and_then(|d| d.get(&wanted.key));
        let bytes = bytes.ok_or_else(|| missing(format!("Secret {path} has no key {}", wanted.key)))?;
        let token = std::str::from_utf8(&bytes.0).ok().and_then(Token::new);
        let token = token.ok_or_else(|| {
            missing(format!(
                "key {} of Secret {path} holds no usable token",
                wanted.key
            ))
        })?;
        let endpoint = &organization.spec.endpoint;
        let client = client::Client::new(client::Config {
            url: endpoint.url.clone(),
            ca_bundle: endpoint.ca_bundle.clone(),
            timeout: endpoint.timeout.map_or(TIMEOUT, crate::api::Duration::get),
            token,
        })
        .map_err(|e| platform_problem(&name, &e))?;
        let platform = Arc::new(Platform {
            client,
            slots: Semaphore::new(MAX_IN_FLIGHT),
            catalog: AsyncMutex::default(),
            version,
        });
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, platform.clone());
        Ok(platform)
    }

    /// Drops the connection of an organization that is gone.
    pub(super) fn forget(&self, name: &str) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    fn cached(&self, name: &str) -> Option<Arc<Platform>> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }
}

/// A failed call, as people get to see it.
pub(super) fn platform_problem(organization: &str, error: &client::Error) -> Problem {
    let retry = match error.kind {
        client::Kind::RateLimited(Some(reset)) => Retry::After(reset + Duration::from_secs(1)),
        _ if error.is_transient() => Retry::Backoff,
        _ => Retry::OnChange,
    };
    let advice = match error.kind {
        client::Kind::Unauthorized => "; put a valid admin token into the Secret of spec.credentials",
        client::Kind::Forbidden => "; the token has to be an organization admin's",
        _ => "",
    };
    Problem {
        reason: error.reason(),
        message: format!("platform of Organization {organization}: {error}{advice}"),
        retry,
    }
}
