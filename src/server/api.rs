//! One request of the API, from the wire to the envelope.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};

use super::App;
use super::auth::{Principal, by_token};
use super::limit::Allowance;
use super::reply::{About, Failure, Output, respond};
use super::routes::{Call, Handled, Lost, Route, find, handle};
use super::secret::new_uuid;
use super::store::{AuditRow, audit};

pub(super) async fn serve(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response<Body> {
    let (id, started) = (new_uuid(), Instant::now());
    let url = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut about = About {
        id: &id,
        url,
        method: method.as_str(),
        allowance: Allowance::default(),
    };
    let route = match find(&method, uri.path()) {
        Ok(route) => route,
        Err(lost) => return respond(&about, Err(lost_way(&lost, &method, uri.path()))),
    };
    about.allowance = app.limiter.count(route.name, started);
    let outcome = if about.allowance.blocked {
        Err(Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RATE_LIMIT",
            "Rate limit exceeded",
        ))
    } else {
        let query = Query::<HashMap<String, String>>::try_from_uri(&uri)
            .map(|q| q.0)
            .unwrap_or_default();
        let body = body.map_err(|e| {
            Failure::new(
                e.status(),
                "BODY_NOT_READ",
                "the body cannot be read or is too large",
            )
        });
        Box::pin(answer(&app, &route, &headers, &query, body, &id)).await
    };
    let status = outcome.as_ref().map_or_else(|f| f.status.as_u16(), |_| 200);
    tracing::info!(
        route = route.name,
        status,
        request = id,
        ms = started.elapsed().as_millis(),
        "request"
    );
    respond(&about, outcome)
}

fn lost_way(lost: &Lost, method: &Method, path: &str) -> Failure {
    match lost {
        Lost::Path => Failure::new(
            StatusCode::NOT_FOUND,
            "ROUTE_DOESNT_EXIST",
            format!("there is no route {path}"),
        ),
        Lost::Method => {
            let message = format!("{path} does not take {method}");
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
        }
    }
}

async fn answer(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    query: &HashMap<String, String>,
    body: Result<Bytes, Failure>,
    request_id: &str,
) -> Result<Output, Failure> {
    let principal = authenticate(app, headers, route, request_id).await?;
    let body = body?;
    let call = Call {
        principal: &principal,
        query,
        body: &body,
        id: &route.id,
    };
    if route.name.starts_with("GET ") {
        let mut db = app.store.read().await?;
        let result = handle(route, &call, &mut db).await.map(|h| h.output);
        drop(db);
        if let Err(failure) = &result
            && failure.status == StatusCode::FORBIDDEN
        {
            note(
                app,
                &principal,
                route,
                query,
                &route.id,
                failure.status.as_u16(),
                request_id,
            )
            .await?;
        }
        return result;
    }
    // The change and its line in the audit log are kept together or not at all.
    let mut tx = app.store.write().await?;
    match handle(route, &call, &mut tx).await {
        Ok(Handled { output, id }) => {
            let row = row(&principal, route, query, &id, 200, request_id);
            audit(&mut tx, &row).await?;
            tx.commit().await?;
            Ok(output)
        }
        Err(failure) => {
            tx.rollback().await?;
            note(
                app,
                &principal,
                route,
                query,
                &route.id,
                failure.status.as_u16(),
                request_id,
            )
            .await?;
            Err(failure)
        }
    }
}

async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    route: &Route,
    request_id: &str,
) -> Result<Principal, Failure> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let found = match bearer {
        Some(token) => {
            let mut db = app.store.read().await?;
            by_token(&mut db, token.trim()).await
        }
        None if headers.get(header::COOKIE).is_some() => Err(Failure {
            message: "a session of the console is no credential for the API: use a token".to_owned(),
            ..Failure::unauthorized()
        }),
        None => Err(Failure::unauthorized()),
    };
    if let Err(failure) = &found {
        let mut tx = app.store.write().await?;
        let row = AuditRow {
            request_id,
            actor_type: "unknown",
            actor_id: "",
            token_last_digits: "",
            source: "API",
            action: route.verb,
            resource_type: route.resource,
            resource_id: &route.id,
            account_id: None,
            status: failure.status.as_u16(),
        };
        audit(&mut tx, &row).await?;
        tx.commit().await?;
    }
    found
}

fn row<'a>(
    principal: &'a Principal,
    route: &'a Route,
    query: &'a HashMap<String, String>,
    resource_id: &'a str,
    status: u16,
    request_id: &'a str,
) -> AuditRow<'a> {
    AuditRow {
        request_id,
        actor_type: principal.actor_type(),
        actor_id: &principal.id,
        token_last_digits: &principal.last_digits,
        source: "API",
        action: route.verb,
        resource_type: route.resource,
        resource_id,
        account_id: query.get("accountId").map(String::as_str),
        status,
    }
}

async fn note(
    app: &App,
    principal: &Principal,
    route: &Route,
    query: &HashMap<String, String>,
    resource_id: &str,
    status: u16,
    request_id: &str,
) -> Result<(), Failure> {
    let mut tx = app.store.write().await?;
    audit(
        &mut tx,
        &row(principal, route, query, resource_id, status, request_id),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}
