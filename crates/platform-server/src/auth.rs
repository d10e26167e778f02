//! Middleware of every route of the API: authentication, rate limit, authorization, and the audit of refusals.

mod caller;
pub(super) mod context;
mod reader;
mod request;
pub(super) mod session;
mod target;

use std::sync::Arc;

use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::authz::Facts;
use super::limit::Allowance;
use super::metrics::Route;
use super::refusals;
use super::reply::ApiError;
use super::rules::Rule;
use super::store::batch::Batch;
use super::store::requests::Key;
use super::store::{Connection, ReadConnection, credentials, sign_in};
use super::{App, secret};
pub(super) use caller::{Caller, bearer};
use caller::{Credential, Holder};
use context::{ANONYMOUS, Actor, RequestContext, write};
use reader::HeldReader;
pub(super) use reader::Reader;
pub(super) use request::AuthorizedRequest;
use target::Target;

/// How long a request waits for the time of its token's use to be written; it is written anyway.
const TOUCH: std::time::Duration = std::time::Duration::from_millis(500);

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
        allowance.write_headers(&mut response);
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
            let Some(cookie) = session::session_cookie(app, headers) else {
                return Err(caller::UNKNOWN);
            };
            if let Some(found) = sign_in::session(conn, &cookie).await? {
                self.caller = Some(Caller::by_session(&found));
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

async fn record_use(app: &App, token: i64) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    credentials::update_last_used(&mut batch, token);
    // A read does not wait for long until others have written.
    let written = tokio::time::timeout(TOUCH, app.store.record(batch)).await;
    written.unwrap_or(Ok(()))
}
