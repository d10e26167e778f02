//! The gate before every route of the API: who calls, how often, and whether that is allowed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{MatchedPath, Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::authz::{self, Facts, Grant, Question};
use super::edge::{self, Actor, RequestId};
use super::limit::{Allowance, Key};
use super::metrics::Route;
use super::reply::{Answer, ApiError};
use super::rules::{Needs, Rule};
use super::store::batch::Batch;
use super::store::{Connection, Transaction, access, accounts, audit, callers, credentials, sign_in};
use super::validate::invalid;
use super::{App, console, secret};

/// Bucket of the rate limit for callers without a valid credential, so that they cannot use up the organization's.
pub(super) const ANONYMOUS: &str = "anonymous";
/// How long a request waits for the time of its token's use to be written; it is written anyway.
const TOUCH: std::time::Duration = std::time::Duration::from_millis(500);

/// What is known of a request before anyone is recognised.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    pub(super) request_id: String,
    pub(super) method: String,
    /// Path without what could be a token.
    pub(super) url: String,
    pub(super) agent: String,
}

impl Trace {
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
        Self {
            request_id: id.map(|id| id.0.clone()).unwrap_or_default(),
            method: method.to_string(),
            url: secret::redact(uri.path()),
            agent: secret::redact(agent),
        }
    }

    /// The part of an audit row that the request gives.
    pub(super) fn event(&self) -> audit::Event<'_> {
        audit::Event {
            agent: &self.agent,
            method: &self.method,
            url: &self.url,
            request_id: &self.request_id,
            actor_type: "anonymous",
            ..audit::Event::default()
        }
    }
}

/// Who was recognised, allowed or not.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) id: String,
    pub(super) name: String,
    /// As the audit log has it.
    pub(super) kind: &'static str,
    pub(super) last_digits: Option<String>,
    /// `API` with a token, `UI` with a session.
    pub(super) source: &'static str,
}

impl Caller {
    /// The holder, or former holder, of a token.
    pub(super) fn by_token(owner: &credentials::Owner) -> Self {
        Self {
            id: owner.user_id.clone(),
            name: owner.user_name.clone(),
            kind: if owner.user_type == "personal" {
                "ui"
            } else {
                "programmatic"
            },
            last_digits: Some(owner.last_digits.clone()),
            source: "API",
        }
    }

    /// Puts the caller into an audit row.
    pub(super) fn sign<'a>(&'a self, event: &mut audit::Event<'a>) {
        event.actor_id = Some(&self.id);
        event.actor_name = &self.name;
        event.actor_type = self.kind;
        event.token_last_digits = self.last_digits.as_deref();
        event.source = self.source;
    }
}

/// A request that passed the gate.
#[derive(Debug)]
pub(super) struct Call {
    trace: Trace,
    caller: Caller,
    rule: &'static Rule,
    grants: Vec<Grant>,
    /// The caller's, where a condition may ask for it.
    email: Option<String>,
    /// The account acted on, where the route has one.
    pub(super) account: Option<String>,
}

impl Call {
    /// Adds the row of a success to the audit log; in the transaction of the change, so that there is never one
    /// without the other.
    pub(super) async fn record(&self, conn: &mut Connection, resource_id: &str) -> Result<(), sqlx::Error> {
        let mut batch = Batch::default();
        self.tell(&mut batch, resource_id);
        batch.execute(conn).await
    }

    /// The same, together with the change.
    pub(super) fn tell(&self, batch: &mut Batch, resource_id: &str) {
        let mut event = self.trace.event();
        self.caller.sign(&mut event);
        event.action = self.rule.verb();
        event.resource_type = self.rule.resource_type;
        event.resource_id = Some(resource_id);
        event.account_id = self.account.as_deref();
        event.result = "success";
        event.status = 200;
        audit::add(batch, &event);
    }

    /// Lets the batch fail if the caller is gone, or administers no more, when it is committed; see
    /// [`super::store::queue::is_overtaken`]. For what is decided without the lock.
    pub(super) fn still(&self, batch: &mut Batch) {
        access::require_administrator(batch, &self.caller.id);
    }

    /// Ends a change that answers by status alone: its row in the audit log, and then both for good.
    pub(super) async fn done(&self, mut tx: Transaction, resource_id: &str) -> Result<Answer, ApiError> {
        self.record(&mut tx, resource_id).await?;
        tx.commit().await?;
        Ok(Answer::Done)
    }

    /// Whether the caller has to do with an account.
    pub(super) fn sees(&self, account: &str) -> bool {
        authz::sees(&self.grants, account)
    }

    /// Whether the caller may do this request's action on one resource of the account.
    pub(super) fn may(&self, id: &str, attributes: BTreeMap<String, String>) -> bool {
        let resource = format!("{}:{id}", self.rule.service());
        let account = self.account.as_deref();
        let facts = Facts {
            attributes,
            email: self.email.clone(),
        };
        let question = Question {
            action: self.rule.action,
            resource: &resource,
            account,
            administrator_only: false,
            facts: &facts,
        };
        authz::decide(&self.grants, question).is_allowed()
    }

