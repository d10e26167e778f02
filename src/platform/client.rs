//! Typed client of the platform's API.
//!
//! Written for what is known of the wire: only HTTP 200 is success, "not found" comes in three shapes, 429 has a
//! body of its own, and nobody promises that a body is JSON at all. It never follows a redirect (the credential
//! would go along), never repeats a request, bounds every body in size and time, and lets no token into an error.

mod error;

use std::time::Duration;

use reqwest::{Method, redirect, retry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use error::{Error, Kind, Sent};

use super::{
    Account, CreateProgrammaticUser, CreatedUser, Envelope, GroupMapping, Policy, PolicyGrant, PolicyMapping,
    Token, UserDetails, UserGroup, UserSummary,
};

/// No reply of interest is larger: a list of 100,000 users has about 20 MB.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Deadline of the one call that must not hang with a token on its way (`protocol`: settle window).
pub const CREATE_DEADLINE: Duration = Duration::from_secs(10);

/// How the platform is reached.
pub struct Config {
    /// Scheme, host and port.
    pub url: String,
    /// PEM certificates to trust instead of the system's.
    pub ca_bundle: Option<String>,
    /// Deadline of one call.
    pub timeout: Duration,
    /// The credential.
    pub token: Token,
}

/// One organization's API, with one credential.
pub struct Client {
    base: String,
    token: Token,
    shared: reqwest::Client,
    /// For creates: no idle connection is used again, since a request on a connection that the other side has
    /// just closed fails in a way that leaves open whether it was handled.
    fresh: reqwest::Client,
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
                // Clear text is for what is near; a proxy is not.
                builder = builder.no_proxy();
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
                .map_err(|e| Error::config(&format!("cannot prepare an HTTP client: {e}")))
        };
        Ok(Self {
            base: config.url.trim_end_matches('/').to_owned(),
            shared: build(8, config.timeout)?,
            fresh: build(0, CREATE_DEADLINE)?,
            token: config.token,
        })
    }

    /// Last four characters of the credential.
    #[must_use]
    pub fn credential_digits(&self) -> &str {
        self.token.last_digits()
    }

    /// Creates a programmatic user; sent at most once.
    pub async fn create_programmatic_user(
        &self,
        body: &CreateProgrammaticUser,
    ) -> Result<CreatedUser, Error> {
        let route = Route::new(Method::POST, "/setup/user/programmatic");
        let reply = self.send(&self.fresh, &route, &self.token, Some(body)).await?;
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
        self.list("/setup/organization/user").await
    }

    /// One user; `None` if the platform has none of that id, in whichever way it says so.
    pub async fn user(&self, id: &str) -> Result<Option<UserDetails>, Error> {
        let route = Route::user(Method::GET, id, "")?;
        match self.send(&self.shared, &route, &self.token, NO_BODY).await {
            Ok(reply) => Ok(items(&route, &reply)?.pop()),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Deletes a user and its tokens; one that is gone already is no error.
    pub async fn delete_user(&self, id: &str) -> Result<(), Error> {
        let route = Route::user(Method::DELETE, id, "")?;
        match self.send(&self.shared, &route, &self.token, NO_BODY).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Replaces the direct policies of a user.
    pub async fn put_policies(&self, id: &str, policies: Vec<PolicyGrant>) -> Result<(), Error> {
        let route = Route::user(Method::PUT, id, "/policyMapping")?;
        self.send(
            &self.shared,
            &route,
            &self.token,
            Some(&PolicyMapping { policies }),
        )
        .await
        .map(drop)
    }

    /// Replaces the groups of a user.
    pub async fn put_groups(&self, id: &str, user_group_ids: Vec<String>) -> Result<(), Error> {
        let route = Route::user(Method::PUT, id, "/userGroupMapping")?;
        self.send(
            &self.shared,
            &route,
            &self.token,
            Some(&GroupMapping { user_group_ids }),
        )
        .await
        .map(drop)
    }

    /// All accounts of the organization.
    pub async fn accounts(&self) -> Result<Vec<Account>, Error> {
        self.list("/setup/account").await
    }

    /// All policies of the organization, the built-in ones among them.
    pub async fn policies(&self) -> Result<Vec<Policy>, Error> {
        self.list("/setup/organization/policy").await
    }

    /// All groups of the organization.
    pub async fn groups(&self) -> Result<Vec<UserGroup>, Error> {
        self.list("/setup/access/userGroup").await
    }

    /// Whether the platform accepts `token`: `Ok(false)` if it says that it does not know it.
    ///
    /// The platform has no "who am I" route. The list of accounts is the read that every user has a right to ask
    /// for; a 403 means that the platform knows the token and refuses the list, so it proves the token too.
    pub async fn accepts(&self, token: &Token) -> Result<bool, Error> {
        let route = Route::new(Method::GET, "/setup/account");
        match self.send(&self.shared, &route, token, NO_BODY).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == Kind::Forbidden => Ok(true),
            Err(e) if e.kind == Kind::Unauthorized => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn list<T: DeserializeOwned>(&self, path: &'static str) -> Result<Vec<T>, Error> {
        let route = Route::new(Method::GET, path);
        let reply = self.send(&self.shared, &route, &self.token, NO_BODY).await?;
        listed(&route, &reply)
    }

    async fn send<B: Serialize + Sync>(
        &self,
        http: &reqwest::Client,
        route: &Route,
        token: &Token,
        body: Option<&B>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
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
        let mut response = request.send().await.map_err(|e| Error::transport(&name, &e))?;
        let status = response.status().as_u16();
        let reset = reset_after(response.headers());
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|e| Error::transport(&name, &e))? {
            if bytes.len() + chunk.len() > MAX_BODY {
                return Err(Error::undecodable(&name, "the reply is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status == 200 {
            return Ok(bytes);
        }
        Err(Error::refused(
            &name,
            status,
            reset,
            &bytes,
            &[&self.token, token],
        ))
    }
}

/// The objects of a reply; none at all is an empty answer.
fn items<T: DeserializeOwned>(route: &Route, body: &[u8]) -> Result<Vec<T>, Error> {
    envelope(route, body).map(Option::unwrap_or_default)
}

/// The objects of a list. One that has no `items` is no empty list: who concludes from a list that something is
/// gone must have seen a list.
fn listed<T: DeserializeOwned>(route: &Route, body: &[u8]) -> Result<Vec<T>, Error> {
    envelope(route, body)?.ok_or_else(|| Error::undecodable(&route.name(), "the reply holds no list"))
}

fn envelope<T: DeserializeOwned>(route: &Route, body: &[u8]) -> Result<Option<Vec<T>>, Error> {
    let envelope: Envelope<T> =
        serde_json::from_slice(body).map_err(|e| Error::undecodable(&route.name(), &error::position(&e)))?;
    Ok(envelope.response.items)
}

const NO_BODY: Option<&()> = None;

/// When a rate limit is over, in seconds from now.
fn reset_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    ["x-ratelimit-reset", "retry-after"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok()?.trim().parse::<u64>().ok())
        .map(|seconds| Duration::from_secs(seconds.min(3600)))
}

/// A request's method and path, built from checked parts.
struct Route {
    method: Method,
    path: String,
    pattern: String,
}

impl Route {
    fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            pattern: path.to_owned(),
        }
    }

    /// Ids come from replies and from the journal; one with a slash, a dot or an escape in it would name
    /// another route.
    fn user(method: Method, id: &str, suffix: &str) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 128 || !id.chars().all(plain) {
            return Err(Error::config("the recorded user id is not one of the platform's"));
        }
        Ok(Self {
            method,
            path: format!("/setup/user/{id}{suffix}"),
            pattern: format!("/setup/user/{{id}}{suffix}"),
        })
    }

    /// For messages and metrics: without ids.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.pattern)
    }
}

#[cfg(test)]
mod tests;
