//! Metrics, with closed label sets only.

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a reconcile ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    outcome: &'static str,
}

/// All metrics of the controller.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Outcome, Counter>,
    undecodable: Counter,
    leader: Gauge,
    orphans_deleted: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("programmatic_users");
        let reconciles = Family::<Outcome, Counter>::default();
        registry.register(
            "reconciles",
            "Reconciles by kind and outcome (changed, unchanged, error)",
            reconciles.clone(),
        );
        let undecodable = Counter::default();
        registry.register(
            "undecodable_objects",
            "Objects passed over since they cannot be read",
            undecodable.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this process holds the Lease", leader.clone());
        let orphans_deleted = Counter::default();
        registry.register(
            "orphans_deleted",
            "Users deleted on platforms since no object knew them",
            orphans_deleted.clone(),
        );
        Self {
            registry,
            reconciles,
            undecodable,
            leader,
            orphans_deleted,
        }
    }
}

impl Metrics {
    /// Counts a reconcile.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str) {
        self.reconciles.get_or_create(&Outcome { kind, outcome }).inc();
    }

    /// Counts an object that cannot be read.
    pub fn undecodable(&self) {
        self.undecodable.inc();
    }

    /// Whether this process works.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Counts a user that the sweeper deleted.
    pub fn orphan_deleted(&self) {
        self.orphans_deleted.inc();
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}
