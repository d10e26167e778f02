//! Typed client of the platform's API.
//!
//! It relies on what is known of the wire: only HTTP 200 is success, "not found" comes in three shapes, 429 has a
//! body of its own, and a body need not be JSON at all. It never follows a redirect (the credential
//! would go along), never repeats a request that may have been acted on, bounds every body in size and time, and
//! lets no token into an error.

mod body;
mod call;
mod credential;
mod error;
mod fair_queue;
mod limiter;
mod observer;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, redirect, retry};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use call::Attempt;
use credential::AdminCredential;
pub use error::{Error, Kind, Sent};
pub use fair_queue::FairQueue;
use limiter::{Caller, Priority};
pub use limiter::{CreatePermit, LimiterEvents, Limits, Purpose, RateLimiter, Skew, Usage};
pub use observer::Observer;
use wire::{FEW, MANY, NO_BODY, Route, items, listed};

use super::{
    Account, AuditEvent, AuditQuery, CreateProgrammaticUser, CreatedUser, GroupMapping, PolicyGrant,
    PolicyMapping, PolicyName, Token, UserDetails, UserGroup, UserName, UserSummary,
};

/// How the platform is reached.
pub struct Config {
    /// Scheme, host and port.
    pub url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_bundle: Option<String>,
    /// Deadline of one call.
    pub timeout: Duration,
    /// Deadline of the one call that must not hang with a token on its way (`docs/glossary.md`: settle window).
    pub create_timeout: Duration,
    /// The credential.
    pub token: Token,
    /// The credential before it, used when that one is refused.
    pub previous: Option<Token>,
    /// Through which everything goes.
    pub gate: Arc<RateLimiter>,
}

/// One organization's API, with one credential.
#[derive(Clone)]
pub struct Client {
    base: Arc<str>,
    admin: Arc<AdminCredential>,
    limiter: Arc<RateLimiter>,
    caller: Caller,
    shared: reqwest::Client,
    /// For creates: no idle connection is used again, since a request on a connection that the other side has
    /// just closed fails in a way that leaves open whether it was handled.
    fresh: reqwest::Client,
    /// One list at a time: an organization holds one place at most in the line for large replies.
    lists: Arc<Mutex<()>>,
    timeout: Duration,
    create_timeout: Duration,
}

impl Client {
    /// Prepares a client; nothing is sent.
    pub fn new(config: Config) -> Result<Self, Error> {
        let build = |idle: usize, timeout: Duration| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("programmatic-users/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .pool_max_idle_per_host(idle)
                .connect_timeout(timeout)
                .timeout(timeout);
            if config.url.starts_with("http://") {
                // Clear text is for what is near; a proxy is not. No certificates are needed, and an image may have none.
                builder = builder.no_proxy().tls_certs_only([]);
            }
            if let Some(pem) = &config.ca_bundle {
                let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                    .ok()
                    .filter(|roots| !roots.is_empty())
                    .ok_or_else(|| Error::config("endpoint.caBundle holds no PEM certificate"))?;
                builder = builder.tls_certs_only(roots);
            }
            builder
                .build()
                .map_err(|e| Error::config(&format!("cannot prepare an HTTP client: {e}; if this image has no certificates to trust, set endpoint.caBundle")))
        };
        Ok(Self {
            base: config.url.trim_end_matches('/').into(),
            shared: build(8, config.timeout)?,
            fresh: build(0, config.create_timeout)?,
            lists: Arc::default(),
            timeout: config.timeout,
            create_timeout: config.create_timeout,
            admin: Arc::new(AdminCredential::new(config.token, config.previous)),
            limiter: config.gate,
            caller: Caller {
                priority: Priority::Normal,
                namespace: "".into(),
            },
        })
    }

    /// The same client with high priority: for calls that cannot wait until a burst of others is over.
    #[must_use]
    pub fn with_high_priority(&self) -> Self {
        let mut ahead = self.clone();
        ahead.caller.priority = Priority::High;
        ahead
    }

    /// The same client for the objects of a namespace, which takes turns with the others, and has its own share of the users
    /// that may be made.
    #[must_use]
    pub fn of_namespace(&self, namespace: &str) -> Self {
        let mut theirs = self.clone();
        theirs.caller.namespace = namespace.into();
        theirs
    }

    /// Last four characters of the credential in use.
    #[must_use]
    pub fn credential_digits(&self) -> &str {
        self.admin.token().last_digits()
    }

    /// Whether the previous credential is in use, since the current one was refused.
    #[must_use]
    pub fn uses_previous(&self) -> bool {
        self.admin.uses_previous()
    }

