//! The console's client of the API: it calls the same routes, with the rights of the signed-in user, and with the same audit.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::auth::context::{RequestContext, RequestId};
use crate::auth::session::SignedIn;
use crate::authz::{self, Facts, Question};
use crate::store::{callers, sign_in};
use crate::{App, reply, reply::ApiError};
use platform_api::{ErrorItem, RequestInfo, format_time};

/// Longest reply that a page is rendered from.
const LONGEST: usize = 64 * 1024 * 1024;

/// The routes of the API, in the extensions of a page's request.
#[derive(Clone)]
pub(super) struct Api(pub(super) Router);

/// The calls that render one page, for one user.
pub(super) struct Client {
    app: App,
    api: Router,
    session: sign_in::Session,
    cookie: String,
    context: RequestContext,
}

/// A refusal of the API, with its messages.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) errors: Vec<ErrorItem>,
}

impl Refused {
    fn too_long() -> Self {
        let message = "There is more than a page can show: ask the API for it".to_owned();
        let error = ErrorItem {
            code: "TOO_LONG".to_owned(),
            message,
            field: None,
        };
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            errors: vec![error],
        }
    }

    pub(super) fn words(&self) -> String {
        let words = self.errors.iter().map(|e| e.message.as_str());
        let words: Vec<&str> = words.collect();
        if words.is_empty() {
            return "Too many requests. Wait a minute, and try again.".to_owned();
        }
        words.join(". ")
    }
}

impl Client {
    pub(super) fn new(
        app: &App,
        api: &Api,
        session: sign_in::Session,
        cookie: String,
        context: RequestContext,
    ) -> Self {
        Self {
            app: app.clone(),
            api: api.0.clone(),
            session,
            cookie,
            context,
        }
    }

    pub(super) fn session(&self) -> &sign_in::Session {
        &self.session
    }

    pub(super) fn organization(&self) -> &str {
        &self.app.organization.name
    }

    pub(super) async fn get(&self, path: &str) -> Result<Vec<Value>, Refused> {
        self.call(Method::GET, path, None).await
    }

    /// Sends one request; the items of the reply.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<Value>, Refused> {
        let info = RequestInfo {
            id: self.context.request_id.clone(),
            url: path.to_owned(),
            method: method.to_string(),
            timestamp: format_time(Timestamp::now()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::USER_AGENT, &self.context.agent)
            .header(header::CONTENT_TYPE, "application/json")
            .extension(RequestId(self.context.request_id.clone()))
            .extension(SignedIn(self.cookie.clone()));
        if let Some(peer) = self.context.peer {
            request = request.extension(peer);
        }
        let body = body.map_or_else(Body::empty, |b| Body::from(b.to_string()));
        let failed = |_| Refused {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            errors: Vec::new(),
        };
        let request = request.body(body).map_err(failed)?;
        let Ok(response) = self.api.clone().oneshot(request).await;
        let response = reply::finish(response, info);
        let status = response.status();
        let bytes = to_bytes(response.into_body(), LONGEST).await;
        let read = bytes.ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
        let Some(mut reply) = read else {
            return Err(Refused::too_long());
        };
        let mut reply = reply["response"].take();
        if status.is_success() {
            return Ok(serde_json::from_value(reply["items"].take()).unwrap_or_default());
        }
        let errors = serde_json::from_value(reply["errors"].take()).unwrap_or_default();
        Err(Refused { status, errors })
    }

    /// Refuses a form that no page of the session sent.
    pub(super) async fn csrf_failed(&self, action: &str) -> Response {
        super::csrf_failed(&self.app, &self.context, &self.session, action).await
    }

    /// Whether the user administers the organization. It decides what a page offers; the API decides what is allowed.
    pub(super) async fn administers(&self) -> Result<bool, ApiError> {
        let mut tx = self.app.store.read().await?;
        let rights = callers::effective(&mut tx, &self.session.user_id).await?;
        Ok(authz::administers(&rights.grants))
    }

    /// Whether the user may list the organization's users.
    pub(super) async fn sees_users(&self) -> Result<bool, ApiError> {
        let rights = callers::effective(
            &mut *self.app.store.acquire_reader().await?,
            &self.session.user_id,
        )
        .await?;
        let question = Question {
            action: "setup:describeOrganizationUsers",
            resource: "setup:",
            account: None,
            administrator_only: false,
            facts: &Facts::default(),
        };
        Ok(authz::decide(&rights.grants, question).is_allowed())
    }

    /// Takes the number of a form that may be sent once; `false` if it was sent before.
    pub(super) async fn take(&self, number: &str) -> Result<bool, ApiError> {
        let mut tx = self.app.store.write().await?;
        let fresh = sign_in::take_form(&mut tx, number).await?;
        tx.commit().await?;
        Ok(fresh)
    }
}
