//! Typed client of the platform's API.
//!
//! It relies on what is known of the wire: only HTTP 200 is success, "not found" comes in three shapes, 429 has a
//! body of its own, and a body need not be JSON at all. It never follows a redirect (the credential
//! would go along), never repeats a request that may have been acted on, bounds every body in size and time, and
//! lets no token into an error.

mod body;
mod credential;
mod error;
mod fair_queue;
mod limiter;
mod observer;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::OptionFuture;
use reqwest::{Method, redirect, retry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use body::Body;
use credential::{AdminCredential, CredentialFailover};
pub use error::{Error, Kind, Sent};
pub use fair_queue::FairQueue;
use limiter::{Caller, Priority};
pub use limiter::{CreatePermit, LimiterEvents, Limits, Purpose, RateLimiter, Skew, Usage};
pub use observer::Observer;
use wire::{FEW, MANY, NO_BODY, Route, items, listed, reset_after, time};

use super::{
    Account, AuditEvent, AuditQuery, CreateProgrammaticUser, CreatedUser, GroupMapping, PolicyGrant,
    PolicyMapping, PolicyName, Token, UserDetails, UserGroup, UserName, UserSummary,
};

/// How much later than the HTTP client a call is given up here.
const SLACK: Duration = Duration::from_millis(250);

/// How the platform is reached.
pub struct Config {
    /// Scheme, host and port.
    pub url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_bundle: Option<String>,
    /// Deadline of one call.
    pub timeout: Duration,
    /// Deadline of the one call that must not hang with a token on its way (`protocol`: settle window).
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

/// How a call with the admin credential is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// Sent again with the previous credential, if the current one is refused.
    Usual,
    /// Even while the credential counts as refused: to find out whether it still is.
    Probe,
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

    /// A call with the admin credential, when it is its turn.
    async fn send<B: Serialize + Sync>(
        &self,
        route: &Route,
        how: Attempt,
        body: Option<&B>,
    ) -> Result<Body, Error> {
        let check = || {
            if how == Attempt::Probe {
                Ok(())
            } else {
                self.check()
            }
        };
        loop {
            check()?;
            let _turn = self.limiter.acquire(&self.caller).await?;
            // It may have been refused while this call waited.
            check()?;
            let used = self.admin.used();
            let reply = self.attempt(&self.shared, route, self.admin.at(used), body).await;
            match &reply {
                Ok(_) if how == Attempt::Probe => self.admin.accepted(),
                Err(e) if e.kind == Kind::Unauthorized => {
                    let refusal = self.admin.refused(used, e);
                    self.report_refusal(how, refusal);
                    // The platform did nothing, so that the call may be repeated.
                    if matches!(
                        refusal,
                        CredentialFailover::Switched | CredentialFailover::TryNext
                    ) {
                        continue;
                    }
                }
                // An administrator of an organization may list its users. Other routes may refuse single objects.
                Err(e) if e.kind == Kind::Forbidden && route.is_list_of_users() => {
                    let refusal = self.admin.forbidden(e);
                    self.report_refusal(how, refusal);
                }
                _ => {}
            }
            return reply;
        }
    }

    /// A create call, with its permit: whatever the answer, it is not repeated.
    async fn send_once<B: Serialize + Sync>(
        &self,
        route: &Route,
        permit: CreatePermit,
        body: &B,
    ) -> Result<Body, Error> {
        self.check()?;
        let turn = permit.redeem(&route.name(), self.create_timeout);
        let _turn = turn.inspect_err(|e| self.limiter.record_local_rejection(e))?;
        let used = self.admin.used();
        let token = self.admin.at(used);
        let reply = self.attempt(&self.fresh, route, token, Some(body)).await;
        if let Err(e) = &reply
            && e.kind == Kind::Unauthorized
        {
            self.report_refusal(Attempt::Usual, self.admin.refused(used, e));
        }
        reply
    }

    /// Whether the credential counts as accepted.
    fn check(&self) -> Result<(), Error> {
        let checked = self.admin.check();
        checked.inspect_err(|e| self.limiter.record_local_rejection(e))
    }

    /// Reports what a call other than the probe found: the probe returns its own result.
    fn report_refusal(&self, how: Attempt, refusal: CredentialFailover) {
        if how != Attempt::Probe && matches!(refusal, CredentialFailover::Switched | CredentialFailover::New)
        {
            self.limiter.refused();
        }
    }

    /// One request and its answer.
    async fn attempt<B: Serialize + Sync>(
        &self,
        http: &reqwest::Client,
        route: &Route,
        token: &Token,
        body: Option<&B>,
    ) -> Result<Body, Error> {
        let list = route.is_list().then(|| self.lists.lock());
        let _list = OptionFuture::from(list).await;
        let begun = Instant::now();
        let reply = self.exchange(http, route, token, body).await;
        self.limiter.called(route, &reply, begun.elapsed());
        reply
    }

    async fn exchange<B: Serialize + Sync>(
        &self,
        http: &reqwest::Client,
        route: &Route,
        token: &Token,
        body: Option<&B>,
    ) -> Result<Body, Error> {
        let name = route.name();
        let mut bearer = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| Error::config("the token cannot be sent in a header"))?;
        bearer.set_sensitive(true);
        let mut request = http
            .request(route.method.clone(), format!("{}{}", self.base, route.path))
            .header(reqwest::header::AUTHORIZATION, bearer)
            .header(reqwest::header::ACCEPT, "application/json")
            .header(reqwest::header::CONTENT_TYPE, "application/json");
        if let Some(body) = body {
            let bytes =
                serde_json::to_vec(body).map_err(|_| Error::config("the request has no JSON form"))?;
            request = request.body(bytes);
        }
        // The HTTP client itself has the deadline of a call. That of a list may have to wait until another large one is read,
        // so that its deadline is kept here.
        let mut patience = self.timeout.max(self.create_timeout);
        if route.is_list() {
            request = request.timeout(self.timeout.saturating_add(body::PATIENCE));
            patience = self.timeout;
        }
        // The HTTP client reports a connect timeout itself: it knows that it sent nothing.
        patience = patience.saturating_add(SLACK);
        let begun = Instant::now();
        let response = tokio::time::timeout(patience, request.send()).await;
        let response = response.map_err(|_| Error::late(&name, "no answer in time"))?;
        let response = response.map_err(|e| Error::transport(&name, &e))?;
        let status = response.status().as_u16();
        let reset = reset_after(response.headers());
        // Overlaps end by this clock: it is not taken from whatever answers on the way to the platform.
        if let Some(at) = time(response.headers()).filter(|_| status == 200) {
            self.limiter.note_time(at);
        }
        let left = patience.saturating_sub(begun.elapsed());
        let bytes = body::read(route, response, left).await?;
        if status == 200 {
            return Ok(bytes);
        }
        let mut tokens = self.admin.all();
        tokens.push(token);
        let error = Error::refused(&name, status, reset, &bytes, &tokens);
        if let Kind::RateLimited(Some(span)) = error.kind {
            self.limiter.pause(&error, span);
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests;
