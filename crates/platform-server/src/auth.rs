//! Middleware of every route of the API: authentication, rate limit, authorization, and the audit of refusals.

mod caller;
mod reader;
mod request;
mod target;

use std::sync::Arc;

use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::authz::Facts;
use super::edge::{self, Actor, RequestId};
use super::limit::{Allowance, Key};
use super::metrics::Route;
use super::peer::Peer;
use super::refusals;
use super::reply::ApiError;
use super::rules::Rule;
use super::store::batch::Batch;
use super::store::{Connection, ReadConnection, audit, credentials, sign_in};
use super::{App, console, secret};
pub(super) use caller::{Caller, bearer};
use caller::{Credential, Holder};
use reader::HeldReader;
pub(super) use reader::Reader;
pub(super) use request::AuthorizedRequest;
use target::Target;

/// Bucket of the rate limit for callers without a valid credential, so that they cannot use up the organization's.
pub(super) const ANONYMOUS: &str = "anonymous";
/// How long a request waits for the time of its token's use to be written; it is written anyway.
const TOUCH: std::time::Duration = std::time::Duration::from_millis(500);

/// What is known of a request before its caller is authenticated.
#[derive(Debug, Clone)]
pub(super) struct RequestContext {
    pub(super) request_id: String,
    pub(super) method: String,
    /// Path without what could be a token.
    pub(super) url: String,
    pub(super) agent: String,
    pub(super) peer: Option<Peer>,
    /// The same, written.
    from: Option<String>,
}

impl RequestContext {
    pub(super) fn of(request: &Request) -> Self {
        Self::new(
            request.headers(),
            request.extensions(),
            request.method(),
            request.uri(),
        )
    }

    /// The same, of a request whose body was taken off.
    pub(super) fn of_parts(parts: &Parts) -> Self {
        Self::new(&parts.headers, &parts.extensions, &parts.method, &parts.uri)
    }

    fn new(headers: &HeaderMap, extensions: &Extensions, method: &Method, uri: &Uri) -> Self {
        let agent = headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let id = extensions.get::<RequestId>();
        let peer = Peer::of(extensions);
        Self {
            request_id: id.map(|id| id.0.clone()).unwrap_or_default(),
            method: method.to_string(),
            url: secret::redact(uri.path()),
            agent: secret::redact(agent),
            peer,
            from: peer.map(|peer| peer.to_string()),
        }
    }

    /// The part of an audit row that the request gives.
    pub(super) fn event(&self) -> audit::Event<'_> {
        audit::Event {
            agent: &self.agent,
            method: &self.method,
            url: &self.url,
            request_id: &self.request_id,
            peer: self.from.as_deref(),
            actor_type: ANONYMOUS,
            ..audit::Event::default()
        }
    }
}