    /// The refusal of what [`Self::may`] does not allow.
    pub(super) fn refusal(&self) -> ApiError {
        not_allowed(self.rule, self.account.as_deref())
    }

    /// The account acted on.
    pub(super) fn account(&self) -> Result<&str, ApiError> {
        self.account
            .as_deref()
            .ok_or(ApiError::Internal("the route has no account"))
    }
}

/// The middleware.
pub(super) async fn gate(
    State(app): State<App>,
    matched: MatchedPath,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let trace = Trace::of(&request);
    let id = params
        .iter()
        .find(|(name, _)| *name == "id")
        .map(|(_, value)| value.to_owned());
    let Some(rule) = Rule::find(request.method(), matched.as_str()) else {
        // A method that the route does not have; the router answers it, no handler sees it.
        return axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let (mut parts, body) = request.into_parts();
    let mut visit = Visit {
        caller: None,
        allowance: None,
        email: None,
        account: None,
    };
    let admitted = visit.admit(&app, rule, id.as_deref(), &parts).await;
    let mut response = match admitted {
        Ok(grants) => {
            let caller = visit.caller.clone();
            match caller {
                Some(caller) => {
                    let account = visit.account.clone();
                    let call = Call {
                        trace: trace.clone(),
                        caller,
                        rule,
                        grants,
                        email: visit.email.clone(),
                        account,
                    };
                    parts.extensions.insert(Arc::new(call));
                    next.run(Request::from_parts(parts, body)).await
                }
                None => ApiError::Internal("admitted without a caller").into_response(),
            }
        }
        Err(error) => error.into_response(),
    };
    if let Some(allowance) = visit.allowance {
        edge::show(&mut response, allowance);
    }
    if let Some(caller) = &visit.caller {
        response.extensions_mut().insert(Actor(caller.id.clone()));
    }
    response.extensions_mut().insert(Route(rule.path));
    visit
        .audit_failure(&app, rule, id.as_deref(), &trace, response.status().as_u16())
        .await;
    response
}

/// What the gate learned on the way, needed whether it opened or not.
struct Visit {
    caller: Option<Caller>,
    allowance: Option<Allowance>,
    email: Option<String>,
    account: Option<String>,
}

impl Visit {
    async fn admit(
        &mut self,
        app: &App,
        rule: &'static Rule,
        id: Option<&str>,
        request: &Parts,
    ) -> Result<Vec<Grant>, ApiError> {
        let mut conn = app.store.look().await?;
        let recognised = self.recognise(&mut conn, request).await;
        // Counted before anything is answered, the refusal of the credential included.
        let who = recognised
            .as_ref()
            .map_or(ANONYMOUS, |_| app.organization.id.as_str());
        let key = Key {
            caller: who.to_owned(),
            method: rule.method.as_str(),
            route: rule.path,
        };
        self.allowance = app.limiter.count(&app.store, key).await?;
        if self.allowance.is_some_and(|a| a.blocked) {
            return Err(ApiError::RateLimited);
        }
        let (owner, grants) = recognised?;
        let allowed = self.permit(&mut conn, rule, id, &grants, request).await;
        // Before the handler takes its own: one request must not hold two readers.
        drop(conn);
        if let Some(token) = owner.token_id
            && owner.use_is_news()
            && let Err(error) = touch(app, token).await
        {
            // Not worth failing a read for.
            tracing::error!(%error, "the time of a token's use was not written");
        }
        allowed.map(|()| grants)
    }

    async fn recognise(
        &mut self,
        conn: &mut Connection,
        request: &Parts,
    ) -> Result<(credentials::Owner, Vec<Grant>), ApiError> {
        const UNKNOWN: ApiError = ApiError::Unauthorized("The token is missing or not valid");
        if let Some(console::SignedIn(session)) = request.extensions.get() {
            self.caller = Some(console::caller(session));
            let owner = credentials::Owner::in_session(&session.user_id, &session.user_name);
            return Ok((owner, callers::effective(conn, &session.user_id).await?));
        }
        let headers = &request.headers;
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            let Some(cookie) = console::session_cookie(headers) else {
                return Err(UNKNOWN);
            };
            if let Some(session) = sign_in::session(conn, &cookie).await? {
                self.caller = Some(console::caller(&session));
            }
            return Err(ApiError::Unauthorized(
                "A console session does not open the API: use a token",
            ));
        };
        let Some(token) = value.to_str().ok().and_then(bearer) else {
            return Err(UNKNOWN);
        };
        if let Some((owner, grants)) = callers::holder(&mut *conn, token).await? {
            self.caller = Some(Caller::by_token(&owner));
            return Ok((owner, grants));
        }
        let former = credentials::former_owner(conn, token).await?;
        self.caller = former.as_ref().map(Caller::by_token);
        Err(UNKNOWN)
    }

    async fn permit(
        &mut self,
        conn: &mut Connection,
        rule: &Rule,
        id: Option<&str>,
        grants: &[Grant],
        request: &Parts,
    ) -> Result<(), ApiError> {
        self.account = match rule.needs {
            Needs::Caller => return Ok(()),
            Needs::Administrator | Needs::Organization => None,
            Needs::AccountOfPath => Some(id.unwrap_or_default().to_owned()),
            Needs::AccountOfQuery | Needs::ResourcesOfQuery => {
                Some(account_of_query(conn, grants, request).await?)
            }
        };
        if let Some(account) = &self.account {
            let seen = authz::sees(grants, account);
            if seen && !accounts::exists(conn, account).await? {
                // Only who holds rights in all accounts gets here, so nothing is given away.
                let message = format!("Account {account} does not exist");
                return Err(match rule.needs {
                    Needs::AccountOfPath => ApiError::Missing("Account_DOESNT_EXIST", message),
                    _ => ApiError::Unknown("Account_DOESNT_EXIST", message, "query.accountId".into()),
                });
            }
            // Reading an account is for whoever has to do with it.
            if seen && rule.needs == Needs::AccountOfPath && request.method == Method::GET {
                return Ok(());
            }
        }
        let resource = format!("{}:{}", rule.service(), id.unwrap_or_default());
        // Nothing is read where no policy of the caller has a condition.
        let mut statements = grants.iter().flat_map(|g| g.statements.iter());
        let facts = match &self.caller {
            Some(caller) if statements.any(|s| s.condition.is_some()) => {
                access::facts(conn, &caller.id, self.account.as_deref(), &resource).await?
            }
            _ => Facts::default(),
        };
        self.email.clone_from(&facts.email);
        let question = Question {
            action: rule.action,
            resource: &resource,
            account: self.account.as_deref(),
            administrator_only: rule.needs == Needs::Administrator,
            facts: &facts,
        };
        let allowed = match rule.needs {
            Needs::ResourcesOfQuery => authz::could(grants, question),
            _ => authz::decide(grants, question).is_allowed(),
        };
        if allowed {
            return Ok(());
        }
        Err(not_allowed(rule, self.account.as_deref()))
    }

    /// Refusals of any request and failures of changes are on record too. Not those of the rate limit, which
    /// would let a flood of requests fill the disk.
    async fn audit_failure(&self, app: &App, rule: &Rule, id: Option<&str>, trace: &Trace, status: u16) {
        let refused = matches!(status, 401 | 403);
        if !(refused || (status >= 400 && status != 429 && trace.method != "GET")) {
            return;
        }
        // Of the path and the query too: what was refused may be anything.
        let id = id.map(secret::redact);
        let account = self.account.as_deref().map(secret::redact);
        let mut event = trace.event();
        event.actor_name = ANONYMOUS;
        event.source = "API";
        if let Some(caller) = &self.caller {
            caller.sign(&mut event);
        }
        event.action = rule.verb();
        event.resource_type = rule.resource_type;
        event.resource_id = id.as_deref();
        event.account_id = account.as_deref();
        event.result = if refused { "refused" } else { "failed" };
        event.status = status;
        write(app, &event).await;
    }
}

