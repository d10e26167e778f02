//! A client of one organization's platform, and a cache of what accounts, policies and groups it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex as AsyncMutex;

use crate::plan::{Catalog, Found};
use crate::platform::client;

/// How long accounts, policies and groups are remembered; for what is missing they are read once more within that time.
const CATALOG_AGE: Duration = Duration::from_secs(30);

/// A client of the platform, with the credential that was valid when the connection was made. It holds no pointer to the
/// state that holds it: a circle would never be freed, and its token never be zeroized.
pub(in crate::controller) struct Connection {
    client: client::Client,
    limiter: Arc<client::RateLimiter>,
    catalog: AsyncMutex<CatalogCache>,
    /// Generation of the organization.
    generation: Option<i64>,
    secret: SecretVersion,
}

/// The catalog as it was last read.
#[derive(Default)]
struct CatalogCache {
    /// When the calls were begun, and their answers.
    last: Option<(Instant, Arc<Catalog>)>,
    /// When it was last read before its time, because a spec named what was not in it.
    fresh: Option<Instant>,
}

/// UID and resourceVersion of a Secret.
pub(super) type SecretVersion = (Option<String>, Option<String>);

impl Connection {
    pub(super) fn new(
        client: client::Client,
        limiter: Arc<client::RateLimiter>,
        generation: Option<i64>,
        secret: SecretVersion,
    ) -> Self {
        Self {
            client,
            limiter,
            catalog: AsyncMutex::default(),
            generation,
            secret,
        }
    }

    /// Whether it was made for this generation of the Organization.
    pub(super) fn is_for(&self, generation: Option<i64>) -> bool {
        self.generation == generation
    }

    /// The version of the Secret from which its credential was read.
    pub(super) fn secret(&self) -> &SecretVersion {
        &self.secret
    }

    /// The client. Each call waits for the rate limiter by itself.
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
        self.limiter.now()
    }

    /// Accounts, policies and groups; only one caller reads them, the others wait for its answer. They are read when
    /// they are older than [`CATALOG_AGE`], and once within such a time because a caller wants them `fresh`: a spec that
    /// names what does not exist costs the other objects no calls.
    pub(in crate::controller) async fn catalog(&self, fresh: bool) -> Result<Found, client::Error> {
        let called_at = Instant::now();
        let mut kept = self.catalog.lock().await;
        let again = kept.fresh.and_then(|at| CATALOG_AGE.checked_sub(at.elapsed()));
        if let Some((begun, catalog)) = &kept.last
            && (*begun >= called_at || (begun.elapsed() < CATALOG_AGE && (!fresh || again.is_some())))
        {
            return Ok(Found {
                catalog: catalog.clone(),
                fresh: *begun >= called_at,
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
