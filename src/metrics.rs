//! Metrics, with closed label sets only: no name of a user, a namespace or a Secret is a label.
//!
//! Events are counted when they happen. What is true at the moment is computed at a scrape ([`Gauges`]), so that it costs
//! nothing between scrapes, and no series of an organization that is gone stays behind.

mod gauges;
mod labels;
mod series;
mod users;

use std::collections::BTreeSet;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use gauges::{Gauges, OrganizationGauges, Reconciles};
use labels::{OfKind, OfOrganization, PREFIX, of};
use series::Series;
pub use users::{UserFacts, UserGauges};

/// Why a call is not sent, see [`Metrics::held`].
const HELD: [&str; 4] = [
    RATE_LIMITED,
    "CreateBudgetExhausted",
    "CredentialInvalid",
    "NotLeading",
];
const RATE_LIMITED: &str = "RateLimited";

/// Seconds that a reconcile, or a call, may take.
const SPANS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Seconds that something may have to wait for its turn.
const WAITS: [f64; 10] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OfRoute {
    organization: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Answer {
    organization: String,
    route: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Held {
    organization: String,
    reason: &'static str,
}

/// All metrics of the controller.
pub struct Metrics {
    registry: Registry,
    reconciles: Series<Ended, Counter>,
    panics: Series<OfKind, Counter>,
    durations: Series<OfKind, Histogram>,
    lags: Series<OfKind, Histogram>,
    leader: Gauge,
    watch_errors: Series<OfKind, Counter>,
    orphans_deleted: Series<OfOrganization, Counter>,
    calls: Series<Answer, Counter>,
    call_durations: Series<OfRoute, Histogram>,
    held: Series<Held, Counter>,
    waits: Series<OfOrganization, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            reconciles: Series::new(Counter::default),
            panics: Series::new(Counter::default),
            durations: Series::new(|| Histogram::new(SPANS)),
            lags: Series::new(|| Histogram::new(WAITS)),
            leader: Gauge::default(),
            watch_errors: Series::new(Counter::default),
            orphans_deleted: Series::new(Counter::default),
            calls: Series::new(Counter::default),
            call_durations: Series::new(|| Histogram::new(SPANS)),
            held: Series::new(Counter::default),
            waits: Series::new(|| Histogram::new(WAITS)),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "The version that runs", version);
        r.register(
            "reconciles",
            "Reconciles by kind, outcome (changed, unchanged, error) and, of errors, reason",
            self.reconciles.clone(),
        );
        r.register(
            "reconcile_panics",
            "Reconciles that a fault of the operator ended: the log says where, and an Event is on the object",
            self.panics.clone(),
        );
        // Both exist from the start: a counter that appears at 1 has grown by nothing.
        for kind in ["ProgrammaticUser", "Organization"] {
            self.panics.with(OfKind { kind }, |_| ());
        }
        r.register_with_unit(
            "reconcile_duration",
            "How long reconciles took, from their start",
            Unit::Seconds,
            self.durations.clone(),
        );
        r.register_with_unit(
            "queue_lag",
            "How long reconciles had to wait, from when they were asked for or due until their start",
            Unit::Seconds,
            self.lags.clone(),
        );
        r.register(
            "leader",
            "1 while this process holds the Lease",
            self.leader.clone(),
        );
        r.register(
            "watch_errors",
            "Failures to list or watch objects of a kind; each is tried again",
            self.watch_errors.clone(),
        );
        r.register(
            "orphans_deleted",
            "Users deleted on the platform since no object knew them",
            self.orphans_deleted.clone(),
        );
        self.register_calls();
        self
    }

    fn register_calls(&mut self) {
        let r = &mut self.registry;
        r.register(
            "platform_calls",
            "Calls that were sent to the platform, by route and outcome (Ok, NotFound, or the reason that conditions have)",
            self.calls.clone(),
        );
        r.register_with_unit(
            "platform_call_duration",
            "How long calls to the platform took, without waiting for their turn",
            Unit::Seconds,
            self.call_durations.clone(),
        );
        r.register(
            "platform_calls_held",
            "Calls that were not sent, by reason: a pause or a limit, the budget, a refused credential, the Lease",
            self.held.clone(),
        );
        r.register_with_unit(
            "limiter_wait",
            "How long calls waited for their turn under the organization's limits",
            Unit::Seconds,
            self.waits.clone(),
        );
    }

    /// Counts a reconcile that took `took`. `reason` is that of an error, and empty without one.
    pub fn reconciled(
        &self,
        kind: &'static str,
        outcome: &'static str,
        reason: &'static str,
        took: Duration,
    ) {
        let labels = Ended {
            kind,
            outcome,
            reason,
        };
        self.reconciles.with(labels, |c| {
            c.inc();
        });
        self.durations
            .with(OfKind { kind }, |h| h.observe(took.as_secs_f64()));
    }

    /// Counts a reconcile that panicked.
    pub fn panicked(&self, kind: &'static str) {
        self.panics.with(OfKind { kind }, |c| {
            c.inc();
        });
    }

    /// Notes how long a reconcile had to wait for its start.
    pub fn waited(&self, kind: &'static str, lag: Duration) {
        self.lags.with(OfKind { kind }, |h| h.observe(lag.as_secs_f64()));
    }

    /// Objects of this kind are watched: its counter exists from now on, see [`Self::keep`].
    pub fn watching(&self, kind: &'static str) {
        self.watch_errors.with(OfKind { kind }, |_| ());
    }

    /// Counts a failure to list or watch.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.with(OfKind { kind }, |c| {
            c.inc();
        });
    }

    /// Whether this process works.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Counts a user that the sweeper deleted.
    pub fn orphan_deleted(&self, organization: &str) {
        self.orphans_deleted.with(of(organization), |c| {
            c.inc();
        });
    }

    /// Counts a call that was sent; `route` has no ids in it.
    pub fn called(&self, organization: &str, route: &str, outcome: &'static str, took: Duration) {
        let (organization, route) = (organization.to_owned(), route.to_owned());
        let labels = Answer {
            organization: organization.clone(),
            route: route.clone(),
            outcome,
        };
        self.calls.with(labels, |c| {
            c.inc();
        });
        self.call_durations.with(OfRoute { organization, route }, |h| {
            h.observe(took.as_secs_f64());
        });
    }

    /// Counts a call that was not sent.
    pub fn held(&self, organization: &str, reason: &'static str) {
        let organization = organization.to_owned();
        self.held.with(Held { organization, reason }, |c| {
            c.inc();
        });
    }

    /// Notes how long a call waited for its turn.
    pub fn waited_for_turn(&self, organization: &str, span: Duration) {
        self.waits
            .with(of(organization), |h| h.observe(span.as_secs_f64()));
    }

    /// Keeps the series of the organizations that are `there` and drops all others. Counters whose growth an alert uses
    /// exist from now on, at 0 if nothing happened: one that appeared at 1 would have grown by nothing, and hide its
    /// first event.
    pub fn keep(&self, there: &BTreeSet<String>) {
        self.orphans_deleted.retain(|l| there.contains(&l.organization));
        self.calls.retain(|l| there.contains(&l.organization));
        self.call_durations.retain(|l| there.contains(&l.organization));
        self.held.retain(|l| there.contains(&l.organization));
        self.waits.retain(|l| there.contains(&l.organization));
        for organization in there {
            self.orphans_deleted.with(of(organization), |_| ());
            for reason in HELD {
                let organization = organization.clone();
                self.held.with(Held { organization, reason }, |_| ());
            }
        }
        // Of the routes, those that were called: there are many.
        for OfRoute { organization, route } in self.call_durations.labels() {
            let outcome = RATE_LIMITED;
            self.calls.with(
                Answer {
                    organization,
                    route,
                    outcome,
                },
                |_| (),
            );
        }
    }

    /// The text that Prometheus reads (`OpenMetrics`).
    #[must_use]
    pub fn text(&self, figures: &Gauges) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = encode_registry(&mut out, &self.registry);
        let _ = encode_registry(&mut out, &figures.registry());
        let _ = encode_eof(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::{Gauges, Metrics, OrganizationGauges};

    #[test]
    fn nothing_of_an_organization_that_is_gone_stays() {
        let metrics = Metrics::default();
        for name in ["acme", "globex"] {
            metrics.called(name, "GET /x", "Ok", Duration::from_secs(1));
            metrics.held(name, "RateLimited");
            metrics.waited_for_turn(name, Duration::ZERO);
            metrics.orphan_deleted(name);
        }
        let mut figures = Gauges::default();
        figures
            .organizations
            .insert("acme".to_owned(), OrganizationGauges::default());
        assert!(metrics.text(&figures).contains("organization=\"globex\""));
        metrics.keep(&BTreeSet::from(["acme".to_owned()]));
        let text = metrics.text(&figures);
        assert!(
            text.contains("organization=\"acme\"") && !text.contains("globex"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_first_event_is_an_increase() {
        let metrics = Metrics::default();
        metrics.called("acme", "GET /x", "Ok", Duration::from_secs(1));
        metrics.held("acme", "NotLeading");
        metrics.watching("Secret");
        metrics.panicked("Organization");
        metrics.keep(&BTreeSet::from(["acme".to_owned(), "globex".to_owned()]));
        let text = metrics.text(&Gauges::default());
        for line in [
            "reconcile_panics_total{kind=\"ProgrammaticUser\"} 0",
            "reconcile_panics_total{kind=\"Organization\"} 1",
            "platform_calls_total{organization=\"acme\",route=\"GET /x\",outcome=\"RateLimited\"} 0",
            "platform_calls_total{organization=\"acme\",route=\"GET /x\",outcome=\"Ok\"} 1",
            "platform_calls_held_total{organization=\"acme\",reason=\"NotLeading\"} 1",
            "platform_calls_held_total{organization=\"globex\",reason=\"CreateBudgetExhausted\"} 0",
            "orphans_deleted_total{organization=\"globex\"} 0",
            "watch_errors_total{kind=\"Secret\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_name_is_of_the_usual_form() {
        let metrics = Metrics::default();
        metrics.called("acme", "GET /x", "Ok", Duration::from_secs(1));
        metrics.reconciled("Organization", "changed", "", Duration::from_secs(1));
        for line in metrics
            .text(&Gauges::default())
            .lines()
            .filter(|l| !l.starts_with('#'))
        {
            assert!(line.starts_with("programmatic_users_"), "{line}");
        }
    }
}
