//! Gauges: what is true at the moment of a scrape.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{OfKind, OfOrganization, PREFIX, of};
use super::series::Series;
use super::users::{UserGauges, since_then};

/// All that a scrape computes.
#[derive(Debug, Default)]
pub struct Gauges {
    /// By kind.
    pub reconciles: BTreeMap<&'static str, Reconciles>,
    /// By name.
    pub organizations: BTreeMap<String, OrganizationGauges>,
    /// Objects that cannot be read, by kind.
    pub undecodable: BTreeMap<&'static str, usize>,
    /// Users by the name of their organization; empty: of one that is not there.
    pub users: BTreeMap<String, UserGauges>,
}

/// Reconciles of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reconciles {
    /// That have begun and not ended.
    pub running: usize,
    /// That wait for a slot of their organization.
    pub waiting: usize,
    /// How long ago the oldest of the running ones was begun.
    pub oldest: Duration,
}

/// One organization.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a gauge of its own")]
pub struct OrganizationGauges {
    /// Whether its condition `Ready` is true.
    pub ready: bool,
    /// Whether the platform refuses the token under `credentials.key`.
    pub refused: bool,
    /// Whether nothing is sent since all tokens are refused.
    pub breaker_open: bool,
    /// Whether the platform's time cannot be right, and is not used.
    pub clock_implausible: bool,
    /// The end of the last list of users that succeeded.
    pub listed: Option<Timestamp>,
    /// How often there should be one.
    pub interval: Duration,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// Calls that are on their way.
    pub in_flight: usize,
    /// How much longer the platform wants a pause.
    pub pause: Duration,
    /// Users that may be made in an hour.
    pub budget: usize,
    /// Those of them that may still be made.
    pub budget_left: usize,
    /// Users on the platform, by the last list: state and number.
    pub on_platform: Vec<(&'static str, i64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ByCondition {
    organization: String,
    ready: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ByType {
    organization: String,
    r#type: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ByState {
    organization: String,
    state: &'static str,
}

type Numbers<S> = Series<S, Gauge>;
type Times<S> = Series<S, Gauge<f64, std::sync::atomic::AtomicU64>>;

fn number<S: Ord>(series: &Numbers<S>, labels: S, n: impl TryInto<i64>) {
    series.with(labels, |g| {
        g.set(n.try_into().unwrap_or(i64::MAX));
    });
}

fn time<S: Ord>(series: &Times<S>, labels: S, span: Duration) {
    series.with(labels, |g| {
        g.set(span.as_secs_f64());
    });
}

fn numbers<S>(registry: &mut Registry, name: &str, help: &str) -> Numbers<S>
where
    S: EncodeLabelSet + Ord + Send + Sync + 'static,
{
    let series = Series::new(Gauge::default);
    registry.register(name, help, series.clone());
    series
}

fn times<S>(registry: &mut Registry, name: &str, help: &str) -> Times<S>
where
    S: EncodeLabelSet + Ord + Send + Sync + 'static,
{
    let series = Series::new(Gauge::default);
    registry.register_with_unit(name, help, Unit::Seconds, series.clone());
    series
}

impl Gauges {
    /// All of it as gauges.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        self.of_reconciles(&mut registry);
        self.of_undecodable(&mut registry);
        self.of_organizations(&mut registry);
        self.of_limits(&mut registry);
        self.of_users(&mut registry);
        registry
    }

    fn of_reconciles(&self, r: &mut Registry) {
        let running = numbers(
            r,
            "reconciles_running",
            "Reconciles that have begun and not ended",
        );
        let waiting = numbers(
            r,
            "reconciles_waiting",
            "Reconciles that wait for a place among those of their organization, or for the first look after a start",
        );
        let oldest = times(
            r,
            "oldest_reconcile",
            "How long ago the oldest reconcile that has not ended was begun",
        );
        for (&kind, found) in &self.reconciles {
            number(&running, OfKind { kind }, found.running);
            number(&waiting, OfKind { kind }, found.waiting);
            time(&oldest, OfKind { kind }, found.oldest);
        }
    }

    fn of_undecodable(&self, r: &mut Registry) {
        let all = numbers(
            r,
            "undecodable_objects",
            "Objects that are passed over since they cannot be read",
        );
        for (&kind, n) in &self.undecodable {
            number(&all, OfKind { kind }, *n);
        }
    }

    fn of_organizations(&self, r: &mut Registry) {
        let ready = numbers(
            r,
            "organization_ready",
            "1 while the Organization's condition Ready is true",
        );
        let refused = numbers(
            r,
            "credential_refused",
            "1 while the platform refuses the token under credentials.key",
        );
        let breaker = numbers(
            r,
            "breaker_open",
            "1 while nothing but one question a minute is sent, since the platform refuses the credential",
        );
        let clock = numbers(
            r,
            "clock_implausible",
            "1 while the platform's time is more than a day from the operator's, and is not used",
        );
        let listed: Series<OfOrganization, Gauge<f64, std::sync::atomic::AtomicU64>> = times(
            r,
            "last_list_timestamp",
            "When the last list of all users went well, in Unix time; 0: never since this process leads",
        );
        let interval = times(r, "list_interval", "How often a list of all users is asked for");
        let users = numbers(
            r,
            "platform_users",
            "Programmatic users on the platform by the last list: managed (of this installation), unmanaged, orphaned (managed, and no object knows them)",
        );
        for (name, found) in &self.organizations {
            number(&ready, of(name), i64::from(found.ready));
            number(&refused, of(name), i64::from(found.refused));
            number(&breaker, of(name), i64::from(found.breaker_open));
            number(&clock, of(name), i64::from(found.clock_implausible));
            let at = found.listed.map(|t| since_then(Timestamp::UNIX_EPOCH, t));
            time(&listed, of(name), at.unwrap_or_default());
            time(&interval, of(name), found.interval);
            for &(state, n) in &found.on_platform {
                let organization = name.clone();
                number(&users, ByState { organization, state }, n);
            }
        }
    }

    fn of_limits(&self, r: &mut Registry) {
        let waiting = numbers(r, "limiter_waiting", "Calls that wait for their turn");
        let in_flight = numbers(r, "limiter_in_flight", "Calls that are on their way");
        let pause = times(
            r,
            "limiter_pause",
            "How much longer nothing is sent, since the platform asked for a pause",
        );
        let budget = numbers(
            r,
            "create_budget",
            "Users that may be made in an hour (limits.createsPerHour)",
        );
        let left = numbers(
            r,
            "create_budget_remaining",
            "Users that may still be made in this hour",
        );
        // Limits are known after the first request to the platform.
        for (name, found) in self.organizations.iter().filter(|(_, f)| f.budget > 0) {
            number(&waiting, of(name), found.waiting);
            number(&in_flight, of(name), found.in_flight);
            time(&pause, of(name), found.pause);
            number(&budget, of(name), found.budget);
            number(&left, of(name), found.budget_left);
        }
    }

    fn of_users(&self, r: &mut Registry) {
        let users = numbers(r, "users", "ProgrammaticUsers by status and reason of Ready");
        let conditions = numbers(
            r,
            "conditions",
            "ProgrammaticUsers by type and reason of conditions that are true and say what Ready does not",
        );
        let retiring = numbers(
            r,
            "retiring_users",
            "Users whose tokens were replaced, and whose overlap is not over",
        );
        let unsettled = numbers(
            r,
            "unsettled_attempts",
            "Attempts to make a user that are under way, or may have left a user behind",
        );
        let oldest = times(
            r,
            "oldest_token_age",
            "Age of the oldest token that a Secret carries, by the platform's clock",
        );
        let overdue = times(
            r,
            "token_overdue",
            "For how long the most overdue token should have been replaced, by its rotation or its class's maxAge",
        );
        let not_ready = times(
            r,
            "oldest_not_ready",
            "For how long the user that has waited longest is not Ready; without suspended and expired ones",
        );
        for (name, found) in &self.users {
            for (&(ready, reason), &n) in &found.by_condition {
                let labels = ByCondition {
                    organization: name.clone(),
                    ready,
                    reason,
                };
                number(&users, labels, n);
            }
            for (&(r#type, reason), &n) in &found.conditions {
                let labels = ByType {
                    organization: name.clone(),
                    r#type,
                    reason,
                };
                number(&conditions, labels, n);
            }
            number(&retiring, of(name), found.retiring);
            number(&unsettled, of(name), found.unsettled);
            time(&oldest, of(name), found.oldest_token);
            time(&overdue, of(name), found.overdue);
            time(&not_ready, of(name), found.oldest_not_ready);
        }
    }
}

#[cfg(test)]
mod tests;