    /// Whether the credential counts as refused, so that nothing but a [`Client::probe`] is sent.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.admin.check().is_err()
    }

    /// Takes the permit for one create call: waits for a turn, and takes a place in the hour's budget.
    pub async fn reserve_create(&self, purpose: Purpose) -> Result<CreatePermit, Error> {
        self.check()?;
        let route = Route::new(Method::POST, "/setup/user/programmatic").name();
        let permit = self
            .limiter
            .reserve_create(&route, self.create_timeout, purpose, &self.caller);
        permit.await
    }

    /// Creates a programmatic user; sent at most once.
    pub async fn create_programmatic_user(
        &self,
        body: &CreateProgrammaticUser,
        permit: CreatePermit,
    ) -> Result<CreatedUser, Error> {
        let route = Route::new(Method::POST, "/setup/user/programmatic");
        let reply = self.send_once(&route, permit, body).await?;
        let mut items = items::<CreatedUser>(&route, &reply)?;
        // Anything else is a 200 whose user and token are unknown: the caller has to look for the user.
        match (items.pop(), items.len()) {
            (Some(created), 0) => Ok(created),
            _ => Err(Error::undecodable(
                &route.name(),
                "the reply does not hold exactly one user",
            )),
        }
    }

    /// All users of the organization, of both kinds.
    pub async fn list_users(&self) -> Result<Vec<UserSummary>, Error> {
        self.list::<_, MANY>("/setup/organization/user").await
    }

    /// The same list, of each user as little as is kept.
    pub async fn user_names(&self) -> Result<Vec<UserName>, Error> {
        self.list::<_, MANY>("/setup/organization/user").await
    }

    /// That again, asked for even while the credential counts as refused; an answer
    /// means that it is accepted again.
    pub async fn probe(&self) -> Result<Vec<UserName>, Error> {
        let route = Route::new(Method::GET, "/setup/organization/user");
        listed::<_, MANY>(&route, &self.send(&route, Attempt::Probe, NO_BODY).await?)
    }

    /// One user; `None` if the platform has none of that id, in whichever way it says so.
    pub async fn user(&self, id: &str) -> Result<Option<UserDetails>, Error> {
        let route = Route::user(Method::GET, id, "")?;
        match self.send(&route, Attempt::Usual, NO_BODY).await {
            Ok(reply) => Ok(items(&route, &reply)?.pop()),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Deletes a user and its tokens; one that is gone already is no error.
    pub async fn delete_user(&self, id: &str) -> Result<(), Error> {
        let route = Route::user(Method::DELETE, id, "")?;
        match self.send(&route, Attempt::Usual, NO_BODY).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => {
                self.limiter.note_deleted(id);
                Ok(())
            }
        }
    }

    /// Replaces the direct policies of a user.
    pub async fn put_policies(&self, id: &str, policies: Vec<PolicyGrant>) -> Result<(), Error> {
        let route = Route::user(Method::PUT, id, "/policyMapping")?;
        self.send(&route, Attempt::Usual, Some(&PolicyMapping { policies }))
            .await
            .map(drop)
    }

    /// Replaces the groups of a user.
    pub async fn put_groups(&self, id: &str, user_group_ids: Vec<String>) -> Result<(), Error> {
        let route = Route::user(Method::PUT, id, "/userGroupMapping")?;
        self.send(&route, Attempt::Usual, Some(&GroupMapping { user_group_ids }))
            .await
            .map(drop)
    }

    /// All accounts of the organization.
    pub async fn accounts(&self) -> Result<Vec<Account>, Error> {
        self.list::<_, FEW>("/setup/account").await
    }

    /// All policies of the organization, the built-in ones among them.
    pub async fn policies(&self) -> Result<Vec<PolicyName>, Error> {
        self.list::<_, FEW>("/setup/organization/policy").await
    }

    /// All groups of the organization.
    pub async fn groups(&self) -> Result<Vec<UserGroup>, Error> {
        self.list::<_, FEW>("/setup/access/userGroup").await
    }

    /// Events of the audit log. There is no paging: a span with too many events is an error.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEvent>, Error> {
        let route = Route::new(Method::GET, "/audit/events").with_query(&query.pairs());
        listed::<_, MANY>(&route, &self.send(&route, Attempt::Usual, NO_BODY).await?)
    }

    /// Whether the platform accepts `token`: `Ok(false)` if it says that it does not know it.
    ///
    /// The platform has no "who am I" route. The list of accounts is the read that every user has a right to ask
    /// for; a 403 means that the platform knows the token and refuses the list, so it proves the token too.
    pub async fn accepts(&self, token: &Token) -> Result<bool, Error> {
        let route = Route::new(Method::GET, "/setup/account");
        self.check()?;
        let _turn = self.limiter.acquire(&self.caller).await?;
        match self.attempt(&self.shared, &route, token, NO_BODY).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == Kind::Forbidden => Ok(true),
            Err(e) if e.kind == Kind::Unauthorized => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn list<T: DeserializeOwned, const MOST: usize>(
        &self,
        path: &'static str,
    ) -> Result<Vec<T>, Error> {
        let route = Route::new(Method::GET, path);
        listed::<_, MOST>(&route, &self.send(&route, Attempt::Usual, NO_BODY).await?)
    }
}

#[cfg(test)]
mod tests;