/// Adds an audit row by itself. The answer does not wait for a broken disk: it is a refusal anyway.
pub(super) async fn write(app: &App, event: &audit::Event<'_>) {
    let mut batch = Batch::default();
    audit::add(&mut batch, event);
    if let Err(error) = app.store.note(batch).await {
        app.metrics.unrecorded();
        tracing::error!(%error, request = event.request_id, "an audit row was not written");
    }
}

async fn touch(app: &App, token: i64) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    credentials::touch(&mut batch, token);
    // A read does not wait for long until others have written.
    let written = tokio::time::timeout(TOUCH, app.store.note(batch)).await;
    written.unwrap_or(Ok(()))
}

fn not_allowed(rule: &Rule, account: Option<&str>) -> ApiError {
    let place = account.map_or("the organization".into(), |a| format!("account {a}"));
    ApiError::Forbidden(match rule.needs {
        Needs::Administrator => {
            format!("Only an organization administrator may do this ({})", rule.action)
        }
        _ => format!("No policy allows {} in {place}", rule.action),
    })
}

/// The token of an `Authorization` header.
pub(super) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

async fn account_of_query(
    conn: &mut Connection,
    grants: &[Grant],
    request: &Parts,
) -> Result<String, ApiError> {
    let query = Query::<HashMap<String, String>>::try_from_uri(&request.uri)
        .map_err(|_| invalid("query", "must be a valid query string"))?;
    if let Some(account) = query.get("accountId").filter(|a| !a.is_empty()) {
        return Ok(account.clone());
    }
    let mut seen = accounts::list(conn)
        .await?
        .into_iter()
        .map(|a| a.account_id)
        .filter(|a| authz::sees(grants, a));
    match (seen.next(), seen.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(invalid("query.accountId", "is required")),
        (None, _) => Err(ApiError::Forbidden(
            "No policy allows anything in any account".into(),
        )),
    }
}
