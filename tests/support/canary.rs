//! Looks for tokens where none may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use aho_corasick::AhoCorasick;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use programmatic_users::api::{
    MANAGED_BY_LABEL, MANAGER, Organization, ProgrammaticUser, ProgrammaticUserClass,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::audit;
use super::observe::{looks_like_token, values};
use super::world::World;

/// Files that hold a secret on purpose.
const MEANT: [&str; 2] = ["admin-token", "admin-password"];

impl World {
    /// Everywhere that a token of this world appears though it must not: captured output, the platform's files,
    /// Events, objects of our kinds, `ConfigMaps`, Secrets' metadata, the audit log and the metrics. Empty is good.
    /// Says whose token it is, never the token.
    pub async fn leaks(&self) -> Vec<String> {
        self.remember_all().await;
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(
            tokens.len() > 1,
            "no token but the administrator's was handed out: this search would prove nothing"
        );
        let mut places: Vec<(String, Vec<u8>)> = Vec::new();
        collect(self.dir(), &mut places);
        places.push((
            "the audit log".to_owned(),
            audit::text_from(self.cluster(), self.audit_start).into_bytes(),
        ));
        if let Ok((_, metrics)) = self.controller().probe("/metrics").await {
            places.push(("the metrics".to_owned(), metrics.into_bytes()));
        }
        places.push(self.dump::<Organization>(Api::all(self.client())).await);
        places.push(self.dump::<ProgrammaticUserClass>(Api::all(self.client())).await);
        for namespace in self
            .namespaces()
            .iter()
            .map(String::as_str)
            .chain([self.operator_namespace()])
        {
            places.push(
                self.dump::<ProgrammaticUser>(Api::namespaced(self.client(), namespace))
                    .await,
            );
            places.push(
                self.dump::<Event>(Api::namespaced(self.client(), namespace))
                    .await,
            );
            places.push(
                self.dump::<ConfigMap>(Api::namespaced(self.client(), namespace))
                    .await,
            );
            let secrets: Api<Secret> = Api::namespaced(self.client(), namespace);
            for secret in secrets
                .list(&ListParams::default())
                .await
                .expect("Secrets can be listed")
            {
                let name = format!("metadata of Secret {namespace}/{}", secret.name_any());
                places.push((
                    name,
                    serde_json::to_vec(&secret.metadata).expect("metadata is JSON"),
                ));
            }
        }
        find(&tokens, &places)
    }

    async fn remember_all(&self) {
        let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
        for namespace in self.namespaces() {
            let secrets: Api<Secret> = Api::namespaced(self.client(), namespace);
            for secret in secrets.list(&ours).await.expect("Secrets can be listed") {
                for value in values(&secret).values().filter(|v| looks_like_token(v)) {
                    self.remember_token(&format!("Secret {}", secret.name_any()), value);
                }
            }
        }
    }

    async fn dump<K>(&self, api: Api<K>) -> (String, Vec<u8>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let items = api
            .list(&ListParams::default())
            .await
            .expect("objects can be listed")
            .items;
        let name = format!("objects at {}", api.resource_url());
        (name, serde_json::to_vec(&items).expect("objects are JSON"))
    }
}

fn collect(dir: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    let paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    for path in paths {
        if path.is_dir() {
            collect(&path, places);
        } else if !path.file_name().is_some_and(|n| MEANT.iter().any(|m| n == *m)) {
            places.push((
                path.display().to_string(),
                std::fs::read(&path).unwrap_or_default(),
            ));
        }
    }
}

/// Which token is where, plain or in base64.
#[must_use]
pub fn find(tokens: &BTreeMap<String, String>, places: &[(String, Vec<u8>)]) -> Vec<String> {
    // A soak has thousands of tokens, and an audit log hundreds of megabytes: each place is read once.
    let needles: Vec<(&str, &str, String)> = tokens
        .iter()
        .flat_map(|(whose, token)| {
            let encoded = base64(token.as_bytes()).trim_end_matches('=').to_owned();
            [(&**whose, "", token.clone()), (&**whose, " in base64", encoded)]
        })
        .collect();
    let search =
        AhoCorasick::new(needles.iter().map(|(_, _, needle)| needle)).expect("tokens are few and short");
    let mut found = BTreeSet::new();
    for (place, bytes) in places {
        for hit in search.find_overlapping_iter(bytes) {
            let (whose, form, _) = &needles[hit.pattern().as_usize()];
            found.insert(format!("the token of {whose} is in {place}{form}"));
        }
    }
    found.into_iter().collect()
}

/// Everything in a text that looks like a token.
pub fn lookalikes(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_hexdigit())
        .filter(|run| looks_like_token(run))
}

/// As in a Secret; the JSON form of Kubernetes' own type.
fn base64(bytes: &[u8]) -> String {
    let value = serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).expect("bytes are JSON");
    value.as_str().unwrap_or_default().to_owned()
}
