//! One test's world: namespaces, a platform, a controller, an organization and a class of its own.

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

use super::builders::{ClassBuilder, UserBuilder, named, organization, permissive_class};
use super::cluster::{Cluster, root};
use super::operator::{self, Operator};
use super::platform::{self, Platform};
use super::proxied::Proxies;
use super::{BILLING, PAYMENTS, audit, rights};

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
    /// Whether the failure has been told with all that is known.
    pub(super) told: AtomicBool,
}

/// A world that differs from the usual one.
#[must_use]
pub struct WorldBuilder {
    name: String,
    cluster: Option<&'static Cluster>,
    namespaces: usize,
    drift: String,
    reachable: bool,
    /// Namespaces that the controller watches, if they are not those of the test.
    watched: Option<Vec<String>>,
    running: bool,
    proxied: bool,
    accounts: Vec<(String, String)>,
    platform_flags: Vec<String>,
    operator_flags: Vec<String>,
    operator_env: Vec<(String, String)>,
    /// The values by which the chart gives the controller its rights.
    rights: &'static str,
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
        let accounts = [(PAYMENTS, "payments"), (BILLING, "billing")];
        WorldBuilder {
            name: name.to_owned(),
            cluster: None,
            namespaces: 1,
            drift: "5m".to_owned(),
            reachable: false,
            watched: None,
            running: true,
            proxied: false,
            accounts: accounts.map(|(id, name)| (id.to_owned(), name.to_owned())).into(),
            platform_flags: vec![],
            operator_flags: vec![],
            operator_env: vec![],
            rights: "default",
        }
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

    /// Puts another admin token into the credential Secret.
    pub async fn set_credential(&self, token: &str) {
        let secret = credential(&self.operator_namespace, token);
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

fn credential(namespace: &str, token: &str) -> Secret {
    Secret {
        metadata: named(CREDENTIAL.0, namespace),
        string_data: Some(BTreeMap::from([(CREDENTIAL.1.to_owned(), token.to_owned())])),
        ..Secret::default()
    }
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

impl WorldBuilder {
    /// In another cluster than the shared one.
    pub fn on(mut self, cluster: &'static Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// How often the platform is compared with the cluster.
    pub fn drift(mut self, interval: &str) -> Self {
        interval.clone_into(&mut self.drift);
        self
    }

    /// Several namespaces for users.
    pub fn namespaces(mut self, count: usize) -> Self {
        self.namespaces = count;
        self
    }

    /// The platform listens where pods reach it.
    pub fn reachable_from_pods(mut self) -> Self {
        self.reachable = true;
        self
    }

    /// The controller watches all namespaces; it still looks after this test's organization only.
    pub fn all_namespaces(mut self) -> Self {
        self.watched = Some(vec![]);
        self
    }

    /// The controller is not started; `world.controller().resume()` does it.
    pub fn controller_stopped(mut self) -> Self {
        self.running = false;
        self
    }

    /// Proxies stand between controller and API server, and between controller and platform.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// One more account on the platform.
    pub fn account(mut self, id: &str, name: &str) -> Self {
        self.accounts.push((id.to_owned(), name.to_owned()));
        self
    }

    /// More flags for the platform, for instance `["--rate-limit", "5"]`.
    pub fn platform_flags(mut self, flags: &[&str]) -> Self {
        self.platform_flags.extend(flags.iter().map(|&f| f.to_owned()));
        self
    }

    /// More flags for the controller.
    pub fn controller_flags(mut self, flags: &[&str]) -> Self {
        self.operator_flags.extend(flags.iter().map(|&f| f.to_owned()));
        self
    }

    /// The controller may restart workloads, and does so.
    pub fn restarts_consumers(mut self) -> Self {
        self.rights = "restart";
        self.controller_flags(&["--consumers", "restart"])
    }

    /// More environment for the controller.
    pub fn controller_env(mut self, name: &str, value: &str) -> Self {
        self.operator_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes it; the test ends with a sentence if something does not start.
    pub async fn start(self) -> World {
        let name = self.name.clone();
        self.try_start()
            .await
            .unwrap_or_else(|e| panic!("the world of test {name} does not start: {e}"))
    }

    async fn try_start(self) -> Result<World, String> {
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => Cluster::shared().await,
        };
        let client = cluster.client().await;
        let audit_start = audit::length(cluster);
        let suffix = fresh_suffix();
        let base = format!("t-{}-{suffix}", self.name);
        let namespaces: Vec<String> = (0..self.namespaces)
            .map(|i| {
                if i == 0 {
                    base.clone()
                } else {
                    format!("{base}-{i}")
                }
            })
            .collect();
        let operator_namespace = format!("{base}-op");
        for namespace in namespaces.iter().chain([&operator_namespace]) {
            make_namespace(&client, namespace).await;
        }
        // One folder a test, emptied at its start, so that runs do not pile up.
        let dir = root().join("target/tests").join(&self.name);
        let _ = std::fs::remove_dir_all(&dir);
        let address = if self.reachable {
            cluster.info().host_address.clone()
        } else {
            "127.0.0.1".to_owned()
        };
        let options = platform::Options {
            address,
            organization: "Acme".to_owned(),
            accounts: self.accounts,
            flags: self.platform_flags,
        };
        let platform = Platform::start(&dir.join("platform"), options).await?;
        let proxies = if self.proxied {
            Some(Proxies::start(cluster, &namespaces[0], &operator_namespace, platform.url()).await)
        } else {
            None
        };
        let platform_url = proxies.as_ref().map_or(platform.url(), |p| p.platform.url());
        let (organization_name, class) = (format!("org-{base}"), format!("class-{base}"));
        apply(
            &client,
            &credential(&operator_namespace, &platform.admin_token),
            MANAGER,
        )
        .await?;
        apply(
            &client,
            &organization(&organization_name, platform_url, &self.drift),
            MANAGER,
        )
        .await?;
        apply(
            &client,
            &permissive_class(&class, &organization_name, &namespaces),
            MANAGER,
        )
        .await?;
        let watched = self.watched.as_ref().unwrap_or(&namespaces);
        let mut options = operator::Options {
            kubeconfig: rights::grant(cluster, &client, &dir, &operator_namespace, watched, self.rights)
                .await?,
            namespace: operator_namespace.clone(),
            watch_namespaces: watched.clone(),
            organizations: vec![organization_name.clone()],
            flags: self.operator_flags,
            env: self.operator_env,
        };
        if let Some(proxies) = &proxies {
            options.kubeconfig = proxies.api.write_kubeconfig(&dir.join("controller.kubeconfig"));
        }
        let operator = Arc::new(Operator::prepare(&dir, "controller", options)?);
        if let Some(proxies) = &proxies {
            proxies.set_victim(&operator);
        }
        let tokens = BTreeMap::from([("the administrator".to_owned(), platform.admin_token.clone())]);
        let world = World {
            cluster,
            client,
            suffix,
            namespaces,
            operator_namespace,
            organization: organization_name,
            class,
            dir,
            platform,
            operator,
            proxies,
            audit_start,
            tokens: Mutex::new(tokens),
            told: AtomicBool::new(false),
        };
        if self.running {
            world.operator.resume().await?;
        }
        Ok(world)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.told.load(Ordering::Relaxed) {
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
