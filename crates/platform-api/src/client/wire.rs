//! Paths, headers and bodies.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Error, position};
use crate::{Bounded, StatusLine};

const MIB: usize = 1024 * 1024;
/// Objects of a list that an organization has a few of: accounts, policies, groups.
pub(super) const FEW: usize = 10_000;
/// Objects of a list of users or events.
pub(super) const MANY: usize = 500_000;
/// Objects of a reply that is about one.
const ONE: usize = 100;

/// What is read of a reply that went well. An object of a few bytes takes many times as much in memory, so that their
/// number has a bound besides that of the bytes.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct Reply<T, const MOST: usize> {
    response: Response<T, MOST>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct Response<T, const MOST: usize> {
    #[serde(rename = "status")]
    _status: StatusLine,
    #[serde(default)]
    items: Option<Bounded<T, MOST>>,
}

/// The objects of a reply; none at all is an empty answer.
pub(super) fn items<T: DeserializeOwned>(route: &Route, body: &[u8]) -> Result<Vec<T>, Error> {
    envelope::<_, ONE>(route, body).map(Option::unwrap_or_default)
}

/// The objects of a list. One without `items` is not empty: a caller that concludes from a list that something is
/// gone must have seen a list.
pub(super) fn listed<T: DeserializeOwned, const MOST: usize>(
    route: &Route,
    body: &[u8],
) -> Result<Vec<T>, Error> {
    envelope::<_, MOST>(route, body)?
        .ok_or_else(|| Error::undecodable(&route.name(), "the reply holds no list"))
}

fn envelope<T: DeserializeOwned, const MOST: usize>(
    route: &Route,
    body: &[u8],
) -> Result<Option<Vec<T>>, Error> {
    let reply: Reply<T, MOST> =
        serde_json::from_slice(body).map_err(|e| Error::undecodable(&route.name(), &position(&e)))?;
    Ok(reply.response.items.map(|items| items.0))
}

pub(super) const NO_BODY: Option<&()> = None;

/// When a rate limit is over, in seconds from now.
pub(super) fn reset_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    ["x-ratelimit-reset", "retry-after"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok()?.trim().parse::<u64>().ok())
        .map(|seconds| Duration::from_secs(seconds.min(3600)))
}

/// The platform's time, to the second.
pub(super) fn time(headers: &reqwest::header::HeaderMap) -> Option<Timestamp> {
    let text = headers.get(reqwest::header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp())
}

/// A request's method and path, built from checked parts.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: String,
    pattern: String,
}

impl Route {
    pub(super) fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            pattern: path.to_owned(),
        }
    }

    /// Ids come from replies and from the journal; one with a slash, a dot or an escape in it would name
    /// another route.
    pub(super) fn user(method: Method, id: &str, suffix: &str) -> Result<Self, Error> {
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

    /// The values may be anything: they are escaped.
    pub(super) fn with_query(mut self, query: &[(&str, String)]) -> Self {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        self.path = format!("{}?{query}", self.path);
        self
    }

    /// How many bytes of a good reply are read: a list of 100,000 users has about 20 MB.
    pub(super) fn cap(&self) -> usize {
        match self.pattern.as_str() {
            "/setup/organization/user" | "/audit/events" => 64 * MIB,
            "/setup/account" | "/setup/organization/policy" | "/setup/access/userGroup" => 4 * MIB,
            _ => MIB,
        }
    }

    /// Whether a reply may be a large one.
    pub(super) fn is_list(&self) -> bool {
        self.cap() > MIB
    }

    pub(super) fn is_list_of_users(&self) -> bool {
        self.method == Method::GET && self.pattern == "/setup/organization/user"
    }

    /// For messages and metrics: without ids.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.pattern)
    }
}
