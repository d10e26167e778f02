//! Every version of the user and of the Secrets of one namespace, as the API server tells of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use programmatic_users::api::{Journal, NONCE_ANNOTATION, ProgrammaticUser, USER_ID_ANNOTATION};
use serde::de::DeserializeOwned;

use crate::support::World;
use crate::support::observe::{looks_like_token, values};
use crate::support::proxy::digest;

/// A version of the `ProgrammaticUser`.
#[derive(Debug, Clone)]
pub struct UserVersion {
    pub revision: u64,
    pub deleting: bool,
    pub gone: bool,
    pub journal: Journal,
}

/// A version of a Secret, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    pub revision: u64,
    pub name: String,
    pub gone: bool,
    /// UID of the object that controls it.
    pub owner: Option<String>,
    pub nonce: Option<String>,
    pub user_id: Option<String>,
    /// Digest of the one value that looks like a token.
    pub token: Option<String>,
}

/// What has been seen so far.
#[derive(Debug, Default)]
struct Seen {
    users: Vec<UserVersion>,
    secrets: Vec<SecretVersion>,
}

/// A recording; it ends with the plan.
pub struct History {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for History {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn revision(version: Option<String>) -> u64 {
    version.and_then(|v| v.parse().ok()).unwrap_or_default()
}

impl History {
    /// Records from now on.
    pub async fn start(world: &World) -> Result<Self, String> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (a, b) = (seen.clone(), seen.clone());
        let users = record(world.users(), move |user: ProgrammaticUser, gone| {
            lock(&a).users.push(UserVersion {
                revision: revision(user.resource_version()),
                deleting: user.metadata.deletion_timestamp.is_some(),
                gone,
                journal: user.status.unwrap_or_default().journal,
            });
        });
        let secrets = record(world.secrets(), move |secret: Secret, gone| {
            let annotation = |key: &str| secret.annotations().get(key).cloned();
            let token = values(&secret).into_values().find(|v| looks_like_token(v));
            let owner = secret
                .owner_references()
                .iter()
                .find(|o| o.controller == Some(true));
            lock(&b).secrets.push(SecretVersion {
                revision: revision(secret.resource_version()),
                name: secret.name_any(),
                gone,
                owner: owner.map(|o| o.uid.clone()),
                nonce: annotation(NONCE_ANNOTATION),
                user_id: annotation(USER_ID_ANNOTATION),
                token: token.map(|t| digest(t.as_bytes())),
            });
        });
        let tasks = vec![users.await?, secrets.await?];
        Ok(Self { seen, tasks })
    }

    pub fn users(&self) -> Vec<UserVersion> {
        lock(&self.seen).users.clone()
    }

    /// Versions of the Secret of this name.
    pub fn secrets(&self, name: &str) -> Vec<SecretVersion> {
        let seen = lock(&self.seen);
        seen.secrets.iter().filter(|s| s.name == name).cloned().collect()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lists, and then watches: no version is passed over, as a cache would.
async fn record<K>(
    api: Api<K>,
    mut keep: impl FnMut(K, bool) + Send + 'static,
) -> Result<tokio::task::JoinHandle<()>, String>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let list = api
        .list(&ListParams::default())
        .await
        .map_err(|e| e.to_string())?;
    let mut version = list.metadata.resource_version.unwrap_or_default();
    for object in list.items {
        keep(object, false);
    }
    Ok(tokio::spawn(async move {
        loop {
            let params = WatchParams::default().timeout(280);
            let Ok(stream) = api.watch(&params, &version).await else {
                continue;
            };
            let mut stream = stream.boxed();
            while let Ok(Some(event)) = stream.try_next().await {
                let (object, gone) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
                };
                version = object.meta().resource_version.clone().unwrap_or_default();
                keep(object, gone);
            }
        }
    }))
}
