//! What the API server recorded of requests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize;

use super::cluster::Cluster;
use super::wait::{SOON, eventually};
use super::world::{World, fresh_suffix};

/// One answered request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    #[serde(default)]
    pub stage: String,
    pub verb: String,
    #[serde(default)]
    pub user: Who,
    /// The impersonated user, if there was one.
    #[serde(default)]
    pub impersonated_user: Who,
    #[serde(default)]
    pub user_agent: String,
    #[serde(default, rename = "requestURI")]
    pub request_uri: String,
    #[serde(default)]
    pub request_received_timestamp: String,
    #[serde(default)]
    pub object_ref: ObjectRef,
    #[serde(default)]
    pub response_status: ResponseStatus,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Who sent it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Who {
    #[serde(default)]
    pub username: String,
}

/// What a request was about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub subresource: String,
}

/// How it was answered.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ResponseStatus {
    #[serde(default)]
    pub code: u16,
}

impl ObjectRef {
    /// As in RBAC, such as `programmaticusers/status`.
    #[must_use]
    pub fn kind(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

impl Entry {
    /// Whether it was refused for want of a right, and not for another reason.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        let decision = self.annotations.get("authorization.k8s.io/decision");
        decision.is_some_and(|d| d == "forbid")
    }

    /// Whether it was meant to change something; a dry run is not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let dry_run = self.request_uri.contains("dryRun=");
        !dry_run
            && matches!(
                self.verb.as_str(),
                "create" | "update" | "patch" | "delete" | "deletecollection"
            )
    }

    /// Whether the operator sent it.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.user_agent
            .starts_with(concat!("programmatic-users/", env!("CARGO_PKG_VERSION")))
    }

    /// Such as `patch programmaticusers/status ci -> 200`.
    #[must_use]
    pub fn describe(&self) -> String {
        let o = &self.object_ref;
        format!(
            "{} {} {} -> {}",
            self.verb,
            o.kind(),
            o.name,
            self.response_status.code
        )
    }
}

/// How long the log is now.
#[must_use]
pub fn length(cluster: &Cluster) -> u64 {
    std::fs::metadata(&cluster.info().audit_log).map_or(0, |m| m.len())
}

/// The log from there on.
pub fn text_from(cluster: &Cluster, start: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(&cluster.info().audit_log).and_then(|mut f| {
        f.seek(SeekFrom::Start(start))
            .and_then(|_| f.read_to_end(&mut bytes))
    });
    assert!(
        read.is_ok(),
        "tests about the audit log need a control plane of our own: {read:?}"
    );
    String::from_utf8_lossy(&bytes).into_owned()
}

impl World {
    /// All answered requests about this test's namespaces and cluster-scoped objects since the world began.
    pub async fn audit(&self) -> Vec<Entry> {
        self.audit_from(self.audit_start).await
    }

    /// The log's length now, for [`World::audit_from`]; everything answered before is in it.
    pub async fn audit_mark(&self) -> u64 {
        self.audit_settled().await;
        length(self.cluster())
    }

    /// The same since a mark.
    pub async fn audit_from(&self, mark: u64) -> Vec<Entry> {
        self.audit_settled().await;
        let mine = |e: &Entry| {
            let o = &e.object_ref;
            let namespaced =
                self.namespaces().contains(&o.namespace) || o.namespace == self.operator_namespace();
            namespaced || o.name == self.organization_name() || o.name == self.class_name()
        };
        let text = text_from(self.cluster(), mark);
        let entries = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Entry>(line).ok());
        entries
            .filter(|e| e.stage == "ResponseComplete" && mine(e))
            .collect()
    }

    /// The operator's writes about this test's objects since a mark, without the renewals of its Lease, which go on
    /// whatever there is to do.
    pub async fn writes_from(&self, mark: u64) -> Vec<Entry> {
        let all = self.audit_from(mark).await;
        all.into_iter()
            .filter(|e| e.is_operator() && e.is_write() && e.object_ref.resource != "leases")
            .collect()
    }

    /// The same in words.
    pub async fn written_from(&self, mark: u64) -> Vec<String> {
        self.writes_from(mark).await.iter().map(Entry::describe).collect()
    }

    /// Entries may appear a moment after the answer. A request of our own is sent and waited for: what was
    /// answered before it was sent is in the log by then.
    async fn audit_settled(&self) {
        let name = format!("mark-{}", fresh_suffix());
        let api: Api<ConfigMap> = Api::namespaced(self.client(), self.namespace());
        let start = length(self.cluster());
        let _ = api.get_opt(&name).await;
        let found = eventually("the audit log to catch up", SOON, async || {
            let seen = text_from(self.cluster(), start).contains(&name);
            if seen {
                Ok(())
            } else {
                Err("our own request is not in it".to_owned())
            }
        });
        found.await.unwrap_or_else(|e| panic!("{e}"));
    }
}
