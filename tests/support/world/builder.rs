//! How a test's world differs from the usual one, and how it is made.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::super::builders::{organization, permissive_class};
use super::super::cluster::{Cluster, root};
use super::super::operator::{self, Operator};
use super::super::platform::{self, Platform};
use super::super::proxied::Proxies;
use super::super::{BILLING, PAYMENTS, audit, rights};
use super::{MANAGER, World, apply, credential, fresh_suffix, make_namespace};

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
impl WorldBuilder {
    pub(super) fn new(name: &str) -> Self {
        let accounts = [(PAYMENTS, "payments"), (BILLING, "billing")];
        Self {
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
        let host = self.reachable.then(|| cluster.info().host_address.clone());
        let options = platform::Options {
            address: host.unwrap_or_else(|| "127.0.0.1".to_owned()),
            organization: "Acme".to_owned(),
            accounts: self.accounts,
            flags: self.platform_flags,
            database: None,
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
            &credential(&operator_namespace, platform_url, &platform.admin_token),
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
            is_reported: AtomicBool::new(false),
        };
        if self.running {
            world.operator.resume().await?;
        }
        Ok(world)
    }
}