/// The middleware.
pub(super) async fn authorize(
    State(app): State<App>,
    matched: MatchedPath,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let context = RequestContext::of(&request);
    let id = params
        .iter()
        .find(|(name, _)| *name == "id")
        .map(|(_, value)| value.to_owned());
    let Some(rule) = Rule::find(request.method(), matched.as_str()) else {
        // A method that the route does not have; the router answers it, no handler sees it.
        return axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let (mut parts, body) = request.into_parts();
    let mut admission = Admission {
        caller: None,
        allowance: None,
        target: Target {
            rule,
            id,
            account: None,
        },
    };
    let mut response = match admission.admit(&app, &parts, &context).await {
        Ok((call, left)) => {
            parts.extensions.insert(Arc::new(call));
            if let Some(conn) = left {
                parts.extensions.insert(HeldReader::new(conn));
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    if let Some(allowance) = admission.allowance {
        edge::show(&mut response, allowance);
    }
    if let Some(caller) = &admission.caller {
        response.extensions_mut().insert(Actor(caller.id.clone()));
    }
    response.extensions_mut().insert(Route(rule.path));
    admission
        .audit_failure(&app, &context, response.status().as_u16())
        .await;
    response
}

/// What the middleware found out, needed whether it admits the request or not.
struct Admission {
    caller: Option<Caller>,
    allowance: Option<Allowance>,
    target: Target,
}

impl Admission {
    async fn admit(
        &mut self,
        app: &App,
        request: &Parts,
        context: &RequestContext,
    ) -> Result<(AuthorizedRequest, Option<ReadConnection>), ApiError> {
        let mut conn = app.store.acquire_reader().await?;
        let authenticated = match self.authenticate(app, &mut conn, request).await {
            Ok((credential, holder)) => {
                let allowed = self.permit(&mut conn, &holder, request).await;
                Ok((credential, holder, allowed))
            }
            Err(error) => Err(error),
        };
        // Released before the request waits for a body, a writer, or the count of several platforms.
        let goes_on = self.target.rule.method == Method::GET
            && !app.store.is_shared()
            && matches!(&authenticated, Ok((_, holder, Ok(_))) if holder.used.is_none());
        let left = goes_on.then_some(conn);
        // Every request counts, refusals included. Refused callers count by themselves: they must not use up the requests of
        // callers with the right, such as an administrator who deletes the refused user.
        let counted_for = match &authenticated {
            Ok((.., Ok(_))) => app.organization.id.as_str(),
            Ok((_, holder, Err(_))) => holder.caller.id.as_str(),
            Err(_) => ANONYMOUS,
        };
        // Callers without a valid credential share one count: one for each route would allow many times as many requests.
        let (method, route) = match &authenticated {
            Ok(_) => (self.target.rule.method.as_str(), self.target.rule.path),
            Err(_) => ("*", "*"),
        };
        let key = Key {
            caller: counted_for.to_owned(),
            method,
            route,
        };
        self.allowance = app.limiter.count(&app.store, key).await?;
        if self.allowance.is_some_and(|a| a.blocked) {
            return Err(ApiError::RateLimited);
        }
        let (credential, holder, allowed) = authenticated?;
        if let Some(token) = holder.used
            && let Err(error) = record_use(app, token).await
        {
            // No reason to fail a read.
            tracing::error!(%error, "the time of a token's use was not written");
        }
        let call = AuthorizedRequest {
            app: app.clone(),
            facts: allowed?,
            context: context.clone(),
            credential,
            caller: holder.caller,
            rights: holder.rights,
            target: self.target.clone(),
        };
        Ok((call, left))
    }

    async fn authenticate(
        &mut self,
        app: &App,
        conn: &mut Connection,
        request: &Parts,
    ) -> Result<(Credential, Holder), ApiError> {
        let Some(credential) = Credential::of(request) else {
            let headers = &request.headers;
            if headers.contains_key(header::AUTHORIZATION) {
                return Err(caller::UNKNOWN);
            }
            let Some(cookie) = console::session_cookie(app, headers) else {
                return Err(caller::UNKNOWN);
            };
            if let Some(session) = sign_in::session(conn, &cookie).await? {
                self.caller = Some(console::caller(&session));
            }
            return Err(ApiError::Unauthorized(
                "A console session does not open the API: use a token",
            ));
        };
        match credential.holder(conn).await {
            Ok(holder) => {
                self.caller = Some(holder.caller.clone());
                Ok((credential, holder))
            }
            Err(error) => {
                self.caller = credential.former_holder(conn).await?;
                Err(error)
            }
        }
    }

    async fn permit(
        &mut self,
        conn: &mut Connection,
        holder: &Holder,
        request: &Parts,
    ) -> Result<Facts, ApiError> {
        self.target.locate(conn, &holder.rights.grants, request).await?;
        self.target.permit(conn, holder).await
    }

    /// Records refusals of any request and failures of changes; not those of the rate limit, by which a flood of requests
    /// would fill the disk.
    async fn audit_failure(&self, app: &App, context: &RequestContext, status: u16) {
        let refused = matches!(status, 401 | 403);
        if !(refused || (status >= 400 && status != 429 && context.method != "GET")) {
            return;
        }
        // Of the path and the query too: what was refused may be anything.
        let id = self.target.id.as_deref().map(secret::redact);
        let account = self.target.account.as_deref().map(secret::redact);
        let mut event = context.event();
        event.actor_name = ANONYMOUS;
        event.source = "API";
        if let Some(caller) = &self.caller {
            caller.sign(&mut event);
        }
        event.action = self.target.rule.verb();
        event.resource_type = self.target.rule.resource_type;
        event.resource_id = id.as_deref();
        event.account_id = account.as_deref();
        event.result = if refused { "refused" } else { "failed" };
        event.status = status;
        if self.caller.is_none() || status == 401 {
            refusals::record(app, context, &event, self.target.rule.path).await;
        } else {
            write(app, &event).await;
        }
    }
}

/// A method as a label of metrics and counts: callers can invent others.
pub(super) fn known_method(method: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE"];
    known.into_iter().find(|k| *k == method).unwrap_or("other")
}

/// Adds an audit row by itself. The answer does not wait for a broken disk: it is a refusal anyway.
pub(super) async fn write(app: &App, event: &audit::Event<'_>) {
    let mut batch = Batch::default();
    audit::add(&mut batch, event);
    if let Err(error) = app.store.record(batch).await {
        app.metrics.unrecorded();
        tracing::error!(%error, request = event.request_id, "an audit row was not written");
    }
}

async fn record_use(app: &App, token: i64) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    credentials::update_last_used(&mut batch, token);
    // A read does not wait for long until others have written.
    let written = tokio::time::timeout(TOUCH, app.store.record(batch)).await;
    written.unwrap_or(Ok(()))
}
