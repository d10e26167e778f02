//! The flags of the controller.

use std::net::SocketAddr;
use std::time::Duration;

/// The configuration of the controller.
#[derive(Debug, Clone)]
pub struct Config {
    /// The operator's own namespace: admin credentials and the instance id are there.
    pub namespace: String,
    /// Where probes and metrics are served.
    pub listen: SocketAddr,
    /// Namespaces whose users are looked after; empty: all.
    pub watch_namespaces: Vec<String>,
    /// Organizations that are looked after; empty: all.
    pub organizations: Vec<String>,
    /// This installation's id, instead of the one in the cluster.
    pub instance: Option<String>,
    /// Which Lease says who of several works.
    pub lease_name: String,
    /// How long a leader that is not heard of stays the leader.
    pub lease_duration: Duration,
    /// Deadline of the one call that makes a user.
    pub create_timeout: Duration,
    /// How much longer than that an attempt without a certain answer is waited for.
    pub settle_slack: Duration,
    /// How long the hour of `limits.createsPerHour` is.
    pub creates_hour: Duration,
    /// What may be done with workloads that read the Secrets.
    pub consumers: crate::plan::Level,
}
