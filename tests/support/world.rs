//! One test's world: namespaces, a platform, a controller, an organization and a class of its own.

mod builder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use builder::WorldBuilder;

use super::builders::{ClassBuilder, UserBuilder, admin_secret};
use super::cluster::Cluster;
use super::operator::{self, Operator};
use super::platform::{self, Platform};
use super::proxied::Proxies;
use super::rights;

/// Field manager of what tests apply.
pub const MANAGER: &str = "tests";
/// Secret with the admin token, and its key.
pub(super) const CREDENTIAL: (&str, &str) = ("admin", "token");

/// Everything of one test. Dropping it ends its processes.
pub struct World {
    cluster: &'static Cluster,
    client: Client,
    suffix: String,
    namespaces: Vec<String>,
    operator_namespace: String,
    organization: String,
    class: String,
    dir: PathBuf,
    platform: Platform,
    operator: Arc<Operator>,
    /// What stands between, if asked for.
    pub(super) proxies: Option<Proxies>,
    /// Where the audit log was when this began.
    pub(super) audit_start: u64,
    /// Tokens seen, which may be nowhere but in their Secrets.
    pub(super) tokens: Mutex<BTreeMap<String, String>>,
    /// Whether the failure was reported with all that is known.
    pub(super) is_reported: AtomicBool,
}

/// Letters and digits that no other test has.
#[must_use]
pub fn fresh_suffix() -> String {
    platform::fresh_token()[..6].to_owned()
}

impl World {
    /// The usual world: one namespace, two accounts, controller running.
    pub async fn new(name: &str) -> Self {
        Self::builder(name).start().await
    }

    /// A world to be described first. `name` is lower-case letters, digits and dashes.
    pub fn builder(name: &str) -> WorldBuilder {
        WorldBuilder::new(name)
    }

    /// The shared cluster.
    #[must_use]
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// An administrator's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The platform of this test.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The controller of this test.
    #[must_use]
    pub fn controller(&self) -> &Operator {
        &self.operator
    }

    /// The first namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespaces[0]
    }

    /// All namespaces of users.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// Where the controller's own Secrets are.
    #[must_use]
    pub fn operator_namespace(&self) -> &str {
        &self.operator_namespace
    }

    /// Name of the `Organization`.
    #[must_use]
    pub fn organization_name(&self) -> &str {
        &self.organization
    }

    /// Name of the class that allows everything.
    #[must_use]
    pub fn class_name(&self) -> &str {
        &self.class
    }

    /// Folder of the captured output.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A name that no other test uses, for cluster-scoped objects.
    #[must_use]
    pub fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.suffix)
    }

    /// A user in the first namespace, of the class that allows everything.
    pub fn user(&self, name: &str) -> UserBuilder<'_> {
        UserBuilder::new(self, name)
    }

    /// One more class; `name` gets the test's suffix.
    pub fn class(&self, name: &str) -> ClassBuilder<'_> {
        ClassBuilder::new(self, name)
    }

    /// Server-side apply of a typed object, or what the API server said.
    pub async fn apply<K>(&self, object: &K) -> Result<K, String>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        self.apply_as(object, MANAGER).await
    }

    /// The same, as another field manager.
    pub async fn apply_as<K>(&self, object: &K, manager: &str) -> Result<K, String>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        apply(&self.client, object, manager).await
    }

    /// `kubectl apply` of YAML in the first namespace; its output, or what the API server said.
    pub fn apply_yaml(&self, yaml: &str) -> Result<String, String> {
        let args = [
            "--namespace",
            self.namespace(),
            "apply",
            "--server-side",
            "-f",
            "-",
        ];
        self.cluster.kubectl_with(&args, Some(yaml))
    }

    /// Where the controller finds the platform.
    pub fn platform_url(&self) -> &str {
        let proxies = self.proxies.as_ref();
        proxies.map_or(self.platform.url(), |p| p.platform.url())
    }

    /// Puts another admin token into the credential Secret.
    pub async fn set_credential(&self, token: &str) {
        let secret = credential(&self.operator_namespace, self.platform_url(), token);
        self.apply(&secret).await.expect("the API server takes a Secret");
    }

    /// A second controller beside the first, with its own captured output.
    pub async fn second_controller(&self, name: &str) -> Operator {
        let options = self.operator_options();
        Operator::start(&self.dir, name, options)
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Another controller that is started like the first, flags included, with its own captured output.
    pub async fn replica(&self, name: &str) -> Operator {
        Operator::start(&self.dir, name, self.operator.options().clone())
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    }

    pub(super) fn operator_options(&self) -> operator::Options {
        operator::Options {
            flags: Vec::new(),
            env: Vec::new(),
            ..self.operator.options().clone()
        }
    }
}

/// Server-side apply, or what the API server said.
pub async fn apply<K>(client: &Client, object: &K, manager: &str) -> Result<K, String>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    // A namespaced object's URL comes from the object; this works for both.
    let kind = kube::core::ApiResource::erase::<K>(&());
    let api: Api<kube::core::DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    let patch = Patch::Apply(object);
    match api
        .patch(&object.name_any(), &PatchParams::apply(manager).force(), &patch)
        .await
    {
        Ok(applied) => applied.try_parse().map_err(|e| e.to_string()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => Err(error.to_string()),
    }
}

fn credential(namespace: &str, url: &str, token: &str) -> Secret {
    admin_secret(CREDENTIAL.0, namespace, url, &[(CREDENTIAL.1, token)])
}

/// Makes a namespace with a label by which classes can select it.
pub async fn make_namespace(client: &Client, name: &str) {
    let labels = BTreeMap::from([("test".to_owned(), name.to_owned())]);
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let namespace = Namespace {
        metadata,
        ..Namespace::default()
    };
    let made = Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await;
    made.expect("the cluster takes a namespace");
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_reported.load(Ordering::Relaxed) {
            eprintln!(
                "the last lines of the controller ({} has all output):\n{}",
                self.dir.display(),
                self.operator.log_tail(60)
            );
        }
        if self.cluster.is_external() {
            self.clean_up();
        }
    }
}

impl World {
    /// Removes this test's objects from a cluster that outlives the tests.
    fn clean_up(&self) {
        let kubectl = |args: &[&str]| {
            if let Err(e) = self.cluster.kubectl(args) {
                eprintln!("clean-up: {e}");
            }
        };
        for namespace in &self.namespaces {
            let names = self
                .cluster
                .kubectl(&["-n", namespace, "get", "pu", "-o", "name"])
                .unwrap_or_default();
            for name in names.lines() {
                kubectl(&[
                    "-n",
                    namespace,
                    "patch",
                    name,
                    "--type=merge",
                    "-p",
                    r#"{"metadata":{"finalizers":null}}"#,
                ]);
            }
            kubectl(&["delete", "namespace", namespace, "--wait=false"]);
        }
        kubectl(&["delete", "namespace", &self.operator_namespace, "--wait=false"]);
        for place in [rights::CLUSTER, rights::NAMESPACE] {
            let name = format!("{}-{place}", self.operator_namespace);
            kubectl(&["delete", "clusterrolebinding", &name, "--ignore-not-found"]);
        }
        kubectl(&["delete", "puc", &self.class, "--ignore-not-found"]);
        kubectl(&["delete", "puo", &self.organization, "--ignore-not-found"]);
    }
}
