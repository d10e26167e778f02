//! The operator as the cluster shows it: its Lease.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::cluster::Cluster;
use super::output::ago;

/// The Lease of the chart's usual release.
pub(super) const LEASE: &str = "programmatic-users";
/// The service account of the same.
pub(super) const ACCOUNT: &str = "programmatic-users";

/// Which process leads, by the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leader {
    /// An operator renewed it lately.
    Leads(String),
    /// Its holder has not renewed it in time, or gave it up.
    Vacant(String),
    /// There is no Lease.
    NoLease,
}

/// Reads the Lease.
pub(super) async fn leader(cluster: &Cluster, namespace: &str, name: &str) -> Result<Leader, kube::Error> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let Some(lease) = leases.get_opt(name).await? else {
        return Ok(Leader::NoLease);
    };
    // This machine's clock may be off by more than a Lease lasts.
    Ok(judge(lease, cluster.now().await))
}

/// What the Lease says at `now`.
fn judge(lease: Lease, now: Timestamp) -> Leader {
    let spec = lease.spec.unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    let Some(renewed) = spec.renew_time.map(|t| t.0).filter(|_| !holder.is_empty()) else {
        return Leader::Vacant("no operator holds the Lease".to_owned());
    };
    let patience = i64::from(spec.lease_duration_seconds.unwrap_or(15));
    let late = now.as_second().saturating_sub(renewed.as_second()) > patience.saturating_add(5);
    let message = format!("{holder} leads, renewed {} ago", ago(renewed, now));
    if late {
        Leader::Vacant(format!(
            "{holder} held the Lease and renewed it last {} ago",
            ago(renewed, now)
        ))
    } else {
        Leader::Leads(message)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use kube::Client;
    use kube::client::Body;

    use super::{Cluster, Leader, judge, leader};

    fn lease(holder: Option<&str>) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime("2026-01-05T10:00:00Z".parse().unwrap())),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_that_is_not_renewed_is_vacant() {
        let at = |text: &str| text.parse().unwrap();
        let fresh = judge(lease(Some("pod-1")), at("2026-01-05T10:00:15Z"));
        assert_eq!(fresh, Leader::Leads("pod-1 leads, renewed 15s ago".to_owned()));
        assert!(matches!(
            judge(lease(Some("pod-1")), at("2026-01-05T10:01:00Z")),
            Leader::Vacant(_)
        ));
        assert!(matches!(
            judge(lease(Some("")), at("2026-01-05T10:00:00Z")),
            Leader::Vacant(_)
        ));
        // A clock that is behind is no reason to call a leader gone.
        assert!(matches!(
            judge(lease(Some("pod-1")), at("2026-01-05T09:00:00Z")),
            Leader::Leads(_)
        ));
    }

    /// An API server that has this time and the Lease of `pod-1`.
    fn cluster(date: Option<&'static str>) -> Cluster {
        let answer = move |request: Request<Body>| async move {
            let body = if request.uri().path() == "/version" {
                Vec::new()
            } else {
                serde_json::to_vec(&lease(Some("pod-1"))).unwrap()
            };
            let mut reply = Response::builder();
            if let Some(date) = date {
                reply = reply.header("date", date);
            }
            reply.body(Body::from(body))
        };
        let client = Client::new(tower::service_fn(answer), "default");
        Cluster {
            watching: client.clone(),
            client,
            url: "https://10.0.0.1:6443".to_owned(),
            asked: None,
            namespace: "default".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_lease_is_judged_by_the_clock_of_the_api_server() {
        // Whatever time this machine has, it is not one of these.
        let soon = cluster(Some("Mon, 05 Jan 2026 10:00:10 GMT"));
        let message = "pod-1 leads, renewed 10s ago".to_owned();
        assert_eq!(
            leader(&soon, "own", "lease").await.unwrap(),
            Leader::Leads(message)
        );
        let late = cluster(Some("Mon, 05 Jan 2026 10:00:40 GMT"));
        let message = "pod-1 held the Lease and renewed it last 40s ago".to_owned();
        assert_eq!(
            leader(&late, "own", "lease").await.unwrap(),
            Leader::Vacant(message)
        );
        // A missing time is not invented.
        assert_eq!(cluster(None).date().await.unwrap(), None);
        assert_eq!(cluster(Some("yesterday")).date().await.unwrap(), None);
    }
}
