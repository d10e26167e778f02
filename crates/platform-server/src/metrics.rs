//! Metrics of the platform: closed label sets, no names of users and no ids.

use std::time::{Duration, Instant};

use axum::extract::{Extension, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;

use super::App;
use super::reply::ApiError;
use super::store::{Store, users};

pub(super) const PATH: &str = "/metrics";
/// Seconds; a password takes most of one, a list of 100,000 users some.
const SPANS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How long a count of the users is good for: the route needs no credential, and counting reads all users.
const COUNT_LASTS: Duration = Duration::from_secs(5);

/// The route that answered a request, for its response's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route(pub(super) &'static str);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfType {
    r#type: &'static str,
}

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<OfRoute, Histogram>,
    sign_ins: Family<Outcome, Counter>,
    unrecorded: Counter,
    exported: Counter,
    not_exported: Counter,
    renewals: Family<Outcome, Counter>,
    users: Family<OfType, Gauge>,
    /// When the users were counted last.
    counted: Mutex<Option<Instant>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("programmatic_users_platform");
        let requests = Family::default();
        registry.register(
            "requests",
            "Requests by method, route and status",
            requests.clone(),
        );
        let durations = Family::<OfRoute, Histogram>::new_with_constructor(|| Histogram::new(SPANS));
        registry.register_with_unit(
            "request_duration",
            "How long requests took",
            Unit::Seconds,
            durations.clone(),
        );
        let sign_ins = Family::default();
        registry.register(
            "sign_ins",
            "Attempts to sign in at the console by outcome (success, refused, locked, failed)",
            sign_ins.clone(),
        );
        let unrecorded = Counter::default();
        registry.register(
            "audit_failures",
            "Refusals that could not be written to the audit log",
            unrecorded.clone(),
        );
        let exported = Counter::default();
        registry.register(
            "audit_exported",
            "Old rows of the audit log that were exported and deleted",
            exported.clone(),
        );
        let not_exported = Counter::default();
        registry.register(
            "audit_export_failures",
            "Attempts to export old rows of the audit log that failed; the rows stay",
            not_exported.clone(),
        );
        let renewals = Family::default();
        registry.register(
            "certificate_renewals",
            "Changes of the files of certificate and key by outcome (renewed, unusable)",
            renewals.clone(),
        );
        let users = Family::default();
        registry.register("users", "Users by type (personal, programmatic)", users.clone());
        Self {
            registry,
            requests,
            durations,
            sign_ins,
            unrecorded,
            exported,
            not_exported,
            renewals,
            users,
            counted: Mutex::default(),
        }
    }
}

impl Metrics {
    pub(super) fn answered(&self, method: &Method, route: &'static str, status: StatusCode, took: Duration) {
        let method = known_method(method.as_str());
        let code = status.as_u16();
        self.requests
            .get_or_create(&Request { method, route, code })
            .inc();
        self.durations
            .get_or_create(&OfRoute { route })
            .observe(took.as_secs_f64());
    }

    pub(super) fn signed_in(&self, outcome: &'static str) {
        self.sign_ins.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a change of the certificate's files.
    pub(super) fn renewed(&self, outcome: &'static str) {
        self.renewals.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a refusal that is missing in the audit log.
    pub(super) fn unrecorded(&self) {
        self.unrecorded.inc();
    }

    /// Counts rows of the audit log that are in a file from now on.
    pub(super) fn audit_exported(&self, rows: usize) {
        self.exported.inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }

    pub(super) fn audit_not_exported(&self) {
        self.not_exported.inc();
    }

    /// Counts the users, unless that was done a moment ago; requests that arrive meanwhile wait for the same count.
    async fn count_users(&self, store: &Store) {
        let mut counted = self.counted.lock().await;
        if counted.is_some_and(|at| at.elapsed() < COUNT_LASTS) {
            return;
        }
        let count = async {
            let mut conn = store.acquire_reader().await?;
            users::count(&mut conn).await
        };
        match count.await {
            Ok(count) => {
                for (user_type, users) in count {
                    self.users.get_or_create(&OfType { r#type: user_type }).set(users);
                }
            }
            // The other metrics are served: they show what is wrong.
            Err(error) => {
                let reason = ApiError::Store(error).reason();
                tracing::error!(reason, "the users cannot be counted");
                self.users.clear();
            }
        }
        *counted = Some(Instant::now());
    }
}

/// A method as a label of metrics and counts: callers can invent others.
pub(super) fn known_method(method: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE"];
    known.into_iter().find(|k| *k == method).unwrap_or("other")
}

/// What Prometheus reads. The numbers of users are those of the database, of a moment ago.
pub(super) async fn show(State(app): State<App>) -> Response {
    app.metrics.count_users(&app.store).await;
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = encode(&mut text, &app.metrics.registry);
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (Extension(Route(PATH)), [(header::CONTENT_TYPE, form)], text).into_response()
}
