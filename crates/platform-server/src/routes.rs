//! The routes of the API.

mod accounts;
mod audit;
mod elastigroups;
mod explain;
mod grants;
mod groups;
mod mappings;
mod organization;
mod own;
mod policies;
mod users;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Extension, State};
use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};
use tokio::sync::Mutex;

use super::auth::{AuthorizedRequest, authorize};
use super::metrics::Route;
use super::reply::{Answer, ApiError};
use super::{App, store};

/// An authorized request, in a handler's arguments.
type Admitted = Extension<Arc<AuthorizedRequest>>;
type Outcome = Result<Answer, ApiError>;

/// All routes of the API behind the middleware, and the health check without it.
pub(super) fn api(app: App) -> Router {
    setup()
        .merge(access())
        .route("/audit/events", get(audit::list))
        .route(
            "/aws/ec2/group",
            get(elastigroups::list).post(elastigroups::create),
        )
        .route(
            "/aws/ec2/group/{id}",
            get(elastigroups::details).delete(elastigroups::delete),
        )
        .route_layer(middleware::from_fn_with_state(app.clone(), authorize))
        .route("/healthz", get(health))
        .with_state(app)
}

/// Users, accounts and the organization.
fn setup() -> Router<App> {
    Router::new()
        .route("/setup/user", get(users::of_account).post(users::create_personal))
        .route("/setup/user/programmatic", post(users::create_programmatic))
        .route("/setup/organization/user", get(users::list))
        .route("/setup/user/password", put(own::change_password))
        .route(
            "/setup/user/session",
            get(own::sessions).delete(own::end_other_sessions),
        )
        .route("/setup/user/session/{id}", delete(own::end_session))
        .route("/setup/user/{id}", get(users::details).delete(users::delete))
        .route("/setup/user/{id}/policyMapping", put(users::map_policies))
        .route("/setup/user/{id}/userGroupMapping", put(users::map_groups))
        .route("/setup/account", get(accounts::list).post(accounts::create))
        .route(
            "/setup/account/{id}",
            get(accounts::details)
                .put(accounts::update)
                .delete(accounts::delete),
        )
        .route(
            "/setup/account/{id}/user",
            post(mappings::add).put(mappings::change).delete(mappings::remove),
        )
        .route(
            "/setup/accountUserMapping",
            get(mappings::list).post(mappings::assign),
        )
        .route("/setup/organization", post(organization::create))
        .route("/setup/organization/{id}", delete(organization::delete))
}

/// Policies and user groups.
fn access() -> Router<App> {
    Router::new()
        .route("/setup/organization/policy", get(policies::list))
        .route(
            "/setup/access/policy",
            get(policies::of_account).post(policies::create),
        )
        .route(
            "/setup/access/policy/{id}",
            put(policies::update).delete(policies::delete),
        )
        .route("/setup/access/policyAction", get(policies::actions))
        .route("/setup/access/explain", get(explain::explain))
        .route("/setup/access/userGroup", get(groups::list).post(groups::create))
        .route(
            "/setup/access/userGroup/{id}",
            get(groups::details).put(groups::update).delete(groups::delete),
        )
        .route("/setup/access/userGroup/{id}/userMapping", put(groups::map_users))
        .route(
            "/setup/access/userGroup/{id}/policyMapping",
            put(groups::map_policies),
        )
}

/// How long an answer of the health check is good for: the route needs no credential, and takes one of a few connections.
const HEALTH_LASTS: Duration = Duration::from_secs(1);

/// When the database last answered.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<Instant>>);

impl Health {
    /// Asks the database, one request at a time, unless it answered a moment ago.
    async fn check(&self, store: &store::Store) -> Outcome {
        let mut answered = self.0.lock().await;
        if answered.is_some_and(|at| at.elapsed() < HEALTH_LASTS) {
            return Ok(Answer::Done);
        }
        let mut conn = store.acquire_reader().await?;
        store::accounts::organization(&mut conn).await?;
        *answered = Some(Instant::now());
        Ok(Answer::Done)
    }
}

/// Whether the platform can answer: it can if its database does.
async fn health(State(app): State<App>) -> (Extension<Route>, Outcome) {
    (Extension(Route("/healthz")), app.health.check(&app.store).await)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use crate::rules::RULES;
    use crate::{Database, Password, Platform, PlatformConfig, edge};
    use platform_api::Token;

    /// A new one without rate limit, whose administrator has the token of 64 `a`.
    pub(super) async fn platform(directory: &Path) -> Platform {
        let config = PlatformConfig {
            database: Database::Directory(directory.to_owned()),
            listen: "127.0.0.1:0".parse().unwrap(),
            admin_password: Some(Password::new("long enough".into())),
            admin_token: Token::new(&"a".repeat(64)),
            requests_per_minute: 0,
            ..PlatformConfig::default()
        };
        Platform::bind(config).await.unwrap()
    }

    /// Behind every row of the table there is a route, and nothing of it opens without a token.
    #[tokio::test]
    async fn every_rule_guards_a_route() {
        let directory = tempfile::tempdir().unwrap();
        let platform = platform(directory.path()).await;
        let service = edge::service(platform.app.clone());
        for rule in RULES {
            for (token, refused) in [
                (None, true),
                (Some("b".repeat(64)), true),
                (Some("a".repeat(64)), false),
            ] {
                let mut request = Request::builder()
                    .method(rule.method.clone())
                    .uri(rule.path.replace("{id}", "x-0"));
                if let Some(token) = token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let status = service
                    .clone()
                    .oneshot(request.body(Body::empty()).unwrap())
                    .await
                    .unwrap()
                    .status();
                assert_eq!(status == StatusCode::UNAUTHORIZED, refused, "{rule:?}: {status}");
                assert!(
                    status != StatusCode::METHOD_NOT_ALLOWED && !status.is_server_error(),
                    "{rule:?}: {status}"
                );
            }
        }
    }
}
