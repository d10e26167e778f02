//! What probes and scrapes see of the operator. The gauges of a scrape are computed from memory in one pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::{Organization, READY};
use crate::controller::context::Context;
use crate::controller::watch::streams::Cache;
use crate::health::Health;
use crate::metrics::{Gauges, OrganizationGauges, Reconciles, UserGauges};

/// Both kinds of reconciles.
const KINDS: [&str; 2] = ["ProgrammaticUser", "Organization"];

impl Context {
    /// All figures, as they are now.
    fn gauges(&self) -> Gauges {
        let mut figures = Gauges::default();
        for kind in KINDS {
            let running = self.watchdog.running(kind);
            let waiting = if kind == "ProgrammaticUser" {
                self.concurrency.waiting() + self.objects.awaiting_scan()
            } else {
                0
            };
            let found = Reconciles {
                running: running.count,
                waiting,
                oldest: running.oldest,
            };
            figures.reconciles.insert(kind, found);
        }
        // A standby knows of nothing, and says nothing.
        if !self.caches.organizations.is_filled() {
            return figures;
        }
        for organization in self.caches.organizations.state() {
            let name = organization.name_any();
            if !self.manages(&name) {
                continue;
            }
            let found = organization.0.as_ref().ok().map(|o| self.organization_figures(o));
            figures.organizations.insert(name, found.unwrap_or_default());
        }
        let there: BTreeSet<String> = figures.organizations.keys().cloned().collect();
        self.metrics.keep(&there);
        let unreadable;
        (figures.users, unreadable) = self.user_figures(&there);
        let organizations = self.caches.organizations.state();
        let ours = organizations.iter().filter(|o| self.manages(&o.name_any()));
        let classes = self.caches.classes.state();
        figures.undecodable = BTreeMap::from([
            ("ProgrammaticUser", unreadable),
            (
                "ProgrammaticUserClass",
                classes.iter().filter(|c| c.0.is_err()).count(),
            ),
            ("Organization", ours.filter(|o| o.0.is_err()).count()),
        ]);
        figures
    }

    fn organization_figures(&self, organization: &Organization) -> OrganizationGauges {
        let status = organization.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == READY);
        let users = status.users.unwrap_or_default();
        let mut found = OrganizationGauges {
            ready: ready.is_some_and(|c| c.status == "True"),
            interval: organization.spec.drift.interval.get(),
            on_platform: vec![
                ("managed", users.managed.into()),
                ("unmanaged", users.unmanaged.into()),
                ("orphaned", users.orphaned.into()),
            ],
            ..OrganizationGauges::default()
        };
        let Some(state) = self.platforms.known(&organization.name_any()) else {
            return found;
        };
        let used = state.limiter.used();
        found.waiting = used.waiting;
        found.in_flight = used.in_flight;
        found.pause = used.pause;
        found.clock_implausible = state.limiter.skew().is_some();
        found.budget = used.limits.creates_per_hour;
        found.budget_left = used.budget_left;
        found.listed = state.listing().and_then(|s| wall_clock(s.ended));
        // A connection that is being made says nothing yet; the next scrape will tell.
        if let Some(platform) = state.connected() {
            found.breaker_open = platform.is_refused();
            found.refused = platform.is_refused() || platform.uses_previous();
        }
        found
    }

    /// One pass over all users; and of how many something cannot be read.
    fn user_figures(&self, there: &BTreeSet<String>) -> (BTreeMap<String, UserGauges>, usize) {
        let now = Timestamp::now();
        let clocks: HashMap<&str, Timestamp> = there
            .iter()
            .filter_map(|name| Some((name.as_str(), self.platforms.known(name)?.limiter.now()?)))
            .collect();
        let classes: HashMap<String, (String, Option<Duration>)> = self
            .caches
            .classes
            .state()
            .iter()
            .filter_map(|class| {
                let class = class.0.as_ref().ok()?;
                let bounds = class.spec.rotation.as_ref();
                let max_age = bounds.and_then(|b| b.max_age).map(crate::api::Duration::get);
                Some((class.name_any(), (class.spec.organization_name.clone(), max_age)))
            })
            .collect();
        let mut all: BTreeMap<String, UserGauges> = there
            .iter()
            .map(|name| (name.clone(), UserGauges::default()))
            .collect();
        let mut unreadable = 0;
        for cache in &self.caches.users {
            for user in cache.state() {
                unreadable += usize::from(user.unreadable);
                let facts = &user.facts;
                let class = classes.get(&*user.class);
                let lives = user.index.organization.as_deref();
                let name = lives.or(class.map(|c| c.0.as_str())).unwrap_or_default();
                if !name.is_empty() && !self.manages(name) {
                    continue;
                }
                // All names of Organizations that do not exist share one label: otherwise every user could add labels.
                let name = if there.contains(name) { name } else { "" };
                let clock = clocks.get(name).copied().unwrap_or(now);
                let max_age = class.and_then(|c| c.1);
                match all.get_mut(name) {
                    Some(found) => found.add(facts, max_age, now, clock),
                    None => all
                        .entry(name.to_owned())
                        .or_default()
                        .add(facts, max_age, now, clock),
                }
            }
        }
        (all, unreadable)
    }
}

impl Health for Context {
    fn ready(&self) -> Result<&'static str, &'static str> {
        if !self.lease.leads() {
            return if self.lease.is_healthy() {
                Ok("stands by")
            } else {
                Err("the Lease cannot be read, so that it is not known who leads")
            };
        }
        let caches = &self.caches;
        let filled = caches.classes.is_filled()
            && caches.organizations.is_filled()
            && caches.users.iter().all(Cache::is_filled);
        if filled {
            Ok("leads")
        } else {
            Err("leads, and its caches are not filled yet")
        }
    }

    fn metrics(&self) -> String {
        self.metrics.text(&self.gauges())
    }
}

fn wall_clock(at: Instant) -> Option<Timestamp> {
    Timestamp::now().checked_sub(at.elapsed()).ok()
}
