//! A world whose controllers reach the API server and the platform through proxies.

use std::sync::Arc;

use kube::Api;
use kube::api::ListParams;
use programmatic_users::api::ProgrammaticUser;

use super::cluster::Cluster;
use super::operator::Operator;
use super::proxy::Proxy;
use super::world::World;

/// What stands between.
pub struct Proxies {
    /// Between the first controller and the API server.
    pub api: Proxy,
    /// Between all controllers and the platform.
    pub platform: Proxy,
}

impl Proxies {
    pub(super) async fn start(
        cluster: &'static Cluster,
        namespace: &str,
        operator_namespace: &str,
        platform: &str,
    ) -> Self {
        let client = cluster.client_as_is(operator_namespace).await;
        let users: Api<ProgrammaticUser> = Api::namespaced(cluster.client().await, namespace);
        let revision = move || {
            let users = users.clone();
            async move {
                let list = users
                    .list(&ListParams::default().limit(1))
                    .await
                    .expect("users can be listed");
                let version = list.metadata.resource_version.unwrap_or_default();
                version.parse().expect("a revision is a number")
            }
        };
        Self {
            api: Proxy::kubernetes(client, operator_namespace).await,
            platform: Proxy::platform(platform, revision).await,
        }
    }

    pub(super) fn set_victim(&self, operator: &Arc<Operator>) {
        self.api.set_victim(operator.clone());
        self.platform.set_victim(operator.clone());
    }
}

impl World {
    /// The proxies of a world that was made with `proxied()`.
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        self.proxies.as_ref().expect("the world has proxies")
    }

    /// Prepares a second controller with a proxy of its own.
    pub async fn second_controller_proxied(&self, name: &str, flags: &[String]) -> (Operator, Proxy) {
        let client = self.cluster().client_as_is(self.operator_namespace()).await;
        let proxy = Proxy::kubernetes(client, self.operator_namespace()).await;
        let mut options = self.operator_options();
        options.kubeconfig = proxy.write_kubeconfig(&self.dir().join(format!("{name}.kubeconfig")));
        options.flags = flags.to_vec();
        let operator = Operator::prepare(self.dir(), name, options).unwrap_or_else(|e| panic!("{e}"));
        (operator, proxy)
    }
}
