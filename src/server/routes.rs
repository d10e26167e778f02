//! The routes of the API.

mod accounts;
mod audit;
mod elastigroups;
mod grants;
mod groups;
mod policies;
mod users;

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::routing::{get, post, put};
use axum::{Router, middleware};

use super::gate::{Call, gate};
use super::reply::{Answer, ApiError};
use super::{App, store};

/// A request that passed the gate, in a handler's arguments.
type Admitted = Extension<Arc<Call>>;
type Outcome = Result<Answer, ApiError>;

/// All routes of the API behind the gate, and the health check before it.
pub(super) fn api(app: App) -> Router {
    Router::new()
        .route("/setup/user", post(users::create_personal))
        .route("/setup/user/programmatic", post(users::create_programmatic))
        .route("/setup/organization/user", get(users::list))
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
        .route("/setup/organization/policy", get(policies::list))
        .route("/setup/access/policy", post(policies::create))
        .route(
            "/setup/access/policy/{id}",
            put(policies::update).delete(policies::delete),
        )
        .route("/setup/access/policyAction", get(policies::actions))
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
        .route("/audit/events", get(audit::list))
        .route(
            "/aws/ec2/group",
            get(elastigroups::list).post(elastigroups::create),
        )
        .route(
            "/aws/ec2/group/{id}",
            get(elastigroups::details).delete(elastigroups::delete),
        )
        .route_layer(middleware::from_fn_with_state(app.clone(), gate))
        .route("/healthz", get(health))
        .with_state(app)
}

/// Whether the platform can answer: it can if its database does.
async fn health(State(app): State<App>) -> Outcome {
    let mut tx = app.store.read().await?;
    store::accounts::organization(&mut tx).await?;
    Ok(Answer::Done)
}
